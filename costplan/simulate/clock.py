"""The simulator's clock: whole ticks of 10 ps, so that both engines add up the same numbers exactly."""

from __future__ import annotations

TICKS_PER_S = 10**11
MAX_TICKS = 2**62
"""1.46 years; a run that would last longer is refused."""


def ticks(seconds: float) -> int:
    """Nearest whole tick."""
    return round(seconds * TICKS_PER_S)


HISTOGRAM_BITS = 5
HISTOGRAM_BINS = 64 << HISTOGRAM_BITS


def gap_bin(gap: int) -> int:
    """Histogram bin of a gap in ticks: 32 bins per octave (2 % wide), exact below 64 ticks."""
    shift = max(0, gap.bit_length() - 1 - HISTOGRAM_BITS)
    return (shift << HISTOGRAM_BITS) + (gap >> shift)


def bin_ticks(index: int) -> int:
    """Lowest gap in ticks of bin ``index``."""
    half = 1 << HISTOGRAM_BITS
    if index < 2 * half:
        return index
    shift = (index >> HISTOGRAM_BITS) - 1
    return (half + (index & (half - 1))) << shift
