"""A measured kernel, ready to be asked: seconds at any size, with evidence and relative error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from costplan.core.errors import OutOfRangeError
from costplan.core.evidence import Evidence, worst
from costplan.perf.grid import Grid, Reading
from costplan.perf.roofline import Work
from costplan.profile.table import Table

LAUNCH_S = 2.0e-6
"""Time of the smallest kernel inside a CUDA graph; the fastest rows of every imported table lie at 2-3 us."""

MAX_OCTAVES = 5.0
"""Beyond 32 times the measured range no answer is given."""

ANALYTIC_SD = 0.35
"""Relative error of a kernel that nobody measured: typical efficiencies vary by about this much between kernels."""

Baseline = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one kernel call with its evidence; ``count`` calls of it make up its share of a step."""

    name: str
    seconds: float
    log_sd: float
    evidence: Evidence
    bound: str  # compute | bandwidth | latency | network


class Reader(Protocol):
    """Anything that tells log(time / baseline) at a point."""

    def read(self, point: Sequence[float]) -> Reading: ...

    def value(self, point: Sequence[float]) -> tuple[float, float]: ...


@dataclass(frozen=True, slots=True)
class FixedGrid:
    """A grid with all coordinates but the first held fixed."""

    whole: Grid
    fixed: tuple[float, ...]

    def read(self, point: Sequence[float]) -> Reading:
        return self.whole.read((point[0], *self.fixed))

    def value(self, point: Sequence[float]) -> tuple[float, float]:
        return self.whole.value((point[0], *self.fixed))


@dataclass(frozen=True, slots=True)
class TimedKernel:
    """One kernel shape on one GPU.

    ``baseline`` gives the roofline seconds on the *target* GPU; ``grid`` tells log(measured / baseline) of the GPU
    that was measured (None: ``default_log_ratio`` holds everywhere). Where the measurements stand for another GPU,
    engine, format or shape, ``transfer_sd`` is the extra relative error and ``weakest`` the best evidence that is
    left. ``floor`` is a time that no call can beat (weights come from HBM in a model that is larger than the L2
    cache, although a microbenchmark may find them there). ``work`` gives the FLOPs and bytes of a call (None:
    nobody asks).
    """

    name: str
    grid: Reader | None
    baseline: Baseline
    default_log_ratio: float = 0.0
    transfer_sd: float = 0.0
    weakest: Evidence = Evidence.MEASURED
    floor: Baseline | None = None
    bound: Callable[[Sequence[float]], str] | None = None
    work: Callable[[Sequence[float]], Work] | None = None

    def with_grid(self, grid: Reader, transfer_sd: float, weakest: Evidence) -> TimedKernel:
        """The same kernel, answered from measurements."""
        return replace(self, grid=grid, transfer_sd=transfer_sd, weakest=weakest)

    def time(self, point: Sequence[float]) -> Timing:
        """Seconds at ``point`` (the free coordinates of this kernel, e.g. tokens; or batch and kv_len)."""
        base = self.baseline(point)
        bound = self.bound(point) if self.bound else "bandwidth"
        if self.grid is None:
            seconds = base * math.exp(self.default_log_ratio)
            return Timing(self.name, seconds, ANALYTIC_SD, Evidence.ANALYTIC, _latency_or(bound, seconds))
        reading = self.grid.read(point)
        seconds = self._measured_s(base, reading.log_ratio, reading.octaves, point)
        return Timing(self.name, seconds, math.hypot(reading.log_sd, self.transfer_sd),
                      worst((reading.evidence, self.weakest)), _latency_or(bound, seconds))


    def seconds(self, point: Sequence[float]) -> float:
        """``time(point).seconds``, without evidence and error."""
        base = self.baseline(point)
        if self.grid is None:
            return base * math.exp(self.default_log_ratio)
        return self._measured_s(base, *self.grid.value(point), point)

    def _measured_s(self, base: float, log_ratio: float, octaves: float, point: Sequence[float]) -> float:
        if octaves > MAX_OCTAVES:
            raise OutOfRangeError(
                f"{self.name} at {tuple(round(x) for x in point)} lies {2 ** octaves:.0f}x outside what was measured",
                hint="profile this shape, or ask for a smaller batch or context")
        seconds = base * math.exp(log_ratio)
        return seconds if self.floor is None else max(seconds, self.floor(point))


def _latency_or(bound: str, seconds: float) -> str:
    return "latency" if seconds < 4 * LAUNCH_S else bound


def grid_from(table: Table, coords: Sequence[str], baseline: Baseline) -> Grid:
    """Tensor grid over the integer columns ``coords``; several rows of one cell give their fastest kernel."""
    columns = [np.asarray(table.columns[c], dtype=float) for c in coords]
    axes = [np.unique(c) for c in columns]
    index = tuple(np.searchsorted(a, c) for a, c in zip(axes, columns, strict=True))
    seconds = np.full([len(a) for a in axes], np.inf)
    np.minimum.at(seconds, index, np.asarray(table.columns["latency_s"], dtype=float))
    base = np.empty_like(seconds)
    for cell in np.ndindex(*seconds.shape):
        base[cell] = baseline([axes[d][i] for d, i in enumerate(cell)])
    ratio = np.full_like(seconds, np.nan)
    known = np.isfinite(seconds)
    ratio[known] = np.log(seconds[known] / base[known])
    return Grid([a.tolist() for a in axes], ratio)
