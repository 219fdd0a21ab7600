"""How much slower B is than A, judged by runs: samples within a run, and passes, share what made that run fast or slow.

Few runs are the rule, so intervals are Student's t over runs; a bootstrap of three runs would promise too much.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from costplan.profile.student import quantile, tail

ONE_RUN_SD = 0.03
"""Assumed relative spread between runs where a side has only one: repeated runs on one idle machine stay within a few
percent; passes and sentinel can only show more."""
ONE_RUN_DF = 10.0

Runs = Mapping[str, float]  # run -> ln(seconds)


@dataclass(frozen=True, slots=True)
class Effect:
    """ln(B / A) with its standard error and degrees of freedom."""

    log_ratio: float
    se: float
    df: float

    def p_slower(self, margin: float) -> float:
        """P-value against "B is at most ``margin`` (of the logarithm) slower"."""
        return self._tail(self.log_ratio - margin)

    def p_faster(self, margin: float) -> float:
        """P-value against "B is at most ``margin`` faster"."""
        return self._tail(-self.log_ratio - margin)

    def p_same(self, margin: float) -> float:
        """P-value against "they differ by ``margin`` or more": two one-sided tests (Schuirmann 1987)."""
        return max(self._tail(self.log_ratio + margin), self._tail(margin - self.log_ratio))

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """Interval of B / A; at 90 % it lies beyond, or within, a margin where a one-sided test at 5 % says so."""
        half = quantile(0.5 + level / 2, self.df) * self.se
        return math.exp(self.log_ratio - half), math.exp(self.log_ratio + half)

    def _tail(self, distance: float) -> float:
        if self.se == 0.0:
            return 0.0 if distance > 0 else 1.0
        return tail(distance / self.se, self.df)


def one_run_effect(log_ratio: float, noise: float) -> Effect:
    """Where a side has a single run: ``noise`` is what passes and sentinel showed within the runs."""
    return Effect(log_ratio, math.sqrt(2.0) * max(ONE_RUN_SD, noise), ONE_RUN_DF)


def case_effect(a: Runs, b: Runs, pooled: tuple[float, float]) -> Effect:
    """One case over several runs per side. The variance between runs is that of the case or of its family
    (``pooled``), whichever is larger: three runs that agree by chance prove little."""
    var = [max(statistics.variance(x.values()), p) / len(x) for x, p in zip((a, b), pooled, strict=True)]
    return Effect(_mean(b) - _mean(a), math.sqrt(sum(var)), len(a) + len(b) - 2)


def pooled_variance(cases: Sequence[Runs]) -> float:
    """Mean variance between runs of several cases."""
    return statistics.fmean(statistics.variance(c.values()) for c in cases)


def group_effect(pairs: Sequence[tuple[Runs, Runs]]) -> Effect:
    """Mean of ln(B / A) over cases. Each side's error clusters by run (Liang and Zeger 1986, with G / (G - 1)), since
    what slows one case of a run slows its neighbours too; degrees of freedom after Welch and Satterthwaite."""
    ratio = statistics.fmean(_mean(b) - _mean(a) for a, b in pairs)
    var, weight = 0.0, 0.0
    for side in (0, 1):
        v, runs = _clustered([p[side] for p in pairs])
        var += v
        weight += v * v / (runs - 1)
    return Effect(ratio, math.sqrt(var), var * var / weight if weight else 1.0)


def _clustered(cases: Sequence[Runs]) -> tuple[float, int]:
    """Variance of the mean over cases of their means over runs, and how many runs there are."""
    residual: dict[str, float] = {}
    for c in cases:
        mean = _mean(c)
        for run, y in c.items():
            residual[run] = residual.get(run, 0.0) + (y - mean) / len(c) / len(cases)
    g = len(residual)
    return sum(r * r for r in residual.values()) * g / (g - 1), g


def _mean(runs: Runs) -> float:
    return statistics.fmean(runs.values())


def false_discoveries(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which of many claims stand when at most ``rate`` of those that stand may be wrong (Benjamini, Hochberg 1995)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    last = 0
    for rank, i in enumerate(order, 1):
        if p_values[i] <= rate * rank / len(order):
            last = rank
    kept = set(order[:last])
    return [i in kept for i in range(len(p_values))]
