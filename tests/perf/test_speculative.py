"""Speculative decoding: Leviathan's formula, laws of acceptance and batch size, and what decides."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import InputError
from costplan.perf.assemble import latency_model
from costplan.perf.batch import BatchState
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.speculative import Cycle, Drafter, adaptive, cycle, speculation, tokens_per_cycle

SHARES = st.floats(0, 1)
CYCLES = st.builds(Cycle, st.just(8), st.integers(1, 16), st.just(1.0), st.floats(0, 20), st.floats(1, 20))


@cache
def times() -> KernelLatencyModel:
    return latency_model(model("llama-3.1-70b"), gpu("h100_sxm"), Layout(4), engine="vllm", weight_dtype="fp8")


@cache
def small() -> Drafter:
    return Drafter("8b", latency_model(model("llama-3.1-8b"), gpu("h100_sxm"), Layout(4), engine="vllm"))


@pytest.mark.parametrize(("a", "k", "tokens"), [(0.0, 4, 1.0), (1.0, 4, 5.0), (0.5, 1, 1.5), (0.8, 3, 2.952)])
def test_expected_tokens_of_a_cycle(a: float, k: int, tokens: float) -> None:
    assert tokens_per_cycle(a, k) == pytest.approx(tokens)


@given(st.floats(0, 0.999), st.integers(1, 16))
def test_it_is_leviathans_formula(a: float, k: int) -> None:
    assert tokens_per_cycle(a, k) == pytest.approx((1 - a ** (k + 1)) / (1 - a))


@given(CYCLES)
def test_without_acceptance_it_is_never_faster(c: Cycle) -> None:
    assert c.speedup(0.0) <= 1
    assert c.p95_speedup(0.0, 0.0, 100) <= 1 + 1e-9


@given(CYCLES, SHARES, SHARES)
def test_more_acceptance_is_never_slower(c: Cycle, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert c.speedup(low) <= c.speedup(high) + 1e-12
    assert c.p95_speedup(low, 0.1, 200) <= c.p95_speedup(high, 0.1, 200) * (1 + 1e-6)


@given(CYCLES)
def test_break_even_is_where_the_gain_begins(c: Cycle) -> None:
    even = c.break_even
    if even is None:
        assert c.speedup(1.0) < 1
        return
    assert c.speedup(even) >= 1 - 1e-9
    assert c.speedup(max(0.0, even - 0.01)) <= 1 + 1e-9


@given(CYCLES, st.floats(0.05, 0.95), st.floats(0, 0.3))
def test_the_slow_tail_is_never_faster_than_the_mean(c: Cycle, a: float, spread: float) -> None:
    assert c.p95_speedup(a, spread, 300) <= c.speedup(a) * (1 + 1e-9)
    assert c.p95_speedup(a, spread, 300) <= c.p95_speedup(a, 0.0, 300) * (1 + 0.02)


def test_the_p95_wall_clock_is_that_of_a_draw() -> None:
    rng = random.Random(7)
    c = Cycle(8, 4, 1.0, 0.2, 1.1)
    counts = []
    for _ in range(4000):
        tokens = cycles = 0
        while tokens < 300:
            cycles += 1
            tokens += 1
            for _ in range(c.draft_tokens):
                if rng.random() >= 0.7:
                    break
                tokens += 1
        counts.append(cycles)
    drawn = sorted(counts)[int(0.95 * len(counts))]
    assert c.p95_speedup(0.7, 0.0, 300) == pytest.approx(300 / (drawn * c.cost), rel=0.02)


def test_small_batches_gain_and_large_ones_lose() -> None:
    gains = {b: cycle(times(), small(), b, 1000, 4).speedup(0.7) for b in (1, 8, 256)}
    assert gains[1] > 1.1
    assert gains[8] > 1
    assert gains[256] < 0.9  # five tokens a sequence fill the arithmetic units
    evens = [cycle(times(), small(), b, 1000, 4).break_even or 1.0 for b in (1, 64, 256)]
    assert evens == sorted(evens)


def test_a_check_is_never_faster_than_a_plain_step() -> None:
    for b in (1, 2, 7, 64, 300):
        c = cycle(times(), Drafter("none", None), b, 500, 4)
        assert c.verify_s >= c.plain_s == times().step_s(BatchState(decode_seqs=b, decode_kv_tokens=b * 500))
        assert c.draft_s == 0


def test_a_draft_costs_its_kernels_not_the_engines_step() -> None:
    b = BatchState(decode_seqs=8, decode_kv_tokens=8000)
    draft = small()
    assert draft.model is not None
    assert 0 < draft.step_s(b) < draft.model.step_s(b)


def test_draft_length_adapts_to_acceptance_and_batch() -> None:
    none = Drafter("none", None)
    lengths = [adaptive(times(), none, 4, 1000, a, 0.0, 300)[0] for a in (0.05, 0.5, 0.9)]
    assert lengths == sorted(lengths)
    assert lengths[-1] >= 4
    assert adaptive(times(), small(), 512, 1000, 0.3, 0.1, 300) == (0, 1.0)


def test_the_asked_load_is_judged_at_p95() -> None:
    s = speculation(times(), small(), acceptance=0.7, spread=0.1, draft_tokens=4, context=1000, osl=300, here=48,
                    most=64)
    assert [r.cycle.seqs for r in s.rows] == [1, 2, 4, 8, 16, 32, 64]
    assert s.here.cycle.seqs == 48
    assert s.here.pays is (s.here.p95_speedup > 1)
    assert all(r.best_p95_speedup >= max(1.0, r.p95_speedup) for r in s.rows)


@pytest.mark.parametrize("bad", [{"acceptance": 1.1}, {"spread": -0.1}, {"draft_tokens": 0}, {"draft_tokens": 17}])
def test_bad_values_name_their_flag(bad: dict[str, float]) -> None:
    known = {"acceptance": 0.7, "spread": 0.1, "draft_tokens": 4}
    with pytest.raises(InputError, match="--"):
        speculation(times(), small(), context=1000, osl=300, here=1, most=8, **{**known, **bad})  # type: ignore[arg-type]
