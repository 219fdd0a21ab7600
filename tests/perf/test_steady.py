"""The closed-form operating point: laws, limits that can be computed by hand, and what happens at saturation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import DoesNotFitError
from costplan.perf.batch import BatchState
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.ops import Op
from costplan.perf.overhead import Overhead
from costplan.perf.steady import Limits, Load, LoadKind, steady_state
from costplan.perf.timed import TimedKernel

DENSE_S, TOKEN_S, KV_S = 5e-3, 20e-6, 2e-9


def affine(*, mixed: bool = True) -> KernelLatencyModel:
    """A step takes 5 ms, 20 us per token and 2 ns per cached token: everything below can be done by hand."""
    dense = TimedKernel("dense", None, lambda p: DENSE_S + p[0] * TOKEN_S)
    kv = TimedKernel("kv", None, lambda p: p[0] * KV_S)
    ops = [Op("gemm", dense, 1, lambda b: (b.tokens,) if b.tokens else None),
           Op("attention", kv, 1, lambda b: (b.decode_kv_tokens,) if b.decode_seqs else None)]
    return KernelLatencyModel(ops, Overhead(mixed=mixed))


LIMITS = Limits(256, 8192, 1e6)


def load(kind: str, value: float, isl: float = 1000, osl: float = 200, requests: int | None = None) -> Load:
    return Load(LoadKind(kind), value, isl, osl, requests)


def test_one_request_alone() -> None:
    p = steady_state(affine(), load("batch1", 1), LIMITS)
    assert p.ttft_s == pytest.approx(DENSE_S + 1000 * TOKEN_S)
    assert p.tpot_s == pytest.approx(DENSE_S + TOKEN_S + 1100 * KV_S)
    assert p.output_tok_s == pytest.approx(200 / (p.ttft_s + 199 * p.tpot_s))


def test_a_static_batch_prefills_then_decodes() -> None:
    p = steady_state(affine(), load("static_batch", 8), LIMITS)
    prefill, decode = DENSE_S + 8000 * TOKEN_S, DENSE_S + 8 * TOKEN_S + 8 * 1100 * KV_S
    assert p.output_tok_s == pytest.approx(8 * 200 / (prefill + 199 * decode), rel=1e-6)


def test_little_holds_in_a_closed_loop() -> None:
    p = steady_state(affine(), load("concurrency", 32), LIMITS)
    in_flight = p.output_tok_s / 200 * p.e2e_s
    assert in_flight == pytest.approx(32, rel=1e-6)


@given(n=st.integers(1, 128))
def test_more_clients_never_lower_throughput_nor_tpot(n: int) -> None:
    a, b = (steady_state(affine(), load("concurrency", c), LIMITS) for c in (n, n + 8))
    assert b.output_tok_s >= 0.999 * a.output_tok_s
    assert b.tpot_s >= 0.999 * a.tpot_s


def test_clients_beyond_the_batch_wait() -> None:
    small = replace(LIMITS, max_num_seqs=16)
    p = steady_state(affine(), load("concurrency", 64), small)
    assert p.saturated
    assert p.queue_s > 0
    assert p.batch <= 16
    full = steady_state(affine(), load("concurrency", 16), small)
    assert p.output_tok_s == pytest.approx(full.output_tok_s, rel=0.02)


def test_the_kv_cache_limits_the_batch() -> None:
    p = steady_state(affine(), load("all_at_once", 500), replace(LIMITS, kv_tokens=11_000))
    assert p.batch == pytest.approx(10, rel=0.01)
    with pytest.raises(DoesNotFitError, match="1200"):
        steady_state(affine(), load("concurrency", 1), replace(LIMITS, kv_tokens=1000))


@given(rate=st.floats(0.01, 3))
def test_an_open_loop_below_capacity_delivers_what_arrives(rate: float) -> None:
    p = steady_state(affine(), load("rate", rate), LIMITS)
    assert not p.saturated
    assert p.output_tok_s == pytest.approx(rate * 200)


def test_an_open_loop_beyond_capacity_saturates() -> None:
    low, over, far = (steady_state(affine(), load("rate", r), LIMITS) for r in (1, 100, 1000))
    assert not low.saturated
    assert over.saturated
    assert over.output_tok_s == pytest.approx(far.output_tok_s)
    assert low.tpot_s < over.tpot_s


def test_prompts_that_stop_the_others_cost_more_tpot() -> None:
    shared, apart = (steady_state(affine(mixed=m), load("concurrency", 64), LIMITS) for m in (True, False))
    assert apart.tpot_s > shared.tpot_s


def test_a_start_all_at_once_is_felt_in_ttft() -> None:
    calm, burst = (steady_state(affine(), load("concurrency", 64, requests=n), LIMITS) for n in (None, 640))
    assert burst.ttft_s > calm.ttft_s
    assert burst.tpot_s == pytest.approx(calm.tpot_s)


def test_long_prompts_are_prefilled_in_chunks() -> None:
    p = steady_state(affine(), load("concurrency", 1, isl=20_000), LIMITS)
    assert p.ttft_s == pytest.approx(3 * DENSE_S + 20_000 * TOKEN_S, rel=0.01)
    assert p.prefill_step.prefill_tokens <= LIMITS.max_num_batched_tokens


def test_eager_prompts_cannot_be_faster_than_their_launches() -> None:
    m = affine()
    m.overhead = Overhead(eager_s=0.5)
    assert m.step_s(BatchState(0, 0, 10, 0, 1)) == 0.5
    assert m.step_s(BatchState(1, 10)) < 0.01
