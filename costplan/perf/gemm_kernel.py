"""Dense matrix multiplications."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from costplan.perf import roofline
from costplan.perf.formats import MatmulFormat
from costplan.perf.kernel_source import (
    KernelSource,
    Picked,
    baseline,
    measured_format,
    median_latency_s,
    peak,
)
from costplan.perf.roofline import Work
from costplan.perf.timed import FixedGrid, TimedKernel, grid_from
from costplan.profile.table import Table

GRAPH_TOKENS = 513
"""Largest captured CUDA graph of vLLM and SGLang is 512 tokens; rows one above lie on the unaligned path too."""
_FAR = 4
"""Beyond so many times the range of the well-covered lines, sparse lines are used too."""
HBM_EFFICIENCY = 0.92
"""Highest sustained share of the HBM peak (large copies, H200: 0.90-0.93)."""


def gemm(src: KernelSource, n: int, k: int, fmt: MatmulFormat, name: str, *, static_quant: bool) -> TimedKernel:
    """``[m, k] x [k, n]``; free coordinate: ``(m,)``.

    ``static_quant``: activations are quantised inside the preceding kernel (TensorRT-LLM's static FP8 and NVFP4
    checkpoints). Its own table times quantisation and GEMM together, so the fastest plain GEMM stands in.
    """
    def work(p: Sequence[float]) -> Work:
        return roofline.gemm(p[0], n, k, fmt.weight_bytes, fmt.act_bytes)

    least = n * k * fmt.weight_bytes / (src.target.mem_bandwidth_bytes_per_s * HBM_EFFICIENCY)
    kernel = src.kernel(name, work, fmt.peak_flops, 0.7, lambda _: least)
    picked = src.select("gemm", "dtype", fmt.tables)
    if static_quant and fmt.act_bytes < 2:
        picked = _fastest(src, n, k, fmt.tables[0]) or picked
    if picked is None:
        return kernel
    compute, bytes_w, bytes_a = measured_format(picked.format)
    base = baseline(lambda p: roofline.gemm(p[0], p[1], p[2], bytes_w, bytes_a), src.measured_on,
                    peak(src.measured_on, compute))
    grid = grid_from(picked.rows.take(near_lines(picked.rows, n, k)), ("m", "n", "k"), base)
    return kernel.with_grid(FixedGrid(grid, (float(n), float(k))), picked.trust.log_sd, picked.trust.evidence)


def _fastest(src: KernelSource, n: int, k: int, name: str) -> Picked | None:
    """Rows of the source whose kernels near ``(n, k)`` are fastest at decode sizes."""
    best, picked = math.inf, None
    for order, source in enumerate(src.sources):
        rows = src.rows(source, "gemm", "dtype", name)
        if rows is None:
            continue
        near = rows.take(near_lines(rows, n, k, 1))
        near = near.take(np.asarray(near.columns["m"]) <= 256)
        typical = median_latency_s(near)
        if typical < best:
            best, picked = typical, Picked(rows, src.trust_in(order), name, source)
    return picked


def near_lines(rows: Table, n: int, k: int, each_side: int = 2) -> NDArray[np.bool_]:
    """Rows whose ``n`` and ``k`` are among the well-covered grid lines next to the wanted ones.

    Small batches run in CUDA graphs that are padded to multiples of 8, so rows of other sizes, which take the
    kernels' unaligned path, are left out there.
    """
    m = np.asarray(rows.columns["m"])
    padded = (m <= 16) | (m % 8 == 0) | (m > GRAPH_TOKENS)
    ns, counts = np.unique(rows.columns["n"], return_counts=True)
    full = ns[(counts >= counts.max() * 0.5) | (ns == n)]
    if not full.min() / _FAR <= n <= full.max() * _FAR:
        full = ns  # a line with few sizes is better than a full one from another world
    keep_n = _around(full, n, each_side)
    keep_k = _around(np.unique(rows.columns["k"]), k, each_side)
    return np.asarray(padded & np.isin(rows.columns["n"], keep_n) & np.isin(rows.columns["k"], keep_k))


def _around(values: NDArray[np.generic], x: int, each_side: int) -> NDArray[np.generic]:
    i = int(np.searchsorted(values, x))
    return values[max(0, i - each_side): i + each_side + 1]
