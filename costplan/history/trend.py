"""Weekly costs and their trend: Theil-Sen slope of the logarithm, with Sen's interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median

from costplan.history.entry import Entry

LEAST_WEEKS = 4
LONGEST_WEEKS = 26
_Z90 = 1.6449


@dataclass(frozen=True, slots=True)
class Week:
    """Median of one ISO week that begins on that Monday (UTC), over ``count`` entries."""

    monday: date
    usd_per_mtok_out: float
    count: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Change per week as a fraction, with its 90 % interval, over so many weeks."""

    per_week: float
    low90: float
    high90: float
    weeks: int

    @property
    def direction(self) -> str:
        return "rising" if self.low90 > 0 else "falling" if self.high90 < 0 else "steady"


def weekly(entries: Iterable[Entry]) -> tuple[Week, ...]:
    """Weeks that have entries, oldest first."""
    found: dict[date, list[float]] = {}
    for e in entries:
        found.setdefault(_monday(e.at), []).append(e.usd_per_mtok_out)
    return tuple(Week(d, median(v), len(v)) for d, v in sorted(found.items()))


def _monday(at: datetime) -> date:
    return at.date() - timedelta(days=at.weekday())


def trend(weeks: Sequence[Week]) -> Trend | None:
    """Over the last half year; None with fewer than four weeks.

    Sen, JASA 63 (1968): the interval holds the slopes of all pairs whose ranks lie within the spread that Kendall's
    statistic has without a trend.
    """
    used = [w for w in weeks if (weeks[-1].monday - w.monday).days < 7 * LONGEST_WEEKS]
    n = len(used)
    if n < LEAST_WEEKS:
        return None
    slopes = sorted(math.log(b.usd_per_mtok_out / a.usd_per_mtok_out) / ((b.monday - a.monday).days / 7)
                    for i, a in enumerate(used) for b in used[i + 1:])
    spread = _Z90 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((len(slopes) - spread) / 2))
    return Trend(math.expm1(median(slopes)), math.expm1(slopes[low]), math.expm1(slopes[len(slopes) - 1 - low]), n)
