"""Speculative decoding in the simulator: draws follow the formula, times are those of cycles, both engines agree."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.perf.batch import BatchState
from costplan.perf.drafter import drafter_of, model_of
from costplan.perf.drafting import Drafting
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.predict import Deployment, budget_of
from costplan.perf.speculative import cycle, tokens_per_cycle
from costplan.perf.steady import Load, LoadKind
from costplan.perf.step_parts import KernelStepParts, StepParts
from costplan.simulate.drafts import Drafts, drawn_cycles
from costplan.simulate.operate import operate, requests_of
from costplan.simulate.policy import POLICIES, limits_of
from costplan.simulate.run import simulate

DEP = Deployment(model("llama-3.1-70b"), gpu("h100_sxm"), Layout(4), weight_dtype="fp8")
LOAD = Load(LoadKind.CONCURRENCY, 8.0, 600, 200, requests=80, spread=0.3)


@cache
def times() -> KernelLatencyModel:
    return model_of(DEP, None)


@cache
def drafts(acceptance: float, tokens: int, spread: float = 0.0, adaptive: bool = False, draft: str = "eagle") -> Drafts:
    return Drafts(drafter_of(DEP, draft), Drafting(draft, acceptance, tokens, spread, adaptive))


@pytest.mark.parametrize(("a", "k"), [(0.0, 4), (0.3, 2), (0.7, 4), (0.95, 8), (1.0, 4)])
def test_drawn_cycles_yield_leviathans_tokens(a: float, k: int) -> None:
    answers = np.full(3000, 400, dtype=np.int64)
    mean = answers.mean() / drawn_cycles(answers, Drafting("x", a, k, 0.0), 1).mean()
    assert mean == pytest.approx(tokens_per_cycle(a, k), rel=0.01)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.floats(0, 1), st.integers(1, 16), st.floats(0, 1))
def test_cycles_are_bounded_by_what_they_can_yield(answers: list[int], a: float, k: int, spread: float) -> None:
    tokens = np.array(answers, dtype=np.int64)
    cycles = drawn_cycles(tokens, Drafting("x", a, k, spread), 3)
    assert (cycles <= tokens).all()
    assert (cycles >= np.ceil(tokens / (k + 1))).all()


def test_a_token_costs_its_part_of_a_cycle() -> None:
    d = drafts(0.7, 4)
    parts = d.parts(times(), 600, 200)
    for n, kv in ((1, 700), (8, 8 * 700), (64, 64 * 700)):
        whole = parts.tokens_s(n) + parts.seqs_s(n) + parts.decode_s(n, kv) + parts.host_s(n)
        c = cycle(times(), d.drafter, n, kv / n, 4)
        assert whole == pytest.approx((c.draft_s + c.verify_s) / tokens_per_cycle(0.7, 4), rel=1e-6)


def test_prompts_take_as_long_as_without_drafts_and_the_drafts_own_prefill() -> None:
    plain = KernelStepParts(times())

    def step(p: StepParts, tokens: int = 512) -> float:
        return p.tokens_s(tokens) + p.seqs_s(1) + p.prefill_s(1, tokens, 0) + p.host_s(1)

    for draft in ("ngram", "eagle"):
        more = step(drafts(0.7, 4, draft=draft).parts(times(), 600, 200)) - step(plain)
        own = drafts(0.7, 4, draft=draft).drafter.step_s(BatchState(prefill_tokens=512, prefill_seqs=1))
        assert more == pytest.approx(own, rel=1e-6, abs=1e-9)


def test_without_acceptance_drafts_only_cost() -> None:
    plain, with_drafts = (operate(times(), LOAD, budget_of(DEP), drafts=d) for d in (None, drafts(0.0, 4)))
    assert with_drafts.tpot_s > plain.tpot_s
    assert with_drafts.output_tok_s < plain.output_tok_s


def test_more_acceptance_is_faster_and_adapting_never_much_slower() -> None:
    tpot = [operate(times(), LOAD, budget_of(DEP), drafts=drafts(a, 4)).tpot_s for a in (0.3, 0.6, 0.9)]
    assert tpot == sorted(tpot, reverse=True)
    crowd = replace(LOAD, value=256.0, requests=600)
    fixed, free = (operate(times(), crowd, budget_of(DEP), drafts=drafts(0.3, 4, 0.1, x)).tpot_s for x in (False, True))
    off = operate(times(), crowd, budget_of(DEP)).tpot_s
    assert free < fixed
    assert free == pytest.approx(off, rel=0.1)  # a crowd computes: no drafts are best there


def test_requests_differ_by_luck_and_both_engines_agree() -> None:
    d = drafts(0.7, 4, 0.15)
    given_, limits = requests_of(LOAD), limits_of(budget_of(DEP), 800)
    played = d.requests(given_, 5)
    assert played.answer_tokens is given_.osl
    assert played.osl.mean() == pytest.approx(given_.osl.mean(), rel=0.1)
    runs = [simulate(played, d.parts(times(), 600, 200), limits, POLICIES["vllm"], engine=e)
            for e in ("fast", "reference")]
    assert (runs[0].finish_s == runs[1].finish_s).all()
    tpot = runs[0].tpot_s
    assert np.quantile(tpot, 0.95) > 1.15 * tpot.mean()
    assert float(runs[0].setup.answer_tokens.sum()) == float(given_.osl.sum())
