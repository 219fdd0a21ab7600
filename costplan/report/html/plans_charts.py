"""Plots of all plans of a set: how sure each one's cost is, and what it trades for speed."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.plan.types import Plan, PlanSet, Range
from costplan.report.columns import Column
from costplan.report.html.chart import (
    BELOW,
    MONEY,
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
    wide_or_linear,
)
from costplan.report.html.palette import BLUE, GREY, ORANGE, TEXT
from costplan.report.numbers import significant, usd
from costplan.report.plan_words import chance, gpus, short, span
from costplan.workload.workload import Metric

_LOOK = {"recommended": ORANGE.light, "not beaten": BLUE.light, "beaten": GREY.light}
_SHAPES = {"recommended": "diamond", "not beaten": "circle", "beaten": "cross"}


def intervals(s: PlanSet) -> Chart:
    """Cost of every plan with its 50 % and 90 % bands."""
    best = s.plans[0].money
    cut = any(p.money.i90_usd_per_mtok_out.high is None for p in s.plans)
    says = (f"Diamond: the prediction; thick band: half of all outcomes; thin band: 90% of them. The recommended plan "
            f"costs {usd(best.usd_per_mtok_out.value)} per 1M output tokens (90%: {span(best.i90_usd_per_mtok_out)})."
            f"{' An arrow: at that end no fleet of this kind would do.' if cut else ''}")
    return Chart(
        "intervals", "How sure each cost is", says, _bands(s.plans),
        [Column("#", right=True), Column("plan"), Column("$/1M out", right=True), Column("50% interval"),
         Column("90% interval"), Column("P(SLO)", right=True)],
        [[str(p.rank), f"{gpus(p)}, {short(p.config)}", usd(p.money.usd_per_mtok_out.value),
          span(p.money.i50_usd_per_mtok_out), span(p.money.i90_usd_per_mtok_out), chance(p.p_meets_slo)]
         for p in s.plans])


def _bands(plans: Sequence[Plan]) -> Spec:
    ends = [x for p in plans for x in (p.money.usd_per_mtok_out.value, *_ends(p.money.i90_usd_per_mtok_out))]
    far = 1.08 * max(ends)
    rows = [{"name": f"#{p.rank}  {gpus(p)}, {short(p.config)}: {usd(p.money.usd_per_mtok_out.value)}", **_band(p, far)}
            for p in plans]
    y = lines("name", [r["name"] for r in rows])
    scale, ticks = wide_or_linear(min(ends), far, ratio=25.0)

    def x(field: str) -> Spec:
        return number(field, USD, axis={**ROWS, **ticks}, **{"domain": [0, far], "nice": False, **scale})

    return whole(
        names_above(y, "name"),
        layer("rule", {"y": y, "x": x("low90"), "x2": {"field": "high90"}}, size=3, color=GREY.light, yOffset=BELOW),
        layer("rule", {"y": y, "x": x("low50"), "x2": {"field": "high50"}}, size=9, color=BLUE.light, yOffset=BELOW),
        layer("point", {"y": y, "x": x("value")}, filled=True, size=70, shape="diamond", color=TEXT.light,
              opacity=1, yOffset=BELOW),
        layer("point", {"y": y, "x": x("high90")}, [r for r in rows if r["open"]], filled=True, size=110,
              shape="triangle-right", color=GREY.light, opacity=1, yOffset=BELOW),
        height=ROW * len(rows) + 40, data=rows)


def _ends(r: Range) -> Sequence[float]:
    return (r.low,) if r.high is None else (r.low, r.high)


def _band(p: Plan, far: float) -> Spec:
    """Ends of both intervals; one without an upper end reaches the edge."""
    i50, i90 = p.money.i50_usd_per_mtok_out, p.money.i90_usd_per_mtok_out
    return {"value": p.money.usd_per_mtok_out.value, "low50": i50.low, "high50": far if i50.high is None else i50.high,
            "low90": i90.low, "high90": far if i90.high is None else i90.high, "open": i90.high is None}


def pareto(s: PlanSet, metric: Metric) -> Chart | None:
    """Cost against the median of one latency; None where no plan has one."""
    rows = [r for p in s.plans if (r := _traded(p, s, metric)) is not None]
    if not rows:
        return None
    title = metric.upper()
    costs = [r["usd"] for r in rows]
    scale, ticks = wide_or_linear(min(costs), max(costs))
    points = {"x": number("ms", f"{title} p50, ms", axis={"format": ",~f"}, zero=False, nice=True, padding=14),
              "y": number("usd", USD, axis={**MONEY, **ticks}, **scale)}
    kinds = [k for k in _LOOK if any(r["kind"] == k for r in rows)]
    spec = whole(
        layer("point", {**points, "color": by_colour("kind", {k: _LOOK[k] for k in kinds}),
                        "shape": by_colour("kind", {k: _SHAPES[k] for k in kinds})}, size=90, filled=True, opacity=1),
        layer("text", {**points, "text": {"field": "rank"}}, [r for r in rows if r["kind"] != "beaten"], dy=-11),
        height=260, data=rows)
    front = sum(r["kind"] != "beaten" for r in rows)
    return Chart(
        f"pareto-{metric}", f"Cost against {title}",
        f"Lower and further left is better; numbers are ranks. {front} of {len(rows)} plans are beaten by no other in "
        "cost, TTFT, TPOT and precision at once.", spec,
        [Column("#", right=True), Column("plan"), Column(f"{title} p50, ms", right=True),
         Column("$/1M out", right=True), Column("on the front")],
        [[r["rank"], r["what"], significant(r["ms"]), usd(r["usd"]), "no" if r["kind"] == "beaten" else "yes"]
         for r in rows])


def _traded(p: Plan, s: PlanSet, metric: Metric) -> Spec | None:
    found = p.latency(metric)
    median = found.at(0.5) if found is not None else None
    if median is None:
        return None
    kind = "recommended" if p.rank == 1 else "not beaten" if p.name in s.pareto else "beaten"
    return {"ms": median.value * 1e3, "usd": p.money.usd_per_mtok_out.value, "kind": kind, "rank": str(p.rank),
            "what": f"{gpus(p)}, {short(p.config)}"}
