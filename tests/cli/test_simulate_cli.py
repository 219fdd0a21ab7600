"""`costplan simulate`: percentiles, limits with ticks, JSON, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costplan.cli.app import main

BASE = ["simulate", "-m", "llama-3.1-8b", "-g", "h100_sxm", "--isl", "500", "--osl", "50"]


def test_page_ticks_each_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--rate", "3", "-n", "300", "--slo", "ttft:p99=10s", "--slo", "tpot:p95=1ms"]) == 0
    out = capsys.readouterr().out
    assert "✓ ttft p99" in out and "✗ tpot p95" in out and "NOT every limit" in out
    for said in ("goodput", "utilisation", "preemptions", "prefix hits", "requests/s"):
        assert said in out


def test_json_is_strict_ordered_by_time_and_repeatable(capsys: pytest.CaptureFixture[str]) -> None:
    args = [*BASE, "--concurrency", "8", "-n", "300", "--seed", "3", "--json", "--slo", "e2e:p90=1h"]
    assert main(args) == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert found["schema"] == "costplan.simulate/1" and found["seed"] == 3
    s = found["summary"]
    assert s["slo_met"] is True and s["attainment"] == 1.0
    for name in ("queue", "ttft", "tpot", "itl", "e2e"):
        x = s[name]
        assert x["p50"] <= x["p90"] <= x["p95"] <= x["p99"] <= x["max"] * 1.02
    assert s["ttft"]["mean"] < s["e2e"]["mean"]
    assert main(args) == 0
    assert capsys.readouterr().out == out


def test_more_load_is_never_faster(capsys: pytest.CaptureFixture[str]) -> None:
    means = []
    for clients in ("2", "16", "64"):
        assert main([*BASE, "--concurrency", clients, "-n", "400", "--json"]) == 0
        means.append(json.loads(capsys.readouterr().out)["summary"]["tpot"]["mean"])
    assert means == sorted(means)


def test_trace_and_workload_are_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("timestamp,isl,osl\n" + "".join(f"{i * 0.1:.1f},300,20\n" for i in range(50)), encoding="utf-8")
    assert main(["simulate", str(trace), "-m", "llama-3.1-8b", "-g", "h100_sxm", "--json", "--time-unit", "s"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["requests"] == 50
    assert main(["simulate", "chat", "-g", "h100_sxm", "--tp", "4", "-n", "200", "--replicas", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lanes"] == 2 and [t["target"]["metric"] for t in found["summary"]["targets"]] == ["ttft", "tpot"]


def test_overload_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--rate", "5000", "-n", "2000", "--json"]) == 0
    assert "saturated" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "said"), [
    (["simulate", "-g", "h100_sxm"], "no load"), (["simulate", "chat", "-g", "h100"], "does not fit"),
    (["simulate", "chat", "-g", "h100_sxm", "--tp", "4", "--isl", "5"], "leave out --isl"),
    ([*BASE, "--rate", "1", "--concurrency", "1"], "not both"), ([*BASE, "--rate", "nan"], "--rate"),
    ([*BASE, "--rate", "1", "--slo", "ttft"], "METRIC:PERCENTILE"),
    ([*BASE, "--rate", "1", "--slo", "ttft:p99=1"], "unit"),
    ([*BASE, "--rate", "1", "--slo", "tfft:p99=1s"], "unknown metric"),
    ([*BASE, "--rate", "1", "--slo", "ttft:p0=1s"], "p0"),
    (["simulate", "none.csv", "-m", "llama-3.1-8b", "-g", "h100_sxm"], "none.csv"),
    (["simulate", "-g", "h100_sxm", "--isl", "5", "--osl", "5", "--rate", "1"], "no model")])
def test_refusals(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert said in capsys.readouterr().err
