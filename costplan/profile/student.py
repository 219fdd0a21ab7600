"""Student's t distribution: tail probability and quantile, for comparing a handful of runs."""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300


def tail(t: float, df: float) -> float:
    """P(T > t) with ``df`` degrees of freedom."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    half = 0.5 * _incomplete_beta(0.5 * df, 0.5, df / (df + t * t))
    return half if t >= 0 else 1.0 - half


@lru_cache(maxsize=4096)
def quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = ``p``, by bisection."""
    if p < 0.5:
        return -quantile(1.0 - p, df)
    low, high = 0.0, 1.0
    while tail(high, df) > 1.0 - p:
        high *= 2.0
    for _ in range(80):
        mid = 0.5 * (low + high)
        low, high = (mid, high) if tail(mid, df) > 1.0 - p else (low, mid)
    return 0.5 * (low + high)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised I_x(a, b) by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - front * _fraction(b, a, 1.0 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, from the front (Lentz's method)."""
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    out = d
    for m in range(1, 300):
        for term in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                     -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))):
            d = 1.0 / _away(1.0 + term * d)
            c = _away(1.0 + term / c)
            out *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return out


def _away(x: float) -> float:
    """``x``, never so near to zero that its reciprocal overflows."""
    return x if abs(x) > _TINY else _TINY
