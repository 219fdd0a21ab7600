"""`costplan roofline`: laws that hold whatever the kernels measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplan.cli.app import main

ASK = ["roofline", "--model", "llama-3.1-8b", "--gpu", "h200_sxm"]


def ask(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert main([*ASK, *args, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_flops_are_those_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Two FLOPs per matrix weight and token, embeddings aside (head included): 8.03e9 - 128256 * 4096 - norms."""
    kernels = ask(capsys, "--batch", "16", "--context", "100")["kernels"]
    matmul = sum(k["calls_per_step"] * k["flops"] for k in kernels if k["part"] in ("gemm", "head") and k["flops"])
    assert matmul == pytest.approx(2 * 16 * (8_030_261_248 - 128_256 * 4096 - 65 * 4096), rel=1e-6)


def test_decode_reads_the_cache_once(capsys: pytest.CaptureFixture[str]) -> None:
    kernels = ask(capsys, "--batch", "16", "--context", "1000", "--kv", "bf16")["kernels"]
    attention = next(k for k in kernels if k["name"] == "attn_decode")
    cache = 16 * 1000 * 131_072
    assert cache <= attention["calls_per_step"] * attention["bytes"] <= 1.01 * cache


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_rows_add_up_to_the_step(capsys: pytest.CaptureFixture[str], phase: str) -> None:
    v = ask(capsys, "--phase", phase, "--batch", "4", "--context", "512")
    kernels = sum(k["calls_per_step"] * k["predicted_s"] for k in v["kernels"])
    assert kernels + v["engine_s"] == pytest.approx(v["step_s"])
    for k in v["kernels"]:
        assert k["efficiency"] > 0 and k["roofline_s"] > 0
        assert k["bound"] in ("compute", "bandwidth", "latency", "network")


def test_tensor_parallelism_adds_all_reduces(capsys: pytest.CaptureFixture[str]) -> None:
    kernels = ask(capsys, "--tp", "2")["kernels"]
    reduce = [k for k in kernels if k["part"] == "collective"]
    assert [k["calls_per_step"] for k in reduce] == [64]
    assert reduce[0]["flops"] is None


@pytest.mark.parametrize("width", ["80", "120", "200"])
def test_page_fits_and_says_what_it_left_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                             width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert main(ASK) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= int(width)
    assert ("left out" in page) is ("FLOP/B" not in page.split("peaks")[0].split("figures")[0])
