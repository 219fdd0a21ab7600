"""Which rows of a table that records pages and splits stand for the engine's choice of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.profile.merge import SWEEPS, group_ids
from costplan.profile.table import Table

SD_PER_PAGE_OCTAVE = 0.03
"""Extra relative error for each doubling between the page size asked for and the one measured."""
LEAST_CARRIED_SD = 0.02
"""Extra relative error where a part of the grid was measured at another page size and carried over."""


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


def at_page(rows: Table, page_size: int) -> Paged:
    """Rows for pages of ``page_size`` tokens (0: contiguous, or whatever the engine takes).

    The measured page that is nearest on a log scale (the smaller of two) answers; a contiguous cache only stands in
    for a paged one where nothing else was measured. Sizes that were measured at other pages only are carried over
    with the median ratio of the two pages at the sizes that both have: a page matters much the same everywhere.
    """
    pages = np.asarray(rows.columns["page_size"])
    known = [int(p) for p in np.unique(pages)]
    if len(known) == 1 and known[0] in (0, page_size):
        return Paged(rows, 0.0)
    best = nearest_page(rows, page_size)
    octaves = abs(float(np.log2(best / page_size))) if best and page_size else 0.0
    taken, worst = [rows.take(pages == best)], 0.0
    order = sorted(known, key=lambda p: abs(np.log2(max(p, 1) / max(best, 1))))
    for other in (p for p in order if p != best):
        carried = _carried(taken[0], rows.take(pages == other), _points(taken))
        if carried is not None:
            taken.append(carried[0])
            worst = max(worst, carried[1])
    return Paged(_joined(taken), float(np.hypot(SD_PER_PAGE_OCTAVE * octaves, worst)))


def nearest_page(rows: Table, page_size: int) -> int:
    """The measured page size that stands for ``page_size``."""
    known = [int(p) for p in np.unique(rows.columns["page_size"])]
    if page_size == 0 and 0 in known:
        return 0
    paged = [p for p in known if p > 0]
    if not paged:
        return 0
    return min(paged, key=lambda p: (abs(np.log2(p / max(page_size, 1))), p))


def _key(rows: Table) -> list[tuple[int, ...]]:
    columns = [np.asarray(rows.columns[c]).tolist() for c in SWEEPS[rows.family]]
    return list(zip(*columns, strict=True))


def _points(tables: list[Table]) -> set[tuple[int, ...]]:
    return {k for t in tables for k in _key(t)}


def _fastest(rows: Table) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {}
    for k, s in zip(_key(rows), np.asarray(rows.columns["latency_s"], dtype=float).tolist(), strict=True):
        found[k] = min(s, found.get(k, np.inf))
    return found


def _carried(base: Table, other: Table, have: set[tuple[int, ...]]) -> tuple[Table, float] | None:
    """Rows of ``other`` at sizes not in ``have``, at the speed of ``base``, and the spread of the ratio between the
    two; None where nothing is missing or no size is shared."""
    new: NDArray[np.bool_] = np.array([k not in have for k in _key(other)], dtype=bool)
    mine, theirs = _fastest(base), _fastest(other)
    logs = [np.log(mine[k] / theirs[k]) for k in mine if k in theirs]
    if not new.any() or not logs:
        return None
    part = other.take(new)
    seconds = np.asarray(part.columns["latency_s"], dtype=float) * float(np.exp(np.median(logs)))
    columns = {**part.columns, "latency_s": seconds, "page_size": np.full(len(part), base.columns["page_size"][0])}
    spread = max(LEAST_CARRIED_SD, float(np.std(logs)))
    return Table(part.family, columns, part.codes, part.vocab), spread


def _joined(tables: list[Table]) -> Table:
    """Tables that share their vocabulary, one after another."""
    first = tables[0]
    return Table(first.family, {k: np.concatenate([t.columns[k] for t in tables]) for k in first.columns},
                 {k: np.concatenate([t.codes[k] for t in tables]) for k in first.codes}, first.vocab)
