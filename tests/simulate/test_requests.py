"""The door: what a run accepts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import InputError
from costplan.simulate.clock import bin_ticks, gap_bin
from costplan.simulate.policy import SGLANG, VLLM, EnginePolicy, SchedulerLimits, policy
from costplan.simulate.requests import SimRequests, all_at_once, closed_loop, from_workload, open_loop
from costplan.simulate.setup import setup
from costplan.simulate.step_table import StepTable
from costplan.workload.requests import Requests

ONE = {"arrival_s": np.zeros(2), "isl": np.ones(2, int), "osl": np.ones(2, int)}


@pytest.mark.parametrize(("change", "text"), [
    ({"isl": np.zeros(0, int)}, "no requests"), ({"isl": np.asarray([1, 0])}, "at least 1"),
    ({"osl": np.asarray([1, -3])}, "at least 1"), ({"osl": np.ones(3, int)}, "osl has 3 values"),
    ({"isl": np.asarray([1, 2**50])}, "2\\^40"), ({"arrival_s": np.asarray([0.0, np.nan])}, "finite"),
    ({"arrival_s": np.asarray([0.0, np.inf])}, "finite"), ({"arrival_s": np.asarray([-1.0, 0.0])}, "not negative"),
    ({"arrival_s": np.asarray([2.0, 1.0])}, "not decrease"), ({"concurrency": 0}, "concurrency"),
    ({"think_s": float("nan")}, "think_s"), ({"tenant": np.zeros(1, int)}, "tenant has 1"),
])
def test_bad_requests_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        SimRequests(**(ONE | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [
    {"max_num_seqs": 0}, {"max_num_batched_tokens": 0}, {"num_blocks": 0}, {"block_size": 0},
    {"watermark_blocks": 10}, {"watermark_blocks": -1}, {"swap_s_per_block": float("inf")}, {"swap_s_per_block": -1.0},
])
def test_bad_limits_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InputError):
        SchedulerLimits(**({"max_num_seqs": 1, "max_num_batched_tokens": 1, "num_blocks": 10} | change))


def test_contradicting_policies_are_refused() -> None:
    with pytest.raises(InputError, match="exclude"):
        EnginePolicy("x", reserve_output=True, output_reserve=0.5)
    with pytest.raises(InputError, match="output_reserve"):
        EnginePolicy("x", output_reserve=1.5)


def test_policies_are_found_by_name() -> None:
    assert policy("sglang") is SGLANG
    with pytest.raises(InputError) as e:
        policy("sglnag")
    assert e.value.hint == "did you mean sglang?"


def test_a_table_that_is_too_small_is_refused(table: StepTable) -> None:
    with pytest.raises(InputError, match="table covers 64 sequences and 512 tokens"):
        setup(all_at_once(100, 1, 1), table, SchedulerLimits(65, 512, 100), VLLM)
    with pytest.raises(InputError, match="table covers"):
        setup(all_at_once(100, 1, 1), table, SchedulerLimits(64, 513, 100), VLLM)


def test_centuries_are_refused(table: StepTable) -> None:
    requests = SimRequests(np.asarray([0.0, 1e9]), np.ones(2, int), np.ones(2, int))
    with pytest.raises(InputError, match="266 days"):
        setup(requests, table, SchedulerLimits(1, 1, 1, 1), VLLM)


def test_another_rate_keeps_the_lengths() -> None:
    a, b = open_loop(50, 1.0, (1, 99), (1, 99), seed=4), open_loop(50, 3.0, (1, 99), (1, 99), seed=4)
    assert a.isl.tolist() == b.isl.tolist()
    assert a.osl.tolist() == b.osl.tolist() != a.isl.tolist()
    assert a.arrival_s == pytest.approx(3 * b.arrival_s)
    assert a.isl.min() >= 1
    assert a.isl.max() <= 99
    with pytest.raises(InputError):
        open_loop(5, 0.0, 1, 1)


def test_workload_requests_keep_tenants_and_loop() -> None:
    drawn = Requests(np.zeros(3), np.ones(3, int), np.ones(3, int), tenant=np.asarray([0, 1, 0]), concurrency=2)
    r = from_workload(drawn, priorities=(5, 1))
    assert r.priority is not None
    assert r.priority.tolist() == [5, 1, 5]
    assert r.concurrency == 2
    assert closed_loop(3, 2, 1, 1).concurrency == 2


@given(st.integers(0, 2**61))
def test_a_gap_lies_in_its_bin(gap: int) -> None:
    low, high = bin_ticks(gap_bin(gap)), bin_ticks(gap_bin(gap) + 1)
    assert low <= gap < high
    assert high - low <= max(1, low / 32)
