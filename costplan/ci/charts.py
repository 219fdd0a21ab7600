"""Plots of a comparison: every change of cost at a glance, and each workload's own as a waterfall of its causes."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.ci import terms, words
from costplan.ci.metrics import COST
from costplan.ci.types import Cause, InputKind, Report, WorkloadDiff
from costplan.ci.words import Ink
from costplan.report.columns import Column
from costplan.report.escape import visible
from costplan.report.html.chart import (
    BELOW,
    ROW,
    ROWS,
    Chart,
    Spec,
    by_colour,
    layer,
    lines,
    names_above,
    number,
    whole,
)
from costplan.report.html.palette import BLUE, ORANGE, TEXT
from costplan.report.numbers import change

INK = Ink(visible, str)
"""Names as the page takes them: it escapes whatever it is given."""
MOST_BARS = 20
_COLOURS = {"up": ORANGE.light, "down": BLUE.light}


def overview(r: Report) -> Chart | None:
    """The change of cost of each changed workload, worst first; None for fewer than two."""
    found = [(w, m.change_frac) for w in r.changed if (m := w.metrics.get(COST)) and m.change_frac is not None]
    if len(found) < 2:
        return None
    rows: list[Spec] = [{"name": f"{visible(w.name, 40)}: {change(frac)}", "at": frac * 100, "zero": 0.0,
                         "kind": "up" if frac > 0 else "down"} for w, frac in found[:MOST_BARS]]
    y = lines("name", [row["name"] for row in rows])
    x = number("at", f"change of {terms.label(COST)}, %", axis={"grid": False}, nice=True)
    spec = whole(
        names_above(y, "name"),
        layer("tick", {"y": y, "x": {**x, "field": "zero"}}, color=TEXT.light, thickness=1.5, height=20, yOffset=BELOW),
        layer("rule", {"y": y, "x": x, "x2": {"field": "zero"}, "color": by_colour("kind", _COLOURS, legend=False)},
              size=10, yOffset=BELOW), height=ROW * len(rows) + 40, data=rows)
    left = f" {len(found) - MOST_BARS} more are in the table." if len(found) > MOST_BARS else ""
    return Chart("overview", "What each workload's cost does",
                 f"To the right: dearer. Worst first; what breaks a limit leads.{left}", spec,
                 [Column("workload"), Column("change", right=True)], [[visible(w.name), change(f)] for w, f in found])


def waterfall(w: WorkloadDiff, key: str) -> Chart | None:
    """From base to head, one changed input after the other; None where nothing moved or no cause has a size."""
    m = w.metrics.get(w.cause_metric or "")
    told = [c for c in w.causes if c.change_frac is not None and abs(c.change_frac) >= words.NOTHING]
    if m is None or m.base is None or m.head is None or not m.base or not told:
        return None
    metric = w.cause_metric or ""
    title = terms.label(metric)
    steps = _steps(metric, m.base, told)
    says = "One input moved it." if len(told) == 1 else (
        "One changed input after the other, each as far as it moves the base alone; what remains happens together.")
    rows = [_end("before", metric, m.base), *steps, _end("after", metric, m.head)]
    return Chart(key, f"What moved it: {title}",
                 f"{says} From {terms.amount(metric, m.base)} to {terms.amount(metric, m.head)}.",
                 _falls(rows, steps, f"{title}{_unit(metric)}"),
                 [Column("step"), Column("change", right=True)], [[row["step"], row["size"]] for row in rows])


def _steps(metric: str, base: float, told: Sequence[Cause]) -> list[Spec]:
    rows: list[Spec] = []
    at = base
    for c in told:
        frac = c.change_frac or 0.0
        to = at + frac * base
        name = "together" if c.input is InputKind.TOGETHER else f"{c.input} {visible(c.field, 30)}".strip()
        between = f" {visible(c.base, 16)} → {visible(c.head, 16)}" if len(c.base + c.head) in range(1, 20) else ""
        rows.append({"step": f"{name}{between}", "size": change(frac), "name": f"{name}{between}: {change(frac)}",
                     "from": _scaled(metric, at), "to": _scaled(metric, to), "kind": "up" if frac > 0 else "down"})
        at = to
    return rows


def _end(what: str, metric: str, value: float) -> Spec:
    said = terms.amount(metric, value)
    return {"step": what, "size": said, "name": f"{what}: {said}", "to": _scaled(metric, value)}


def _falls(rows: list[Spec], steps: list[Spec], title: str) -> Spec:
    """Bars that hang where the one before ended, between the ends."""
    for i, row in enumerate(rows):  # names may be equal, rows may not
        row["row"] = f"{i:02d}"
    y = lines("row", [row["row"] for row in rows])
    x = number("to", title, axis={**ROWS, "format": "~f"}, zero=False, nice=True, padding=12)
    ends = [rows[0], rows[-1]]
    return whole(
        names_above(y, "name"),
        layer("rule", {"y": y, "x": {**x, "field": "from"}, "x2": {"field": "to"},
                       "color": by_colour("kind", _COLOURS, legend=False)}, steps, size=12, yOffset=BELOW),
        layer("tick", {"y": y, "x": x}, ends, color=TEXT.light, thickness=3, height=16, yOffset=BELOW),
        height=ROW * len(rows) + 40, data=rows)


def _scaled(metric: str, value: float) -> float:
    """As the axis counts: milliseconds, percent, else the metric's own unit."""
    return value * {"s": 1e3, "frac": 100.0}.get(terms.unit(metric), 1.0)


def _unit(metric: str) -> str:
    return {"s": ", ms", "frac": ", %", "usd": ", $", "usd/Mtok": ", $", "req/s": ", requests/s"}.get(
        terms.unit(metric), "")
