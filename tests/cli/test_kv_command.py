"""`costplan kv`: the answers of the widely copied examples, JSON, and bad questions."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from costplan.cli.kv import kv, size_bytes
from costplan.core.errors import CostplanError, DoesNotFitError, InputError, UnknownNameError

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
APP = typer.Typer()
APP.command()(kv)


def ask(*args: str) -> str:
    result = CliRunner().invoke(APP, ["--model", LLAMA, *args], catch_exceptions=True)
    if isinstance(result.exception, CostplanError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_40_gb_hold_74_sequences_and_40_gib_hold_80() -> None:
    assert json.loads(ask("--budget", "40GB", "--tokens", "4096", "--json"))["sequences"] == 74
    assert json.loads(ask("--budget", "40GiB", "--tokens", "4096", "--json"))["sequences"] == 80


def test_text_names_every_part_and_its_evidence() -> None:
    said = ask("--gpu", "h100_sxm", "--isl", "1000", "--osl", "500")
    for words in ("weights", "activations", "CUDA graphs", "runtime", "left alone", "KV cache", "KV blocks", "analytic",
                  "derived", "90 %", "without preemption"):
        assert words in said


def test_json_adds_up() -> None:
    b = json.loads(ask("--gpu", "h100_sxm", "--tp", "2", "--engine", "sglang", "--json"))["budget"]
    parts = ("weights_bytes", "activation_bytes", "graph_bytes", "runtime_bytes", "kv_bytes", "reserved_bytes")
    assert sum(b[p] for p in parts) == b["total_bytes"]
    assert sum(b["weights_by_part_bytes"].values()) == pytest.approx(b["weights_bytes"], abs=20)
    assert b["tokens_i90"][0] <= b["tokens"] <= b["tokens_i90"][1]


@pytest.mark.parametrize(("args", "error"), [
    ((), InputError), (("--gpu", "l4", "--budget", "40GB"), InputError),
    (("--budget", "40GB", "--isl", "5"), InputError),
    (("--budget", "40GB", "--tokens", "5", "--isl", "5", "--osl", "5"), InputError),
    (("--gpu", "h100_sxn"), UnknownNameError), (("--gpu", "h100_sxm", "--kv", "fp9"), UnknownNameError),
    (("--gpu", "h100_sxm", "--engine", "vlm"), UnknownNameError), (("--gpu", "t4"), DoesNotFitError),
    (("--gpu", "h100_sxm", "--memory-fraction", "90"), InputError),
    (("--gpu", "h100_sxm", "--memory-fraction", "nan"), InputError),
])
def test_bad_questions_are_refused(args: tuple[str, ...], error: type[CostplanError]) -> None:
    with pytest.raises(error):
        ask(*args)


@pytest.mark.parametrize("text", ["40", "GB", "-3GB", "40 XB", "nan GB", "1e5GB", "0GB", "9999999999TiB", "٤٠GB", ""])
def test_a_size_needs_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(InputError):
        size_bytes(text)


def test_sizes_decimal_and_binary() -> None:
    assert (size_bytes("40GB"), size_bytes(" 1.5 gib ")) == (40 * 10**9, 3 * 2**29)
