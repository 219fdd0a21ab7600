"""Medians of timing samples, how sure they are, and whether more samples would help."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds: median with its 95 % interval, and the 10th and 90th percentile. ``cv`` is standard deviation / mean."""

    n: int
    median_s: float
    low_s: float
    high_s: float
    p10_s: float
    p90_s: float
    cv: float

    @property
    def width(self) -> float:
        """Width of the median's interval over the median."""
        return (self.high_s - self.low_s) / self.median_s if self.median_s else math.inf


def summarise(samples_s: Sequence[float]) -> Summary:
    """Statistics of at least one sample."""
    x = sorted(samples_s)
    n = len(x)
    low, high = _median_ranks(n)
    mean = sum(x) / n
    variance = sum((v - mean) ** 2 for v in x) / (n - 1) if n > 1 else 0.0
    return Summary(n, quantile(x, 0.5), x[low], x[high], quantile(x, 0.1), quantile(x, 0.9),
                   math.sqrt(variance) / mean if mean else 0.0)


def quantile(ordered: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan 1996, type 7)."""
    at = (len(ordered) - 1) * q
    i = int(at)
    if i + 1 >= len(ordered):
        return ordered[-1]
    return ordered[i] + (at - i) * (ordered[i + 1] - ordered[i])


@lru_cache(maxsize=4096)
def _median_ranks(n: int, level: float = 0.95) -> tuple[int, int]:
    """Ranks (from 0) of the order statistics that enclose the median with at least ``level`` probability, whatever
    the distribution: P(X(l) <= median <= X(u)) = sum of Binomial(n, 1/2) (David and Nagaraja 2003, 7.1). The whole
    range where n is too small for that."""
    tail, cumulated, rank = (1.0 - level) / 2.0, 0.0, 0
    for k in range(n // 2):
        cumulated += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        if cumulated > tail:
            break
        rank = k + 1
    low = max(0, rank - 1)
    return low, n - 1 - low


class Settling:
    """Decides when a median is known well enough, or when more samples stop helping."""

    def __init__(self, target_width: float = 0.01, target_cv: float = 0.005, patience: int = 6) -> None:
        self.target_width = target_width
        self.target_cv = target_cv
        self.patience = patience
        self._best = math.inf
        self._stale = 0

    def settled(self, s: Summary) -> bool:
        """The interval of the median is narrow, or the samples scatter so little that it must be."""
        return s.width < self.target_width or s.cv < self.target_cv

    def hopeless(self, s: Summary) -> bool:
        """The interval has not become narrower by 5 % in the last ``patience`` looks."""
        if s.width < 0.95 * self._best:
            self._best, self._stale = s.width, 0
        else:
            self._stale += 1
        return self._stale >= self.patience
