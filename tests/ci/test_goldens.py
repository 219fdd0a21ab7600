"""What people read, byte for byte, of a report made up by hand; and our own costplan.yaml as the living example."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from costplan.ci.comment import comment, summary
from costplan.ci.report_file import report_json
from costplan.ci.text import report_text
from costplan.ci.types import (
    Cause,
    Fix,
    GuardrailResult,
    InputKind,
    Level,
    MetricDiff,
    Outcome,
    PlanSide,
    ProfileChange,
    Report,
    Side,
    Status,
    Verdict,
    WorkloadDiff,
)
from costplan.report.plan_file import Tool
from costplan.report.style import Style

from .conftest import Run, new_repo

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[2]
SHARES = {"measured": 0.92, "interpolated": 0.08}


def moved(unit: str, base: float, head: float, limit: float | None = None) -> MetricDiff:
    return MetricDiff(unit, base, head, head / base - 1, (head * 0.8, head * 1.25), "interpolated", limit)


def numbers(cost: float, goodput: float) -> dict[str, MetricDiff]:
    return {"cost_usd_per_mtok_out": moved("usd/Mtok", 0.412, 0.412 * cost),
            "monthly_cost_usd": moved("usd", 31_200, 31_200 * cost), "ttft_p99_s": moved("s", 0.61, 0.64, 0.8),
            "tpot_p99_s": moved("s", 0.031, 0.031), "goodput_rps_per_gpu": moved("req/s", 5.1, 5.1 * goodput)}


@pytest.fixture
def made() -> Report:
    return made_report()


def made_report() -> Report:
    """One workload worse, one better, one not judged, one the same."""
    plan = PlanSide("h200_sxm-tp2-fp8-kvfp8-vllm-b16-s256-t8192", "lambda 8x H200, 2026-08-19", False, SHARES,
                    "h200_sxm-vllm kernels")
    chat = WorkloadDiff(
        "chat-eu", Verdict.WORSE, metrics=numbers(1.124, 0.9), cause_metric="cost_usd_per_mtok_out",
        causes=(Cause(InputKind.ENGINE, "block_size", "16", "256", 0.098),
                Cause(InputKind.WORKLOAD, "lengths.isl.mean", "900", "980", 0.021),
                Cause(InputKind.HARDWARE, "providers", "not set", "lambda", 0.0),
                Cause(InputKind.TOGETHER, "", "", "", 0.005)),
        fix=Fix(InputKind.ENGINE, "block_size", "16", 0.42, 0.0194, True), base_plan=plan, head_plan=plan)
    rag = WorkloadDiff("rag", Verdict.BETTER, metrics=numbers(0.95, 1.05), cause_metric="cost_usd_per_mtok_out",
                       causes=(Cause(InputKind.PRICES, "prices.csv", "lambda h200_sxm $3.29/GPU h",
                                     "lambda h200_sxm $3.13/GPU h", -0.05),), base_plan=plan,
                       head_plan=replace(plan, stale=True))
    code = WorkloadDiff("code", Verdict.NOT_JUDGED, "profile ours: different machine: driver 580 -> 590",
                        metrics=numbers(1.2, 0.83), base_plan=plan, head_plan=plan)
    rails = (GuardrailResult("chat-eu", "cost_usd_per_mtok_out", Level.ERROR, "max_increase", 0.05, 0.124, Status.FAIL),
             GuardrailResult("chat-eu", "monthly_cost_usd", Level.ERROR, "max", 30_000, 35_068.8, Status.ACCEPTED,
                             "until 2027-01-31: launch traffic"),
             GuardrailResult("code", "cost_usd_per_mtok_out", Level.ERROR, "max_increase", 0.05, 0.2, Status.NOT_JUDGED,
                             "profile ours: different machine: driver 580 -> 590"),
             GuardrailResult("rag", "cost_usd_per_mtok_out", Level.ERROR, "max_increase", 0.05, -0.05, Status.PASS))
    ours = ProfileChange("ours", Verdict.NOT_JUDGED, "different machine: driver 580 -> 590", 812, 800, 0, 1.2)
    same = WorkloadDiff("batch", Verdict.SAME, "the same inputs")
    return Report("costplan.ci/1", Tool("costplan", "0.4.1"), Side("a1b2c3d" + "0" * 33, "1" * 64),
                  Side("d4e5f6a" + "0" * 33, "2" * 64), Outcome.FAILED, True, 0.005, 7, (same, chat, code, rag), rails,
                  (ours,))


def check(name: str, text: str) -> None:
    """Compare with the committed file; COSTPLAN_GOLDENS=write renews it."""
    path = GOLDEN / name
    if os.environ.get("COSTPLAN_GOLDENS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_renderings(made: Report) -> None:
    check("comment.md", comment(made))
    check("report.txt", report_text(made, Style(100)))
    check("report.json", report_json(made))


def test_headlines(made: Report) -> None:
    """One function gives verdict and headline: they cannot disagree."""
    said = [summary(replace(made, verdict=v)).splitlines()[0 if v is Outcome.UNCHANGED else 2] for v in Outcome]
    check("headlines.txt", "\n".join(said) + "\n")


def test_our_own_costplan_yaml_is_the_living_example(run: Run, quick: list[str], tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "own")
    shutil.copytree(ROOT / "configs", repo.folder / "configs")
    shutil.copy(ROOT / "costplan.yaml", repo.folder)
    repo.commit()
    found = run(repo, "--base", "HEAD")
    assert (found.code, quick) == (0, [])
    names = sorted(p.stem for p in (ROOT / "configs").glob("*.yaml"))
    assert [w["name"] for w in found.report["workloads"]] == names
    assert found.summary.startswith(f"✅ no cost change ({len(names)} workloads, base <code>")


def test_page_of_documentation_is_a_costplan_yaml(tmp_path: Path) -> None:
    """The example in docs/ci.md is valid, and every metric and note that it names exists."""
    import re

    from costplan.ci.config_file import ConfigFile
    from costplan.ci.metrics import kind
    from costplan.core.yaml_door import check as checked
    from costplan.core.yaml_door import parse_yaml

    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    example = re.search(r"## costplan.yaml\n\n```yaml\n(.*?)```", text, re.S)
    assert example is not None
    assert len(checked(parse_yaml(example[1], "docs/ci.md"), ConfigFile).ci.guardrails) == 4
    named = re.search(r"Metrics: (.*?)Rules:", text, re.S)
    assert named is not None
    assert all(kind(m).label for m in re.findall(r"`([a-z0-9_]+)`", named[1]))
