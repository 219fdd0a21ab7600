"""Plots of load: latency percentiles with their limits, and a day of load against capacity."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.plan.day import Hour
from costplan.plan.types import Plan
from costplan.report.columns import Column
from costplan.report.html.chart import Chart, Spec, by_colour, layer, number, whole, wide_or_linear
from costplan.report.html.palette import BLUE, GREEN, ORANGE, PALE, PAPER
from costplan.report.numbers import seconds, significant, spread
from costplan.report.plan_words import percentile
from costplan.workload.workload import Metric

LOG_FROM = 30.0
"""Ratio of the largest to the smallest number drawn from which an axis of times is logarithmic."""


def latency(p: Plan, metric: Metric) -> Chart | None:
    """Percentiles of one metric with 90 % bands and the limits on it; None where it is not known."""
    found = p.latency(metric)
    if found is None or not found.percentiles:
        return None
    rows: list[Spec] = [{"at": percentile(f), "ms": e.value * 1e3, "low": e.i90[0] * 1e3, "high": e.i90[1] * 1e3}
                        for f, e in found.percentiles]
    own = [m for m in p.slo if m.target.metric is metric]
    limits: list[Spec] = [{"ms": m.target.limit_s * 1e3, "text": f"limit {percentile(m.target.percentile)} "
                                                                 f"{seconds(m.target.limit_s)}"} for m in own]
    said = "; ".join(f"{percentile(m.target.percentile)} is {seconds(m.predicted.value)}, "
                     f"{'within' if m.margin >= 0 else 'above'} its limit of {seconds(m.target.limit_s)}" for m in own)
    counted = "gaps" if metric is Metric.ITL else "requests"
    return Chart(
        f"latency-{metric}", f"{metric.upper()} over {counted}",
        f"Line: the prediction at the load of the plan; bars: 90% of outcomes; dashed: the limit. "
        f"{said[:1].upper() + said[1:] if said else 'There is no limit on it'}.",
        _percentiles(metric.upper(), counted, rows, limits),
        [Column("percentile"), Column(metric.upper(), right=True), Column("90% interval", right=True)],
        [[percentile(f), seconds(e.value), spread(e, "s")] for f, e in found.percentiles])


def _percentiles(title: str, counted: str, rows: Sequence[Spec], limits: Sequence[Spec]) -> Spec:
    low = [max(r.get("low", r["ms"]), 1e-3) for r in (*rows, *limits)]
    high = [r.get("high", r["ms"]) for r in (*rows, *limits)]
    scale, ticks = wide_or_linear(min(low), max(high), ratio=LOG_FROM)
    x = {"field": "at", "type": "ordinal", "sort": None, "title": f"of {counted}, at most", "axis": {"labelAngle": 0}}
    y = number("ms", f"{title}, ms", axis={"format": ",~f", **ticks}, **scale)
    named = {"y": y, "x": {"value": 4}, "text": {"field": "text"}}
    return whole(
        layer("bar", {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}, size=14, color=PALE.light),
        layer("line", {"x": x, "y": y}, color=BLUE.light, strokeWidth=2),
        layer("point", {"x": x, "y": y}, filled=True, size=60, color=BLUE.light, opacity=1),
        layer("rule", {"y": y}, limits, color=ORANGE.light, strokeDash=[6, 3], size=2),
        layer("text", named, limits, align="left", dy=-8, color=PAPER.light, stroke=PAPER.light, strokeWidth=4),
        layer("text", named, limits, align="left", dy=-8, color=ORANGE.light), height=220, data=rows)


def day(hours: Sequence[Hour]) -> Chart:
    """Load of each hour against what the fleet could take, as planned and if it followed the load."""
    end = Hour(24, hours[0].requests_per_s, hours[-1].static_requests_per_s, hours[-1].autoscaled_requests_per_s)
    colours = {"load": ORANGE.light, "capacity as planned": BLUE.light, "capacity, autoscaled": GREEN.light}
    rows: list[Spec] = [
        {"hour": h.hour, "rate": rate, "what": what} for h in (*hours, end) for what, rate in
        zip(colours, (h.requests_per_s, h.static_requests_per_s, h.autoscaled_requests_per_s), strict=True)]
    key = {"legend": {"symbolSize": 700}}
    dashes = dict(zip(colours, ([1, 0], [7, 4], [2, 2]), strict=True))
    spec = whole(layer("line", {
        "x": number("hour", "hour of the day", axis={"values": list(range(0, 25, 4))}, domain=[0, 24], nice=False),
        "y": number("rate", "requests per second", zero=True), "color": {**by_colour("what", colours), **key},
        "strokeDash": {**by_colour("what", dashes), **key}}, interpolate="step-after", strokeWidth=2.5),
        height=270, data=rows)
    top = max(hours, key=lambda h: h.requests_per_s)
    return Chart(
        "day", "Load against capacity over the day",
        f"The busiest hour is {top.hour}:00 with {significant(top.requests_per_s)} requests/s; the fleet as planned "
        f"serves {significant(top.static_requests_per_s)} within the limits.", spec,
        [Column("hour", right=True), Column("load, requests/s", right=True), Column("as planned", right=True),
         Column("autoscaled", right=True)],
        [[str(h.hour), significant(h.requests_per_s), significant(h.static_requests_per_s),
          significant(h.autoscaled_requests_per_s)] for h in hours])
