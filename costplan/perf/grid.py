"""Interpolate measured times on a tensor grid: log of (time / baseline) is multilinear in log coordinates.

The baseline carries the physics (a roofline plus a launch floor), so what is interpolated is an efficiency,
which varies slowly. Cells that nobody measured are filled from their neighbours; each cell knows how well
its neighbours predict it (leave-one-out), which is the error bar of everything interpolated near it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.core.evidence import Evidence

Array = NDArray[np.float64]

MIN_LOG_SD = 0.01
"""Floor of the relative error: repeated kernel timings on one machine differ by about 1 %."""

SD_PER_EXTRAPOLATED_OCTAVE = 0.12
"""Relative error for each doubling outside the measured range."""
LEAST_WORK_OCTAVES = 5.0
"""Below the measured range a kernel does less work than one that was measured, at most so many doublings' doubt."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One interpolated time over its baseline.

    ``log_ratio`` is ln(time / baseline); ``log_sd`` its standard error; ``octaves`` how far outside the
    measured range the point lies, in doublings of the worst coordinate (0 inside).
    """

    log_ratio: float
    log_sd: float
    evidence: Evidence
    octaves: float


class Grid:
    """Times over baselines on a grid of ``len(axes)`` dimensions. ``axes[i]`` are increasing positive values.

    ``log_ratio`` has shape ``[len(a) for a in axes]``, NaN where nobody measured.
    """

    __slots__ = ("_flat_sd", "_flat_value", "_measured", "_strides", "axes", "log_axes", "loo", "values")

    def __init__(self, axes: Sequence[Sequence[float]], log_ratio: Array) -> None:
        self.axes = [np.asarray(a, dtype=float) for a in axes]
        self.log_axes = [[math.log(x) for x in a] for a in axes]
        measured = np.isfinite(log_ratio)
        if not measured.any():
            raise ValueError("a grid needs at least one measured cell")
        logs = [np.asarray(a) for a in self.log_axes]
        self.loo = np.abs(leave_one_out(logs, log_ratio) - log_ratio)
        self.values = fill(logs, log_ratio)
        sd = _local_error(self.loo, measured)
        self._flat_value = self.values.ravel().tolist()
        self._flat_sd = sd.ravel().tolist()
        self._measured = measured.ravel().tolist()
        self._strides = [int(s // 8) for s in np.ascontiguousarray(self.values).strides]

    def read(self, point: Sequence[float]) -> Reading:
        """Interpolate at ``point``; outside the grid the nearest efficiency is held constant."""
        corners: list[tuple[int, float]] = [(0, 1.0)]
        octaves, on_grid = 0.0, True
        for x, log_axis, stride in zip(point, self.log_axes, self._strides, strict=True):
            i, w, out = _bracket(math.log(x), log_axis)
            octaves = max(octaves, out)
            if w == 0.0:
                corners = [(o + i * stride, c) for o, c in corners]
            else:
                on_grid = False
                corners = [(o + (i + up) * stride, c * (w if up else 1.0 - w)) for o, c in corners for up in (0, 1)]
        value = sum(c * self._flat_value[o] for o, c in corners)
        var = sum(c * self._flat_sd[o] ** 2 for o, c in corners)
        if octaves > 1e-9:
            log_sd = math.sqrt(var + (SD_PER_EXTRAPOLATED_OCTAVE * octaves) ** 2)
            return Reading(value, log_sd, Evidence.EXTRAPOLATED, octaves)
        if all(self._measured[o] for o, _ in corners):
            if on_grid:
                return Reading(value, MIN_LOG_SD, Evidence.MEASURED, 0.0)
            return Reading(value, math.sqrt(var), Evidence.INTERPOLATED, 0.0)
        weight = sum(c for o, c in corners if self._measured[o])
        evidence = Evidence.INTERPOLATED if weight > 0 else Evidence.EXTRAPOLATED
        return Reading(value, math.sqrt(var), evidence, 0.0)


    def value(self, point: Sequence[float]) -> tuple[float, float]:
        """``log_ratio`` and ``octaves`` of `read` alone: what a table of thousands of points needs."""
        corners: list[tuple[int, float]] = [(0, 1.0)]
        octaves = 0.0
        for x, log_axis, stride in zip(point, self.log_axes, self._strides, strict=True):
            i, w, out = _bracket(math.log(x), log_axis)
            octaves = max(octaves, out)
            low = i * stride
            if w == 0.0:
                corners = [(o + low, c) for o, c in corners]
            else:
                high = low + stride
                corners = [(o + low, c * (1.0 - w)) for o, c in corners] + [(o + high, c * w) for o, c in corners]
        flat = self._flat_value
        return sum([c * flat[o] for o, c in corners]), octaves


def _bracket(x: float, axis: list[float]) -> tuple[int, float, float]:
    """Cell index, weight of the upper neighbour, and distance outside in doublings, along one log axis."""
    if x <= axis[0]:
        return 0, 0.0, min(LEAST_WORK_OCTAVES, (axis[0] - x) / math.log(2))
    if x >= axis[-1]:
        return len(axis) - 1, 0.0, (x - axis[-1]) / math.log(2)
    i = bisect.bisect_right(axis, x) - 1
    w = (x - axis[i]) / (axis[i + 1] - axis[i])
    return (i, 0.0, 0.0) if w < 1e-9 else (i, w, 0.0)


def _from_neighbours(log_axis: Array, values: Array, axis: int) -> Array:
    """Each cell from the two next to it along ``axis`` (linear in log); NaN at edges and beside gaps."""
    v = np.moveaxis(values, axis, 0)
    out = np.full_like(v, np.nan)
    if len(log_axis) > 2:
        w = (log_axis[2:] - log_axis[1:-1]) / (log_axis[2:] - log_axis[:-2])
        w = w.reshape(-1, *[1] * (v.ndim - 1))
        out[1:-1] = w * v[:-2] + (1 - w) * v[2:]
    return np.moveaxis(out, 0, axis)


def leave_one_out(log_axes: Sequence[Array], values: Array) -> Array:
    """Every cell predicted from its neighbours only; NaN where it has none on either side of any axis.

    The median of one-axis linear estimates and of their two-axis Boolean sums
    ``P_a + P_b - P_a P_b`` (Gordon, SIAM J. Numer. Anal. 8, 1971), whose error is the product of two
    second differences: a step in one coordinate that neighbouring lines share is reproduced.
    """
    dims = [d for d in range(values.ndim) if len(log_axes[d]) > 2]
    single = {d: _from_neighbours(log_axes[d], values, d) for d in dims}
    estimates = []
    for i, a in enumerate(dims):
        for b in dims[i + 1:]:
            both = single[a] + single[b] - _from_neighbours(log_axes[b], single[a], b)
            estimates.append(np.where(np.isfinite(both), both, (single[a] + single[b]) / 2))
    estimates += [single[d] for d in dims]
    if not estimates:
        return np.full_like(values, np.nan)
    stack = np.stack(estimates)
    known = np.isfinite(stack).sum(axis=0) > 0
    out = np.full_like(values, np.nan)
    out[known] = np.nanmedian(stack[:, known], axis=0)
    return out


def fill(log_axes: Sequence[Array], values: Array) -> Array:
    """Values for all cells: gaps by leave-one-out estimates and along lines, the rest by the nearest cell."""
    out = values.copy()
    for _ in range(2):
        gap = ~np.isfinite(out)
        if not gap.any():
            return out
        out[gap] = leave_one_out(log_axes, out)[gap]
    for edge in (False, True):
        gap = ~np.isfinite(out)
        if not gap.any():
            return out
        lines = np.stack([_along(log_axes[d], out, d, edge) for d in range(out.ndim)])
        known = np.isfinite(lines).any(axis=0) & gap
        out[known] = np.nanmean(lines[:, known], axis=0)
    while (gap := ~np.isfinite(out)).any():
        lines = np.stack([_along(log_axes[d], out, d, True) for d in range(out.ndim)])
        known = np.isfinite(lines).any(axis=0) & gap
        out[known] = np.nanmean(lines[:, known], axis=0)
    return out


def _along(log_axis: Array, values: Array, axis: int, edge: bool) -> Array:
    """Linear interpolation along each line of one axis; with ``edge`` also constant beyond its ends."""
    v = np.moveaxis(values, axis, 0).reshape(len(log_axis), -1)
    out = np.full_like(v, np.nan)
    for j in range(v.shape[1]):
        known = np.isfinite(v[:, j])
        if known.any():
            side = None if edge else np.nan
            out[:, j] = np.interp(log_axis, log_axis[known], v[known, j], left=side, right=side)
    shape = np.moveaxis(values, axis, 0).shape
    return np.moveaxis(out.reshape(shape), 0, axis)


def _local_error(loo: Array, measured: NDArray[np.bool_]) -> Array:
    """Standard error of interpolation near each cell: half the leave-one-out error, smoothed over neighbours.

    Half, because a query between two measured cells is bracketed at half the distance of the leave-one-out
    test, where the error of linear interpolation is at most half as large.
    """
    typical = float(np.nanmedian(loo)) if np.isfinite(loo).any() else 0.10
    e2 = np.where(np.isfinite(loo), loo, typical) ** 2
    for d in range(loo.ndim):
        if loo.shape[d] > 2:
            v = np.moveaxis(e2, d, 0).copy()
            v[1:-1] = (v[:-2] + v[1:-1] + v[2:]) / 3
            e2 = np.moveaxis(v, 0, d)
    sd = 0.5 * np.sqrt(e2)
    return np.asarray(np.maximum(np.where(measured, sd, 2 * sd + 0.03), MIN_LOG_SD))
