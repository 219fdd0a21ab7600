"""The one-pass LRU curve against an obvious LRU cache."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.workload.sharing import SharingCurve, _earlier_greater, sharing_curve


def lru_hit_tokens(requests: list[list[int]], isl: list[int], block: int, capacity: int) -> int:
    """Look up a request's leading blocks, then touch all of them, oldest out first."""
    cache: OrderedDict[int, None] = OrderedDict()
    found = 0
    for ids, tokens in zip(requests, isl, strict=True):
        hits = next((k for k, b in enumerate(ids) if b not in cache), len(ids))
        found += min(hits * block, tokens)
        for b in ids:
            cache[b] = None
            cache.move_to_end(b)
        while len(cache) > capacity:
            cache.popitem(last=False)
    return found


def curve(requests: list[list[int]], isl: list[int], block: int) -> SharingCurve:
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in requests])]).astype(np.int64)
    ids = np.array([b for r in requests for b in r], dtype=np.int64)
    return sharing_curve(ids, offsets, np.array(isl, dtype=np.int64), block)


streams = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=8), min_size=1, max_size=25)


@given(streams, st.integers(1, 16), st.data())
def test_every_size_agrees_with_an_obvious_lru(requests: list[list[int]], block: int, data: st.DataObject) -> None:
    isl = [max(len(r) * block - data.draw(st.integers(0, block - 1)), 1) for r in requests]
    found = curve(requests, isl, block)
    for capacity in range(1, 16):
        assert found.hit_rate(capacity) * sum(isl) == pytest.approx(lru_hit_tokens(requests, isl, block, capacity))
    assert found.hit_rate() * sum(isl) == pytest.approx(lru_hit_tokens(requests, isl, block, 10**6))


@given(streams)
def test_a_larger_cache_never_finds_less(requests: list[list[int]]) -> None:
    found = curve(requests, [max(16 * len(r), 1) for r in requests], 16)
    rates = [r for _, r in found.curve(range(1, 30))]
    assert rates == sorted(rates) and rates[-1] <= found.hit_rate() <= 1


@given(st.lists(st.integers(-1000, 1000), unique=True, max_size=70))
def test_earlier_greater(values: list[int]) -> None:
    expected = [sum(w > v for w in values[:i]) for i, v in enumerate(values)]
    assert _earlier_greater(np.array(values, dtype=np.int64)).tolist() == expected


def test_a_stream_that_repeats_one_prompt() -> None:
    found = curve([[1, 2, 3]] * 4, [40] * 4, 16)
    assert found.hit_rate() == 3 / 4 and found.hit_rate(3) == 3 / 4 and found.hit_rate(2) == 0
    assert (found.unique_blocks, found.total_blocks, found.requests_hit) == (3, 12, 3)
