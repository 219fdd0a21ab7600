"""Measured points of one kernel as perf's own `TimedKernel`: what the planner would answer between them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costplan.campaign.device import Device
from costplan.campaign.kernel import Kernel
from costplan.campaign.results import Measured
from costplan.campaign.stand_in import ladder
from costplan.campaign.work import compute_format, work_of
from costplan.core.evidence import Evidence
from costplan.perf.grid import Grid, leave_one_out
from costplan.perf.kernel_source import peak
from costplan.perf.timed import ANALYTIC_SD, LAUNCH_S, Baseline, TimedKernel, grid_from
from costplan.profile.table import Table

UNKNOWN_AXIS_ERROR = 0.10
"""Relative error along an axis with fewer than three sizes (perf/grid.py assumes the same)."""
SD_PER_OCTAVE = 0.12
"""Relative error for each doubling outside what was measured (perf/grid.py)."""


@dataclass(frozen=True, slots=True)
class Fit:
    """``timed`` answers at ``kernel``'s sizes. ``octaves``: how far the kernel that was measured at some sizes is
    from it, in doublings (only sizes where a smaller one stood in)."""

    kernel: Kernel
    timed: TimedKernel
    octaves: Mapping[tuple[int, ...], float]

    @property
    def grid(self) -> Grid | None:
        found = self.timed.grid
        return found if isinstance(found, Grid) else None

    def log_sd(self, at: Sequence[float]) -> float:
        """Relative standard error at ``at``."""
        if self.timed.grid is None:
            return ANALYTIC_SD
        return min(ANALYTIC_SD, math.hypot(self.timed.grid.read(at).log_sd, SD_PER_OCTAVE * self._away(at)))

    def _away(self, at: Sequence[float]) -> float:
        """Doublings to the kernel that was measured nearest to ``at``."""
        if not self.octaves:
            return 0.0
        return min((sum(abs(math.log(max(1, x) / max(1, y))) for x, y in zip(at, cell, strict=True)), o)
                   for cell, o in self.octaves.items())[1]

    def axis_errors(self) -> list[float]:
        """Mean leave-one-out error along each axis alone."""
        grid = self.grid
        if grid is None:
            return [UNKNOWN_AXIS_ERROR] * len(self.kernel.sweep)
        return [_axis_error(grid, d) for d in range(len(grid.axes))]


def baseline_of(kernel: Kernel, device: Device) -> Baseline:
    """Roofline seconds plus one launch of ``kernel`` at given sizes."""
    def seconds(at: Sequence[float]) -> float:
        case = kernel.case([max(1, round(x)) for x in at])
        flops = peak(device.gpu, compute_format(case))
        return work_of(case).time_s(flops, device.gpu.mem_bandwidth_bytes_per_s) + LAUNCH_S
    return seconds


def fit(kernel: Kernel, measured: Measured, device: Device) -> Fit:
    """``kernel`` from what was measured of it; beyond that from smaller ones in its place: efficiencies carry over."""
    own = baseline_of(kernel, device)
    timed = TimedKernel(kernel.label, None, own, default_log_ratio=math.log(2.0))
    points: dict[tuple[int, ...], tuple[float, float]] = {}
    for rung in ladder(kernel):
        base, reach = baseline_of(rung, device), _reach(points)
        for at, seconds in measured.at(rung).items():
            if reach is None or not reach[0] <= at[0] <= reach[1]:
                points[at] = seconds / base(at) * own(at), octaves_between(kernel, rung)
    if not points or not kernel.sweep:
        return Fit(kernel, timed, {})
    columns: dict[str, np.ndarray] = {n: np.array([at[d] for at in points]) for d, n in enumerate(kernel.sweep)}
    columns["latency_s"] = np.array([s for s, _ in points.values()])
    grid = grid_from(Table(kernel.family, columns, {}, {}), kernel.sweep, own)
    away = {at: o for at, (_, o) in points.items()}
    return Fit(kernel, timed.with_grid(grid, 0.0, Evidence.MEASURED), away if any(away.values()) else {})


def _reach(points: Collection[tuple[int, ...]]) -> tuple[int, int] | None:
    """Least and greatest size along the first axis."""
    return (min(at[0] for at in points), max(at[0] for at in points)) if points else None


def octaves_between(kernel: Kernel, other: Kernel) -> float:
    """Doublings between two kernels that differ in sizes only."""
    mine, theirs = dict(kernel.fixed), dict(other.fixed)
    return sum(abs(math.log2(int(mine[k]) / int(theirs[k]))) for k in mine
               if isinstance(mine[k], int) and mine[k] != theirs.get(k))


def _axis_error(grid: Grid, axis: int) -> float:
    """Mean distance between the grid's values and lines through their neighbours along one axis."""
    if len(grid.axes[axis]) < 3:
        return UNKNOWN_AXIS_ERROR
    logs = np.asarray(grid.log_axes[axis])
    lines = np.moveaxis(grid.values, axis, -1).reshape(-1, len(logs))
    gaps = [np.abs(leave_one_out([logs], line) - line) for line in lines]
    return float(np.nanmean(np.stack(gaps)))
