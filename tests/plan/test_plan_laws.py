"""What must hold for any plan, whatever the kernels say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costplan.plan.planner import plan
from costplan.plan.types import PlanSet
from costplan.workload.arrivals import GammaArrivals
from costplan.workload.lengths import Fixed, JointLengths
from costplan.workload.workload import Workload

from .conftest import PRICES, QUICK, TODAY, choosing, slo, within


def planned(workload: Workload, **changes: object) -> PlanSet:
    return plan(workload, today=TODAY, **{"prices": PRICES, "options": QUICK, **changes})  # type: ignore[arg-type]


def usd(answer: PlanSet) -> float:
    assert answer.best is not None
    return answer.best.money.usd_per_mtok_out.value


def test_a_higher_price_never_lowers_cost(workload: Workload) -> None:
    base = planned(workload)
    for factor in (1.01, 1.7):
        dearer = tuple(replace(p, price_usd_per_instance_h=p.price_usd_per_instance_h * factor) for p in PRICES)
        assert usd(planned(workload, prices=dearer)) >= usd(base)
    one = tuple(replace(p, price_usd_per_instance_h=p.price_usd_per_instance_h * 3) if p.gpu == "l40s" else p
                for p in PRICES)
    assert usd(planned(workload, prices=one)) >= usd(base)


def test_a_looser_slo_never_raises_cost(workload: Workload) -> None:
    costs = [usd(planned(replace(workload, slo=slo(0.5 * k, 0.03 * k)))) for k in (1, 2, 4, 16)]
    assert costs == sorted(costs, reverse=True)


def test_another_candidate_never_worsens_the_best_plan(workload: Workload) -> None:
    few = choosing(workload, gpus=("l40s",), weights=("bf16",), max_num_seqs=(32,))
    more = [few, choosing(few, max_num_seqs=(32, 256)), choosing(few, gpus=("l40s", "a100_80gb_sxm")),
            choosing(few, gpus=("l40s", "a100_80gb_sxm"), max_num_seqs=(32, 256), weights=("bf16", "fp8"))]
    costs = [usd(planned(w)) for w in more]
    assert costs[1] <= costs[0]
    assert costs[2] <= costs[0]
    assert costs[3] <= min(costs)


def test_longer_answers_never_raise_request_capacity(workload: Workload) -> None:
    one = choosing(workload, gpus=("h100_sxm",), weights=("bf16",), max_num_seqs=(256,))
    capacities = []
    for osl in (20, 80, 320):
        best = planned(replace(one, lengths=JointLengths(Fixed(500), Fixed(osl)))).best
        assert best is not None
        capacities.append(best.capacity_requests_per_s.value)
    assert capacities == sorted(capacities, reverse=True)


def test_more_traffic_never_costs_less_in_all(workload: Workload) -> None:
    bills = []
    for rate in (3.0, 30.0, 120.0):
        best = planned(replace(workload, arrivals=GammaArrivals(rate))).best
        assert best is not None
        bills.append(best.money.rental.usd_per_h)
    assert bills == sorted(bills)


def test_headroom_and_spares_never_cost_less(workload: Workload) -> None:
    base = usd(planned(workload))
    assert usd(planned(within(workload, headroom=0.3))) >= base
    spare = planned(within(workload, spare_replicas=1))
    assert usd(spare) >= base
    assert spare.best is not None
    assert spare.best.spare_replicas == 1


def test_the_same_seed_gives_the_same_answer(workload: Workload) -> None:
    a, b = planned(workload), planned(workload)
    assert [p.name for p in a.plans] == [p.name for p in b.plans]
    assert a.best == b.best


def test_another_seed_stays_within_the_interval(workload: Workload) -> None:
    best = planned(workload).best
    assert best is not None
    low, high = best.money.i90_usd_per_mtok_out.low, best.money.i90_usd_per_mtok_out.high
    others = [usd(planned(workload, seed=s)) for s in range(1, 11)]
    assert sum(low <= x <= (high or float("inf")) for x in others) >= 9


def test_every_plan_keeps_its_limits_and_counts_what_it_rents(workload: Workload) -> None:
    answer = planned(within(workload, headroom=0.1))
    assert answer.feasible
    for p in answer.plans:
        assert all(s.predicted.value <= s.target.limit_s for s in p.slo)
        assert p.money.rental.num_gpus == p.num_gpus + p.money.rental.idle_gpus
        assert p.replicas * p.capacity_requests_per_s.value >= 30.0 / 0.9 * 0.999
        assert sum(p.evidence_shares.values()) == pytest.approx(1.0)
        assert 0 <= p.p_meets_slo <= 1
        low, high = p.money.i90_usd_per_mtok_out.low, p.money.i90_usd_per_mtok_out.high
        assert low <= p.money.usd_per_mtok_out.value <= (high or float("inf"))
    costs = [p.money.usd_per_mtok_out.value for p in answer.plans]
    assert costs == sorted(costs)
    assert [p.rank for p in answer.plans] == list(range(1, len(costs) + 1))
    assert answer.plans[0].name in answer.pareto
