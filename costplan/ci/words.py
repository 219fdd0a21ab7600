"""What a report says, once, for Markdown, terminal and HTML: headline, cells, causes, guardrails.

Names of strangers pass through the `Ink` of the place where they will stand; everything else is our own words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from costplan.ci import terms
from costplan.ci.causes import UNSET
from costplan.ci.guardrails import FEASIBLE
from costplan.ci.metrics import COST, GOODPUT, MONTHLY, kind
from costplan.ci.types import (
    Cause,
    Fix,
    GuardrailResult,
    InputKind,
    MetricDiff,
    Outcome,
    Report,
    Status,
    Verdict,
    WorkloadDiff,
)
from costplan.report.numbers import change, percent, usd_short


@dataclass(frozen=True, slots=True)
class Ink:
    """How one place writes a stranger's name, and what broke a limit."""

    name: Callable[..., str]
    strong: Callable[[str], str]


SYMBOLS = {Outcome.FAILED: "❌", Outcome.WARNED: "⚠️", Outcome.NOT_JUDGED: "❔", Outcome.PASSED: "✅",
           Outcome.NEW: "🆕", Outcome.UNCHANGED: "✅"}
VERDICTS = {Verdict.SAME: "✅ same", Verdict.BETTER: "✅ better", Verdict.WORSE: "⚠️ worse",
            Verdict.UNCLEAR: "⚠️ unclear", Verdict.NOT_JUDGED: "❔ not judged", Verdict.NEW: "🆕 new",
            Verdict.REMOVED: "removed"}
STATES = {Status.PASS: "✅ holds", Status.FAIL: "❌ broken", Status.WARN: "⚠️ warning", Status.ACCEPTED: "☑️ accepted",
          Status.NOT_JUDGED: "❔ not judged"}
NOTHING = 5e-5


def headline(r: Report, ink: Ink) -> str:
    """The verdict with its number and limit: the first line, and all that a notification shows."""
    unlimited = r.verdict is Outcome.PASSED and not r.guardrails
    return f"{'ℹ️' if unlimited else SYMBOLS[r.verdict]} {_said(r, ink)}"


def _said(r: Report, ink: Ink) -> str:
    count = f"{len(r.workloads)} workload{'s' if len(r.workloads) != 1 else ''}"
    if r.verdict is Outcome.UNCHANGED:
        return f"no cost change ({count}, base {commit(r.base.rev, ink)})"
    if r.verdict is Outcome.NEW:
        return f"{count} planned for the first time, nothing to compare with" + _monthly(r)
    if r.verdict is Outcome.NOT_JUDGED:
        return f"not judged: {_why_not(r, ink)}" + _monthly(r)
    broken = [g for g in r.guardrails if g.status is (Status.FAIL if r.verdict is Outcome.FAILED else Status.WARN)]
    if broken and r.verdict in (Outcome.FAILED, Outcome.WARNED):
        lead = leading(broken, r)
        more = f", {len(broken) - 1} more limit{'s' if len(broken) > 2 else ''} broken" if len(broken) > 1 else ""
        where = f" in {ink.name(lead.workload)}" if len(r.workloads) > 1 else ""
        return f"{terms.finding(lead)}{where}{more}{_monthly(r)}"
    if r.verdict is Outcome.WARNED:
        return f"unclear: {_why_not(r, ink)}" + _monthly(r)
    return f"{_largest(r, ink)}{'; every guardrail holds' if r.guardrails else ''}{_monthly(r)}"


def leading(broken: list[GuardrailResult], r: Report) -> GuardrailResult:
    """The broken guardrail to speak of first: no plan at all, then cost, then the farthest beyond its limit."""
    order = {w.name: i for i, w in enumerate(r.changed)}
    return min(broken, key=lambda g: (g.metric != FEASIBLE, g.metric != COST, g.metric != MONTHLY,
                                      -_beyond(g), order.get(g.workload, 0)))


def _beyond(g: GuardrailResult) -> float:
    if g.limit is None or g.found is None:
        return 0.0
    gap = abs(g.found - g.limit)
    return gap if g.rule.startswith("max_") else gap / max(abs(g.limit), 1e-12)


def _largest(r: Report, ink: Ink) -> str:
    """The change of cost that is farthest from nothing."""
    found = [(m.change_frac, w) for w in r.changed if (m := w.metrics.get(COST)) and m.change_frac is not None]
    if not found:
        removed = sum(w.verdict is Verdict.REMOVED for w in r.workloads)
        new = sum(w.verdict is Verdict.NEW for w in r.workloads)
        told = [f"{n} workload{'s' if n > 1 else ''} {what}" for n, what in ((new, "new"), (removed, "removed")) if n]
        return ", ".join(told) or "only names changed"
    frac, w = max(found, key=lambda x: abs(x[0]))
    where = f" in {ink.name(w.name)}" if len(r.workloads) > 1 else ""
    moved = change(frac) if abs(frac) >= r.min_change else "unchanged"
    return f"{kind(COST).label} {moved}{where}"


def _why_not(r: Report, ink: Ink) -> str:
    for w in r.changed:
        if w.verdict in (Verdict.NOT_JUDGED, Verdict.UNCLEAR):
            return f"{ink.name(w.name)}: {ink.name(w.reason, 200)}" if w.reason else ink.name(w.name)
    note = next((n for n in r.notes if n.code == "no_base"), None)
    if note is not None:
        return "no base to compare with"
    return "a guardrail could not be judged"


