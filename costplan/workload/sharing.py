"""How much of the prompts a prefix cache of any size would find: the whole LRU curve in one pass.

A block is found by a cache of C blocks if fewer than C distinct blocks were touched since its last use
(Mattson's stack distance, IBM Systems Journal 1970); a request hits its leading blocks up to the first
one that is not found. Requests are looked up one after another, each before its own blocks are touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_NEVER = np.int64(2**62)


@dataclass(frozen=True, slots=True, eq=False)
class SharingCurve:
    """Hit rate in tokens for every LRU size.

    ``needs`` [h] ascending: cache size in blocks that each hit block asks for; ``tokens`` [h] the tokens it
    saves. ``requests_hit`` counts requests that hit at least one block of a cache without limit.
    """

    needs: Ints
    tokens: Ints
    total_tokens: int
    block_tokens: int
    total_blocks: int
    unique_blocks: int
    requests_hit: int

    def hit_rate(self, cache_blocks: int | None = None) -> float:
        """Part of all input tokens found in an LRU cache of so many blocks (None: without limit)."""
        h = len(self.needs) if cache_blocks is None else int(np.searchsorted(self.needs, cache_blocks, side="right"))
        return float(self.tokens[:h].sum()) / self.total_tokens

    def curve(self, sizes: Sequence[int]) -> list[tuple[int, float]]:
        """(cache blocks, hit rate) for several sizes."""
        return [(s, self.hit_rate(s)) for s in sizes]


def sharing_curve(hash_ids: Ints, offsets: Ints, isl: Ints, block_tokens: int) -> SharingCurve:
    """LRU curve of requests whose blocks are ``hash_ids[offsets[i]:offsets[i + 1]]``, replayed in order."""
    counts = np.diff(offsets)
    request = np.repeat(np.arange(len(isl)), counts)
    unique, last = _previous(hash_ids)
    distance = _distances(last, offsets[request], request)
    need = _running_max(distance, offsets, request)
    place = np.arange(len(hash_ids)) - offsets[request]
    tokens = np.clip(isl[request] - place * block_tokens, 0, block_tokens)
    hit = need < _NEVER
    order = np.argsort(need[hit], kind="stable")
    return SharingCurve(need[hit][order], tokens[hit][order], int(isl.sum()), block_tokens, len(hash_ids), unique,
                        len(np.unique(request[hit])))


def _previous(ids: Ints) -> tuple[int, Ints]:
    """Number of distinct ids, and the position of each id's previous occurrence (-1: none)."""
    order = np.argsort(ids, kind="stable")
    same = np.zeros(len(ids), dtype=bool)
    same[1:] = ids[order][1:] == ids[order][:-1]
    last = np.full(len(ids), -1, dtype=np.int64)
    last[order[same]] = order[np.flatnonzero(same) - 1]
    return int(len(ids) - same.sum()), last


def _distances(last: Ints, start: Ints, request: Ints) -> Ints:
    """Cache blocks needed to find each block when its request arrives; `_NEVER` if it is new.

    Distinct blocks in (last, start) are its positions less those touched again before ``start``: pairs
    j < start with last[j] > last[i], counted as inversions of ``last`` less those within the request.
    """
    need = np.full(len(last), _NEVER, dtype=np.int64)
    seen = np.flatnonzero((last >= 0) & (last < start))
    if len(seen) == 0:
        return need
    again = _earlier_greater(last[seen]) - _earlier_greater(request[seen] * np.int64(len(last)) + last[seen])
    need[seen] = start[seen] - last[seen] - again
    return need


def _earlier_greater(values: Ints) -> Ints:
    """For each element of ``values`` [m], all different: how many earlier ones are greater. O(m log m).

    Elements are kept in ascending order within blocks of positions, from one block over all down to
    blocks of one; in each block the greater ones of the left half are counted for the right half.
    """
    m = len(values)
    found = np.zeros(m, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    index = np.arange(m)
    for bit in range(max(m - 1, 1).bit_length() - 1, -1, -1):
        block = (order >> (bit + 1)) << (bit + 1)
        right = ((order >> bit) & 1).astype(bool)
        lefts = np.concatenate([[0], np.cumsum(~right)])
        left_before = lefts[index] - lefts[block]
        half = np.minimum(block + (1 << bit), m) - block
        found[order[right]] += (half - left_before)[right]
        target = block + np.where(right, half + (index - block - left_before), left_before)
        moved = np.empty_like(order)
        moved[target] = order
        order = moved
    return found


def _running_max(distance: Ints, offsets: Ints, request: Ints) -> Ints:
    """Largest distance from a request's first block up to each block."""
    ranks, inverse = np.unique(distance, return_inverse=True)
    lifted = inverse + request * np.int64(len(ranks))  # a later request starts above all before it
    return np.asarray(ranks[np.maximum.accumulate(lifted) - request * np.int64(len(ranks))], dtype=np.int64)
