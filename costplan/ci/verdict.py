"""From numbers and guardrails to a decision: a workload's verdict, a report's outcome, whether to speak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costplan.ci.config_file import CiEntry
from costplan.ci.metrics import COST, EXTRAPOLATED, FULL_LOAD, GOODPUT
from costplan.ci.types import GuardrailResult, Level, MetricDiff, Outcome, Report, Status, Verdict


def moved(metrics: Mapping[str, MetricDiff], results: Sequence[GuardrailResult], min_change: float) -> Verdict:
    """A workload's verdict: a broken limit is worse; else the cost at its load, else goodput, which moves before
    the number of GPUs does."""
    if any(r.status in (Status.FAIL, Status.WARN) for r in results):
        return Verdict.WORSE
    for name, sign in ((COST, 1.0), (GOODPUT, -1.0)):
        m = metrics.get(name)
        if m is not None and m.change_frac is not None and abs(m.change_frac) >= min_change:
            return Verdict.WORSE if sign * m.change_frac > 0 else Verdict.BETTER
    return Verdict.SAME


def explained(metrics: Mapping[str, MetricDiff], broken: Sequence[GuardrailResult], min_change: float) -> str:
    """The metric whose causes are told: the first broken one's, else cost, else cost at full load."""
    for r in broken:
        if r.metric in metrics and metrics[r.metric].change_frac:
            return r.metric
    if abs(metrics[COST].change_frac or 0.0) >= min_change:
        return COST
    return FULL_LOAD if abs(metrics[FULL_LOAD].change_frac or 0.0) >= min_change else COST


def outcome_of(r: Report) -> Outcome:
    """The whole report in one word; headline, exit code and tables all follow from it."""
    states = {g.status for g in r.guardrails}
    if Status.FAIL in states:
        return Outcome.FAILED
    if Status.WARN in states or any(w.verdict is Verdict.UNCLEAR for w in r.workloads):
        return Outcome.WARNED
    if _left_open(r):
        return Outcome.NOT_JUDGED
    if r.base.rev is None:
        return Outcome.NEW
    return Outcome.PASSED if r.changed else Outcome.UNCHANGED


def undecided(r: Report) -> bool:
    """Whether ``--strict`` stops here: something could not be judged, or rests on more extrapolation than allowed."""
    far = any(g.metric == EXTRAPOLATED and g.status is Status.WARN for g in r.guardrails)
    return far or _left_open(r)


def _left_open(r: Report) -> bool:
    """No base where there should be one, a workload not judged, or a limit of level error that nobody could check.
    What had no plan before has nothing to be compared with: that is no gap."""
    if any(n.code == "no_base" for n in r.notes) or any(w.verdict is Verdict.NOT_JUDGED for w in r.workloads):
        return True
    new = {w.name for w in r.workloads if w.base_plan is None and w.verdict in (Verdict.NEW, Verdict.BETTER)}
    return any(g.status is Status.NOT_JUDGED and g.level is Level.ERROR and g.workload not in new
               for g in r.guardrails)


def posts(ci: CiEntry, outcome: Outcome) -> bool:
    if ci.post_when == "always":
        return True
    return outcome is Outcome.FAILED or (ci.post_when == "changed" and outcome is not Outcome.UNCHANGED)
