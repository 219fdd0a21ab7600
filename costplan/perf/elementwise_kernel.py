"""Norms, RoPE, KV writes, activations, quantisation and sampling: kernels that stream their operands once.

Analytic at 80 % of the HBM peak, unless `costplan profile` measured the kernel on this device. Rows of imported
tables are left alone: they time one quantisation kernel by itself, while the engine's constants were fitted with the
analytic one.
"""

from __future__ import annotations

import math

import numpy as np

from costplan.catalog.gpu_spec import GpuSpec
from costplan.perf.grid import Grid
from costplan.perf.kernel_source import OTHER_FORMAT_SD, KernelSource, Trust
from costplan.perf.roofline import Work
from costplan.perf.timed import LAUNCH_S, Baseline, FixedGrid, TimedKernel, grid_from
from costplan.profile.table import Table

Parts = tuple[tuple[str, int], ...]

MEASURED_OPS: dict[str, tuple[str, ...]] = {
    "norm": ("add_rms_norm", "rms_norm"), "rope": ("rope",), "kv_write": ("kv_write",), "act_mul": ("silu_mul",),
    "quant": ("quant_fp8",), "quant_int8": ("quant_int8",), "sampling": ("sampling",),
}
"""Part of a step -> ``op`` of the rows that stand for it, best first."""

BYTES_PER_ELEMENT = {"add_rms_norm": 8.0, "rms_norm": 4.0, "rope": 4.0, "kv_write": 4.0, "silu_mul": 6.0,
                     "quant_fp8": 3.0, "quant_int8": 3.0, "sampling": 16.0}
"""Traffic for each of a row's ``m * k`` elements in 16 bits: the baseline whose multiple is interpolated.

``k`` counts the elements that come out: of ``silu_mul`` half of those that go in, of ``rope`` queries and keys, of
``kv_write`` keys and values. Sampling reads and writes fp32 logits twice.
"""
EFFICIENCY = 0.8
"""Share of the HBM peak where nothing was measured (aisimulate systems yaml)."""
_DTYPES = ("bf16", "fp16", "fp8", "fp32")


def elementwise(src: KernelSource, name: str, bytes_per_token: float, parts: Parts) -> tuple[TimedKernel, ...]:
    """The kernels of one element-wise step; free coordinate: ``(tokens,)``.

    ``parts`` are (part, elements per token). Where every part was measured they answer, one kernel each; else one
    analytic kernel that streams ``bytes_per_token``.
    """
    found = [_measured(src, part, width) for part, width in parts]
    known = [k for k in found if k is not None]
    if known and len(known) == len(found):
        return tuple(known)
    return (TimedKernel(name, None, _stream(src.target, bytes_per_token), default_log_ratio=math.log(1 / EFFICIENCY),
                        work=lambda p: Work(0.0, p[0] * bytes_per_token)),)


def _stream(gpu: GpuSpec, bytes_per_token: float) -> Baseline:
    """Seconds at HBM speed; a captured element-wise kernel starts a little faster than a GEMM."""
    bandwidth = gpu.mem_bandwidth_bytes_per_s
    return lambda p: p[0] * bytes_per_token / bandwidth + LAUNCH_S * 0.8


def _measured(src: KernelSource, part: str, width: int) -> TimedKernel | None:
    """The kernel of one part from the first of the user's own profiles that has it.

    ``rms_norm`` stands for ``add_rms_norm`` with its efficiency, and more doubt.
    """
    for rank, op in enumerate(MEASURED_OPS[part]):
        for source in src.own():
            rows = _rows(source.table("elementwise"), op)
            if rows is not None:
                trust = src.trust_in(0).weakened(OTHER_FORMAT_SD if rank else 0.0)
                return _timed(src, part, width, _grid(rows, src.measured_on, BYTES_PER_ELEMENT[op]), trust)
    return None


def _grid(rows: Table, gpu: GpuSpec, bytes_per_element: float) -> Grid:
    """Time over a stream of each row's elements."""
    stream = _stream(gpu, bytes_per_element)
    return grid_from(rows, ("m", "k"), lambda p: stream((p[0] * p[1],)))


def _timed(src: KernelSource, part: str, width: int, grid: Grid, trust: Trust) -> TimedKernel:
    per_token = width * BYTES_PER_ELEMENT[MEASURED_OPS[part][0]]
    return TimedKernel(part, FixedGrid(grid, (float(width),)), _stream(src.target, per_token),
                       transfer_sd=trust.log_sd, weakest=trust.evidence, work=lambda p: Work(0.0, p[0] * per_token))


def _rows(table: Table | None, op: str) -> Table | None:
    """Rows of one op in the number format nearest to an engine's; None where there are none."""
    if table is None:
        return None
    for name in _DTYPES:
        mask = table.mask(op=op, dtype=name)
        if np.asarray(mask).any():
            return table.take(mask)
    return None
