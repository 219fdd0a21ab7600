"""Least time that a request can take of a replica, whatever the load: what lets a search skip candidates safely.

Two bounds of the same quantity. The first needs only the GPU's peaks (roofline: a sum of kernels takes at least
the larger of all arithmetic at peak rate and all traffic at peak bandwidth). The second reads the step table:
a step costs at least the lower convex envelope of its table, and a run of S steps over T tokens at least
S * envelope(T / S) (Jensen), where S is at least what batch limits and KV memory force.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec, MoeMlp
from costplan.catalog.params import count
from costplan.perf.formats import matmul_format
from costplan.perf.weights import weight_bytes_per_rank
from costplan.plan.demand import Demand
from costplan.plan.space import Candidate, System
from costplan.simulate.clock import TICKS_PER_S
from costplan.simulate.policy import limits_of
from costplan.simulate.step_table import StepTable
from costplan.workload.workload import Metric, SloTarget

Floats = NDArray[np.float64]

CLOCK_SLACK = 0.9
"""Measured kernels may beat a data sheet's peak a little: boost clocks, L2 hits."""


@dataclass(frozen=True, slots=True)
class Floor:
    """No decode step is shorter than ``step_s``; no request takes less than ``request_s`` of one lane's time.

    ``prefill_s`` is the least time of one new prompt token.
    """

    step_s: float
    request_s: float
    prefill_s: float

    def requests_per_s(self, lanes: int) -> float:
        """A replica of ``lanes`` attention-parallel ranks cannot serve more."""
        return lanes / self.request_s

    def broken(self, targets: tuple[SloTarget, ...], need: Demand) -> SloTarget | None:
        """A limit that not even an idle replica could keep; None where each might hold."""
        for t in targets:
            if t.metric in (Metric.TPOT, Metric.ITL) and self.step_s > t.limit_s and need.decode_steps > 0:
                return t
            if t.metric is Metric.TTFT and any(limit == t.limit_s and tokens * self.prefill_s > limit
                                               for limit, tokens in need.ttft_tokens):
                return t
        return None


def roofline_floor(spec: ModelSpec, gpu: GpuSpec, c: Candidate, need: Demand) -> Floor:
    """From peaks alone: no kernel has to be known."""
    lay = c.config.layout
    bandwidth = gpu.mem_bandwidth_bytes_per_s
    peak = max(matmul_format(gpu, c.config.weight_dtype).peak_flops, gpu.peak("bf16") or gpu.peak("fp16") or 0.0)
    if peak <= 0:
        return Floor(0.0, 1e-9, 0.0)
    per_token = 2.0 * active_params(spec) / lay.num_gpus * lay.dp  # FLOPs on one rank for a token of its lane
    most = 1 + (c.system.drafting.tokens if c.system.drafting else 0)  # tokens of a sequence that a step can yield
    read_s = CLOCK_SLACK * lay.pp * read_bytes(spec, c.system) / bandwidth / most
    limits = limits_of(c.budget, max(1, round(need.new_tokens + need.output_tokens)))
    steps = max(need.decode_steps / limits.max_num_seqs, need.own_reads / limits.capacity_tokens)
    compute_s = CLOCK_SLACK * (need.new_tokens + need.decode_steps) * per_token / peak
    prefill_s = CLOCK_SLACK * per_token / peak
    return Floor(read_s, max(1e-9, compute_s, steps * read_s), prefill_s)


@lru_cache(maxsize=64)
def active_params(spec: ModelSpec) -> int:
    """Weights that every token is multiplied with: embedding and head left out."""
    parts = count(spec)
    head = parts.parts["lm_head"] if not parts.tied else parts.parts["embedding"]
    return max(0, parts.active_no_embedding - head)


@lru_cache(maxsize=4096)
def read_bytes(spec: ModelSpec, system: System) -> float:
    """Weights that every step reads on one rank: all but embeddings and the experts that nobody picks."""
    lay = system.layout
    held = dict(weight_bytes_per_rank(spec, lay.tp, lay.pp, lay.tp * lay.dp, system.weight_dtype).parts)
    picked = max((g.layer.mlp.top_k / g.layer.mlp.num_experts for g in spec.layers
                  if isinstance(g.layer.mlp, MoeMlp)), default=1.0)
    experts = held.get("experts", 0.0) * (picked if lay.ep == 1 else 0.0)
    return sum(held.get(p, 0.0) for p in ("attention", "linear", "mlp", "shared_expert")) + experts


def table_floor(table: StepTable, c: Candidate, need: Demand) -> Floor:
    """From the step table that the simulator itself uses, for one lane."""
    limits = limits_of(c.budget, max(1, round(need.new_tokens + need.output_tokens)))
    seqs = min(limits.max_num_seqs, table.max_seqs)
    tokens = min(limits.max_num_batched_tokens, table.max_tokens)
    least_steps = max(need.decode_steps / seqs, need.own_reads / limits.capacity_tokens,
                      (need.new_tokens + need.decode_steps) / tokens, 1e-12)
    total = need.new_tokens + need.decode_steps
    ticks = _least_sum(_envelope(table.tokens[:tokens + 1]), total, least_steps)
    every = np.arange(1, seqs + 1)
    ticks += need.output_tokens * float(((table.seqs + table.host)[1:seqs + 1] / every).min())
    ticks += need.reads * _per_read(table, seqs)
    ticks += need.new_tokens * max(0.0, float((table.prefill / table.prefill_axes[0][:, None, None]).min()))
    step = float(table.tokens[1:seqs + 1].min() + (table.seqs + table.host)[1:seqs + 1].min())
    return Floor(step / TICKS_PER_S, max(1e-9, ticks / TICKS_PER_S), 0.0)


def _envelope(values: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Lower convex hull of ``values`` at 1, 2, ...: Andrew's monotone chain over a thinned and shifted curve."""
    x = np.unique(np.rint(np.geomspace(1, len(values) - 1, 400)).astype(np.int64))
    # between two kept points the curve may dip: each keeps the least value of the gap after it
    lows = np.minimum.reduceat(values, x).astype(np.float64)
    hull: list[tuple[float, float]] = []
    for point in zip(x.tolist(), lows.tolist(), strict=True):
        while len(hull) >= 2 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return np.array([p[0] for p in hull], dtype=np.float64), np.array([p[1] for p in hull])


def _turns_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0


def _least_sum(hull: tuple[Floats, Floats], total: float, least_steps: float) -> float:
    """Minimum of S * envelope(total / S) over S >= least_steps: convex in S, found by ternary search."""
    x, y = hull

    def cost(steps: float) -> float:
        return steps * float(np.interp(total / steps, x, y))

    low, high = least_steps, max(least_steps, total)
    for _ in range(60):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if cost(a) <= cost(b):
            high = b
        else:
            low = a
    return 0.999 * min(cost(low), cost(least_steps))


def _per_read(table: StepTable, seqs: int) -> float:
    """Least ticks of decode attention per cached token that it reads."""
    every = np.arange(1, seqs + 1)[:, None]
    at_knots = table.decode[1:seqs + 1] / (every * (table.kv_knots[None, :] + 1.0))
    beyond = table.slope[1:seqs + 1, -1:] / every
    return max(0.0, float(min(at_knots.min(), beyond.min())))
