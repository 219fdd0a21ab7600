"""From a prepared kernel to timing samples: check, warm up, sample until the median has settled.

The protocol follows nvbench's (cold and batched measurements, a stopping rule on noise) and triton's ``do_bench``
(cache overwritten before each call); docs/measuring.md says what each step guards against.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from costplan.kernels.backend import Prepared
from costplan.kernels.timer.clock import Clock
from costplan.kernels.timer.stats import Settling, Summary, summarise

Sampler = Callable[[], list[float]]


class Regime(StrEnum):
    """``steady``: calls back to back on rotating inputs, from a CUDA graph where there is one: what an engine's
    step sees. ``cold``: single calls after the last-level cache was overwritten."""

    STEADY = "steady"
    COLD = "cold"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one case may take. ``target_width``: of the 95 % interval of the median, over the median."""

    min_samples: int = 20
    min_time_s: float = 0.05
    max_time_s: float = 2.0
    max_samples: int = 5000
    warmup_min_s: float = 0.025
    warmup_max_s: float = 0.5
    sample_s: float = 0.0005
    target_width: float = 0.01


GPU = Limits()
CPU = Limits(min_samples=10, min_time_s=0.05, max_time_s=0.6, warmup_max_s=0.2, target_width=0.02)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Samples in seconds per call, their statistics, and why sampling stopped."""

    regime: Regime
    samples_s: Sequence[float]
    summary: Summary
    stop: str  # settled | not settled: noise | not settled: time | not settled: samples
    calls_per_sample: int
    warmup_s: float


class WrongResultError(Exception):
    """A kernel's output is not what the reference says."""


def check(prepared: Prepared, poison: Callable[[], None]) -> float:
    """Relative error of the first call's output. ``poison`` fills freed memory with NaN first, so that a kernel
    which writes nothing cannot pass on what lay there. Raises WrongResultError above the tolerance."""
    poison()
    error = prepared.error(prepared.calls[0]())
    if not error <= prepared.tolerance:
        raise WrongResultError(f"the result is wrong: relative error {error:.2g}, allowed {prepared.tolerance:.2g}")
    return error


def sample(prepared: Prepared, clock: Clock, regime: Regime, limits: Limits) -> Sampled:
    """Warm up, then sample in one regime until settled, out of time, or out of hope."""
    one_s = _first_call_s(prepared, clock)
    per_sample = 1
    if regime is Regime.STEADY:
        per_sample = max(1, min(1000, round(limits.sample_s / max(one_s, 1e-9))))
        sampler = clock.steady(prepared.calls, per_sample, graph=prepared.graphable)
    else:
        sampler = clock.cold(prepared.calls)
    spent = warm_up(sampler, limits, one_s)
    samples, stop = collect(sampler, limits)
    return Sampled(regime, samples, summarise(samples), stop, per_sample, spent)


def _first_call_s(prepared: Prepared, clock: Clock) -> float:
    """Seconds of one call after another one; every input set is touched once where that is quick."""
    clock.synchronize()
    began = time.perf_counter()
    prepared.calls[0]()
    clock.synchronize()
    one_s = time.perf_counter() - began
    if one_s * len(prepared.calls) < 0.2:
        for call in prepared.calls[1:]:
            call()
    began = time.perf_counter()
    prepared.calls[-1]()
    clock.synchronize()
    return min(one_s, time.perf_counter() - began)


def warm_up(sampler: Sampler, limits: Limits, one_s: float) -> float:
    """Run until three successive batch medians agree within 1 %, within the limits. Returns the seconds spent."""
    began = time.perf_counter()
    medians: list[float] = []
    while True:
        batch: list[float] = []
        batch_began = time.perf_counter()
        while not batch or time.perf_counter() - batch_began < limits.warmup_min_s / 3:
            batch += sampler()
        medians.append(sorted(batch)[len(batch) // 2])
        spent = time.perf_counter() - began
        last = medians[-3:]
        agree = len(last) == 3 and max(last) <= 1.01 * min(last)
        if (agree and spent >= limits.warmup_min_s) or spent >= limits.warmup_max_s:
            return spent


def collect(sampler: Sampler, limits: Limits) -> tuple[list[float], str]:
    """Samples, and why they are enough."""
    settling = Settling(limits.target_width)
    began = time.perf_counter()
    samples: list[float] = []
    next_look = limits.min_samples
    while True:
        samples += sampler()
        spent = time.perf_counter() - began
        if len(samples) >= next_look and spent >= limits.min_time_s:
            seen = summarise(samples)
            if settling.settled(seen):
                return samples, "settled"
            if settling.hopeless(seen):
                return samples, "not settled: noise"
            next_look = len(samples) + max(5, len(samples) // 5)
        if spent >= limits.max_time_s and len(samples) >= 3:
            done = settling.settled(summarise(samples)) and len(samples) >= 5
            return samples, "settled" if done else "not settled: time"
        if len(samples) >= limits.max_samples:
            return samples, "not settled: samples"
