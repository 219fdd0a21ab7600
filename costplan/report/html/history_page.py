"""The page of `costplan history report --html`: which services need a look, then each over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from costplan import __version__
from costplan.history.entry import Entry
from costplan.history.summary import ServiceHistory
from costplan.report.columns import Column
from costplan.report.history_sections import change_per_week, day, headline, history_sections, order
from costplan.report.html.chart import MONEY, USD, Chart, Spec, by_colour, layer, number, whole
from costplan.report.html.page import Block, Page, Tile
from costplan.report.html.palette import BLUE, GREEN, ORANGE, PALE, TEXT
from costplan.report.numbers import usd
from costplan.report.plan_details import Section

MOST_CHARTS = 40
MOST_POINTS = 400
MIDDLE = timedelta(days=3)
"""From a Monday to the middle of its week."""
_COLOURS = {"actual": BLUE.light, "plan": GREEN.light, "week's median": TEXT.light}
_SHAPES = {"actual": "circle", "plan": "square", "week's median": "diamond"}


def history_page(found: Sequence[ServiceHistory]) -> Page:
    """One plot per service, those first that need a look."""
    charts = tuple(over_time(s, f"service-{i}") for i, s in enumerate(order(found)[:MOST_CHARTS]))
    left = f"the first {MOST_CHARTS} of {len(found)} services" if len(found) > MOST_CHARTS else ""
    blocks = [Block(f"part-{i}", x) for i, x in enumerate(history_sections(found))] if found else []
    if charts:
        blocks.append(Block("time", Section("cost over time", note=left), charts))
    return Page("costplan history", headline(found), tuple(_tiles(found)), Section(""), blocks,
                (f"costplan {__version__}. Times are UTC.",))


def _tiles(found: Sequence[ServiceHistory]) -> Iterator[Tile]:
    if not found:
        return
    loud = sum(s.alert is not None for s in found)
    yield Tile("alerts at the newest point", str(loud), "look at these first" if loud else "nothing unusual",
               "bad" if loud else "good")
    if any(s.compared for s in found):
        off = [s.service for s in found if s.off_plan]
        yield Tile("outside the plan's 90%", str(len(off)), ", ".join(off[:3]) or "no service",
                   "bad" if off else "good")
    rising = [s for s in found if s.trend is not None and s.trend.direction == "rising"]
    yield Tile("rising week by week", str(len(rising)), ", ".join(s.service for s in rising[:3]) or "no service")
    yield Tile("all fleets", f"{usd(sum(s.latest.usd_per_h for s in found))}/h", "newest point of each service")


def over_time(s: ServiceHistory, key: str) -> Chart:
    """Actuals, the plans in force with their interval, weekly medians and alerts of one service."""
    seen = [{"at": _at(e), "usd": e.usd_per_mtok_out, "what": "actual"} for e in s.actuals[-MOST_POINTS:]]
    weeks = [{"at": f"{(w.monday + MIDDLE).isoformat()}T12:00:00Z", "usd": w.usd_per_mtok_out, "what": "week's median"}
             for w in s.weeks]
    plans = s.plans[-MOST_POINTS:]
    planned = [{"at": _at(e), "usd": e.usd_per_mtok_out, "what": "plan", "low": e.low90, "high": e.high90}
               for e in plans]
    if plans and s.latest.at > plans[-1].at:
        planned.append({**planned[-1], "at": _at(s.latest)})  # in force until now
    loud = [{"at": _at(s.watched[a.index]), "usd": s.watched[a.index].usd_per_mtok_out, "text": f"{a.change:+.0%}"}
            for a in s.alerts]
    return Chart(key, s.service, _says(s), _drawn(seen, weeks if len(weeks) > 1 else [], planned, loud),
                 [Column("week of"), Column("$/1M out, median", right=True), Column("points", right=True)],
                 [[w.monday.isoformat(), usd(w.usd_per_mtok_out), str(w.count)] for w in s.weeks])


def _says(s: ServiceHistory) -> str:
    e = s.latest
    said = [f"{usd(e.usd_per_mtok_out)} per 1M output tokens on {day(e.at)} ({e.kind.value})",
            f"change per week: {change_per_week(s.trend)}"]
    if s.median_ratio is not None:
        said.append(f"actual over planned cost: {s.median_ratio:.2f}")
    if s.alert is not None:
        said.append(f"alert, a {s.alert.kind} of {s.alert.change:+.0%}")
    return "; ".join(said) + "."


def _drawn(seen: Sequence[Spec], weeks: Sequence[Spec], planned: Sequence[Spec], loud: Sequence[Spec]) -> Spec:
    x = {"field": "at", "type": "temporal", "title": None, "scale": {"type": "utc", "padding": 8},
         "axis": {"format": "%d %b", "tickCount": 5}}
    y = number("usd", USD, axis=MONEY, zero=True)
    kinds = [k for k in _COLOURS if any(r["what"] == k for r in (*seen, *weeks, *planned))]
    marks = {"x": x, "y": y, "color": by_colour("what", {k: _COLOURS[k] for k in kinds}),
             "shape": by_colour("what", {k: _SHAPES[k] for k in kinds})}
    bounded = [r for r in planned if r["low"] is not None and r["high"] is not None]
    return whole(
        layer("area", {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}, bounded, color=PALE.light,
              interpolate="step-after", opacity=0.6),
        layer("line", {"x": x, "y": y}, planned, color=GREEN.light, interpolate="step-after", strokeWidth=2),
        layer("point", marks, [*planned, *seen], filled=True, size=14, opacity=1),
        layer("line", {"x": x, "y": y}, weeks, color=TEXT.light, strokeWidth=1.5),
        layer("point", marks, weeks, filled=True, size=24, opacity=1),
        layer("point", {"x": x, "y": y}, loud, shape="triangle-down", size=130, color=ORANGE.light, strokeWidth=2),
        layer("text", {"x": x, "y": y, "text": {"field": "text"}}, loud[-1:], dy=-14, color=ORANGE.light),
        height=250)


def _at(e: Entry) -> str:
    return e.at.strftime("%Y-%m-%dT%H:%M:%SZ")
