"""Prefix ids in the unit that an engine can reuse, without those that nobody shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import InputError
from costplan.simulate.requests import SimRequests

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PrefixUnits:
    """Shared leading units of each request: ``ids[offsets[i]:offsets[i + 1]]`` of ``count`` different ones.

    A unit is ``tokens`` tokens in ``blocks`` blocks of the engine: the larger of its block and a block of the trace.
    """

    ids: Ints
    offsets: Ints
    count: int
    tokens: int
    blocks: int

    def of(self, kept: Ints) -> PrefixUnits:
        """The units of some requests only."""
        counts = np.diff(self.offsets)
        if len(kept) == len(counts):
            return self
        mask = np.zeros(len(counts), dtype=bool)
        mask[kept] = True
        offsets = np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64)
        return PrefixUnits(self.ids[np.repeat(mask, counts)], offsets, self.count, self.tokens, self.blocks)


def no_units(n: int) -> PrefixUnits:
    """Nothing is shared."""
    return PrefixUnits(np.zeros(0, np.int64), np.zeros(n + 1, np.int64), 0, 1, 1)


def prefix_units(requests: SimRequests, block_size: int) -> PrefixUnits:
    """Units of ``requests`` for blocks of ``block_size`` tokens.

    Ids name a block together with all before it. So an id that occurs once ends what its request shares: the
    rest can never be found again, and is left out (it still takes blocks and ages like any other).
    """
    ids, offsets, size = requests.hash_ids, requests.hash_offsets, requests.block_tokens
    n = len(requests)
    if ids is None or offsets is None or size is None or not len(ids):
        return no_units(n)
    if size % block_size and block_size % size:
        raise InputError(f"prefix ids of {size} tokens do not line up with blocks of {block_size}",
                         hint=f"use a block_size that divides {size} or is a multiple of it", where="block_size")
    step, unit = max(1, block_size // size), max(size, block_size)
    counts = np.minimum(np.diff(offsets) // step, requests.isl // unit)
    request = np.repeat(np.arange(n), counts)
    place = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = np.asarray(ids)[offsets[:-1][request] + place * step + (step - 1)]
    dense, uses = _dense(taken)
    alone = uses[dense] == 1
    first_alone = counts.copy()
    np.minimum.at(first_alone, request[alone], place[alone])
    kept = dense[place < first_alone[request]]
    final = _dense(kept)[0] if len(kept) else kept
    return PrefixUnits(final, np.concatenate([[0], np.cumsum(first_alone)]).astype(np.int64),
                       int(final.max(initial=-1)) + 1, unit, unit // block_size)


def _dense(ids: Ints) -> tuple[Ints, Ints]:
    """Ids renumbered from 0 and how often each occurs."""
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
    if high - low > 8 * len(ids) + 1024:
        _, dense, uses = np.unique(ids, return_inverse=True, return_counts=True)
        return dense.astype(np.int64), uses.astype(np.int64)
    uses = np.bincount(ids - low, minlength=1)
    names = np.cumsum(uses > 0) - 1
    return names[ids - low].astype(np.int64), uses[uses > 0].astype(np.int64)
