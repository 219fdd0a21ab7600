"""A history as titled tables: services, alerts, plan against actual; text and HTML only set them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from costplan.history.alert import RULE
from costplan.history.entry import Entry, Kind
from costplan.history.summary import ServiceHistory
from costplan.history.trend import Trend
from costplan.report.columns import Column
from costplan.report.numbers import percent, seconds, significant, usd
from costplan.report.plan_details import Section

MOST_ROWS = 12


def headline(found: Sequence[ServiceHistory]) -> str:
    """The answer in one sentence."""
    if not found:
        return "The history is empty"
    kept = f"{len(found)} service{'s' if len(found) > 1 else ''} watched"
    loud, off = [s.service for s in found if s.alert is not None], [s.service for s in found if s.off_plan]
    said = f"{len(loud)} with an alert at the newest point: {_some(loud)}" if loud else "no alert at the newest point"
    return f"{kept}, {said}" + (f"; {len(off)} outside the plan's 90% interval: {_some(off)}" if off else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if names[3:] else "")


def order(found: Sequence[ServiceHistory]) -> list[ServiceHistory]:
    """Those first that need a look."""
    return sorted(found, key=lambda s: (s.alert is None, not s.off_plan, s.service))


def history_sections(found: Sequence[ServiceHistory]) -> Iterator[Section]:
    """Everything after the headline."""
    found = order(found)
    yield services(found)
    if any(s.alerts for s in found):
        yield alerts(found)
    if any(s.compared for s in found):
        yield compared(found)


def services(found: Sequence[ServiceHistory]) -> Section:
    """One line per service."""
    columns = [Column("service", widest=40), Column("$/1M out", right=True), Column("is", expendable=2), Column("at"),
               Column("per week", right=True), Column("90% interval", expendable=3), Column("trend"),
               Column("vs plan", right=True), Column("alert"), Column("points", right=True, expendable=1)]
    rows = [[s.service, usd(s.latest.usd_per_mtok_out), s.latest.kind.value, day(s.latest.at), *_trend(s.trend),
             "-" if s.median_ratio is None else f"{s.median_ratio:.2f}", _alert(s), str(len(s.watched))] for s in found]
    return Section("services", columns, rows, note="newest point; change per week over at most 26 weeks; actual over "
                                                   "planned cost, median")


def _trend(t: Trend | None) -> tuple[str, str, str]:
    if t is None:
        return "-", "", "too few weeks"
    return f"{t.per_week:+.1%}", f"{t.low90:+.1%} .. {t.high90:+.1%}", t.direction


def change_per_week(t: Trend | None) -> str:
    """A trend in words; three weeks tell nothing."""
    if t is None:
        return "too few weeks"
    return f"{t.per_week:+.1%} ({t.low90:+.1%} .. {t.high90:+.1%}), {t.direction}"


def _alert(s: ServiceHistory) -> str:
    return "none" if s.alert is None else f"{s.alert.kind}: {s.alert.change:+.0%}"


def alerts(found: Sequence[ServiceHistory]) -> Section:
    """Points that were unusual, newest first."""
    columns = [Column("at"), Column("service", widest=40), Column("kind"), Column("$/1M out", right=True),
               Column("usual", right=True), Column("change", right=True), Column("configuration", expendable=1)]
    rows = sorted(([day(e.at), s.service, a.kind, usd(e.usd_per_mtok_out), usd(a.usual), f"{a.change:+.0%}",
                    e.configuration or e.source] for s in found for a in s.alerts for e in [s.watched[a.index]]),
                  reverse=True)
    return Section("alerts", columns, rows[:MOST_ROWS], note=RULE)


def compared(found: Sequence[ServiceHistory]) -> Section:
    """The newest actual of each service against the plan in force then."""
    columns = [Column("service", widest=40), Column("actual", right=True), Column("plan", right=True),
               Column("ratio", right=True), Column("in its 90%"), Column("tokens/s", right=True, expendable=2),
               Column("tokens/s planned", right=True, expendable=2), Column("TTFT p99", right=True, expendable=1),
               Column("TTFT planned", right=True, expendable=1), Column("all in 90%", right=True)]
    rows = []
    for s in [s for s in found if s.compared]:
        c = s.compared[-1]
        inside = sum(x.inside90 for x in s.compared) / len(s.compared)
        rows.append([s.service, usd(c.actual.usd_per_mtok_out), usd(c.plan.usd_per_mtok_out), f"{c.ratio:.2f}",
                     "yes" if c.inside90 else "no", significant(c.actual.output_tok_s),
                     significant(c.plan.output_tok_s), _known(c.actual.ttft_p99_s), _known(c.plan.ttft_p99_s),
                     f"{percent(inside)} of {len(s.compared)}"])
    return Section("plan against actual", columns, rows,
                   note="$ per 1M output tokens of the newest actual and of the plan in force then; other load, other "
                        "cost: compare tokens/s too")


def entries(found: Sequence[Entry]) -> Section:
    """Entries one by one."""
    columns = [Column("at"), Column("service", widest=40), Column("is"), Column("$/1M out", right=True),
               Column("90% interval", expendable=2), Column("$/h", right=True), Column("tokens/s", right=True),
               Column("TTFT p99", right=True, expendable=1), Column("TPOT p99", right=True, expendable=1),
               Column("source", expendable=3)]
    return Section("history", columns, [
        [e.at.strftime("%Y-%m-%d %H:%M"), e.service, e.kind.value, usd(e.usd_per_mtok_out), _interval(e),
         usd(e.usd_per_h), significant(e.output_tok_s), _known(e.ttft_p99_s), _known(e.tpot_p99_s),
         e.configuration or e.source] for e in found])


def _interval(e: Entry) -> str:
    if e.kind is not Kind.PLAN or e.low90 is None:
        return ""
    return f"{usd(e.low90)} .. {'no fleet' if e.high90 is None else usd(e.high90)}"


def _known(x: float | None) -> str:
    return "-" if x is None else seconds(x)


def day(at: datetime) -> str:
    return at.date().isoformat()
