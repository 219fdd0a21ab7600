"""Routed experts: grouped GEMMs whose cost depends on how many experts the tokens touch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from costplan.core.evidence import Evidence
from costplan.perf import roofline
from costplan.perf.formats import MatmulFormat
from costplan.perf.grid import Grid
from costplan.perf.kernel_source import KernelSource, Trust, WorkAt, baseline, measured_format, median_latency_s, peak
from costplan.perf.timed import Baseline, TimedKernel, grid_from
from costplan.profile.table import Table

EFFICIENCY = 0.5
"""Typical share of the roofline where nothing was measured."""
SD_PER_OCTAVE = 0.06
"""Relative error for each doubling between the expert shape asked for and the nearest one measured."""
BEST_BANDWIDTH_SHARE = 1.0 / 0.6
"""A microbenchmark may find experts in L2; in a model they come from HBM, with skew at most this much faster than
uniform routing would allow."""
NEIGHBOURS = 5
_COLUMNS = ("hidden_size", "inter_size", "top_k", "num_experts", "tp", "ep")
_SAME_WIDTH = {"fp8": ("fp8_block",), "fp8_block": ("fp8",)}
"""Formats of equal width whose expert kernels serve each other's weights: engines pick the faster backend."""
_DISTRIBUTIONS = ("power_law_1.01", "power_law_1.2", "balanced", "uniform")
"""Routing skew of the measured rows, in order of preference: mild skew is nearest to real traffic."""


@dataclass(frozen=True, slots=True)
class MoeShape:
    """Routed experts of one layer; ``inter`` and ``num_experts`` before sharding by ``tp`` and ``ep``."""

    hidden: int
    inter: int
    top_k: int
    num_experts: int
    tp: int
    ep: int
    gated: bool = True


def moe(src: KernelSource, shape: MoeShape, fmt: MatmulFormat) -> TimedKernel:
    """Routed experts of one layer on one rank; free coordinate: ``(tokens,)`` over all ranks."""
    def work_of(s: MoeShape, weight_bytes: float) -> WorkAt:
        return lambda p: roofline.moe(p[0], s.hidden, s.inter, s.top_k, s.num_experts, s.tp, s.ep, weight_bytes,
                                      s.gated)

    work = work_of(shape, fmt.weight_bytes)
    bandwidth = src.target.mem_bandwidth_bytes_per_s * BEST_BANDWIDTH_SHARE
    kernel = src.kernel("moe", work, fmt.peak_flops, EFFICIENCY, lambda p: work(p).bytes / bandwidth)
    chosen: tuple[Grid, Trust] | None = None
    best = math.inf
    for names in ((fmt.tables[0],), _SAME_WIDTH.get(fmt.tables[0], ()), fmt.tables[1:]):
        picked = src.select("moe", "dtype", names)
        if picked is None or (chosen is not None and names is fmt.tables[1:]):
            continue
        compute, bytes_w, _ = measured_format(picked.format)
        flops = peak(src.measured_on, compute)

        def base_of(s: MoeShape, weight_bytes: float = bytes_w, flops: float = flops) -> Baseline:
            return baseline(work_of(s, weight_bytes), src.measured_on, flops)

        found = _grid(picked.rows, shape, base_of)
        if chosen is None or found.typical_s < best:
            evidence = Evidence.INTERPOLATED if found.octaves <= 1 else Evidence.EXTRAPOLATED
            best = found.typical_s
            chosen = found.grid, picked.trust.weakened(SD_PER_OCTAVE * found.octaves, evidence)
    return kernel if chosen is None else kernel.with_grid(chosen[0], chosen[1].log_sd, chosen[1].evidence)


@dataclass(frozen=True, slots=True)
class _Found:
    """Efficiency over tokens, doublings to the nearest measured shape, median time of an exact match (else inf)."""

    grid: Grid
    octaves: float
    typical_s: float


def _grid(rows: Table, s: MoeShape, base_of: Callable[[MoeShape], Baseline]) -> _Found:
    """Efficiency for expert shape ``s``: as measured, or a mean over the nearest measured shapes."""
    dist = next(d for d in _DISTRIBUTIONS if d in rows.vocab["distribution"] and rows.mask(distribution=d).any())
    rows = rows.take(rows.mask(distribution=dist))
    asked = np.array([[s.hidden], [s.inter], [s.top_k], [s.num_experts], [s.tp], [s.ep]])
    keys = np.stack([np.asarray(rows.columns[c]) for c in _COLUMNS])
    if not (keys == asked).all(axis=0).any():
        # kernels for one model's special experts (not gated, latent) say nothing of another model's
        usual = int(np.bincount(rows.codes["kernel"]).argmax())
        rows = rows.take(np.asarray(rows.codes["kernel"] == usual))
        keys = np.stack([np.asarray(rows.columns[c]) for c in _COLUMNS])
    shapes = np.unique(keys, axis=1)
    wanted = np.log2(asked.astype(float))
    weights = np.array([[1.0], [1.0], [1.5], [1.0], [1.0], [1.0]])
    distance = (weights * np.abs(np.log2(shapes.astype(float)) - wanted)).sum(axis=0)
    near = np.argsort(distance, kind="stable")[:1 if distance.min() == 0 else NEIGHBOURS]
    parts = []
    for i in near:
        own = rows.take((keys == shapes[:, [i]]).all(axis=0))
        h, inter, k, e, tp, ep = (int(v) for v in shapes[:, i])
        grid = grid_from(own, ("tokens",), base_of(MoeShape(h, inter, k, e, tp, ep, s.gated)))
        parts.append((grid, 1.0 / (0.3 + float(distance[i])) ** 2, own))
    if distance.min() == 0:
        return _Found(parts[0][0], 0.0, median_latency_s(parts[0][2]))
    axis = sorted({float(t) for g, _, _ in parts for t in g.axes[0]})
    total = sum(w for _, w, _ in parts)
    mean = np.array([sum(w * g.read((t,)).log_ratio for g, w, _ in parts) / total for t in axis])
    return _Found(Grid([axis], mean), float(distance.min()), math.inf)
