"""Whole campaigns on known devices: how few cases reach which error, and what ends them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest

from costplan.campaign.campaign import Campaign
from costplan.campaign.heldout import quantile, summarise
from costplan.campaign.kernel import Kernel, kernel_of, legal
from costplan.campaign.refine import fits_of, system_weights
from costplan.campaign.results import Measured, Result, dominated
from costplan.campaign.work import call_s
from costplan.core.errors import OutOfRangeError
from costplan.core.rng import stream
from costplan.profile.case import Case
from tests.campaign.conftest import CPU, H200, measure, synthetic_s


def true_error(campaign: Campaign, cases: Sequence[Case]) -> float:
    """Mean relative error over all that the workload visits, by weight; what is out of reach counts as 100 %."""
    fits = fits_of(Measured.of(Result(c, "only", synthetic_s(c)) for c in cases), campaign.demand, H200)
    total = 0.0
    for p in campaign.demand.points:
        try:
            error = abs(fits[p.kernel].timed.seconds(p.at) / synthetic_s(p.case) - 1.0)
        except OutOfRangeError:
            error = 1.0
        total += p.weight * min(1.0, error)
    return total


def spans(campaign: Campaign, kernel: Kernel) -> list[tuple[int, int]]:
    """Least and greatest visited size along each axis."""
    points = campaign.demand.of(kernel)
    return [(min(p.at[d] for p in points), max(p.at[d] for p in points)) for d in range(len(kernel.sweep))]


def uniform(campaign: Campaign, n: int) -> list[Case]:
    """``n`` cases in regular grids of equal size, one for each kernel."""
    kernels = campaign.demand.kernels
    out: dict[Case, None] = {}
    for kernel in kernels:
        each = max(2, round((n / len(kernels)) ** (1 / len(kernel.sweep))))
        axes = [[legal(a, low * (high / low) ** (i / (each - 1))) for i in range(each)]
                for a, (low, high) in zip(kernel.sweep, spans(campaign, kernel), strict=True)]
        out.update(dict.fromkeys(kernel.case(at) for at in product(*axes)))
    return list(out)


def random(campaign: Campaign, n: int, seed: int) -> list[Case]:
    """``n`` different cases at random, log-uniform over what each kernel visits."""
    rng, kernels = stream(seed, "test.random"), campaign.demand.kernels
    out: dict[Case, None] = {}
    while len(out) < n:
        kernel = kernels[int(rng.integers(len(kernels)))]
        at = [legal(a, math.exp(rng.uniform(math.log(low), math.log(high + 1e-9))))
              for a, (low, high) in zip(kernel.sweep, spans(campaign, kernel), strict=True)]
        out[kernel.case(at)] = None
    return [c for c in out if c not in campaign.held_out]


def test_120_cases_reach_five_percent(planned: Campaign) -> None:
    c = Campaign(planned.demand, H200, budget_s=45.0, sites=planned.sites)
    results = measure(c)
    reached = c.summary(results).held_out
    assert len(results) <= 120
    assert reached.median is not None
    assert reached.median <= 0.05
    assert reached.unanswered == 0


@pytest.mark.parametrize("budget_s", [75.0, 120.0])
def test_the_same_number_of_cases_tells_more_than_uniform_or_random_ones(planned: Campaign, budget_s: float) -> None:
    """Counted are the cases of the grids; pages, splits and ragged batches answer other questions. Below five cases
    per kernel a regular grid is as good."""
    c = Campaign(planned.demand, H200, budget_s=budget_s, target=0.0)
    used = [r.case for r in measure(c) if r.case not in c.held_out and kernel_of(r.case)[0] in c.demand.kernels]
    own = true_error(c, used)
    assert own <= 0.03
    assert own < 0.8 * true_error(c, uniform(c, len(used)))
    assert own < 0.8 * min(true_error(c, random(c, len(used), seed)) for seed in range(3))


def test_the_plan_s_error_bounds_what_the_plan_really_misses(planned: Campaign) -> None:
    """Twice the standard error covers the true error of every system's step time."""
    c = Campaign(planned.demand, H200, budget_s=300.0)
    results = measure(c)
    fits, shares = fits_of(Measured.of(results, frozenset(c.held_out)), c.demand, H200), system_weights(c.demand)
    off = dict.fromkeys(shares, 0.0)
    for p in c.demand.points:
        off[p.system] += p.weight / shares[p.system] * (fits[p.kernel].timed.seconds(p.at) / synthetic_s(p.case) - 1)
    assert max(abs(x) for x in off.values()) <= 2 * c.summary(results).plan_error


