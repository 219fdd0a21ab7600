"""Collectives between the GPUs of one node."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from costplan.catalog.gpu_spec import GpuSpec
from costplan.core.evidence import Evidence
from costplan.perf.kernel_source import KernelSource, nearest
from costplan.perf.timed import LAUNCH_S, Baseline, TimedKernel, grid_from
from costplan.profile.table import Table

SLOW_PATH_SD = 0.4
"""Relative error where two GPUs' bandwidth stands in for a topology that was not measured properly."""
OTHER_SIZE_SD = 0.15
"""Relative error where another number of GPUs stands in."""
EFFICIENCY = 0.6
"""Typical share of the link bandwidth where nothing was measured."""
UNKNOWN_LINK_BYTES_PER_S = 25e9
"""PCIe 4.0 x16 in one direction, less protocol overhead: what a card without a stated link has at least."""


def collective(src: KernelSource, op: str, num_gpus: int) -> TimedKernel:
    """``op`` (all_reduce, all_gather, reduce_scatter, alltoall) over ``num_gpus``; coordinate: ``(message_bytes,)``."""
    kernel = TimedKernel(op, None, _baseline(src.target, op, num_gpus), -math.log(EFFICIENCY),
                         bound=lambda _: "network")
    same_link = src.target.link == src.measured_on.link
    picked = src.select("collective", "op", (op,)) if same_link or src.target.link_bytes_per_s else None
    if picked is None:
        return kernel
    rows, trust = picked.rows.take(_captured(picked.rows)), picked.trust
    if not len(rows):
        return kernel
    gpus = nearest(np.unique(rows.columns["num_gpus"]), num_gpus)
    if _shares_a_slow_path(rows, gpus):
        gpus, trust = 2, trust.weakened(SLOW_PATH_SD, Evidence.EXTRAPOLATED)
    elif gpus != num_gpus:
        trust = trust.weakened(OTHER_SIZE_SD, Evidence.EXTRAPOLATED)
    grid = grid_from(rows.take(rows.mask(num_gpus=gpus)), ("message_bytes",), _baseline(src.measured_on, op, gpus))
    return kernel.with_grid(grid, trust.log_sd, trust.evidence)


def _baseline(gpu: GpuSpec, op: str, num_gpus: int) -> Baseline:
    """Bytes that each GPU sends over its link (NCCL's bus-bandwidth convention) plus a launch and log2(n) hops."""
    speed = gpu.link_bytes_per_s or gpu.pcie_bytes_per_s or UNKNOWN_LINK_BYTES_PER_S
    share = (2.0 if op == "all_reduce" else 1.0) * (num_gpus - 1) / num_gpus
    latency = LAUNCH_S * (1.0 + math.log2(max(2, num_gpus)))
    return lambda p: p[0] * share / speed + latency


def _shares_a_slow_path(rows: Table, num_gpus: int) -> bool:
    """Whether more GPUs reach less than 40 % of the bus bandwidth of two: that measures one host's PCIe topology
    (no peer-to-peer, one shared root port), not the GPU."""
    large = 1 << 24

    def bandwidth(gpus: int) -> float:
        part = rows.take(rows.mask(num_gpus=gpus) & (np.asarray(rows.columns["message_bytes"]) >= large))
        if not len(part):
            return 0.0
        sent = np.asarray(part.columns["message_bytes"], dtype=float) * (gpus - 1) / gpus
        return float(np.max(sent / np.asarray(part.columns["latency_s"], dtype=float)))

    return num_gpus > 2 and bandwidth(num_gpus) < 0.4 * bandwidth(2)


def _captured(rows: Table) -> NDArray[np.bool_]:
    """Rows that a CUDA graph would run: not those timed eagerly."""
    eager = np.array(["eager" in k for k in rows.vocab["kernel"]])
    return np.asarray(~eager[rows.codes["kernel"]])
