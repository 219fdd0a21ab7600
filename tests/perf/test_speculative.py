"""Speculative decoding: Leviathan's formula, laws of acceptance and batch size, and what decides."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import DoesNotFitError, InputError
from costplan.perf.batch import BatchState
from costplan.perf.drafter import Drafter, drafter_of, model_of, room_beside
from costplan.perf.drafting import Drafting
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.predict import Deployment, budget_of
from costplan.perf.speculative import Cycle, adaptive, cycle, speculation, tokens_per_cycle

SHARES = st.floats(0, 1)
CYCLES = st.builds(Cycle, st.just(8), st.integers(1, 16), st.just(1.0), st.floats(0, 20), st.floats(1, 20))


DEP = Deployment(model("llama-3.1-70b"), gpu("h100_sxm"), Layout(4), weight_dtype="fp8")


@cache
def times() -> KernelLatencyModel:
    return model_of(DEP, None)


@cache
def small() -> Drafter:
    return drafter_of(DEP, "llama-3.1-8b")


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
        c = cycle(times(), Drafter("none"), b, 500, 4)
        assert c.verify_s >= c.plain_s == times().step_s(BatchState(decode_seqs=b, decode_kv_tokens=b * 500))
        assert c.draft_s == 0


def test_a_draft_costs_its_kernels_not_the_engines_step() -> None:
    b = BatchState(decode_seqs=8, decode_kv_tokens=8000)
    draft = small()
    assert draft.model is not None
    assert 0 < draft.step_s(b) < draft.model.step_s(b)


def test_draft_length_adapts_to_acceptance_and_batch() -> None:
    none = Drafter("none")
    lengths = [adaptive(times(), none, 4, 1000, Drafting("x", a, spread=0.0), 300, 8)[0] for a in (0.05, 0.5, 0.9)]
    assert lengths == sorted(lengths)
    assert lengths[-1] >= 4
    assert adaptive(times(), small(), 512, 1000, Drafting("x", 0.3), 300, 8) == (0, 1.0)


def test_the_asked_load_is_judged_at_p95() -> None:
    s = speculation(times(), small(), Drafting("llama-3.1-8b", 0.7), context=1000, osl=300, here=48, most=64)
    assert [r.cycle.seqs for r in s.rows] == [1, 2, 4, 8, 16, 32, 64]
    assert s.here.cycle.seqs == 48
    assert s.here.pays is (s.here.p95_speedup > 1)
    assert all(r.best_p95_speedup >= max(1.0, r.p95_speedup) for r in s.rows)


@pytest.mark.parametrize(("bad", "said"), [
    ({"acceptance": 1.1}, "acceptance"), ({"acceptance": 0.5, "spread": -0.1}, "spread"),
    ({"acceptance": 0.5, "tokens": 0}, "draft_tokens"), ({"acceptance": 0.5, "tokens": 17}, "draft_tokens")])
def test_bad_values_are_named(bad: dict[str, float], said: str) -> None:
    with pytest.raises(InputError) as e:
        Drafting("eagle", **bad)  # type: ignore[arg-type]
    assert e.value.where == said


@pytest.mark.parametrize(("draft", "said"), [
    ("mtp", "no layers for multi-token prediction"), ("qwen3-0.6b", "cannot guess for it"), ("egle", "unknown model")])
def test_drafts_that_cannot_be_are_refused(draft: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        drafter_of(DEP, draft)


def test_drafts_take_memory_from_the_kv_cache() -> None:
    budget = budget_of(DEP)
    head, whole = drafter_of(DEP, "eagle"), small()
    assert head.kv_share == pytest.approx(1 / 80)
    assert 0 < head.weight_bytes < whole.weight_bytes
    left = [room_beside(budget, d) for d in (drafter_of(DEP, "ngram"), head, whole)]
    assert left[0].num_blocks == budget.num_blocks > left[1].num_blocks > left[2].num_blocks
    for b, d in zip(left, (Drafter("n"), head, whole), strict=True):
        assert b.weights.total - budget.weights.total == pytest.approx(d.weight_bytes, abs=1)
        assert b.kv_bytes + d.weight_bytes == pytest.approx(budget.kv_bytes, abs=1)
    with pytest.raises(DoesNotFitError, match="nothing is left"):
        room_beside(budget, Drafter("huge", weight_bytes=1e12))


def test_the_layers_of_a_checkpoint_draft_without_a_second_model() -> None:
    dep = Deployment(model("deepseek-ai/DeepSeek-V3"), gpu("h200_sxm"), Layout(8, ep=8))
    drafter = drafter_of(dep, "mtp")
    plain = BatchState(decode_seqs=8, decode_kv_tokens=8000)
    assert 0 < drafter.step_s(plain) < 0.1 * model_of(dep, None).step_s(plain)