def test_it_stops_for_a_reason_that_is_told(planned: Campaign) -> None:
    reached = Campaign(planned.demand, H200, budget_s=600.0)
    measure(reached)
    assert "below the target of 3.0%" in reached.why
    short = Campaign(planned.demand, H200, budget_s=12.0)
    measure(short)
    assert "within the budget" in short.why or "no longer help" in short.why
    assert reached.more([Result(c, "x", synthetic_s(c)) for c in reached.first()], 0.0) == []


def test_the_same_seed_asks_for_the_same_cases(planned: Campaign) -> None:
    a, b = (Campaign(planned.demand, H200, budget_s=90.0) for _ in range(2))
    assert measure(a) == measure(b)
    other = Campaign(planned.demand, H200, budget_s=90.0, seed=2)
    assert other.held_out != a.held_out


def test_cases_that_no_backend_runs_do_not_hold_a_campaign_up(planned: Campaign) -> None:
    c = Campaign(planned.demand, H200, budget_s=120.0)
    results = [Result(x, "only", None if x.family == "attn_decode" else synthetic_s(x)) for x in c.first()]
    for _ in range(60):
        more = c.more(results)
        if not more:
            break
        assert not set(more) & {r.case for r in results}
        results += [Result(x, "only", None if x.family == "attn_decode" else synthetic_s(x)) for x in more]
    else:
        pytest.fail("it goes on for ever")
    told = c.summary(results)
    assert told.failed == sum(x.seconds is None for x in results)
    assert told.held_out.unanswered == sum(x.family == "attn_ragged" for x in c.held_out)  # needs decode
    assert told.plan_error > 0.03


def test_a_slow_backend_is_refined_no_further_but_stays_recorded(planned: Campaign) -> None:
    c = Campaign(planned.demand, H200, budget_s=120.0)
    first = [x for x in c.first() if x not in c.held_out]
    speeds = {"quick": 1.0, "near": 1.3, "slow": 2.0}
    results = [Result(x, b, f * synthetic_s(x)) for x in first for b, f in speeds.items()]
    skipped = c.skips(results)
    assert {b for _, b in skipped} == {"slow"}
    heavy = c.demand.kernels[0]
    assert (heavy, "slow") in skipped
    case = next(x for x in first if kernel_of(x)[0] == heavy)
    assert not c.wants(case, "slow", skipped)
    assert c.wants(case, "near", skipped)
    assert ("slow" in {b for _, b in c.summary(results).dominated})


def test_a_backend_that_wins_anywhere_is_kept() -> None:
    cases = [Case.of("gemm", m=m, n=64, k=64, dtype="bf16") for m in (1, 8, 64, 512)]
    results = [Result(x, "a", 1.0) for x in cases] + [Result(x, "b", 3.0) for x in cases[:3]]
    assert {b for _, b in dominated(results, frozenset(cases))} == {"b"}
    results.append(Result(cases[3], "b", 0.9))
    assert dominated(results, frozenset(cases)) == frozenset()
    assert dominated(results[:2], frozenset(cases)) == frozenset()


def test_two_minutes_on_a_cpu_reach_a_useful_profile(planned_cpu: Campaign) -> None:
    c = replace(planned_cpu, budget_s=120.0)
    results = measure(c, lambda case: 1.7 * call_s(case, CPU))
    told = c.summary(results)
    assert told.cases <= 150
    assert told.plan_error < 0.35
    assert told.held_out.median is not None and told.held_out.median < 0.10
    assert {r.case.family for r in results} == set(c.demand.families)


def test_a_summary_of_nothing_says_so() -> None:
    assert summarise([]).median is None
    assert quantile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([3.0], 0.9) == 3.0
