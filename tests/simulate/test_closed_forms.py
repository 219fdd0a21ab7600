"""Loads whose answer can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from costplan.simulate.clock import TICKS_PER_S
from costplan.simulate.policy import SGLANG, STATIC, TRTLLM, VLLM, SchedulerLimits
from costplan.simulate.requests import SimRequests, all_at_once, closed_loop, open_loop
from costplan.simulate.run import simulate
from costplan.simulate.step_table import StepTable

LIMITS = SchedulerLimits(32, 256, 4000, 16)


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_one_request_is_its_prefill_steps_and_then_decode_steps(table: StepTable, engine: str) -> None:
    r = simulate(all_at_once(1, 600, 5), table, LIMITS, VLLM, engine=engine)
    chunks = [(256, 0), (256, 256), (88, 512)]
    ttft = sum(table.step_ticks(0, 0, 1, tokens, context) for tokens, context in chunks)
    decode = [table.step_ticks(1, 600 + i, 0, 0, 0) for i in range(1, 5)]
    assert r.tally.first.tolist() == [ttft]
    assert r.tally.finish.tolist() == [ttft + sum(decode)]
    assert r.tally.max_gap.tolist() == [max(decode)]
    assert r.tpot_s[0] == pytest.approx(sum(decode) / 4 / TICKS_PER_S)


def test_time_before_the_engine_counts_for_the_client_only(late_table: StepTable) -> None:
    r = simulate(all_at_once(1, 10, 1), late_table, LIMITS, VLLM)
    assert r.queue_s.tolist() == [0.0]
    assert r.ttft_s[0] == pytest.approx(5e-3 + late_table.step_s(0, 0, 1, 10, 0))


def test_decoding_is_served_first_and_shares_the_step(table: StepTable) -> None:
    """vLLM: the second request's prompt rides along with the first one's decode step."""
    requests = SimRequests(np.asarray([0.0, 1e-9]), np.asarray([10, 200]), np.asarray([3, 1]))
    r = simulate(requests, table, LIMITS, VLLM)
    first = table.step_ticks(0, 0, 1, 10, 0)
    both = table.step_ticks(1, 11, 1, 200, 0)
    assert r.tally.first.tolist() == [first, first + both]
    assert r.tally.finish.tolist() == [first + both + table.step_ticks(1, 12, 0, 0, 0), first + both]


def test_sglang_runs_prompts_alone_while_decoding_waits(table: StepTable) -> None:
    requests = SimRequests(np.asarray([0.0, 1e-9]), np.asarray([10, 200]), np.asarray([3, 1]))
    r = simulate(requests, table, LIMITS, SGLANG)
    first, second = table.step_ticks(0, 0, 1, 10, 0), table.step_ticks(0, 0, 1, 200, 0)
    assert r.tally.first.tolist() == [first, first + second]
    assert r.tally.max_gap[0] == second + table.step_ticks(1, 11, 0, 0, 0)


def test_trtllm_never_preempts_and_waits_for_whole_prompts(table: StepTable) -> None:
    requests = all_at_once(40, 100, 100)
    r = simulate(requests, table, SchedulerLimits(32, 256, 80, 16), TRTLLM)
    assert r.tally.counters["preemptions"] == 0
    assert r.tally.counters["prefill_seqs"] == 40
    assert r.tally.counters["peak_running"] == 80 // 13
    assert simulate(requests, table, SchedulerLimits(32, 256, 80, 16), VLLM).tally.counters["preemptions"] > 0


def test_a_static_batch_starts_when_the_last_has_ended(table: StepTable) -> None:
    r = simulate(all_at_once(8, 100, 20), table, SchedulerLimits(4, 512, 4000, 16), STATIC)
    batch = table.step_ticks(0, 0, 4, 400, 0) + sum(table.step_ticks(4, 4 * (100 + i), 0, 0, 0) for i in range(1, 20))
    assert r.tally.finish.tolist() == [batch] * 4 + [2 * batch] * 4


def test_a_static_batch_larger_than_the_token_budget_prefills_in_several_steps(table: StepTable) -> None:
    r = simulate(all_at_once(4, 256, 2), table, SchedulerLimits(4, 256, 4000, 16), STATIC)
    one = table.step_ticks(0, 0, 1, 256, 0)
    assert r.tally.first.tolist() == [one, 2 * one, 3 * one, 4 * one]
    assert len(set(r.tally.finish.tolist())) == 1


def test_a_closed_loop_keeps_its_clients_in_flight(table: StepTable) -> None:
    """Little's law: clients = throughput x time per request; the drain at the end is all that is missing."""
    r = simulate(closed_loop(4000, 10, 50, 40), table, LIMITS, VLLM)
    assert 4000 / r.duration_s * r.e2e_s.mean() == pytest.approx(10, rel=0.01)
    assert r.tally.counters["peak_running"] == 10


def test_clients_think_between_requests(table: StepTable) -> None:
    r = simulate(closed_loop(5, 1, 50, 4, think_s=0.25), table, LIMITS, VLLM)
    assert np.diff(r.sent_s) == pytest.approx(0.25 + r.e2e_s[:-1])


def test_one_slot_is_an_m_d_1_queue(table: StepTable) -> None:
    """Mean wait of M/D/1: rho / (1 - rho) x service / 2 (Pollaczek-Khinchine), and one slot serves in turn."""
    service = simulate(all_at_once(1, 50, 30), table, LIMITS, VLLM).duration_s
    load = 0.7
    r = simulate(open_loop(60_000, load / service, 50, 30, seed=3), table, SchedulerLimits(1, 256, 4000, 16), VLLM)
    assert r.queue_s.mean() == pytest.approx(load / (1 - load) * service / 2, rel=0.06)
    assert r.tally.counters["busy_ticks"] / r.tally.counters["end_ticks"] == pytest.approx(load, rel=0.02)


def test_swapping_moves_blocks_out_and_in_and_computes_nothing_twice(table: StepTable) -> None:
    from costplan.simulate.policy import EnginePolicy, Preemption

    limits = SchedulerLimits(8, 256, 40, 16, swap_s_per_block=1e-5)
    r = simulate(all_at_once(8, 60, 200), table, limits, EnginePolicy("swap", preemption=Preemption.SWAP))
    c = r.tally.counters
    assert c["preemptions"] > 0
    assert c["prefill_tokens"] == 8 * 60
    assert c["decode_tokens"] == 8 * 199
    assert c["swapped_blocks"] >= 2 * 4 * c["preemptions"]
    again = simulate(all_at_once(8, 60, 200), table, limits, VLLM).tally.counters
    assert again["prefill_tokens"] > 8 * 60
