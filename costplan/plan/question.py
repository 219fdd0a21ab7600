"""What a plan has to answer: the workload with its model found, its limits read and its requests drawn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from costplan.catalog.model_spec import ModelSpec
from costplan.catalog.models import model as find_model
from costplan.core.errors import InputError
from costplan.core.rng import stream
from costplan.perf.drafter import draft_spec
from costplan.perf.drafting import Drafting
from costplan.simulate.requests import SimRequests, from_workload
from costplan.workload.arrivals import ClosedLoop, GammaArrivals, TraceArrivals
from costplan.workload.requests import sample_requests
from costplan.workload.sharing import SharingCurve
from costplan.workload.summary import curve_of
from costplan.workload.trace import Trace
from costplan.workload.workload import Metric, SloTarget, Workload

PERCENTILES = (0.5, 0.9, 0.95, 0.99)
SHAPE_SAMPLE = 4000
"""Requests drawn to describe lengths and sharing; enough for a mean within about 2 %."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Lengths of the workload in tokens: its own means and longest request, and a sample of (isl, osl)."""

    mean_isl: float
    mean_osl: float
    max_tokens: int
    lengths: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One planning problem. ``rate`` is the mean requests/s (None: closed loop of ``concurrency``)."""

    workload: Workload
    spec: ModelSpec
    seed: int
    rate: float | None
    peak_rate: float | None
    concurrency: int | None
    shape: Shape
    sharing: SharingCurve | None
    targets: tuple[SloTarget, ...]
    _kept: dict[tuple[int, int], SimRequests] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        return self.concurrency is not None

    @property
    def draftings(self) -> tuple[Drafting, ...]:
        """Speculative decoding to try: none where single gaps are limited, for drafts bunch them."""
        s = self.workload.speculative
        if s is None or any(t.metric is Metric.ITL for t in self.targets):
            return ()
        return tuple(Drafting(s.draft, s.acceptance, k, s.acceptance_spread, checkpoint=s.checkpoint)
                     for k in s.draft_tokens)

    def fractions(self, metric: Metric) -> tuple[float, ...]:
        """Percentiles to report for one metric: the usual ones and those of the limits."""
        return tuple(sorted({*PERCENTILES, *(t.percentile for t in self.targets if t.metric is metric)}))

    def requests(self, replicas: int, n: int) -> SimRequests:
        """``n`` requests as one of ``replicas`` sees them, at its part of the mean rate.

        The same ``n`` and ``replicas`` give the same requests: common random numbers for every candidate.
        Above 8 ``replicas`` are rounded down to a power of two, so that close fleets share a sample.
        """
        parts = parts_for(replicas)
        key = (parts, n)
        if key not in self._kept:
            priorities = [t.priority for t in self.workload.tenants]
            drawn = sample_requests(part_of(self.workload, parts, self.seed), n, self.seed)
            self._kept[key] = from_workload(drawn, priorities)
        return self._kept[key]

    def rate_of(self, replicas: int) -> float:
        """Mean rate of the requests that `requests` gives for so many replicas."""
        if self.rate is None:
            raise InputError("a closed loop has no rate")
        return self.rate / parts_for(replicas)


def parts_for(replicas: int) -> int:
    """Parts that a stream is split into for so many replicas: never more, as fewer are burstier."""
    return max(1, replicas) if replicas <= 8 else 1 << (replicas.bit_length() - 1)


def question(workload: Workload, seed: int, model: str | None = None) -> Question:
    """Find the model and describe the requests. Raises InputError where no model is named, or cannot be drafted for."""
    name = model or (str(workload.model_path) if workload.model_path else workload.model)
    if name is None:
        raise InputError("the workload names no model", hint="add `model:` or give --model")
    spec = find_model(name, where="model")
    if workload.speculative is not None:
        try:
            draft_spec(spec, workload.speculative.draft)
        except InputError as e:
            raise InputError(e.message, where="speculative.draft", hint=e.hint) from None
    drawn = sample_requests(workload, SHAPE_SAMPLE, seed)
    pairs = tuple(zip(drawn.isl[:500].tolist(), drawn.osl[:500].tolist(), strict=True))
    shape = Shape(workload.mean_isl, workload.mean_osl, _max_tokens(workload, drawn.isl + drawn.osl), pairs)
    return Question(
        workload, spec, seed, workload.requests_per_s, workload.peak_requests_per_s,
        workload.arrivals.concurrency, shape, curve_of(drawn.as_trace("workload")), workload.slo.targets)


def _max_tokens(workload: Workload, sampled: np.ndarray) -> int:
    """Longest request: of the whole trace, or of the distributions' upper ends."""
    if workload.lengths is not None:
        return workload.lengths.isl.max_tokens + workload.lengths.osl.max_tokens
    if workload.trace is not None:
        return int((workload.trace.isl + workload.trace.osl).max())
    return int(sampled.max())


