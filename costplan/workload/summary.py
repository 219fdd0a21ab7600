"""What is in a trace, as numbers: rates, burstiness, lengths, correlation, prefix sharing, histograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.workload.sharing import SharingCurve, sharing_curve
from costplan.workload.trace import Trace

CACHE_BLOCKS = (1_000, 5_000, 20_000, 50_000)


@dataclass(frozen=True, slots=True)
class LengthSummary:
    """Tokens per request, one side. ``bins``: (from, below, requests), doubling."""

    mean: float
    min: int
    p50: float
    p90: float
    p95: float
    p99: float
    max: int
    total: int
    bins: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """Arrivals. ``interarrival_cv`` is 1 for Poisson; ``equal_times`` the part of gaps that are exactly 0.

    ``clock_tick_s`` is the step of a coarse clock, None where times are fine. ``burstiness`` is the gamma
    shape that fits the gaps (see `burstiness`); None where gaps do not tell.
    """

    span_s: float
    requests_per_s: float
    input_tok_s: float
    output_tok_s: float
    peak_1min_over_mean: float | None
    interarrival_cv: float | None
    equal_times: float
    clock_tick_s: float | None
    burstiness: float | None


@dataclass(frozen=True, slots=True)
class PrefixSummary:
    """Prefix sharing in replay order: part of input tokens found by an LRU cache of so many blocks."""

    block_tokens: int
    total_blocks: int
    unique_blocks: int
    requests_hit: float
    hit_rate_unlimited: float
    hit_rate_by_cache_blocks: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """Everything that ``workload show`` prints about requests. None: the source does not tell."""

    source: str
    format: str
    requests: int
    dropped: Mapping[str, int]
    isl: LengthSummary
    osl: LengthSummary
    correlation: float | None
    rank_correlation: float | None
    load: LoadSummary | None
    prefix: PrefixSummary | None


def summarise(trace: Trace) -> TraceSummary:
    """Summary of all requests of ``trace``."""
    prefix = curve_of(trace)
    return TraceSummary(
        trace.source, trace.format, len(trace), trace.dropped, length_summary(trace.isl), length_summary(trace.osl),
        _correlation(trace.isl, trace.osl), _correlation(ranks(trace.isl), ranks(trace.osl)),
        load_summary(trace), None if prefix is None else prefix_summary(prefix, len(trace)))


def length_summary(tokens: NDArray[np.int64]) -> LengthSummary:
    """Mean, quantiles (linear between order statistics) and doubling histogram of ``tokens`` [n]."""
    p50, p90, p95, p99 = (float(q) for q in np.quantile(tokens, [0.5, 0.9, 0.95, 0.99]))
    return LengthSummary(float(tokens.mean()), int(tokens.min()), p50, p90, p95, p99, int(tokens.max()),
                         int(tokens.sum()), _bins(tokens))


def _bins(tokens: NDArray[np.int64]) -> tuple[tuple[int, int, int], ...]:
    octave = np.frexp(tokens.astype(np.float64))[1] - 1  # floor(log2), exact
    first, counts = int(octave.min()), np.bincount(octave - octave.min())
    return tuple((2 ** (first + k), 2 ** (first + k + 1), int(c)) for k, c in enumerate(counts))


def load_summary(trace: Trace) -> LoadSummary | None:
    """Rates and burstiness; None for a trace without times, or all at one instant."""
    if trace.arrival_s is None or not trace.span_s:
        return None
    t, span = trace.arrival_s, float(trace.span_s)
    gaps = np.diff(t)
    per_minute = np.bincount((t // 60).astype(np.int64)) if span < 1e8 else None
    peak = None if per_minute is None or span < 60 else float(per_minute.max() / (len(t) / span * 60))
    return LoadSummary(span, len(t) / span, float(trace.isl.sum()) / span, float(trace.osl.sum()) / span, peak,
                       float(gaps.std() / gaps.mean()), float((gaps == 0).mean()), clock_tick_s(gaps), burstiness(t))


def burstiness(arrival_s: NDArray[np.float64]) -> float | None:
    """Gamma shape of the gaps, as vLLM's burstiness: 1 / min(CV^2 of gaps, dispersion of counts).

    For a gamma renewal process both agree. CV^2 alone is inflated by coarse clocks and by pauses; the
    variance-to-mean ratio of counts (here in windows of 10 mean gaps, or 3 clock ticks) by a drifting rate.
    At most 1,000 (clockwork); None below 100 requests.
    """
    gaps = np.diff(arrival_s)
    if len(gaps) < 100 or gaps.mean() <= 0:
        return None
    window = max(10 * float(gaps.mean()), 3 * (clock_tick_s(gaps) or 0.0))
    dispersion = float(gaps.var() / gaps.mean() ** 2)
    if arrival_s[-1] / window < 1e8:
        counts = np.bincount((arrival_s // window).astype(np.int64))[:-1]
        if len(counts) >= 20:
            dispersion = min(dispersion, float(counts.var() / counts.mean()))
    return 1 / max(dispersion, 1e-3)


def clock_tick_s(gaps: NDArray[np.float64]) -> float | None:
    """Step of the clock where many gaps are 0 and the others hardly ever smaller than one step."""
    positive = gaps[gaps > 0]
    if len(positive) == 0 or (gaps == 0).mean() <= 0.2:
        return None
    low, tick = (float(q) for q in np.quantile(positive, [0.01, 0.1]))
    return tick if low > tick / 2 else None


def curve_of(trace: Trace) -> SharingCurve | None:
    """LRU curve of the trace; None where it holds no prefix ids."""
    if trace.hash_ids is None or trace.hash_offsets is None or not trace.block_tokens or not len(trace.hash_ids):
        return None
    return sharing_curve(trace.hash_ids, trace.hash_offsets, trace.isl, trace.block_tokens)


def prefix_summary(curve: SharingCurve, requests: int) -> PrefixSummary:
    """The curve at the usual cache sizes."""
    return PrefixSummary(curve.block_tokens, curve.total_blocks, curve.unique_blocks, curve.requests_hit / requests,
                         curve.hit_rate(), tuple(curve.curve(CACHE_BLOCKS)))


def ranks(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ranks [n], ties at their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=np.float64)


def _correlation(x: NDArray[np.generic], y: NDArray[np.generic]) -> float | None:
    a, b = x.astype(np.float64), y.astype(np.float64)
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
