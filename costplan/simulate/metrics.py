"""From the times of every request to what is reported: percentiles, throughput, goodput, utilisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import InputError
from costplan.simulate.clock import TICKS_PER_S, bin_ticks
from costplan.simulate.convergence import Convergence, batch_means, mser5
from costplan.simulate.result import SimulationResult
from costplan.workload.workload import Metric, Slo, SloTarget

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, percentiles and maximum of one latency in seconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class TargetMet:
    """One SLO target and the value that the run gave for it (None: no request has this metric)."""

    target: SloTarget
    value_s: float | None

    @property
    def met(self) -> bool:
        return self.value_s is None or self.value_s <= self.target.limit_s


@dataclass(frozen=True, slots=True)
class Summary:
    """One run. Latencies and rates are over the ``requests`` after the first ``warmup_requests``; utilisation,
    gaps (``itl``) and counts are over the whole run.

    ``goodput_per_s`` counts requests within all limits of the SLO, ``attainment`` is their share. ``busy_share``
    of the time steps ran; ``mean_running`` sequences in the engine while it was busy; ``kv_mean kv_peak`` parts
    of the KV pool. ``hit_rate`` is the part of prompt tokens found in the cache. ``achieved_over_offered`` is
    below 1 where the engine falls behind its arrivals; None for closed loops.
    """

    requests: int
    warmup_requests: int
    refused: int
    duration_s: float
    requests_per_s: float
    input_tok_s: float
    output_tok_s: float
    queue: Spread
    ttft: Spread
    tpot: Spread | None
    itl: Spread | None
    e2e: Spread
    goodput_per_s: float | None
    attainment: float | None
    targets: tuple[TargetMet, ...]
    busy_share: float
    mean_running: float
    mean_decode_batch: float
    kv_mean: float
    kv_peak: float
    preemptions: int
    hit_rate: float
    achieved_over_offered: float | None
    convergence: Convergence

    @property
    def slo_met(self) -> bool:
        """Every target holds and nothing was refused."""
        return not self.refused and all(t.met for t in self.targets)


def summarise(result: SimulationResult, *, warmup: float | str = 0.0) -> Summary:
    """Metrics of ``result``; ``warmup`` is the part of requests to leave out at the start, or ``"mser5"``.

    Raises InputError if no request ran.
    """
    n = len(result)
    if not n:
        reasons = "; ".join(result.refusals)
        raise InputError("every request was refused", hint=reasons or None)
    e2e = result.e2e_s
    cut = _cut(warmup, e2e)
    keep = slice(cut, None)
    ttft, tpot, long = result.ttft_s[keep], result.tpot_s[keep], result.has_tpot[keep]
    sent, finish = result.sent_s[keep], result.finish_s[keep]
    duration = max(float(finish.max()) - float(sent.min()), 1.0 / TICKS_PER_S)
    good = _within(result, keep) if result.slo and result.slo.targets else None
    itl = _gaps(result)
    c, lim = result.tally.counters, result.setup.limits
    busy = max(1, c["busy_ticks"])
    return Summary(
        requests=n - cut, warmup_requests=cut, refused=int((result.setup.refused != 0).sum()), duration_s=duration,
        requests_per_s=(n - cut) / duration, input_tok_s=float(result.setup.isl[keep].sum()) / duration,
        output_tok_s=float(result.setup.answer_tokens[keep].sum()) / duration, queue=_spread(result.queue_s[keep]),
        ttft=_spread(ttft), tpot=_spread(tpot[long]) if long.any() else None, itl=itl, e2e=_spread(e2e[keep]),
        goodput_per_s=None if good is None else float(good.sum()) / duration,
        attainment=None if good is None else float(good.mean()), targets=_targets(result, keep),
        busy_share=c["busy_ticks"] / max(1, c["end_ticks"]), mean_running=result.tally.running_area / busy,
        mean_decode_batch=c["decode_tokens"] / max(1, c["decode_steps"]),
        kv_mean=result.tally.held_area / busy / lim.capacity_tokens, kv_peak=c["peak_blocks"] / lim.num_blocks,
        preemptions=c["preemptions"], hit_rate=c["hit_tokens"] / max(1, c["prompt_tokens"]),
        achieved_over_offered=_achieved(result), convergence=batch_means(e2e[keep]))


def _cut(warmup: float | str, series: Floats) -> int:
    if warmup == "mser5":
        return mser5(series)
    if isinstance(warmup, str) or not 0.0 <= warmup < 1.0:
        raise InputError(f"warmup must be 'mser5' or a part in [0, 1), got {warmup!r}", where="warmup")
    return int(warmup * len(series))


def _spread(values: Floats) -> Spread:
    p50, p90, p95, p99 = (float(x) for x in np.quantile(values, (0.5, 0.9, 0.95, 0.99)))
    return Spread(float(values.mean()), p50, p90, p95, p99, float(values.max()))


def _gaps(result: SimulationResult) -> Spread | None:
    """Of all gaps of the run; percentiles are within 2 % (histogram)."""
    counts = result.tally.gaps
    total = int(counts.sum())
    if not total:
        return None
    below = np.cumsum(counts)
    total_s = float(((result.finish_s - result.ttft_s) - result.sent_s).sum())
    p50, p90, p95, p99 = (_bin_middle_s(int(np.searchsorted(below, q * total))) for q in (0.5, 0.9, 0.95, 0.99))
    return Spread(max(0.0, total_s) / total, p50, p90, p95, p99, float(result.max_itl_s.max()))


def _gap_quantile_s(result: SimulationResult, q: float) -> float | None:
    counts = result.tally.gaps
    total = int(counts.sum())
    return _bin_middle_s(int(np.searchsorted(np.cumsum(counts), q * total))) if total else None


def _bin_middle_s(index: int) -> float:
    return (bin_ticks(index) + bin_ticks(index + 1)) / 2 / TICKS_PER_S


def _metric(result: SimulationResult, metric: Metric) -> Floats:
    """Value per request that an SLO judges; for ITL the longest gap."""
    by_metric = {Metric.TTFT: "ttft_s", Metric.TPOT: "tpot_s", Metric.ITL: "max_itl_s", Metric.E2E: "e2e_s"}
    return np.asarray(getattr(result, by_metric[metric]))


def _within(result: SimulationResult, keep: slice) -> Bools:
    """Which requests keep every limit: for each metric that of its highest percentile."""
    slo = result.slo or Slo()
    good = np.ones(len(result), dtype=bool)
    for metric in Metric:
        limit = slo.limit_s(metric)
        if limit is not None:
            good &= _metric(result, metric) <= limit
    return good[keep]


def _targets(result: SimulationResult, keep: slice) -> tuple[TargetMet, ...]:
    out = []
    for target in (result.slo or Slo()).targets:
        if target.metric is Metric.ITL:
            out.append(TargetMet(target, _gap_quantile_s(result, target.percentile)))
            continue
        values = _metric(result, target.metric)[keep]
        if target.metric is Metric.TPOT:
            values = values[result.has_tpot[keep]]
        out.append(TargetMet(target, float(np.quantile(values, target.percentile)) if len(values) else None))
    return tuple(out)


def _achieved(result: SimulationResult) -> float | None:
    """Time in which requests came over time in which they went."""
    if result.setup.concurrency:
        return None
    last = float(result.sent_s[-1])
    return last / result.duration_s if last > 0 and len(result) > 1 else None
