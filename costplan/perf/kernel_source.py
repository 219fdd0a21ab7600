"""Rows of measured tables for the kernels of one GPU: which profile answers, and how much to trust it.

The first profile is that of the user's engine on the target GPU (or on the most similar GPU that was measured);
others on the same GPU stand in for families that the first lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from costplan.catalog.gpu_spec import GpuSpec
from costplan.core.dtypes import dtype
from costplan.core.evidence import Evidence
from costplan.perf.roofline import Work
from costplan.perf.timed import LAUNCH_S, Baseline, TimedKernel, grid_from
from costplan.profile.table import Table

OTHER_ENGINE_SD = 0.08
"""Extra relative error where another engine's kernel stands in (spread between engines in the tables)."""
OTHER_GPU_SD = 0.20
"""Extra relative error where another GPU's efficiency stands in."""
OTHER_FORMAT_SD = 0.15
"""Extra relative error where another number format's efficiency stands in."""

OWN = "costplan"
"""Engine of profiles that `costplan profile` measured: they record pages and splits, and hold several libraries."""

WorkAt = Callable[[Sequence[float]], Work]


class Source(Protocol):
    """What is needed of a profile."""

    @property
    def name(self) -> str: ...

    @property
    def engine(self) -> str: ...

    def table(self, family: str) -> Table | None: ...


@dataclass(frozen=True, slots=True)
class Trust:
    """How well rows stand for the kernel that was asked for: extra relative error, best evidence they can give."""

    log_sd: float = 0.0
    evidence: Evidence = Evidence.MEASURED

    def weakened(self, log_sd: float, evidence: Evidence = Evidence.INTERPOLATED) -> Trust:
        """The same with another source of error; no change where that is none."""
        if not log_sd:
            return self
        return Trust(math.hypot(self.log_sd, log_sd), max(self.evidence, evidence, key=list(Evidence).index))


@dataclass(frozen=True, slots=True)
class Picked:
    """Rows of one format, the coordinates that stay free, and how far they can be trusted."""

    rows: Table
    trust: Trust
    format: str
    source: Source


class KernelSource:
    """Measured rows for one target GPU; ``prefixes`` name the attention kernels that the engine runs, best first."""

    def __init__(self, sources: Sequence[Source], measured_on: GpuSpec | None, target: GpuSpec,
                 prefixes: tuple[str, ...] = ()) -> None:
        self.prefixes = prefixes
        self.sources = tuple(sources) if measured_on else ()
        self.measured_on = measured_on or target
        self.target = target
        self._base = Trust() if self.measured_on.name == target.name else Trust(OTHER_GPU_SD, Evidence.EXTRAPOLATED)
        self._rows: dict[tuple[str, str, str], Table | None] = {}

    def rows(self, source: Source, family: str, column: str, value: str) -> Table | None:
        """Rows of one source where ``column`` is ``value``; None where there are none."""
        key = (source.name, family, value)
        if key not in self._rows:
            table = source.table(family)
            known = table is not None and column in table.vocab and value in table.vocab[column]
            self._rows[key] = table.take(table.mask(**{column: value})) if table is not None and known else None
        return self._rows[key]

    def select(self, family: str, column: str, wanted: Sequence[str]) -> Picked | None:
        """The best format that any source has, from the first source that has it."""
        for rank, name in enumerate(wanted):
            for order, source in enumerate(self.sources):
                rows = self.rows(source, family, column, name)
                if rows is not None and len(rows):
                    trust = self._base.weakened(OTHER_FORMAT_SD if rank else 0.0, Evidence.EXTRAPOLATED)
                    return Picked(rows, trust.weakened(OTHER_ENGINE_SD if order else 0.0), name, source)
        return None

    def own(self) -> list[Source]:
        """Sources that `costplan profile` measured."""
        return [s for s in self.sources if s.engine == OWN]

    def trust_in(self, order: int) -> Trust:
        """Trust in the exact format of source number ``order``."""
        return self._base.weakened(OTHER_ENGINE_SD if order else 0.0)

    def kernel(self, name: str, work: WorkAt, peak_flops: float, efficiency: float,
               floor: Baseline | None = None) -> TimedKernel:
        """A kernel without measurements: roofline over a typical ``efficiency``."""
        return TimedKernel(name, None, baseline(work, self.target, peak_flops), -math.log(efficiency), floor=floor,
                           bound=bound(work, self.target, peak_flops), work=work)


def measured(kernel: TimedKernel, rows: Table, coords: Sequence[str], base: Baseline, trust: Trust) -> TimedKernel:
    """``kernel`` with the efficiency of ``rows`` over ``base`` (the roofline on the GPU that was measured)."""
    return kernel.with_grid(grid_from(rows, coords, base), trust.log_sd, trust.evidence)


def baseline(work: WorkAt, gpu: GpuSpec, peak_flops: float) -> Baseline:
    """Roofline seconds plus one kernel launch."""
    bandwidth = gpu.mem_bandwidth_bytes_per_s
    return lambda p: work(p).time_s(peak_flops, bandwidth) + LAUNCH_S


def bound(work: WorkAt, gpu: GpuSpec, peak_flops: float) -> Callable[[Sequence[float]], str]:
    """Which side of the roofline a call lies on."""
    bandwidth = gpu.mem_bandwidth_bytes_per_s

    def which(p: Sequence[float]) -> str:
        w = work(p)
        return "compute" if w.flops / peak_flops > w.bytes / bandwidth else "bandwidth"

    return which


def peak(gpu: GpuSpec, compute: str) -> float:
    """Dense peak of a compute format, or of the 16-bit one that takes its place."""
    return gpu.peak(compute) or gpu.peak("bf16") or gpu.peak("fp16") or gpu.peak("fp32") or 1e12


def nearest(values: NDArray[np.generic], x: float) -> int:
    """The value closest to ``x`` on a log scale."""
    logs = np.log(np.maximum(np.asarray(values, dtype=float), 1.0))
    return int(values[int(np.argmin(np.abs(logs - math.log(max(x, 1.0)))))])


def median_latency_s(rows: Table) -> float:
    """Median time of some rows; infinite where there are none."""
    return float(np.median(np.asarray(rows.columns["latency_s"], dtype=float))) if len(rows) else math.inf


def measured_format(name: str) -> tuple[str, float, float]:
    """Compute format, bytes per weight and per activation of a dtype in the tables."""
    if name in ("bf16", "fp16"):
        return "bf16", 2.0, 2.0
    weight, eight_bit = {"int8_wo": ("int8", False), "int4": ("int4", False), "mxfp4": ("mxfp4", False),
                         "mxfp4_a8": ("mxfp4", True), "w4afp8": ("int4", True)}.get(name, (name, True))
    if not eight_bit:
        return "bf16", dtype(weight).bytes, 2.0
    compute = {"nvfp4": "fp4", "int8": "int8"}.get(name, "fp8")
    return compute, dtype(weight).bytes, min(1.0, dtype(weight).bytes)
