"""What a replaced profile may decide: only runs that separate can fail a change, or earn it praise."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from costplan.ci.compare import Comparison
from costplan.ci.inputs import PlanInputs
from costplan.ci.types import ProfileChange, Verdict

from .conftest import PRICES, Repo, Run, config, scaled

V = Verdict


@pytest.fixture
def by_profile(monkeypatch: pytest.MonkeyPatch, sample_plan: dict[str, Any]) -> Callable[[Verdict], None]:
    """Cost follows price and a number in the profile; the verdict on the profile is given."""
    def planner(today: date) -> Callable[[PlanInputs, bool], str]:
        def plan(inputs: PlanInputs, full: bool) -> str:
            slow = json.loads((inputs.profiles["profile:ours"] / "manifest.json").read_text(encoding="utf-8"))
            assert inputs.prices is not None
            usd = float(inputs.prices.read_text(encoding="utf-8").splitlines()[1].split(",")[2])
            return scaled(sample_plan, "chat", slow * usd / 2)

        return plan

    def judged(verdict: Verdict) -> None:
        def compare(name: str, old: Path, new: Path) -> ProfileChange:
            return ProfileChange(name, verdict, "as planted", 9, ratio=1.1)

        monkeypatch.setattr("costplan.ci.compare.Comparison", partial(Comparison, compare_profiles=compare))

    monkeypatch.setattr("costplan.cli.ci_planner.planner", planner)
    return judged


@pytest.mark.parametrize(("profile", "slow", "workload", "outcome", "strict"), [
    (V.WORSE, 1.2, "worse", "failed", 1), (V.WORSE, 1.02, "worse", "passed", 0), (V.WORSE, 1.001, "same", "passed", 0),
    (V.BETTER, 0.8, "better", "passed", 0),
    (V.SAME, 1.0, "same", "passed", 0), (V.SAME, 1.004, "same", "passed", 0), (V.SAME, 1.2, "unclear", "warned", 0),
    (V.UNCLEAR, 1.004, "same", "passed", 0), (V.UNCLEAR, 1.2, "unclear", "warned", 0),
    (V.UNCLEAR, 0.8, "unclear", "warned", 0),
    (V.NOT_JUDGED, 1.0, "not_judged", "not_judged", 3), (V.NOT_JUDGED, 1.2, "not_judged", "not_judged", 3)])
def test_only_runs_that_separate_decide(repo: Repo, run: Run, by_profile: Callable[[Verdict], None], profile: Verdict,
                                        slow: float, workload: str, outcome: str, strict: int) -> None:
    by_profile(profile)
    repo.git("checkout", "-q", "main")
    repo.commit({"costplan.yaml": "profiles: [ours]\n" + config(), "ours/manifest.json": "1.0"})
    repo.git("checkout", "-q", "-B", "feature")
    repo.commit({"ours/manifest.json": f"{slow} "})
    found = run(repo, "--base", "main")
    assert (found.report["workloads"][0]["verdict"], found.report["verdict"]) == (workload, outcome)
    assert found.code == (1 if strict == 1 else 0)
    assert found.report["profiles"][0]["verdict"] == profile
    assert run(repo, "--base", "main", "--strict").code == strict
    repo.commit({"prices.csv": PRICES.format(usd=3)})
    assert run(repo, "--base", "main").code == 1  # the rest of the change is judged all the same