def _monthly(r: Report) -> str:
    """The sum over workloads that were planned on both sides, or on the head's alone."""
    found = [m for w in r.workloads if (m := w.metrics.get(MONTHLY))]
    both = [m for m in found if m.base is not None and m.head is not None]
    if both:
        part = "" if len(both) == len(r.workloads) else " (changed workloads)"
        old, new = (usd_short(sum(x or 0.0 for x in side)) for side in ([m.base for m in both], [m.head for m in both]))
        return f" · monthly{part} {old} → {new}" if old != new else f" · monthly{part} {new}"
    heads = [m.head for m in found if m.head is not None]
    return f" · monthly {usd_short(sum(heads))}" if heads else ""


def cell(metric: str, m: MetricDiff | None, ink: Ink, min_change: float, broken: bool) -> str:
    """Base → head with the change on the number itself; one number where the change is too small to speak of."""
    if m is None or (m.head is None and m.base is None):
        return "–"
    limit = f"limit {terms.amount(metric, m.limit)}" if m.limit is not None else ""
    if m.head is None:
        return f"{terms.amount(metric, m.base or 0.0)} → none{_aside(limit)}"
    new = terms.amount(metric, m.head)
    if m.base is None or m.change_frac is None:
        return f"{ink.strong(new) if broken else new}{_aside(limit)}"
    if abs(m.change_frac) < min_change:
        return f"{ink.strong(new) if broken else new}{_aside('same', limit)}"
    text = f"{ink.strong(new) if broken else new}{_aside(change(m.change_frac), limit)}"
    return f"{terms.amount(metric, m.base)} → {text}"


def _aside(*said: str) -> str:
    told = ", ".join(x for x in said if x)
    return f" ({told})" if told else ""


def latency(w: WorkloadDiff, name: str) -> tuple[str, MetricDiff | None]:
    """Id and numbers of the percentile to show: that of the workload's own limit, else p99."""
    own = [(k, m) for k, m in w.metrics.items() if k.startswith(f"{name}_p") and terms.label(k) != terms.UNKNOWN]
    limited = [x for x in own if x[1].limit is not None]
    return max(limited, key=lambda x: x[0], default=(f"{name}_p99_s", w.metrics.get(f"{name}_p99_s")))


COLUMNS = ("workload", "$/1M out", "monthly", "TTFT", "TPOT", "goodput/GPU", "verdict")


def row(r: Report, w: WorkloadDiff, ink: Ink) -> tuple[str, ...]:
    """One workload as cells of `COLUMNS`."""
    broken = {g.metric for g in r.guardrails if g.workload == w.name and g.status is Status.FAIL}
    name = f"{ink.name(w.renamed_from)} → {ink.name(w.name)}" if w.renamed_from else ink.name(w.name)
    if not w.metrics:
        return (name, *["–"] * (len(COLUMNS) - 2), verdict(r, w))
    cells = [cell(k, w.metrics.get(k), ink, r.min_change, k in broken) for k in (COST, MONTHLY)]
    for metric in ("ttft", "tpot"):
        key, m = latency(w, metric)
        shown = cell(key, m, ink, r.min_change, key in broken)
        cells.append(shown if m is None else f"{key.split('_')[1]} {shown}")
    cells.append(cell(GOODPUT, w.metrics.get(GOODPUT), ink, r.min_change, GOODPUT in broken))
    return (name, *cells, verdict(r, w))


def verdict(r: Report, w: WorkloadDiff) -> str:
    """A workload's verdict in words and a sign; the sign says whether a limit broke."""
    if any(g.workload == w.name and g.status is Status.FAIL for g in r.guardrails):
        return "❌ worse" if w.verdict is Verdict.WORSE else f"❌ {w.verdict.replace('_', ' ')}"
    return VERDICTS[w.verdict]


def cause(c: Cause, ink: Ink) -> str:
    """One input and what it did alone."""
    size = "?" if c.change_frac is None else change(c.change_frac)
    if c.input is InputKind.TOGETHER:
        return f"together {size}"
    between = f" {ink.name(c.base)} → {ink.name(c.head)}" if c.base or c.head else ""
    field = "" if c.field == c.input else f" {ink.name(c.field)}"
    tail = f" ({ink.name(c.reason, 200)})" if c.reason else ""
    return f"{c.input}{field}{between} {ink.strong(size)}{tail}"


def why(w: WorkloadDiff, ink: Ink) -> list[str]:
    """The causes of one workload's change; inputs that do nothing alone in one line at the end."""
    idle = [c for c in w.causes if c.change_frac is not None and abs(c.change_frac) < NOTHING]
    told = [cause(c, ink) for c in w.causes if c not in idle]
    if idle and len(w.causes) > 1:
        return [*told, f"no effect alone: {', '.join(ink.name(c.field) for c in idle)}"]
    return [*told, *(cause(c, ink) for c in idle)]


def fix(f: Fix, ink: Ink) -> str:
    """What to leave as it was, and where that ends."""
    moved = "" if f.change_frac is None else f" ({change(f.change_frac)})"
    end = "passes" if f.passes else "helps most, but does not pass alone"
    kept = f"keep {ink.name(f.field)} at {ink.name(f.keep)}" if f.keep else f"keep {ink.name(f.field)}"
    kept = f"leave {ink.name(f.field)} out" if f.keep == UNSET else kept
    return f"{kept}: {usd_short(f.cost_usd_per_mtok_out)} per 1M output tokens{moved}, {end}"


def shares(found: Mapping[str, float]) -> str:
    """Evidence by weight: how much of the plan's kernel time was measured, and how much was not."""
    known = [(k, found[k]) for k in ("measured", "interpolated", "extrapolated", "analytic") if k in found]
    return ", ".join(f"{percent(v)} {k}" for k, v in known)


def commit(rev: str | None, ink: Ink) -> str:
    """A short commit id, or a file's name."""
    if rev is None:
        return "none"
    return ink.name(rev[:7]) if len(rev) in (40, 64) and rev.isalnum() else ink.name(rev)
