"""Guardrails on the metrics of one workload: pass, fail, warn, accepted, or not judged with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from costplan.ci.config_file import RULES, AcceptEntry, CiEntry, GuardrailEntry
from costplan.ci.types import GuardrailResult, Level, MetricDiff, Status

FEASIBLE = "feasible"
ROUNDING = 1e-9
"""Numbers have ten digits: a limit is not broken by the last of them."""


def judged(ci: CiEntry, workload: str, metrics: Mapping[str, MetricDiff], today: date) -> list[GuardrailResult]:
    """Every guardrail that speaks of ``workload``."""
    return [_result(g, ci, workload, metrics.get(g.metric), today) for g in ci.guardrails
            if g.workloads is None or workload in g.workloads]


def infeasible(workload: str, was: bool, reason: str) -> GuardrailResult:
    """The guardrail that everyone has: a change may not take away every plan. ``was``: there was one before."""
    return GuardrailResult(workload, FEASIBLE, Level.ERROR, "min", 1.0, 0.0, Status.FAIL if was else Status.NOT_JUDGED,
                           reason)


def _result(g: GuardrailEntry, ci: CiEntry, workload: str, m: MetricDiff | None, today: date) -> GuardrailResult:
    rule = next(r for r in RULES if getattr(g, r) is not None)
    limit = float(getattr(g, rule))
    found, why = _found(rule, m)
    if found is None:
        return GuardrailResult(workload, g.metric, Level(g.level), rule, limit, None, Status.NOT_JUDGED, why)
    if _holds(rule, limit, found, ci.min_change):
        return GuardrailResult(workload, g.metric, Level(g.level), rule, limit, found, Status.PASS)
    status = Status.FAIL if g.level == "error" else Status.WARN
    return _excused(GuardrailResult(workload, g.metric, Level(g.level), rule, limit, found, status), ci.accept, today)


def _found(rule: str, m: MetricDiff | None) -> tuple[float | None, str]:
    if m is None or m.head is None:
        return None, "the plan does not give this metric"
    if rule in ("max", "min"):
        return m.head, ""
    if m.base is None:
        return None, "nothing to compare with"
    if m.change_frac is None:
        return None, "the base is 0, so its change is no fraction"
    return (m.change_frac if rule == "max_increase" else -m.change_frac), ""


def _holds(rule: str, limit: float, found: float, min_change: float) -> bool:
    slack = ROUNDING * max(1.0, abs(limit))
    if rule == "min":
        return found >= limit - slack
    return found <= limit + slack or (rule != "max" and found < min_change)


def _excused(r: GuardrailResult, accepted: Iterable[AcceptEntry], today: date) -> GuardrailResult:
    """A broken guardrail with the reviewed exception that covers it; an exception that has ended is said."""
    status, reason = r.status, r.reason
    for a in accepted:
        if a.metric != r.metric or a.workload not in (None, r.workload):
            continue
        if today <= a.until:
            return _with(r, Status.ACCEPTED, f"until {a.until.isoformat()}: {a.reason}")
        reason = f"accepted until {a.until.isoformat()}, which has passed"
    return _with(r, status, reason)


def _with(r: GuardrailResult, status: Status, reason: str) -> GuardrailResult:
    return GuardrailResult(r.workload, r.metric, r.level, r.rule, r.limit, r.found, status, reason)


def unsure(gate: list[GuardrailResult], whole: list[GuardrailResult], reason: str,
           comparable: bool) -> list[GuardrailResult]:
    """Results where no runs prove what a replaced profile does: what fails without it (``gate``) fails; what only
    fails with it (``whole``) warns if the two are ``comparable``, and is not judged on another machine."""
    soft = Status.WARN if comparable else Status.NOT_JUDGED
    return [g if g.status is not Status.PASS or w.status is Status.PASS else _with(w, soft, reason)
            for g, w in zip(gate, whole, strict=True)]