def part_of(workload: Workload, parts: int, seed: int) -> Workload:
    """The workload as one of ``parts`` equal replicas sees it, with requests spread at random by conversation.

    Splitting a stream of gap variance cv^2 at random leaves 1 + (cv^2 - 1) / parts (thinned renewal process).
    """
    if parts == 1:
        return workload
    arrivals = workload.arrivals
    if isinstance(arrivals, ClosedLoop):
        return replace(workload, arrivals=ClosedLoop(max(1, round(arrivals.n / parts))))
    if isinstance(arrivals, GammaArrivals):
        squared_cv = 1 + (1 / arrivals.burstiness - 1) / parts
        return replace(workload, arrivals=GammaArrivals(arrivals.requests_per_s / parts, 1 / squared_cv))
    if isinstance(arrivals, TraceArrivals):
        return _thinned(workload, arrivals, parts, seed)
    raise InputError(f"unknown arrivals {type(arrivals).__name__}")


def _thinned(workload: Workload, arrivals: TraceArrivals, parts: int, seed: int) -> Workload:
    """Every conversation of a trace goes to one replica; this keeps those of the first."""
    n = len(arrivals.arrival_s)
    trace = workload.trace
    aligned = trace is not None and len(trace) == n
    key = _conversations(trace) if trace is not None and aligned else np.arange(n)
    chosen = stream(seed, "plan.routing").random(int(key.max()) + 1)[key] < 1 / parts
    if chosen.sum() < 2:
        chosen[:2] = True
    span = float(arrivals.arrival_s[-1] - arrivals.arrival_s[0])
    times = arrivals.arrival_s[chosen] - arrivals.arrival_s[0]
    # the same span, so that the mean rate is 1 / parts of the whole
    kept = float(chosen.mean()) * parts
    scaled = TraceArrivals(times, arrivals.speedup / max(kept, 1e-9)) if span > 0 else arrivals
    if not aligned or trace is None:
        return replace(workload, arrivals=scaled)
    return replace(workload, arrivals=scaled, trace=_subset(trace, chosen))


def _conversations(trace: Trace) -> np.ndarray:
    """Conversation of each request: that of its deepest leading block that few requests share."""
    n = len(trace)
    if trace.hash_ids is None or trace.hash_offsets is None or not len(trace.hash_ids):
        return np.arange(n)
    ids, inverse, uses = np.unique(trace.hash_ids, return_inverse=True, return_counts=True)
    common = uses > max(8, n // 50)
    key = np.empty(n, dtype=np.int64)
    for i, (start, end) in enumerate(zip(trace.hash_offsets[:-1].tolist(), trace.hash_offsets[1:].tolist(),
                                         strict=True)):
        own = inverse[start:end]
        rare = np.flatnonzero(~common[own])
        key[i] = own[rare[0]] if len(rare) else len(ids) + i
    return np.unique(key, return_inverse=True)[1]


def _subset(trace: Trace, chosen: np.ndarray) -> Trace:
    times = None if trace.arrival_s is None else trace.arrival_s[chosen] - trace.arrival_s[chosen][0]
    if trace.hash_ids is None or trace.hash_offsets is None:
        return replace(trace, arrival_s=times, isl=trace.isl[chosen], osl=trace.osl[chosen])
    counts = np.diff(trace.hash_offsets)
    keep = np.repeat(chosen, counts)
    offsets = np.concatenate([[0], np.cumsum(counts[chosen])]).astype(np.int64)
    return replace(trace, arrival_s=times, isl=trace.isl[chosen], osl=trace.osl[chosen],
                   hash_ids=trace.hash_ids[keep], hash_offsets=offsets)
