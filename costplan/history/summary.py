"""What the history says about each service: what it costs, where that goes, alerts, and plan against actual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from costplan.history.alert import Alert, alerts
from costplan.history.entry import Entry, Kind
from costplan.history.trend import Trend, Week, trend, weekly


@dataclass(frozen=True, slots=True)
class Compared:
    """One actual against the plan in force then: cost over planned cost, and whether it lies in the interval."""

    actual: Entry
    plan: Entry
    ratio: float
    inside90: bool


@dataclass(frozen=True, slots=True)
class ServiceHistory:
    """``weeks``, ``trend`` and ``alerts`` are of the actuals where there are any, else of the plans (``watched``)."""

    service: str
    plans: tuple[Entry, ...]
    actuals: tuple[Entry, ...]
    weeks: tuple[Week, ...]
    trend: Trend | None
    alerts: tuple[Alert, ...]
    compared: tuple[Compared, ...]

    @property
    def watched(self) -> tuple[Entry, ...]:
        return self.actuals or self.plans

    @property
    def latest(self) -> Entry:
        return self.watched[-1]

    @property
    def alert(self) -> Alert | None:
        """That of the newest point."""
        return self.alerts[-1] if self.alerts and self.alerts[-1].index == len(self.watched) - 1 else None

    @property
    def off_plan(self) -> bool:
        """Whether the newest actual lies outside the 90 % interval of the plan in force then."""
        return bool(self.compared) and not self.compared[-1].inside90

    @property
    def median_ratio(self) -> float | None:
        """Actual over planned cost, in the middle."""
        return median(c.ratio for c in self.compared) if self.compared else None


def summaries(entries: Sequence[Entry]) -> tuple[ServiceHistory, ...]:
    """By service, in alphabetical order."""
    return tuple(_summary(name, [e for e in entries if e.service == name])
                 for name in sorted({e.service for e in entries}))


def _summary(name: str, own: Sequence[Entry]) -> ServiceHistory:
    plans = tuple(e for e in own if e.kind is Kind.PLAN)
    actuals = tuple(e for e in own if e.kind is Kind.ACTUAL)
    watched = actuals or plans
    weeks = weekly(watched)
    return ServiceHistory(name, plans, actuals, weeks, trend(weeks), alerts([e.usd_per_mtok_out for e in watched]),
                          tuple(c for a in actuals if (c := _compared(a, plans)) is not None))


def _compared(actual: Entry, plans: Sequence[Entry]) -> Compared | None:
    before = [p for p in plans if p.at <= actual.at]
    if not before:
        return None
    plan = before[-1]
    cost = actual.usd_per_mtok_out
    inside = (plan.low90 is None or cost >= plan.low90) and (plan.high90 is None or cost <= plan.high90)
    return Compared(actual, plan, cost / plan.usd_per_mtok_out, inside)
