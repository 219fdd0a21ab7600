"""Predictions against measurements: error per metric, overall and by group, and what was refused."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from costplan.core.evidence import Estimate

METRICS = ("tpot", "ttft", "output_tok_s", "usd_per_mtok_out")


@dataclass(frozen=True, slots=True)
class Scored:
    """One metric of one row: what was measured and what was predicted, in the metric's own unit."""

    id: str
    metric: str
    measured: float
    predicted: Estimate
    labels: Mapping[str, str]

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return self.predicted.value / self.measured - 1.0

    def covered(self, interval: tuple[float, float]) -> bool:
        return interval[0] <= self.measured <= interval[1]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row without a prediction, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Error of one metric over ``n`` rows; all values are fractions. ``bias`` is the median signed error."""

    n: int
    median_ape: float
    mape: float
    p90_ape: float
    bias: float
    coverage_50: float
    coverage_90: float

    def as_dict(self) -> dict[str, float]:
        return {"n": self.n, "median_ape": self.median_ape, "mape": self.mape, "p90_ape": self.p90_ape,
                "bias": self.bias, "coverage_50": self.coverage_50, "coverage_90": self.coverage_90}


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Everything that `costplan validate` prints."""

    rows: int
    scored: Sequence[Scored]
    refused: Sequence[Refused]

    def metric(self, name: str, keep: Callable[[Scored], bool] = lambda _: True) -> Summary | None:
        """Summary of one metric over the rows that ``keep`` accepts; None where there are none."""
        return summarise([s for s in self.scored if s.metric == name and keep(s)])

    def groups(self, label: str) -> dict[str, dict[str, Summary]]:
        """Summaries by the values of one label, then by metric."""
        buckets: dict[tuple[str, str], list[Scored]] = {}
        for s in self.scored:
            buckets.setdefault((s.labels.get(label, ""), s.metric), []).append(s)
        out: dict[str, dict[str, Summary]] = {}
        for (value, metric), items in sorted(buckets.items()):
            found = summarise(items)
            if found is not None:
                out.setdefault(value, {})[metric] = found
        return out

    def as_dict(self, labels: Iterable[str]) -> dict[str, object]:
        """The stable JSON form: fractions, not percent."""
        metrics = {m: s.as_dict() for m in METRICS if (s := self.metric(m)) is not None}
        return {
            "rows": self.rows,
            "refused": [{"id": r.id, "reason": r.reason} for r in self.refused],
            "metrics": metrics,
            "groups": {label: {value: {m: s.as_dict() for m, s in found.items()}
                               for value, found in self.groups(label).items()} for label in labels},
        }


def summarise(items: Sequence[Scored]) -> Summary | None:
    """Error statistics; None for no rows."""
    if not items:
        return None
    apes = sorted(abs(s.error) for s in items)
    return Summary(
        len(items), statistics.median(apes), math.fsum(apes) / len(apes), quantile(apes, 0.9),
        statistics.median(s.error for s in items),
        sum(s.covered(s.predicted.i50) for s in items) / len(items),
        sum(s.covered(s.predicted.i90) for s in items) / len(items))


def quantile(ordered: Sequence[float], q: float) -> float:
    """Linear-interpolated quantile of an increasing sequence."""
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])
