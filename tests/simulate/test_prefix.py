"""Shared prefixes over a finite pool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costplan.core.errors import InputError
from costplan.simulate.policy import VLLM, EnginePolicy, SchedulerLimits
from costplan.simulate.prefix_cache import BlockPool
from costplan.simulate.prefix_units import prefix_units
from costplan.simulate.requests import SimRequests
from costplan.simulate.run import simulate
from costplan.simulate.step_table import StepTable


def shared(groups: list[int], blocks: int = 4, own: int = 20, gap_s: float = 10.0) -> SimRequests:
    """Requests far apart in time: ``blocks`` blocks of 16 tokens of their group, then ``own`` tokens."""
    n = len(groups)
    ids = np.concatenate([g * 100 + np.arange(blocks) for g in groups])
    return SimRequests(np.arange(n) * gap_s, np.full(n, 16 * blocks + own), np.full(n, 4), ids,
                       np.arange(n + 1) * blocks, 16)


def hits(requests: SimRequests, table: StepTable, num_blocks: int, policy: EnginePolicy = VLLM) -> int:
    return simulate(requests, table, SchedulerLimits(8, 256, num_blocks, 16), policy).tally.counters["hit_tokens"]


def test_a_cached_prefix_is_computed_once(table: StepTable) -> None:
    r = simulate(shared([1, 1, 1]), table, SchedulerLimits(8, 256, 100, 16), VLLM)
    assert r.tally.counters["hit_tokens"] == 2 * 64
    assert r.tally.counters["prefill_tokens"] == 3 * 84 - 2 * 64
    assert r.ttft_s[1] == pytest.approx(table.step_s(0, 0, 1, 20, 64))


def test_without_prefix_caching_everything_is_computed(table: StepTable) -> None:
    assert hits(shared([1, 1, 1]), table, 100, EnginePolicy("off", prefix_caching=False)) == 0


def test_the_least_recently_used_prefix_goes_first(table: StepTable) -> None:
    """Two prefixes of 4 blocks fit beside the 2 that a request needs for itself; three do not."""
    assert hits(shared([1, 2, 1, 2, 1, 2]), table, 12) == 4 * 64
    assert hits(shared([1, 2, 3, 1, 2, 3]), table, 12) < 3 * 64
    assert hits(shared([1, 2, 3, 1, 2, 3]), table, 100) == 3 * 64


def test_requests_at_the_same_time_share_blocks(table: StepTable) -> None:
    requests = shared([1] * 8, gap_s=0.0)
    together = simulate(requests, table, SchedulerLimits(8, 512, 100, 16), VLLM).tally.counters
    assert together["hit_tokens"] == 7 * 64
    assert together["peak_blocks"] == 4 + 8 * 2


def test_one_token_of_a_fully_cached_prompt_is_computed(table: StepTable) -> None:
    r = simulate(shared([1, 1], own=0), table, SchedulerLimits(8, 256, 100, 16), VLLM)
    assert r.tally.counters["hit_tokens"] == 48


def test_more_blocks_never_hit_less(table: StepTable) -> None:
    rng = np.random.default_rng(2)
    requests = shared(rng.integers(0, 12, 200).tolist())
    found = [hits(requests, table, blocks) for blocks in (10, 14, 20, 30, 50, 100, 500)]
    assert found == sorted(found)
    assert found[-1] == (200 - 12) * 64


@pytest.mark.parametrize(("block_size", "unit", "blocks"), [(8, 16, 2), (16, 16, 1), (32, 32, 1)])
def test_units_follow_the_larger_of_both_sizes(block_size: int, unit: int, blocks: int) -> None:
    units = prefix_units(shared([1, 1, 2]), block_size)
    assert (units.tokens, units.blocks) == (unit, blocks)
    assert np.diff(units.offsets).tolist() == [64 // unit, 64 // unit, 0]


def test_sizes_that_do_not_line_up_are_refused() -> None:
    with pytest.raises(InputError, match="do not line up"):
        prefix_units(shared([1, 1]), 24)


def test_sparse_ids_are_renumbered() -> None:
    requests = shared([1, 1, 7])
    assert requests.hash_ids is not None
    far = replace(requests, hash_ids=requests.hash_ids * 2**40)
    a, b = prefix_units(requests, 16), prefix_units(far, 16)
    assert a.ids.tolist() == b.ids.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_the_pool_evicts_from_the_tail_of_a_prompt() -> None:
    pool = BlockPool(6, 1)
    pool.take(4)
    assert all(pool.publish(u) for u in (10, 11, 12))
    pool.release(1, [10, 11, 12])
    assert pool.hits([10, 11, 12], 3) == 3
    pool.take(4)
    assert pool.hits([10, 11, 12], 3) == 2
    assert not pool.publish(10)
