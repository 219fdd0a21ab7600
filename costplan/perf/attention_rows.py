"""Which rows of a table that records pages and splits stand for the engine's choice of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from costplan.profile.merge import SWEEPS, group_ids
from costplan.profile.table import Table

SD_PER_PAGE_OCTAVE = 0.03
"""Extra relative error for each doubling between the page size asked for and the one measured."""
LEAST_SHIFT_SD = 0.02
"""Least extra relative error where another page's grid, shifted, stands in."""
ENOUGH_SHARE = 0.5
"""A page with at least so many of the sizes of the best-covered one answers from its own rows."""


SecondsOf = Callable[[Table], Callable[[Sequence[float]], float]]


@dataclass(frozen=True, slots=True)
class Paged:
    """Rows as if all were measured at one page size; ``log_sd`` is the relative error that this adds."""

    rows: Table
    log_sd: float


def without_spare_splits(rows: Table) -> Table:
    """Without rows of an explicit ``num_splits`` at points that were measured with an automatic one (0).

    Engines leave the number of splits to the kernel; where no automatic row exists, the fastest split stands in.
    """
    if "num_splits" not in rows.columns:
        return rows
    splits = np.asarray(rows.columns["num_splits"])
    points = group_ids(rows, [*SWEEPS[rows.family], "page_size", *(["lengths"] if "lengths" in rows.codes else [])])
    automatic = np.zeros(int(points.max(initial=0)) + 1, dtype=bool)
    automatic[points[splits == 0]] = True
    return rows.take((splits == 0) | ~automatic[points])


def at_page(rows: Table, page_size: int, seconds_of: SecondsOf) -> Paged:
    """Rows for pages of ``page_size`` tokens (0: contiguous, or whatever the engine takes).

    The measured page that is nearest on a log scale (the smaller of two) answers; a contiguous cache only stands in
    for a paged one where nothing else was measured. A page that was measured at few sizes only shifts the grid of the
    one measured at most, by the median ratio of the two where it was measured: a page matters much the same
    everywhere. ``seconds_of`` interpolates rows at (batch, kv_len), or at (batch, q_len, kv_len).
    """
    pages = np.asarray(rows.columns["page_size"])
    best = nearest_page(rows, page_size)
    octaves = abs(float(np.log2(best / page_size))) if best and page_size else 0.0
    sizes = {int(p): len(_fastest(rows.take(pages == p))) for p in np.unique(pages)}
    most = max(sizes, key=lambda p: (sizes[p], p == best))
    own = rows.take(pages == best)
    if sizes[best] >= ENOUGH_SHARE * sizes[most]:
        return Paged(own, SD_PER_PAGE_OCTAVE * octaves)
    many = rows.take(pages == most)
    reference = seconds_of(many)
    logs = [float(np.log(s / reference(p))) for p, s in _fastest(own).items()]
    seconds = np.asarray(many.columns["latency_s"], dtype=float) * float(np.exp(np.median(logs)))
    shifted = Table(many.family, {**many.columns, "latency_s": seconds}, many.codes, many.vocab)
    return Paged(shifted, float(np.hypot(SD_PER_PAGE_OCTAVE * octaves, max(LEAST_SHIFT_SD, float(np.std(logs))))))


def nearest_page(rows: Table, page_size: int) -> int:
    """The measured page size that stands for ``page_size``."""
    known = [int(p) for p in np.unique(rows.columns["page_size"])]
    if page_size == 0 and 0 in known:
        return 0
    paged = [p for p in known if p > 0]
    if not paged:
        return 0
    return min(paged, key=lambda p: (abs(np.log2(p / max(page_size, 1))), p))


def _fastest(rows: Table) -> dict[tuple[int, ...], float]:
    """Least seconds at each measured point, in the order of the kernel's coordinates."""
    names = ("batch", "q_len", "kv_len") if "q_len" in rows.columns else ("batch", "kv_len")
    points = zip(*(np.asarray(rows.columns[c]).tolist() for c in names), strict=True)
    found: dict[tuple[int, ...], float] = {}
    for k, s in zip(points, np.asarray(rows.columns["latency_s"], dtype=float).tolist(), strict=True):
        found[k] = min(s, found.get(k, np.inf))
    return found
