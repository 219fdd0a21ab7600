"""Plots of one plan's money: what it pays for, and what would move it."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.plan.types import Plan, Sensitivity
from costplan.report.columns import Column
from costplan.report.html.chart import (
    BELOW,
    ROW,
    ROWS,
    USD,
    Chart,
    Spec,
    by_colour,
    layer,
    lines,
    names_above,
    number,
    whole,
)
from costplan.report.html.palette import BLUE, GREEN, GREY, LINE, MUTED, ORANGE, PURPLE, TEXT
from costplan.report.numbers import percent, usd
from costplan.report.plan_details import sensitivity
from costplan.report.plan_words import signed_usd

MOST_KNOBS = 10


def bill(p: Plan) -> Chart:
    """From the cost at full load to that at the user's load, part by part."""
    m, t = p.money, p.money.tokens
    full = min(m.usd_per_mtok_out_saturated.value, m.usd_per_mtok_out.value)
    parts = [("writing output", full * t.decode_share, BLUE), ("reading prompts", full * t.prefill_share, GREEN),
             ("rereading cached prompts", full * t.cached_share, PURPLE),
             ("capacity that this load leaves free", m.usd_per_mtok_out.value - full, GREY)]
    rows: list[Spec] = []
    at = 0.0
    for name, cost, ink in [x for x in parts if x[1] > 0]:
        rows.append({"name": f"{name}: {usd(cost)}", "from": at, "to": at + cost, "ink": ink.light, "usd": cost,
                     "part": name})
        at += cost
    y = lines("name", [r["name"] for r in rows])
    bars = {"y": y, "x": number("from", USD, axis=ROWS, domainMin=0), "x2": {"field": "to"},
            "color": {"field": "ink", "type": "nominal", "scale": None}}
    spec = whole(names_above(y, "name"), layer("rule", bars, size=12, yOffset=BELOW),
                 layer("rule", {"x": {"datum": at, "type": "quantitative"}}, strokeDash=[4, 3], color=MUTED.light),
                 height=ROW * len(rows) + 40, data=rows)
    return Chart(
        "bill", "What the money pays for",
        f"Steps add up to {usd(at)}, the dashed line: what each kind of token takes of the GPUs' time at full load, "
        "then the capacity kept for peaks, headroom and whole instances.", spec,
        [Column("part"), Column("$/1M out", right=True), Column("share", right=True)],
        [[r["part"], usd(r["usd"]), percent(r["usd"] / at)] for r in rows])


def knobs(changes: Sequence[Sensitivity]) -> Chart | None:
    """The largest effects of one change at a time; None where none is possible."""
    known = [k for k in changes if k.delta_usd_per_mtok_out is not None]
    shown = sorted(known, key=lambda k: -_effect(k))[:MOST_KNOBS]
    if not shown:
        return None
    table = sensitivity(changes)
    return Chart(
        "knobs", "What moves the cost",
        "One change at a time, so bars do not add up. Left is cheaper, right is dearer; bar: at this load, where whole "
        "instances may hide a change; diamond: with the fleet at full load.", _swings(shown), table.columns, table.rows)


def _swings(shown: Sequence[Sensitivity]) -> Spec:
    """Bars to the left and right of no change."""
    rows: list[Spec] = []
    for k in shown:
        delta = k.delta_usd_per_mtok_out or 0.0
        rows.append({"name": f"{k.knob}: {k.change}  {signed_usd(delta)}", "delta": delta, "zero": 0.0,
                     "full": k.delta_saturated_usd_per_mtok_out, "kind": "dearer" if delta > 0 else "cheaper"})
    y = lines("name", [r["name"] for r in rows])
    x = number("delta", f"change in {USD}", axis=ROWS, nice=True)
    colour = by_colour("kind", {"cheaper": BLUE.light, "dearer": ORANGE.light}, legend=False)
    return whole(
        names_above(y, "name"),
        layer("tick", {"y": y, "x": {**x, "field": "zero"}}, color=TEXT.light, thickness=1.5, height=20, yOffset=BELOW),
        layer("rule", {"y": y, "x": x, "x2": {"field": "zero"}, "color": colour}, size=10, yOffset=BELOW),
        layer("point", {"y": y, "x": {**x, "field": "full"}}, [r for r in rows if r["full"] is not None],
              shape="diamond", filled=True, size=60, color=TEXT.light, stroke=LINE.light, opacity=1, yOffset=BELOW),
        height=ROW * len(rows) + 40, data=rows)


def _effect(k: Sensitivity) -> float:
    return max(abs(k.delta_usd_per_mtok_out or 0.0), abs(k.delta_saturated_usd_per_mtok_out or 0.0))
