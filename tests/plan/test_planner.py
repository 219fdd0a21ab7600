"""The whole answer: shocks, sensitivities, losers, what would make it feasible, and the Python door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from costplan import api
from costplan.core.errors import InputError, UnknownNameError
from costplan.plan.planner import PlanOptions, plan
from costplan.workload.arrivals import GammaArrivals, TraceArrivals
from costplan.workload.requests import sample_requests
from costplan.workload.workload import Tenant, Workload

from .conftest import MODEL, PRICES, QUICK, TODAY, choosing, slo, within

FULL = replace(QUICK, robustness=True, sensitivity=True)


def test_shocks_say_what_breaks_and_what_would_hold(workload: Workload) -> None:
    best = plan(choosing(workload, gpus=("l40s",), weights=("fp8",)), today=TODAY, prices=PRICES, options=FULL).best
    assert best is not None
    cases = {c.name: c for c in best.robustness}
    assert set(cases) == {"traffic_2x", "replica_lost", "outliers_10x", "prefill_storm"}
    twice = cases["traffic_2x"]
    assert not twice.holds
    assert twice.breaks is not None
    assert twice.replicas_needed is not None
    assert twice.replicas_needed > best.replicas
    assert twice.usd_per_h_needed is not None
    assert twice.usd_per_h_needed > best.money.rental.usd_per_h
    lost = cases["replica_lost"]
    assert not lost.holds
    assert lost.replicas_needed == best.replicas + 1
    spared = plan(within(choosing(workload, gpus=("l40s",), weights=("fp8",)), spare_replicas=1), today=TODAY,
                  prices=PRICES, options=FULL).best
    assert spared is not None
    assert next(c for c in spared.robustness if c.name == "replica_lost").holds


def test_every_knob_says_by_how_much(workload: Workload) -> None:
    answer = plan(workload, today=TODAY, prices=PRICES, options=FULL)
    assert answer.best is not None
    knobs = {s.knob for s in answer.sensitivities}
    assert {"weights", "KV cache", "max_num_seqs", "page size", "GPU", "SLO", "purchase"} <= knobs
    known = [s for s in answer.sensitivities if s.usd_per_mtok_out is not None]
    deltas = [s.delta_usd_per_mtok_out for s in known]
    assert deltas == sorted(deltas)  # type: ignore[type-var]
    for s in known:
        assert s.delta_usd_per_mtok_out == pytest.approx(
            s.usd_per_mtok_out - answer.best.money.usd_per_mtok_out.value)  # type: ignore[operator]
    looser = [s for s in known if s.knob == "SLO"]
    assert all((s.delta_usd_per_mtok_out or 0) <= 1e-9 for s in looser)


def test_smoother_traffic_is_a_knob_where_bursts_cost(workload: Workload) -> None:
    bursty = choosing(replace(workload, arrivals=GammaArrivals(30.0, 0.1)), gpus=("h100_sxm",))
    answer = plan(bursty, today=TODAY, prices=PRICES, options=FULL)
    shaped = next(s for s in answer.sensitivities if s.knob == "traffic")
    assert shaped.delta_usd_per_mtok_out is not None
    assert shaped.delta_usd_per_mtok_out <= 1e-9


def test_losers_have_reasons(workload: Workload) -> None:
    answer = plan(workload, today=TODAY, prices=PRICES, options=QUICK)
    assert answer.best is not None
    assert [x.alternative for x in answer.losers] == [
        g for g in ("h100_sxm", "l40s") if g != answer.best.config.gpu]
    assert all(x.reason for x in answer.losers)
    assert all((x.extra_usd_per_mtok_out or 0) >= 0 for x in answer.losers)
    assert answer.same_precision is not None
    assert not answer.same_precision.below_checkpoint


def test_an_impossible_slo_names_the_nearest_one(workload: Workload) -> None:
    answer = plan(replace(workload, slo=slo(1.0, 0.002)), today=TODAY, prices=PRICES, options=QUICK)
    assert not answer.feasible
    assert answer.best is None
    assert answer.stats.candidates > 0
    slower = next(r for r in answer.relaxations if r.what == "slo")
    assert "tpot" in slower.needed
    assert "x " in slower.needed


def test_too_small_a_budget_names_the_needed_one(workload: Workload) -> None:
    answer = plan(within(workload, budget_usd_per_month=100.0), today=TODAY, prices=PRICES, options=QUICK)
    assert not answer.feasible
    assert any(r.what == "budget_usd_per_month" for r in answer.relaxations)
    few = plan(within(choosing(workload, gpus=("l40s",)), max_gpus=1), today=TODAY, prices=PRICES, options=QUICK)
    assert not few.feasible
    assert any(r.what == "max_gpus" for r in few.relaxations)


def test_a_model_that_fits_nowhere(workload: Workload) -> None:
    answer = plan(choosing(workload, gpus=("l40s",), tp=(1,), pp=(1,), weights=None), today=TODAY,
                  prices=PRICES, options=QUICK, model="deepseek-ai/DeepSeek-R1")
    assert not answer.feasible
    assert answer.relaxations[0].what == "candidates"
    assert "does not fit in memory" in answer.relaxations[0].asked
    other = plan(choosing(workload, gpus=("b200_sxm",)), today=TODAY, prices=PRICES, options=QUICK)
    assert "no price within the constraints" in other.relaxations[0].asked


def test_traces_tenants_and_quick_search(workload: Workload) -> None:
    drawn = sample_requests(workload, 500, 3)
    replay = replace(workload, lengths=None, trace=drawn.as_trace("drawn"), arrivals=TraceArrivals(drawn.arrival_s),
                     tenants=(Tenant("a", 0.5, 0), Tenant("b", 0.5, 1, 1e6)))
    options = replace(QUICK, exhaustive=False, systems=2)
    answer = plan(choosing(replay, weights=("bf16", "fp8", "int4")), today=TODAY, prices=PRICES, options=options)
    assert answer.feasible
    assert not answer.stats.exhaustive
    assert answer.stats.ranked_out > 0
    assert answer.stats.candidates >= answer.stats.simulated + answer.stats.ranked_out + answer.stats.pruned_by_bound


def test_a_quick_search_does_not_call_a_workload_infeasible_that_is_not(workload: Workload) -> None:
    tight = choosing(replace(workload, slo=slo(1.0, 0.007)), gpus=("l40s", "a100_80gb_sxm", "h100_sxm"),
                     weights=("bf16", "fp8", "int8", "int4"))
    every = plan(tight, today=TODAY, prices=PRICES, options=QUICK)
    quick = plan(tight, today=TODAY, prices=PRICES, options=replace(QUICK, exhaustive=False, systems=1))
    assert quick.feasible == every.feasible


def test_progress_is_told(workload: Workload) -> None:
    seen: list[tuple[int, int, str]] = []
    plan(workload, today=TODAY, prices=PRICES, options=QUICK, progress=lambda i, n, what: seen.append((i, n, what)))
    assert [i for i, _, _ in seen] == list(range(seen[0][1]))


def test_a_workload_without_a_model(workload: Workload) -> None:
    with pytest.raises(InputError, match="names no model"):
        plan(replace(workload, model=None), today=TODAY, prices=PRICES, options=QUICK)
    with pytest.raises(UnknownNameError):
        plan(workload, today=TODAY, prices=PRICES, options=QUICK, model="llama-9")
    with pytest.raises(InputError):
        PlanOptions(systems=0)


def test_five_lines_of_python(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(f"name: mine\nmodel: {MODEL}\nload: {{rate: {{requests_per_s: 2}}}}\n"
                    "lengths: {isl: {fixed: 400}, osl: {fixed: 100}}\nslo: {ttft: {p95: 1s}}\n"
                    "candidates: {gpus: [h100_sxm], engines: [vllm], tp: [1], weights: [bf16]}\n")
    profile = api.load_profile("h100_sxm-vllm")
    answer = api.plan(file, today=TODAY, profiles=[profile], options=QUICK)
    assert answer.best is not None
    assert answer.best.config.gpu == profile.gpu
    assert answer.best == api.plan(api.load_workload(file), today=TODAY, profiles=[profile], options=QUICK).best
