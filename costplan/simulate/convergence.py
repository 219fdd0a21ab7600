"""When has a run forgotten its start, and how sure are its means?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BATCHES = 20
_T_19 = 2.093
"""Student's t, 19 degrees of freedom, two-sided 95 %."""
_ENOUGH = 0.10


def mser5(series: Floats) -> int:
    """Observations to cut from the start: MSER-5 (White, Cobb and Spratt, Winter Simulation Conference 2000).

    Means of five; the cut with the smallest squared standard error of what remains, at most half of the series.
    """
    count = len(series) // 5
    if count < 4:
        return 0
    means = series[:5 * count].reshape(count, 5).mean(axis=1)
    means = means - means.mean()
    left = np.arange(count, 0, -1, dtype=np.float64)
    total = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum((means * means)[::-1])[::-1]
    score = (squares - total * total / left) / (left * left)
    return 5 * int(np.argmin(score[:count // 2 + 1]))


@dataclass(frozen=True, slots=True)
class Convergence:
    """``relative_half_width`` of the 95 % interval of the mean, None for too few requests or a mean of zero;
    ``lag1`` is the correlation of neighbouring batch means: near 1 where the series still drifts."""

    relative_half_width: float | None
    lag1: float | None

    @property
    def converged(self) -> bool:
        """The mean is known to 10 %."""
        return self.relative_half_width is not None and self.relative_half_width <= _ENOUGH


def batch_means(series: Floats) -> Convergence:
    """Precision of the mean of a correlated series from 20 batches (Law, Simulation Modeling and Analysis, 9.5.3)."""
    size = len(series) // BATCHES
    if size < 5:
        return Convergence(None, None)
    means = series[len(series) - BATCHES * size:].reshape(BATCHES, size).mean(axis=1)
    mean = float(means.mean())
    if mean == 0.0:
        return Convergence(None, None)
    around = means - mean
    variance = float((around * around).sum())
    lag1 = float((around[1:] * around[:-1]).sum()) / variance if variance else 0.0
    half = _T_19 * math.sqrt(variance / (BATCHES - 1) / BATCHES)
    return Convergence(half / abs(mean), lag1)
