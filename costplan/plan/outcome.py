"""What one simulated replica does under one load, and whether that keeps the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costplan.perf.batch import BatchState
from costplan.plan.types import Binding
from costplan.simulate.clock import TICKS_PER_S, bin_ticks
from costplan.simulate.result import SimulationResult
from costplan.simulate.tally import Tally
from costplan.workload.workload import Metric, SloTarget

Floats = NDArray[np.float64]

WARM_UP = 0.1
COOL_DOWN = 0.05
"""Parts of the requests left out at both ends: the engine fills up and drains there."""

BACKLOG_GROWTH = 0.03
"""A queue whose delay grows by more of the elapsed time means that requests come faster than they are served."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One run. ``seconds`` holds latencies by metric (``itl``: midpoints of the gaps and their counts).

    ``output_tok_s`` and ``requests_per_s`` are of one replica. ``growth`` is the growth of delay per second.
    """

    offered_per_s: float | None
    requests_per_s: float
    output_tok_s: float
    seconds: Mapping[Metric, Floats]
    gaps: tuple[Floats, Floats]
    goodput: float
    refused: int
    growth: float
    busy: float
    occupancy: float
    peak_running: int
    preemptions_per_request: float
    hit_rate: float
    decode_step: BatchState
    prefill_step: BatchState
    n: int
    decode_steps: int
    prefill_steps: int
    _sorted: dict[Metric, Floats] = field(default_factory=dict)

    def at(self, metric: Metric, fraction: float) -> float:
        """Seconds that ``fraction`` of requests (itl: of gaps) do not exceed; 0 where there are none."""
        if metric is Metric.ITL:
            seconds, counts = self.gaps
            if not len(seconds):
                return 0.0
            return float(seconds[min(int(np.searchsorted(counts, fraction * counts[-1])), len(seconds) - 1)])
        values = self._sorted.get(metric)
        if values is None:
            values = self._sorted[metric] = np.sort(self.seconds[metric])
        if not len(values):
            return 0.0
        place = fraction * (len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        return float(values[low] + (place - low) * (values[high] - values[low]))

    def mean(self, metric: Metric) -> float:
        """Mean seconds."""
        if metric is Metric.ITL:
            seconds, counts = self.gaps
            weights = np.diff(counts, prepend=0.0)
            return float((seconds * weights).sum() / weights.sum()) if len(seconds) else 0.0
        return float(self.seconds[metric].mean()) if len(self.seconds[metric]) else 0.0

    @property
    def stable(self) -> bool:
        """Whether the replica keeps up: a closed loop always does."""
        return self.offered_per_s is None or self.growth <= BACKLOG_GROWTH

    def broken(self, targets: Sequence[SloTarget], slower: float = 1.0) -> Binding | None:
        """The limit that fails first when every step takes ``slower`` times as long; None where all hold."""
        if self.refused:
            return Binding.KV
        worst, worst_ratio = self.tightest(targets, slower)
        if worst_ratio > 1:
            return worst
        return None if self.stable else Binding.THROUGHPUT

    def tightest(self, targets: Sequence[SloTarget], slower: float = 1.0) -> tuple[Binding, float]:
        """The limit nearest to failing, and its value over the limit."""
        ratios = [(slower * self.at(t.metric, t.percentile) / t.limit_s, Binding(t.metric.value)) for t in targets]
        ratio, binding = max(ratios, key=lambda r: r[0], default=(0.0, Binding.THROUGHPUT))
        return binding, ratio


def outcome(result: SimulationResult, targets: Sequence[SloTarget], offered_per_s: float | None,
            window: slice | None = None) -> Outcome:
    """Read a run: latencies are of the requests in ``window``, or of all outside warm-up and cool-down."""
    n, c = len(result), result.tally.counters
    window = window or slice(int(n * WARM_UP), max(int(n * WARM_UP) + 1, int(n * (1 - COOL_DOWN))))
    sent, finish, ttft, e2e = (x[window] for x in (result.sent_s, result.finish_s, result.ttft_s, result.e2e_s))
    tpot, several, osl = result.tpot_s[window], result.has_tpot[window], result.setup.answer_tokens[window]
    rate = _rate(sent, finish, offered_per_s)
    by_metric = {Metric.TTFT: ttft, Metric.E2E: e2e, Metric.TPOT: tpot, Metric.ITL: result.max_itl_s[window]}
    first = float(result.tally.arrival.min()) if n else 0.0
    return Outcome(
        offered_per_s, rate, rate * float(osl.mean()) if n else 0.0,
        {Metric.TTFT: ttft, Metric.E2E: e2e, Metric.TPOT: tpot[several]},
        _gaps(result.tally), _good(targets, by_metric), int((result.setup.refused != 0).sum()), _growth(sent, e2e),
        c["busy_ticks"] / max(1.0, c["end_ticks"] - first), c["peak_blocks"] / result.setup.limits.num_blocks,
        c["peak_running"], c["preemptions"] / max(1, n), c["hit_tokens"] / max(1, c["prompt_tokens"]),
        result.decode_step or BatchState(), result.prefill_step or BatchState(), n,
        c["decode_steps"], c["prefill_steps"])


def _rate(arrival: Floats, finish: Floats, offered_per_s: float | None) -> float:
    """Requests/s served: those offered (open loop), or finished per second within the window (closed loop)."""
    if offered_per_s is not None:
        return offered_per_s
    ends = np.sort(finish)
    if len(ends) < 3 or ends[-1] <= ends[0]:
        return 1.0 / max(1e-9, float((finish - arrival).mean())) if len(ends) else 0.0
    low, high = int(0.02 * len(ends)), int(0.9 * (len(ends) - 1))
    return float((high - low) / (ends[high] - ends[low])) if ends[high] > ends[low] else 0.0


def _good(targets: Sequence[SloTarget], values: Mapping[Metric, Floats]) -> float:
    """Part of the requests that keep every limit by themselves: at the limit of the highest percentile."""
    ok = np.ones(len(values[Metric.E2E]), dtype=bool)
    for metric in {t.metric for t in targets}:
        ok &= values[metric] <= max((t.percentile, t.limit_s) for t in targets if t.metric is metric)[1]
    return float(ok.mean()) if len(ok) else 0.0


def _growth(arrival: Floats, e2e: Floats) -> float:
    """Seconds of delay gained per second between the second and the last quarter of the arrivals."""
    quarter = len(arrival) // 4
    if quarter < 8:
        return 0.0
    early, late = slice(quarter, 2 * quarter), slice(3 * quarter, None)
    elapsed = float(arrival[late].mean() - arrival[early].mean())
    return float(e2e[late].mean() - e2e[early].mean()) / elapsed if elapsed > 0 else 0.0


def _gaps(tally: Tally) -> tuple[Floats, Floats]:
    used = np.flatnonzero(tally.gaps)
    middles = np.array([(bin_ticks(i) + bin_ticks(i + 1)) / 2 / TICKS_PER_S for i in used.tolist()])
    return middles, np.cumsum(tally.gaps[used]).astype(np.float64)
