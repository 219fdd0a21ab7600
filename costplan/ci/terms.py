"""Metrics and guardrails in words: their names, numbers with units, what was expected and what was found."""

from __future__ import annotations

from collections.abc import Iterable

from costplan.ci.guardrails import FEASIBLE
from costplan.ci.metrics import kind
from costplan.ci.types import GuardrailResult, Report, Status, Verdict
from costplan.core.errors import UnknownNameError
from costplan.report.numbers import change, percent, seconds, significant, usd_short

UNKNOWN = "unknown metric"
RULES = {"max_increase": "at most {} more", "max_decrease": "at most {} less", "max": "at most {}",
         "min": "at least {}"}


def label(metric: str) -> str:
    """A metric in words; an id that this costplan does not know is not repeated."""
    try:
        return "a plan exists" if metric == FEASIBLE else kind(metric).label
    except UnknownNameError:
        return UNKNOWN


def unit(metric: str) -> str:
    """The unit of a metric; empty where this costplan does not know it."""
    return "" if label(metric) == UNKNOWN or metric == FEASIBLE else kind(metric).unit


def amount(metric: str, x: float) -> str:
    """A number of a metric with its unit."""
    of = unit(metric)
    if of.startswith("usd"):
        return usd_short(x)
    if of == "s":
        return seconds(x)
    if of == "frac":
        return percent(x)
    return f"{significant(x)} {of}".strip()


def finding(g: GuardrailResult) -> str:
    """What broke: the metric, what was found, the limit."""
    if g.metric == FEASIBLE:
        return "no plan holds the limits any more"
    if g.found is None or g.limit is None:
        return f"{label(g.metric)} not known"
    sign = {"max_increase": 1.0, "max_decrease": -1.0}.get(g.rule)
    if sign is not None:
        return f"{label(g.metric)} {change(sign * g.found)} (limit {change(sign * g.limit)})"
    return f"{label(g.metric)} {amount(g.metric, g.found)} (limit {amount(g.metric, g.limit)})"


def limit(g: GuardrailResult) -> tuple[str, str]:
    """A guardrail's expectation and what was found."""
    if g.metric == FEASIBLE:
        return "a plan", "none" if g.found == 0 else "one"
    relative = g.rule in ("max_increase", "max_decrease")
    shown = "?" if g.limit is None else f"{g.limit * 100:.3g}%" if relative else amount(g.metric, g.limit)
    wanted = RULES.get(g.rule, "{}").format(shown)
    sign = -1.0 if g.rule == "max_decrease" else 1.0
    if g.found is None:
        return wanted, "–"
    return wanted, change(sign * g.found) if relative else amount(g.metric, g.found)


def by_weight(found: Iterable[GuardrailResult]) -> list[GuardrailResult]:
    """What failed first, what holds last."""
    order = (Status.FAIL, Status.WARN, Status.NOT_JUDGED, Status.ACCEPTED, Status.PASS)
    return sorted(found, key=lambda g: (order.index(g.status), g.workload, g.metric))


def nothing_before(r: Report, g: GuardrailResult) -> bool:
    """Whether a guardrail is open only because its workload is new: the table says that once."""
    return g.status is Status.NOT_JUDGED and any(w.name == g.workload and w.verdict is Verdict.NEW for w in r.workloads)
