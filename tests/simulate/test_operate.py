"""Operating points by simulation: against the closed form where that holds, and against queueing laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import DoesNotFitError
from costplan.perf.predict import Deployment, budget_of, predict
from costplan.perf.steady import Load, LoadKind
from costplan.simulate.operate import operate, requests_of

DEP = Deployment(model("meta-llama/Llama-3.1-8B-Instruct"), gpu("h100_sxm"))
BUDGET = budget_of(DEP)


def load(kind: str, value: float, isl: float = 1024, osl: float = 256, **kw: float) -> Load:
    return Load(LoadKind(kind), value, isl, osl, **kw)  # type: ignore[arg-type]


def both(asked: Load) -> tuple[float, float, float]:
    """Simulated over closed-form TTFT, TPOT and throughput."""
    simulated, closed = (predict(DEP, asked, budget=BUDGET, operate=o) for o in (operate, None))
    return (simulated.ttft_s.value / closed.ttft_s.value, simulated.tpot_s.value / closed.tpot_s.value,
            simulated.output_tok_s.value / closed.output_tok_s.value)


def test_one_request_alone_needs_no_simulation() -> None:
    ttft, tpot, rate = both(load("batch1", 1))
    assert (ttft, tpot) == (pytest.approx(1, rel=0.01), pytest.approx(1, rel=0.01))
    assert rate == pytest.approx(1, rel=0.03)  # the closed form forgets the time before the engine sees a request


@pytest.mark.parametrize("clients", [1, 8, 64])
def test_a_long_closed_loop_agrees_with_the_mean_field(clients: int) -> None:
    ttft, tpot, rate = both(load("concurrency", clients, spread=0.3))
    assert tpot == pytest.approx(1, rel=0.08)
    assert rate == pytest.approx(1, rel=0.08)
    assert 0.5 < ttft < 2


def test_an_open_loop_below_capacity_delivers_what_arrives() -> None:
    p = predict(DEP, load("rate", 4), budget=BUDGET, operate=operate)
    assert p.output_tok_s.value == pytest.approx(4 * 256)
    assert not p.point.saturated


def test_an_open_loop_beyond_capacity_saturates() -> None:
    p = predict(DEP, load("rate", 1000, requests=500), budget=BUDGET, operate=operate)
    assert p.point.saturated
    assert p.output_tok_s.value < 1000 * 256


def test_a_start_all_at_once_is_felt_in_ttft() -> None:
    short, long = (predict(DEP, load("concurrency", 64, requests=n, spread=0.1), budget=BUDGET, operate=operate)
                   for n in (128, 2560))
    assert short.ttft_s.value > 1.3 * long.ttft_s.value


def test_a_static_batch_ends_together() -> None:
    p = predict(DEP, load("static_batch", 16), budget=BUDGET, operate=operate)
    assert p.output_tok_s.value * p.e2e_s.value == pytest.approx(16 * 256, rel=0.05)


def test_more_than_fits_waits_and_what_never_fits_is_refused() -> None:
    small = budget_of(replace(DEP, gpu=gpu("l4"), memory_fraction=0.92, max_model_len=4096))
    dep = replace(DEP, gpu=gpu("l4"))
    p = predict(dep, load("all_at_once", 200, isl=3000, osl=200), budget=small, operate=operate)
    assert p.point.queue_s > 0
    with pytest.raises(DoesNotFitError, match="does not fit into the KV cache"):
        predict(dep, load("concurrency", 1, isl=100_000), budget=small, operate=operate)


def test_lengths_never_exceed_the_cache_when_their_mean_fits() -> None:
    tokens = BUDGET.tokens * 0.9
    p = predict(DEP, load("batch1", 1, isl=tokens - 100, osl=100, spread=0.6), budget=BUDGET, operate=operate)
    assert p.ttft_s.value > 0


def test_an_engine_without_chunked_prefill_is_given_room_for_its_longest_prompt() -> None:
    dep = replace(DEP, engine="trtllm")
    p = predict(dep, load("concurrency", 32, isl=8100, osl=128, requests=320), operate=operate)
    closed = predict(dep, load("concurrency", 32, isl=8100, osl=128, requests=320))
    assert p.ttft_s.value < 4 * closed.ttft_s.value


def test_the_same_load_draws_the_same_requests() -> None:
    a, b = (requests_of(load("rate", 3, spread=0.5)) for _ in range(2))
    assert (a.isl == b.isl).all()
    assert (a.arrival_s == b.arrival_s).all()
    assert a.isl.min() >= 512
    assert a.isl.max() <= 1536


def test_requests_wait_for_the_scheduler_to_look_for_them() -> None:
    asked = load("concurrency", 32, requests=320)
    seldom = replace(BUDGET, limits=replace(BUDGET.limits, recv_interval=31))
    often, rarely = (predict(DEP, asked, budget=b, operate=operate).point for b in (BUDGET, seldom))
    assert rarely.ttft_s - often.ttft_s == pytest.approx(15 * often.tpot_s, rel=0.3)


def test_lognormal_lengths_keep_their_mean_and_have_a_long_tail() -> None:
    drawn = requests_of(Load(LoadKind.ALL_AT_ONCE, 4000, 500, 200, log_sd=0.8))
    assert drawn.isl.mean() == pytest.approx(500, rel=0.01)
    assert drawn.osl.mean() == pytest.approx(200, rel=0.01)
    assert drawn.osl.max() > 4 * np.median(drawn.osl)
    assert drawn.isl.tolist() == requests_of(Load(LoadKind.ALL_AT_ONCE, 4000, 500, 900, log_sd=0.8)).isl.tolist()
