"""Attention of prompts as a profile of one's own measures it: fresh ones over (batch, q_len), chunks after a cached
context over (q_len, context)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costplan.core.evidence import Evidence, worst
from costplan.perf.grid import SD_PER_EXTRAPOLATED_OCTAVE, Grid, Reading
from costplan.perf.timed import MAX_OCTAVES, Baseline, grid_from
from costplan.profile.table import Table


@dataclass(frozen=True, slots=True)
class PromptGrid:
    """A reader over ``(batch, q_len)``, or over ``(batch, q_len, kv_len)`` where ``chunks`` is there.

    Chunks were measured in batches of ``chunk_batch``; other batches are as much more or less efficient as fresh
    prompts of that length are. Between no context and the shortest one measured the two are mixed in proportion.
    Any number of prompts is answered, as many in one step are short ones: beyond the largest batch its efficiency
    holds, with doubt as for five doublings at most. ``log_slowdown`` is what uneven lengths cost (`ragged`).
    """

    fresh: Grid | None
    chunks: Grid | None
    chunk_batch: float
    log_slowdown: float = 0.0
    slowdown_sd: float = 0.0

    def read(self, point: Sequence[float]) -> Reading:
        parts = [(w, grid.read(at)) for w, grid, at in self._terms(point)]
        value = self.log_slowdown + sum(w * r.log_ratio for w, r in parts)
        beyond = min(MAX_OCTAVES, max(0.0, math.log2(point[0] / self._most(point))))
        var = sum((w * r.log_sd) ** 2 for w, r in parts) + (SD_PER_EXTRAPOLATED_OCTAVE * beyond) ** 2
        var += self.slowdown_sd ** 2
        evidence = worst([r.evidence for _, r in parts] + ([Evidence.EXTRAPOLATED] if beyond else []))
        if len(parts) > 1:
            evidence = worst((evidence, Evidence.INTERPOLATED))
        return Reading(value, math.sqrt(var), evidence, max(beyond, *(r.octaves for _, r in parts)))

    def value(self, point: Sequence[float]) -> tuple[float, float]:
        value, octaves = self.log_slowdown, 0.0
        for weight, grid, at in self._terms(point):
            log_ratio, outside = grid.value(at)
            value, octaves = value + weight * log_ratio, max(octaves, outside)
        return value, octaves

    def _most(self, point: Sequence[float]) -> float:
        """The batch whose efficiency holds at ``point``."""
        largest = float(self.fresh.axes[0][-1]) if self.fresh else self.chunk_batch
        return min(point[0], largest)

    def _terms(self, point: Sequence[float]) -> list[tuple[float, Grid, tuple[float, float]]]:
        """Grids, where to read them, and their weights."""
        q_len = point[1]
        context = point[2] - q_len if len(point) > 2 else 0.0
        at = (self._most(point), q_len)
        if self.chunks is None or (context <= 0 and self.fresh is not None):
            assert self.fresh is not None
            return [(1.0, self.fresh, at)]
        shortest = float(self.chunks.axes[1][0])
        chunk = (self.chunks, (q_len, max(context, shortest)))
        if self.fresh is None:
            return [(1.0, *chunk)]
        share = min(1.0, context / shortest)
        if at[0] == self.chunk_batch:
            return [(share, *chunk)] + ([(1.0 - share, self.fresh, at)] if share < 1.0 else [])
        return [(share, *chunk), (1.0, self.fresh, at), (-share, self.fresh, (self.chunk_batch, q_len))]


def prompt_grid(rows: Table, base: Baseline) -> PromptGrid:
    """The grids of some rows; ``base`` tells the roofline at ``(batch, q_len, kv_len)``."""
    q_len, kv_len = (np.asarray(rows.columns[c]) for c in ("q_len", "kv_len"))
    fresh, later = rows.take(kv_len == q_len), rows.take(kv_len > q_len)
    even = grid_from(fresh, ("batch", "q_len"), lambda p: base((p[0], p[1], p[1]))) if len(fresh) else None
    if not len(later):
        return PromptGrid(even, None, 0.0)
    batches, counts = np.unique(later.columns["batch"], return_counts=True)
    batch = float(batches[int(np.argmax(counts))])
    later = later.take(later.mask(batch=int(batch)))
    context = np.asarray(later.columns["kv_len"]) - np.asarray(later.columns["q_len"])
    named = Table(later.family, {**later.columns, "context": context}, later.codes, later.vocab)
    grid = grid_from(named, ("q_len", "context"), lambda p: base((batch, p[0], p[0] + p[1])))
    return PromptGrid(even, grid, batch)
