"""Distributions of prompt and answer lengths in tokens, and their joint draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_NORMAL = NormalDist()


class LengthDistribution(Protocol):
    """Length of one side of a request, whole tokens >= 1."""

    @property
    def mean(self) -> float:
        """Expected tokens."""
        ...

    @property
    def max_tokens(self) -> int:
        """No draw is longer."""
        ...

    def quantile(self, p: float) -> float:
        """Tokens that a fraction ``p`` of requests does not exceed."""
        ...

    def at_scores(self, z: Floats) -> Ints:
        """Tokens [n] at standard-normal scores ``z`` [n]: the door for correlated draws."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Ints:
        """``n`` independent draws."""
        ...


class _Sampled:
    """Drawing through normal scores, common to all distributions."""

    __slots__ = ()

    def at_scores(self, z: Floats) -> Ints:
        raise NotImplementedError

    def sample(self, n: int, rng: np.random.Generator) -> Ints:
        return self.at_scores(rng.standard_normal(n))


@dataclass(frozen=True, slots=True)
class Fixed(_Sampled):
    """Always ``tokens``."""

    tokens: int

    @property
    def mean(self) -> float:
        return float(self.tokens)

    @property
    def max_tokens(self) -> int:
        return self.tokens

    def quantile(self, p: float) -> float:
        return float(self.tokens)

    def at_scores(self, z: Floats) -> Ints:
        return np.full(len(z), self.tokens, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class LogNormal(_Sampled):
    """``p50 * exp(log_sd * z)`` clipped to ``min..max``: p50 and log_sd describe it before clipping."""

    p50: float
    log_sd: float
    min: int
    max: int

    @property
    def mean(self) -> float:
        """Mean after clipping, from the law of the truncated log-normal."""
        if self.log_sd == 0:
            return float(min(max(self.p50, self.min), self.max))
        mu, s = math.log(self.p50), self.log_sd
        low, high = (math.log(self.min) - mu) / s, (math.log(self.max) - mu) / s
        inside = math.exp(mu + s * s / 2) * (_NORMAL.cdf(high - s) - _NORMAL.cdf(low - s))
        return self.min * _NORMAL.cdf(low) + inside + self.max * (1 - _NORMAL.cdf(high))

    @property
    def max_tokens(self) -> int:
        return self.max

    def quantile(self, p: float) -> float:
        z = _NORMAL.inv_cdf(min(max(p, 1e-15), 1 - 1e-15))
        return min(max(self.p50 * math.exp(self.log_sd * z), self.min), self.max)

    def at_scores(self, z: Floats) -> Ints:
        tokens = np.exp(np.minimum(math.log(self.p50) + self.log_sd * z, 40.0))
        return np.asarray(np.rint(np.clip(tokens, self.min, self.max)), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class QuantileTable(_Sampled):
    """Tokens at given fractions; between two knots ``x0 + (x1 - x0) * t**bend``.

    One ``bend`` for the whole table makes its mean the given one: every segment has mean
    ``x0 + (x1 - x0) / (bend + 1)``. 1 is a straight line.
    """

    fractions: tuple[float, ...]
    tokens: tuple[float, ...]
    bend: float = 1.0

    @classmethod
    def through(cls, fractions: Sequence[float], tokens: Sequence[float], mean: float | None = None) -> QuantileTable:
        """Table through the knots. Raises InputError if they fall, lack an upper end, or exclude ``mean``."""
        p, x = list(fractions), list(tokens)
        if len(set(p)) != len(p):
            raise InputError("a quantile is given twice", hint="p0 is min, p100 is max")
        for a, b, pa, pb in zip(x, x[1:], p, p[1:], strict=False):
            if b < a:
                raise InputError(f"quantiles must not fall: {b:g} at p{100 * pb:g} is below {a:g} at p{100 * pa:g}")
        if p[-1] < 1:
            raise InputError("the table has no upper end", hint="add max: the longest length that occurs")
        if p[0] > 0:
            p, x = [0.0, *p], [x[0], *x]
        table = cls(tuple(p), tuple(x))
        return table if mean is None else cls(table.fractions, table.tokens, table._bend_for(mean))

    def corners(self) -> tuple[float, float]:
        """Mean of the lower corners, and weighted sum of the rises."""
        p, x = np.array(self.fractions), np.array(self.tokens)
        w = np.diff(p)
        return float(w @ x[:-1]), float(w @ np.diff(x))

    def _bend_for(self, mean: float) -> float:
        low, rise = self.corners()
        if not low <= mean <= low + rise:
            raise InputError(f"a mean of {mean:g} contradicts the quantiles, which allow {low:.1f} to {low + rise:.1f}",
                             hint="is it the mean of the same requests?")
        tiny = 1e-9 * max(rise, 1.0)
        return rise / max(mean - low, tiny) - 1 if rise > tiny else 1.0

    @property
    def mean(self) -> float:
        low, rise = self.corners()
        return low + rise / (self.bend + 1)

    @property
    def max_tokens(self) -> int:
        return int(self.tokens[-1])

    def quantile(self, p: float) -> float:
        return float(self._at(np.array([min(max(p, 0.0), 1.0)]))[0])

    def at_scores(self, z: Floats) -> Ints:
        return np.maximum(np.rint(self._at(normal_cdf(z))), 1).astype(np.int64)

    def _at(self, u: Floats) -> Floats:
        p, x = np.array(self.fractions), np.array(self.tokens)
        i = np.clip(np.searchsorted(p, u, side="left") - 1, 0, len(p) - 2)
        t = np.clip((u - p[i]) / (p[i + 1] - p[i]), 0.0, 1.0)
        return np.asarray(x[i] + (x[i + 1] - x[i]) * t**self.bend, dtype=np.float64)


@cache
def _cdf_grid() -> tuple[Floats, Floats]:
    z = np.linspace(-8.0, 8.0, 8001)
    return z, np.array([_NORMAL.cdf(v) for v in z.tolist()])


def normal_cdf(z: Any) -> Floats:
    """Standard normal CDF [n], to 1e-7: straight lines through a grid of step 0.002."""
    return np.asarray(np.interp(z, *_cdf_grid()), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class JointLengths:
    """Prompt and answer length of a request, tied by a Gaussian copula."""

    isl: LengthDistribution
    osl: LengthDistribution
    rank_correlation: float = 0.0

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """``n`` pairs (isl, osl). The copula's r is 2 sin(pi rho / 6) for Spearman's rho (Pearson 1907)."""
        r = 2 * math.sin(math.pi * self.rank_correlation / 6)
        z = rng.standard_normal((2, n))
        return self.isl.at_scores(z[0]), self.osl.at_scores(r * z[0] + math.sqrt(max(1 - r * r, 0.0)) * z[1])
