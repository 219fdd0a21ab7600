"""`costplan history` as a user meets it: a plan and its actuals go in, reports come out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costplan.cli.app import main

for name in ("sqlalchemy", "prometheus_client"):
    pytest.importorskip(name, reason=f"{name} is not installed (extra history)")

WORKLOAD = """\
name: small
model: llama-3.1-8b
load: {rate: {requests_per_s: 2}}
lengths: {isl: {fixed: 500}, osl: {fixed: 50}}
slo: {ttft: {p95: 1s}, tpot: {p95: 50ms}}
candidates: {gpus: [h100_sxm], engines: [vllm], tp: [1], weights: [bf16], max_num_seqs: [64],
  max_num_batched_tokens: [2048]}
"""
BENCH = {"date": "20261121-120000", "duration": 100.0, "completed": 200, "total_output_tokens": 10_000,
         "median_ttft_ms": 50.0, "p99_ttft_ms": 80.0, "median_tpot_ms": 8.0, "p99_tpot_ms": 9.0}
SCRAPE = ("# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1795000000\n"
          "# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total{engine=\"0\"} 100000.0\n")


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans")
    (folder / "small.yaml").write_text(WORKLOAD, encoding="utf-8")
    assert main(["plan", str(folder / "small.yaml"), "--json", "-o", str(folder / "plan.json")]) == 0
    return folder / "plan.json"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COSTPLAN_HISTORY", raising=False)
    (tmp_path / "bench.json").write_text(json.dumps(BENCH), encoding="utf-8")
    (tmp_path / "metrics.txt").write_text(SCRAPE, encoding="utf-8")
    return tmp_path


def test_a_plan_and_its_actuals(here: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "add", str(plan_file), "--at", "2026-11-01"]) == 0
    assert "added 1 to costplan-history.sqlite" in capsys.readouterr().err
    assert main(["history", "add", "bench.json", "-s", "small"]) == 0
    assert main(["history", "add", "metrics.txt", "-s", "small", "--at", "2026-11-20", "--usd-per-h", "9"]) == 0
    assert main(["history", "add", str(plan_file), "--at", "2026-11-01"]) == 0
    assert "added 0 to costplan-history.sqlite, 1 were there" in capsys.readouterr().err
    assert main(["history", "show", "--json"]) == 0
    plan, metrics, bench = json.loads(capsys.readouterr().out)["entries"]
    written = json.loads(plan_file.read_text(encoding="utf-8"))["plans"][0]
    assert plan["usd_per_mtok_out"] == written["money"]["usd_per_mtok_out"]["value"]
    assert plan["configuration"] == f"{written['replicas']} x {written['name']}"
    assert bench["usd_per_h"] == plan["usd_per_h"] and bench["at"] == "2026-11-21T12:00:00Z"
    assert bench["usd_per_mtok_out"] == pytest.approx(1e6 * plan["usd_per_h"] / (100 * 3600))
    assert bench["tpot_p99_s"] == 0.009
    seconds = 1795132800 - 1795000000  # 2026-11-20 minus the start of the process
    assert metrics["output_tok_s"] == pytest.approx(100_000 / seconds)
    assert metrics["usd_per_h"] == 9
    assert main(["history", "report"]) == 0
    assert "1 service watched" in capsys.readouterr().out
    assert main(["history", "report", "--openmetrics", "-o", "out.prom"]) == 0
    assert (here / "out.prom").read_text(encoding="utf-8").endswith("# EOF\n")


def test_an_alert_can_stop_a_script(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(1, 14):
        run = {**BENCH, "date": f"202611{day:02}-120000", "duration": 150.0 if day == 13 else 100.0}
        (here / f"{day}.json").write_text(json.dumps(run), encoding="utf-8")
    quiet = ["history", "add", *(f"{day}.json" for day in range(1, 13)), "-s", "chat", "--usd-per-h", "3.6"]
    assert main(quiet) == 0
    assert main(["history", "report", "--fail-on-alert"]) == 0
    assert main(["history", "add", "13.json", "-s", "chat", "--usd-per-h", "3.6"]) == 0
    assert main(["history", "report"]) == 0
    capsys.readouterr()
    assert main(["history", "report", "--fail-on-alert"]) == 1
    assert "jump: +50%" in capsys.readouterr().out


def test_pages_are_written(here: Path, plan_file: Path) -> None:
    for module in ("vl_convert", "jinja2"):
        pytest.importorskip(module, reason=f"{module} is not installed (extra html)")
    assert main(["history", "add", str(plan_file), "--db", "h.sqlite"]) == 0
    assert main(["history", "report", "--db", "h.sqlite", "--html", "page.html"]) == 0
    assert "<h1>1 service watched" in (here / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("args", "said"), [
    (["show"], "no history at"), (["report"], "costplan history add"), (["add", "no.json"], "cannot read no.json"),
    (["add", "bench.json"], "--service"), (["add", "bench.json", "-s", "new"], "--usd-per-h"),
    (["add", "bench.json", "-s", "x\ny"], "--service"),
    (["add", "bench.json", "-s", "x", "--usd-per-h", "0"], "above 0"),
    (["add", "bench.json", "-s", "x", "--usd-per-h", "inf"], "above 0"),
    (["add", "metrics.txt", "-s", "x", "--at", "then"], "not a time"),
    (["add", "metrics.txt", "-s", "x", "--at", "2020-01-01"], "a window of -"),
    (["add", "empty.json", "-s", "x"], "vllm:generation_tokens_total"),
    (["add", "other.json", "-s", "x"], "vllm bench"),
    (["report", "--json", "--openmetrics"], "choose one"), (["report", "--open"], "--html FILE")])
def test_refusals_say_what_to_try_and_leave_nothing(here: Path, args: list[str], said: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty.json").write_text("", encoding="utf-8")
    (here / "other.json").write_text("[{}]", encoding="utf-8")
    assert main(["history", *args]) == 2
    streams = capsys.readouterr()
    assert said in streams.err and streams.out == ""


def test_one_bad_file_keeps_out_the_good_ones(here: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "add", str(plan_file)]) == 0
    assert main(["history", "add", "bench.json", "no.json", "-s", "small"]) == 2
    capsys.readouterr()
    assert main(["history", "show", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 1
    assert main(["history", "show", "-s", "smal"]) == 2
    assert "did you mean small" in capsys.readouterr().err
