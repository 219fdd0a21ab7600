"""Refuse measurements that cannot be true, and say which and why.

Rules, in the order in which they are applied; each row is counted under the first that refuses it:

- ``non_positive``: latency zero, negative, NaN or infinite, or outside 1 ns .. 500 s;
- ``launch_bound``: a (dtype, kernel) group whose fast cases all take far longer than a launch from a CUDA graph
  does: it was timed with the host in the loop, so small and middle sizes say nothing about the kernel;
- ``above_compute_peak``: more FLOP/s than the device has, with 2 % tolerance;
- ``above_bandwidth_peak``: the bytes that do not fit in L2 read or written faster than HBM can, likewise;
- ``impossible_group``: a (dtype, kernel) group of which more than 2 % of the large cases (100 us at least) break a
  peak: whatever it measured is not what it says (a cache of half the bytes, a clipped matrix);
- ``outlier``: one point of a sweep more than 3x off the line between its neighbours while these agree. Sizes that
  are no multiple of 8 are a sweep of their own: kernels that load in vectors really are up to 5x slower there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.profile.merge import SWEEPS, curve_columns, group_ids, sort
from costplan.profile.physics import Floats, bytes_moved, flops
from costplan.profile.table import Table

TOLERANCE = 1.02
LAUNCH_BOUND_S = 40e-6
_SMALL_S = 2e-6
_MIN_SMALL_ROWS = 20
_FLOOR_FAMILIES = frozenset({"gemm", "attn_prefill", "attn_decode", "mla_prefill", "mla_decode", "mla_bmm",
                             "elementwise"})
_LARGE_S, _MIN_LARGE_ROWS, _BROKEN_SHARE = 100e-6, 20, 0.02
_OUTLIER, _AGREE = 3.0, 2.0


@dataclass(frozen=True, slots=True)
class Peaks:
    """Physical limits of one GPU: dense FLOP/s per compute format, HBM bytes/s, L2 bytes."""

    flops: Mapping[str, float]
    mem_bandwidth_bytes_per_s: float
    l2_bytes: int


def check(table: Table, peaks: Peaks) -> tuple[Table, dict[str, int]]:
    """The believable rows of a table, sorted, and how many were refused for which reason."""
    dropped: dict[str, int] = {}
    for reason, rule in _RULES:
        table = sort(table) if reason == "outlier" else table
        if len(table) and (bad := rule(table, peaks)).any():
            dropped[reason] = int(bad.sum())
            table = table.take(~bad)
    return table, dropped


def faster_than_memory(table: Table, peaks: Peaks) -> int:
    """Rows that beat HBM bandwidth because L2 held their data: believable, but warmer than any engine step."""
    return int((_memory_s(table, peaks, l2_bytes=0) > _latency(table)).sum()) if len(table) else 0


def _latency(table: Table) -> Floats:
    return np.asarray(table.columns["latency_s"], dtype=np.float64)


def _unusable(table: Table, peaks: Peaks) -> NDArray[np.bool_]:
    latency = _latency(table)
    with np.errstate(invalid="ignore"):
        return ~(np.isfinite(latency) & (latency > 1e-9) & (latency < 500.0))


def _least_s(table: Table, peaks: Peaks) -> Floats:
    """Shortest physically possible time of each row; 0 where the family has no bound."""
    return np.maximum(_compute_s(table, peaks), _memory_s(table, peaks, l2_bytes=0))


def _compute_s(table: Table, peaks: Peaks) -> Floats:
    work = flops(table, peaks.flops)
    return np.zeros(len(table)) if work is None else work[0] / work[1]


def _memory_s(table: Table, peaks: Peaks, *, l2_bytes: int) -> Floats:
    moved = bytes_moved(table)
    if moved is None:
        return np.zeros(len(table))
    return np.maximum(moved - l2_bytes, 0.0) / peaks.mem_bandwidth_bytes_per_s


def _launch_bound(table: Table, peaks: Peaks) -> NDArray[np.bool_]:
    bad = np.zeros(len(table), dtype=bool)
    if table.family not in _FLOOR_FAMILIES:
        return bad
    latency, small = _latency(table), _least_s(table, peaks) < _SMALL_S
    groups = _groups(table)
    for g in range(int(groups.max()) + 1):
        fast = latency[small & (groups == g)]
        if fast.size >= _MIN_SMALL_ROWS and np.quantile(fast, 0.05) > LAUNCH_BOUND_S:
            bad |= groups == g
    return bad


def _groups(table: Table) -> NDArray[np.int64]:
    return group_ids(table, [n for n in ("op", "dtype", "kv_dtype", "kernel") if n in table.codes])


def _impossible_group(table: Table, peaks: Peaks) -> NDArray[np.bool_]:
    broken = _compute(table, peaks) | _bandwidth(table, peaks)
    groups, large = _groups(table), _least_s(table, peaks) > _LARGE_S
    all_large = np.bincount(groups[large], minlength=int(groups.max()) + 1)
    all_broken = np.bincount(groups[large & broken], minlength=int(groups.max()) + 1)
    bad = (all_large >= _MIN_LARGE_ROWS) & (all_broken > _BROKEN_SHARE * all_large)
    return np.asarray(bad[groups], dtype=np.bool_)


def _compute(table: Table, peaks: Peaks) -> NDArray[np.bool_]:
    return _compute_s(table, peaks) > _latency(table) * TOLERANCE


def _bandwidth(table: Table, peaks: Peaks) -> NDArray[np.bool_]:
    return _memory_s(table, peaks, l2_bytes=2 * peaks.l2_bytes) > _latency(table) * TOLERANCE


def _outlier(table: Table, peaks: Peaks) -> NDArray[np.bool_]:
    bad = np.zeros(len(table), dtype=bool)
    if len(table) < 3:
        return bad
    sweep = SWEEPS[table.family][-1]
    names = (*curve_columns(table.family, kernel=True), *SWEEPS[table.family][:-1])
    size = np.asarray(table.columns[sweep], dtype=np.int64)
    curve = 2 * group_ids(table, names) + ((size > 16) & (size % 8 != 0))
    order = np.lexsort((size, curve))
    curve, x, y = curve[order], np.log(np.maximum(size[order], 1)), np.log(_latency(table)[order])
    left, mid, right = slice(None, -2), slice(1, -1), slice(2, None)
    inside = (curve[left] == curve[mid]) & (curve[mid] == curve[right])
    width = np.where(x[right] > x[left], x[right] - x[left], 1.0)
    expected = y[left] + (y[right] - y[left]) * (x[mid] - x[left]) / width
    agree = np.abs(y[right] - y[left]) < np.log(_AGREE)
    bad[order[mid]] = inside & agree & (np.abs(y[mid] - expected) > np.log(_OUTLIER))
    return bad


_RULES = (("non_positive", _unusable), ("launch_bound", _launch_bound), ("impossible_group", _impossible_group),
          ("above_compute_peak", _compute), ("above_bandwidth_peak", _bandwidth), ("outlier", _outlier))
