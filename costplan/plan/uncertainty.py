"""How far a plan may be off: errors of kernels and of the engine's residual, carried to capacity and money.

A factor f on every step time needs no other table: with arrivals f times as fast and limits f times as tight,
the run is the same. So capacity(f) with limit L is capacity(1) with limit L / f, over f.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from costplan.core.evidence import Z50, Z90, Evidence, worst
from costplan.perf.latency import KernelLatencyModel, StepTime
from costplan.perf.residual import residual
from costplan.perf.steady import LoadKind
from costplan.plan.fleet import Draft, Sizer
from costplan.plan.outcome import Outcome
from costplan.workload.workload import Metric, SloTarget

_NORMAL = NormalDist()
NODES = 9
"""Equally likely step-time factors at which the chance to meet the limits is computed."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors (standard deviations of ln) and evidence of one plan's step times.

    ``step`` is shared by everything, ``ttft`` comes on top of it for first tokens.
    """

    step: float
    ttft: float
    evidence: Evidence
    shares: dict[Evidence, float]
    decode: StepTime
    prefill: StepTime

    def of(self, metric: Metric) -> float:
        """Relative error of one latency."""
        return math.hypot(self.step, self.ttft) if metric is Metric.TTFT else self.step


def errors(model: KernelLatencyModel, run: Outcome, load: LoadKind, *, seen: bool) -> Errors:
    """Errors of the steps that a run really took; ``seen``: this model's runs on this GPU were fitted on."""
    decode, prefill = model.step(run.decode_step), model.step(run.prefill_step)
    weight = (decode.seconds * run.decode_steps, prefill.seconds * run.prefill_steps)
    first = weight[1] / max(1e-12, sum(weight))
    evidence = worst((decode.evidence, prefill.evidence))
    shares = {e: first * prefill.shares.get(e, 0.0) + (1 - first) * decode.shares.get(e, 0.0)
              for e in {*decode.shares, *prefill.shares}}
    kernels = math.hypot((1 - first) * decode.log_sd, first * prefill.log_sd)
    surer = model.narrowing
    step = math.hypot(kernels, residual("output_tok_s", evidence).log_sd) * surer.get("step", 1.0)
    whole = math.hypot(prefill.log_sd, residual("ttft", prefill.evidence).log_sd) * surer.get("ttft", 1.0)
    return Errors(step, math.sqrt(max(0.0, whole * whole - step * step)), evidence, shares, decode, prefill)


@dataclass(frozen=True, slots=True)
class CapacityAt:
    """Requests/s of one replica at the 5 %, 25 %, 75 % and 95 % quantiles of its uncertainty; 0: none."""

    p5: float
    p25: float
    p75: float
    p95: float

    def log_sd(self, middle: float, fallback: float) -> float:
        """Spread of ln capacity, from whichever ends exist."""
        if self.p5 > 0 and self.p95 > 0:
            return math.log(self.p95 / self.p5) / (2 * Z90)
        return math.log(self.p95 / middle) / Z90 if self.p95 > middle > 0 else fallback


def capacity_at(sizer: Sizer, draft: Draft, log_sd: float) -> CapacityAt:
    """Capacity when all steps are slower or faster, with the same requests; quartiles on a log scale between."""
    c = draft.candidate
    if sizer.question.closed:
        return CapacityAt(*(draft.capacity * math.exp(z * log_sd) for z in (-Z90, -Z50, Z50, Z90)))

    def at(z: float) -> float:
        slower = math.exp(-z * log_sd)
        return sizer.capacity(c, draft.capacity / slower, draft.active, slower=slower)

    low, high, middle = at(-Z90), max(draft.capacity, at(Z90)), draft.capacity
    inner = Z50 / Z90
    p25 = middle * (min(low, middle) / middle) ** inner if low > 0 else min(middle, at(-Z50))
    return CapacityAt(min(low, middle), p25, middle * (high / middle) ** inner, high)


@dataclass(frozen=True, slots=True)
class Chances:
    """Chance that each limit holds at the planned load, and that all do."""

    each: tuple[float, ...]
    all: float


def chances(sizer: Sizer, draft: Draft, targets: tuple[SloTarget, ...], load: float, err: Errors) -> Chances:
    """Average over equally likely step-time factors; the error of TTFT alone is integrated out."""
    c, q = draft.candidate, sizer.question
    each, both = [0.0] * len(targets), 0.0
    for i in range(NODES):
        slower = math.exp(err.step * _NORMAL.inv_cdf((i + 0.5) / NODES))
        run = (sizer.evaluator.at_concurrency(c, math.ceil(load)) if q.closed
               else sizer.evaluator.at_rate(c, load * slower, draft.active))
        odds = [_odds(run, t, slower, err) for t in targets]
        keeps_up = 1.0 if run.stable and not run.refused else 0.0
        each = [a + o / NODES for a, o in zip(each, odds, strict=True)]
        both += keeps_up * min(odds, default=1.0) / NODES
    return Chances(tuple(min(1.0, x) for x in each), min(1.0, both))


def _odds(run: Outcome, t: SloTarget, slower: float, err: Errors) -> float:
    """Chance that one limit holds, given the factor on step times."""
    value = slower * run.at(t.metric, t.percentile)
    if t.metric is not Metric.TTFT or err.ttft <= 0 or value <= 0:
        return float(value <= t.limit_s)
    return _NORMAL.cdf(math.log(t.limit_s / value) / err.ttft)
