"""One meaning per exit code, one shape of error, and data never mixed with words about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplan.cli import app as cli

ASK = ["predict", "--model", "llama-3.1-8b", "--gpu", "h200_sxm", "--isl", "512", "--osl", "64"]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(list(args))
    out, err = capsys.readouterr()
    return code, out, err


def test_done_is_0_and_data_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *ASK, "--concurrency", "8", "--json")
    assert code == 0
    assert json.loads(out)["deployment"]["gpu"] == "h200_sxm"
    assert all(line.startswith("warning: ") for line in err.splitlines())


@pytest.mark.parametrize(("load", "warned"), [
    (["--concurrency", "8", "--spread", "0"], True), (["--concurrency", "8"], False),
    (["--concurrency", "1", "--spread", "0"], False), (["--rate", "2", "--spread", "0"], False),
])
def test_clients_in_lockstep_are_pointed_out(capsys: pytest.CaptureFixture[str], load: list[str], warned: bool) -> None:
    code, _, err = run(capsys, *ASK, *load)
    assert code == 0
    assert ("stay in step" in err) is warned


@pytest.mark.parametrize(("args", "said", "hint"), [
    ([*ASK], "give either --concurrency or --rate", "--concurrency 32"),
    ([*ASK, "--concurrency", "8", "--rate", "2"], "give either --concurrency or --rate", "--rate"),
    ([*ASK, "--rate", "nan"], "--rate", "--help"),
    ([*ASK, "--concurrency", "inf"], "must be a finite number", None),
    ([*ASK, "--rate", "-1"], "--rate", "costplan predict --help"),
    ([*ASK, "--rate", "1", "--price", "nan"], "--price", "--help"),
    ([*ASK, "--rate", "1", "--price", "inf"], "price must be positive", None),
    ([*ASK, "--rate", "1", "--engine", "vlm"], "--engine: unknown engine 'vlm'", "did you mean vllm"),
    ([*ASK, "--rate", "1", "--weights", "fp9"], "--weights: unknown weight dtype 'fp9'", "fp8"),
    ([*ASK, "--rate", "1", "--profile", "h200-vlm"], "profile", None),
    ([*ASK, "--rate", "1", "--frobnicate"], "--frobnicate", "--help"),
    (["predict", "--model", "llama-3.1-8", "--gpu", "h100", "--isl", "9", "--osl", "9", "--rate", "1"],
     "--model: unknown model 'llama-3.1-8'", "Llama-3.1-8B"),
    (["predict", "--model", "llama-3.1-8b", "--gpu", "h1000", "--isl", "9", "--osl", "9", "--rate", "1"],
     "--gpu: unknown GPU 'h1000'", "did you mean"),
    (["predict", "--model", "llama-3.1-405b", "--gpu", "l4", "--isl", "9", "--osl", "9", "--rate", "1"],
     "does not fit", "more"),
    ([*ASK, "--rate", "1", "--tp", "3"], "--tp: 32 attention heads", "1, 2, 4, 8, 16, 32"),
    ([*ASK, "--rate", "1", "--kv", "fp32"], "--kv: no engine keeps", "bf16"),
    ([*ASK, "--rate", "1", "--engine-version", "new"], "--engine-version: not a version", "0.19"),
    ([*ASK, "--rate", "1", "--max-model-len", "100"], "isl + osl = 576 tokens exceed --max-model-len 100", "raise it"),
    ([*ASK, "--rate", "1", "--tp", "2", "--ep", "3"], "ep=3 does not divide", "choose an ep"),
    (["catalog", "gpus", "h1000"], "unknown GPU", "did you mean"),
    (["catalog", "prices", "--purchase", "stolen"], "unknown purchase", "spot"),
    (["catalog", "prices", "--provider", "aw"], "unknown provider", "aws"),
    (["roofline", "--model", "llama-3.1-8b", "--gpu", "h200_sxm", "--phase", "decod"], "unknown phase", "decode"),
    (["validate"], "give either a CSV", "costplan validate"),
    (["validate", "nowhere.csv"], "nowhere.csv: cannot read", None),
    (["validate", "x.csv", "--by", "gpus"], "--by: unknown group 'gpus'", "did you mean gpu"),
    (["schema", "workloads"], "unknown schema", "workload"),
    (["predikt"], "predikt", "costplan --help"),
])
def test_bad_input_is_2_with_a_hint(capsys: pytest.CaptureFixture[str], args: list[str], said: str,
                                    hint: str | None) -> None:
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    if hint is not None:
        assert hint in err.partition("\n\nhint: ")[2]


def test_a_bug_is_70_and_says_how_to_report_it(capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("boom\x1b[2J")

    monkeypatch.delenv("COSTPLAN_DEBUG", raising=False)
    monkeypatch.setattr("costplan.cli.predict_inputs.deployment", broken)
    code, out, err = run(capsys, *ASK, "--rate", "1")
    assert (code, out) == (70, "")
    assert err.startswith("error: unexpected RuntimeError: boom\\x1b[2J\n\nhint: this is a bug")
    monkeypatch.setenv("COSTPLAN_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main([*ASK, "--rate", "1"])


def test_interrupted_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("costplan.cli.predict_inputs.deployment", interrupted)
    code, _, err = run(capsys, *ASK, "--rate", "1")
    assert (code, err.strip()) == (130, "interrupted")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_4() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run([sys.executable, "-m", "costplan", "catalog", "models", "--json"], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("error: ")


def test_a_closed_pipe_is_no_error() -> None:
    script = f"{sys.executable} -m costplan catalog models --json | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_arguments_prints_help_and_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 2
    assert "predict" in out and "Exit codes" in out


def test_output_file_is_whole_or_absent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "answer.json"
    code, out, err = run(capsys, *ASK, "--rate", "1", "--json", "-o", str(target))
    assert (code, out) == (0, "")
    assert json.loads(target.read_text(encoding="utf-8"))["schema"] == "costplan.predict/1"
    assert f"wrote {target}" in err
    code, _, err = run(capsys, *ASK, "--rate", "1", "-o", str(tmp_path / "no" / "where.txt"))
    assert code == 2 and "cannot write" in err
    assert [p.name for p in tmp_path.iterdir()] == ["answer.json"]


def test_text_survives_a_terminal_without_unicode(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-m", "costplan", "catalog", "gpus", "\u0416-100"], capture_output=True,
                          env=env, check=False)
    assert done.returncode == 2
    assert b"unknown GPU" in done.stderr


CHARACTERS = st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00")
NAMES = st.one_of(st.sampled_from(["llama-3.1-8b", "deepseek-v3", "h100_sxm", "l40s", "mi300x", "fp8", "nvfp4"]),
                  st.text(alphabet=CHARACTERS, max_size=12))
NUMBERS = st.one_of(st.integers(-3, 300), st.integers(10**5, 10**12), st.floats()).map(str)
FLAGS = st.fixed_dictionaries(
    {"--model": NAMES, "--gpu": NAMES, "--isl": NUMBERS, "--osl": NUMBERS},
    optional={"--concurrency": NUMBERS, "--rate": NUMBERS, "--tp": NUMBERS, "--pp": NUMBERS, "--ep": NUMBERS,
              "--replicas": NUMBERS, "--weights": NAMES, "--kv": NAMES, "--engine": NAMES, "--memory-fraction": NUMBERS,
              "--max-num-seqs": NUMBERS, "--max-num-batched-tokens": NUMBERS, "--price": NUMBERS})


@given(FLAGS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flags_crash_it(capsys: pytest.CaptureFixture[str], flags: dict[str, str]) -> None:
    code, out, err = run(capsys, "predict", "--json", *(f"{k}={v}" for k, v in flags.items()))
    assert code in (0, 2), err
    assert bool(out) is (code == 0)
    if code == 0:
        json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} in JSON"))


GOOD_NAMES = st.sampled_from(["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v2-lite", "gpt-oss-20b", "gemma-2-9b"])
GOOD_GPUS = st.sampled_from(["h100_sxm", "l40s", "mi300x", "b200_sxm", "rtx_4090", "tpu_v5e"])


@given(GOOD_NAMES, GOOD_GPUS, st.sampled_from([1, 2, 4, 8, 3]), st.integers(1, 20_000), st.integers(1, 5_000),
       st.one_of(st.floats(0.01, 1e4), st.floats(1, 1e9)), st.booleans(),
       st.sampled_from([None, "bf16", "fp8", "int4"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_sane_question_is_answered_or_refused(
        capsys: pytest.CaptureFixture[str], model: str, gpu: str, tp: int, isl: int, osl: int, load: float,
        open_loop: bool, weights: str | None) -> None:
    flags = {"--model": model, "--gpu": gpu, "--tp": tp, "--isl": isl, "--osl": osl,
             "--rate" if open_loop else "--concurrency": load, **({"--weights": weights} if weights else {})}
    code, out, err = run(capsys, "predict", "--json", *(f"{k}={v}" for k, v in flags.items()))
    assert code in (0, 2), err
    if code == 0:
        for name, metric in json.loads(out)["metrics"].items():
            low, high = metric["interval_90"]
            assert 0 < low <= metric["value"] <= high, name


@pytest.mark.parametrize(("args", "said"), [
    (["--gpu", "h100", "--tp", "1"], "'h100' is taken as h100_sxm"),
    (["--gpu", "h100_sxm", "--tp", "16"], "tp 16 goes beyond the 8 GPUs"),
    (["--gpu", "h100_sxm", "--isl", "200000"], "exceed the 131,072 that"),
    (["--gpu", "h20"], ", not on h20: scaled by the roofline"),
])
def test_what_was_assumed_is_said(capsys: pytest.CaptureFixture[str], args: list[str], said: str) -> None:
    code, out, err = run(capsys, "predict", "--model", "llama-3.1-8b", "--isl", "512", "--osl", "64", "--rate", "0.1",
                         "--json", *args)
    assert code == 0
    assert any(said in w for w in json.loads(out)["warnings"])
    assert f"warning: {json.loads(out)['warnings'][0]}" in err
