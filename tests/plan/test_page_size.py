"""Page sizes: waste by hand, lost sharing, what engines take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.plan.page_size import fragmentation_tokens, lost_sharing_tokens, page_choices
from costplan.plan.question import question
from costplan.plan.space import space
from costplan.workload.prefix import Groups, MultiTurn, PrefixModel
from costplan.workload.workload import Candidates, Constraints, Workload

from .conftest import PRICES


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50), st.sampled_from([1, 16, 32, 64, 128]))
def test_fragmentation_is_what_the_last_page_leaves_empty(lengths: list[int], size: int) -> None:
    expected = sum(-(-n // size) * size - n for n in lengths) / len(lengths)
    assert fragmentation_tokens(lengths, size) == pytest.approx(expected)
    assert 0 <= fragmentation_tokens(lengths, size) < size


def test_fragmentation_by_hand() -> None:
    assert fragmentation_tokens([16, 17], 16) == 7.5


def test_shared_prefixes_lose_their_last_partial_page(workload: Workload) -> None:
    asked = question(replace(workload, prefix=PrefixModel(16, 100, Groups(2, 50))), 0)
    assert lost_sharing_tokens(asked, 1) == 0
    assert lost_sharing_tokens(asked, 64) == 150 - 128
    turns = question(replace(workload, prefix=PrefixModel(16, multi_turn=MultiTurn(0.5, 10.0))), 0)
    assert lost_sharing_tokens(turns, 33) == pytest.approx(0.5 * 16)
    assert lost_sharing_tokens(question(workload, 0), 64) is None


@pytest.mark.parametrize(("engine", "allowed"), [("vllm", {16, 32, 64, 128, 256}), ("sglang", {1, 16, 32, 64, 128})])
def test_what_the_engine_takes_and_what_fits(workload: Workload, engine: str, allowed: set[int]) -> None:
    asked = question(workload, 0)
    found = space(asked.spec, Candidates(gpus=("h100_sxm",), engines=(engine,), tp=(1,), weights=("bf16",)),
                  Constraints(), PRICES, max_tokens=asked.shape.max_tokens, model=asked.spec.name)
    pages = page_choices(asked, next(iter(found.by_system.values()))[0])
    assert allowed <= {p.block_size for p in pages if p.allowed}
    fits = [p.concurrent_requests for p in pages if p.allowed]
    assert fits == sorted(fits, reverse=True)  # larger pages waste more
    for p in pages:
        assert (p.kernel_efficiency is None) == (p.kernel_evidence == "not measured")
        assert p.reason
