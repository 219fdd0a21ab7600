"""`costplan calibrate` as a user meets it: what it asks for, what it writes, what predictions make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from costplan.cli.app import main

RUN = {"backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B", "num_prompts": 160, "request_rate": "inf",
       "max_concurrency": 16, "completed": 160, "total_input_tokens": 160_000, "total_output_tokens": 32_000,
       "output_throughput": 1500.0, "mean_ttft_ms": 60.0, "mean_tpot_ms": 10.0}
FLAGS = ["--gpu", "h100_sxm", "--tp", "1"]
PREDICT = ["predict", "-m", "llama-3.1-8b", "-g", "h100_sxm", "--isl", "1000", "--osl", "200", "--concurrency", "16",
           "--json"]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """About 1.4 times as slow as predicted, at three loads."""
    measured = {8: (94.0, 12.8, 610.0), 16: (127.0, 14.4, 1050.0), 32: (240.0, 17.6, 1640.0)}
    lines = [json.dumps(RUN | {"max_concurrency": n, "mean_ttft_ms": ttft, "mean_tpot_ms": tpot,
                               "output_throughput": rate}) for n, (ttft, tpot, rate) in measured.items()]
    (tmp_path / "r.json").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "r.json"


def predicted(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, object]]:
    assert main([*PREDICT, *more]) == 0
    found: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)["metrics"]
    return found


def width(metric: dict[str, object]) -> float:
    low, high = metric["interval_90"]  # type: ignore[misc]
    return float(high / low)


def test_own_runs_shift_predictions_and_narrow_their_intervals(result: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    out = result.parent / "calibration.yaml"
    assert main(["calibrate", str(result), *FLAGS, "-o", str(out)]) == 0
    page = capsys.readouterr().out
    assert "3 runs of" in page
    assert "each corrected by the others" in page
    before, after = predicted(capsys), predicted(capsys, "--calibration", str(out))
    for name in ("tpot_s", "ttft_s", "output_tok_s", "usd_per_mtok_out"):
        assert width(after[name]) < 0.8 * width(before[name]), name
    off = [abs(float(found["tpot_s"]["value"]) - 0.0144) for found in (before, after)]  # type: ignore[arg-type]
    assert off[1] < 0.5 * off[0]


def test_the_file_says_where_it_comes_from_and_names_no_folder(result: Path) -> None:
    out = result.parent / "c.yaml"
    assert main(["calibrate", str(result), *FLAGS, "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    assert str(result.parent) not in text
    assert found["sources"][0]["file"] == "r.json"
    assert len(found["sources"][0]["sha256"]) == 64
    assert len(found["runs"]) == 3
    assert found["errors"]["tpot"]["runs"] == 3
    assert len(text) < 5000


@pytest.mark.parametrize(("args", "said", "hint"), [
    ([], "on which GPU it ran", "--gpu"), (["--gpu", "h100_sxm"], "over how many GPUs", "--tp"),
    (["--gpu", "h100_smx", "--tp", "1"], "unknown GPU", "h100_sxm"),
    ([*FLAGS, "--model", "llama-9"], "unknown model", "--model"),
    ([*FLAGS, "--engine", "vlm"], "unknown engine", "vllm"), ([*FLAGS, "--weights", "fp9"], "weight dtype", "fp8"),
    ([*FLAGS, "--rate", "1", "--concurrency", "2"], "either", ""), ([*FLAGS, "-o", "/no/such/c.yaml"], "folder", "")])
def test_it_asks_for_what_is_missing_by_flag(result: Path, args: list[str], said: str, hint: str,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(result), *args]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert hint in err


def test_what_a_file_leaves_out_is_asked_for_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "l.json").write_text('{"avg_latency": 3.0, "latencies": [3.0]}', encoding="utf-8")
    known = ["calibrate", str(tmp_path / "l.json"), *FLAGS, "-o", str(tmp_path / "c.yaml")]
    for more, flag in (([], "--model"), (["-m", "llama-3.1-8b"], "--batch"), (["--batch", "8"], "--isl"),
                       (["--isl", "512"], "--osl")):
        known += more
        assert main(known) == 2
        assert flag in capsys.readouterr().err
    assert main([*known, "--osl", "128"]) == 0


def test_a_flag_must_not_contradict_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text(json.dumps(RUN | {"tp_size": 2}), encoding="utf-8")
    assert main(["calibrate", str(tmp_path / "r.json"), *FLAGS]) == 2
    assert "says 2, but --tp says 1" in capsys.readouterr().err


def test_a_calibration_made_elsewhere_is_explained(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = result.parent / "c.yaml"
    assert main(["calibrate", str(result), *FLAGS, "-o", str(out)]) == 0
    assert main(["predict", "-m", "qwen3-8b", "-g", "l40s", "--isl", "500", "--osl", "100", "--rate", "1",
                 "--calibration", str(out)]) == 0
    assert "says little here" in capsys.readouterr().err


def test_simulations_and_workloads_use_it(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = result.parent / "c.yaml"
    assert main(["calibrate", str(result), *FLAGS, "-o", str(out)]) == 0
    flags = ["simulate", "-g", "h100_sxm", "-m", "llama-3.1-8b", "--isl", "1000", "--osl", "100", "--rate", "2", "-n",
             "200", "--json"]
    capsys.readouterr()
    assert main(flags) == 0
    plain = json.loads(capsys.readouterr().out)["summary"]["tpot"]["mean"]
    assert main([*flags, "--calibration", str(out)]) == 0
    tuned = json.loads(capsys.readouterr().out)["summary"]["tpot"]["mean"]
    assert tuned > 1.02 * plain
    (result.parent / "w.yaml").write_text(
        "name: own\nmodel: llama-3.1-8b\nload: {rate: {requests_per_s: 2}}\n"
        "lengths: {isl: {fixed: 1000}, osl: {fixed: 100}}\ncalibration: c.yaml\n", encoding="utf-8")
    assert main(["simulate", str(result.parent / "w.yaml"), "-g", "h100_sxm", "-n", "200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["tpot"]["mean"] == pytest.approx(tuned, rel=0.1)


def test_a_workload_that_names_no_such_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.yaml").write_text(
        "name: own\nmodel: llama-3.1-8b\nload: {rate: {requests_per_s: 2}}\n"
        "lengths: {isl: {fixed: 1000}, osl: {fixed: 100}}\ncalibration: no.yaml\n", encoding="utf-8")
    assert main(["simulate", str(tmp_path / "w.yaml"), "-g", "h100_sxm"]) == 2
    assert "w.yaml:5: calibration: no such file" in capsys.readouterr().err
