"""The first list: covers what is visited, fits, costs what it says, and the valuable comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costplan.campaign.campaign import FIRST_SHARE, Campaign
from costplan.campaign.design import SPLITS, corners
from costplan.campaign.estimate import case_s, estimate
from costplan.campaign.kernel import kernel_of
from costplan.campaign.work import fits
from tests.campaign.conftest import CPU, H200


def test_every_case_fits_and_is_asked_once(planned: Campaign) -> None:
    first = planned.first()
    assert len(first) == len(set(first))
    assert all(fits(c, H200) and case_s(c, H200) <= planned.max_case_s for c in first)


def test_the_first_grid_surrounds_what_is_visited(planned: Campaign) -> None:
    cases = {w.case for w in planned.design}
    for kernel in planned.demand.kernels:
        own = [kernel_of(c)[1] for c in cases if kernel_of(c)[0] == kernel]
        for d in range(len(kernel.sweep)):
            sizes = [at[d] for at in own]
            visited = [p.at[d] for p in planned.demand.of(kernel)]
            assert min(sizes) <= min(visited) * 1.01
            assert max(sizes) >= max(visited) * 0.8


def test_pages_and_splits_are_measured_beside_the_grid(planned: Campaign) -> None:
    decode = [w.case for w in planned.design if w.case.family == "attn_decode"]
    assert {c.size("page_size") for c in decode} == {0, 1, 16, 32, 64, 128, 256}
    assert {c.size("num_splits") for c in decode} == {0, *SPLITS}
    places = {page: {(c.size("batch"), c.size("kv_len")) for c in decode
                     if c.size("page_size") == page and not c.size("num_splits")} for page in (0, 1, 64, 256)}
    assert places[0] == places[1] == places[64] == places[256]
    assert len(places[64]) >= 2
    long = [c for c in decode if c.size("num_splits")]
    assert max(c.size("batch") for c in long) <= 4
    assert min(c.size("kv_len") for c in long) >= max(c.size("kv_len") for c in decode) / 4


def test_held_out_shapes_are_never_designed_or_refined(planned: Campaign) -> None:
    assert len(planned.held_out) >= 20
    assert not {w.case for w in planned.design} & set(planned.held_out)
    assert {c.family for c in planned.held_out} >= {"gemm", "attn_decode", "elementwise"}


def test_a_dry_run_costs_the_sum_of_its_cases(planned: Campaign) -> None:
    told = planned.dry_run()
    first = planned.first()
    assert told.cases == len(first) == sum(n for _, n, _ in told.by_family)
    assert told.seconds == pytest.approx(sum(case_s(c, H200) for c in first))
    assert told.seconds == pytest.approx(sum(s for _, _, s in told.by_family))
    assert told.cost_usd(3600.0) == pytest.approx(told.seconds)
    assert estimate(first, H200, backends=2.5).seconds == pytest.approx(2.5 * told.seconds)


@pytest.mark.parametrize("budget_s", [20.0, 60.0, 240.0])
def test_a_budget_keeps_the_most_valuable_cases(planned: Campaign, budget_s: float) -> None:
    c = Campaign(planned.demand, H200, budget_s)
    assert c.dry_run().seconds <= budget_s
    free = [w.case for w in c.design]
    kept = [x for x in c.first() if x not in c.held_out]
    assert free[:5] == kept[:5]
    assert sum(case_s(x, H200) for x in kept) <= FIRST_SHARE * budget_s
    assert set(kept) <= set(free)


def test_more_backends_leave_room_for_fewer_cases(planned: Campaign) -> None:
    one, four = Campaign(planned.demand, H200, 120.0), Campaign(planned.demand, H200, 120.0, backends=4.0)
    assert len(four.first()) < len(one.first())
    assert four.dry_run().seconds <= 120.0


def test_two_minutes_on_a_cpu_cover_every_family_with_small_cases(planned_cpu: Campaign) -> None:
    c = replace(planned_cpu, budget_s=120.0)
    first = c.first()
    assert 20 <= len(first) <= 150
    assert max(case_s(x, CPU) for x in first) <= 2.0
    assert c.dry_run().seconds <= 120.0
    assert {x.family for x in first} == set(c.demand.families)
    tier = [w for w in c.design if w.tier == 0]
    assert {w.case.family for w in tier} == set(c.demand.families)
    assert sum(w.seconds for w in tier) <= 40.0
    formats = {k.get("dtype") for k in c.demand.kernels if k.family == "gemm"}
    assert {w.case.text("dtype") for w in tier if w.case.family == "gemm"} == formats
    ops = {k.get("op") for k in c.demand.kernels if k.family == "elementwise"}
    assert {w.case.text("op") for w in tier if w.case.family == "elementwise"} == ops


def test_smaller_matrices_stand_in_on_a_cpu_but_every_batch_size_is_reached(planned_cpu: Campaign) -> None:
    asked = max(p.at[0] for p in planned_cpu.demand.points if p.kernel.family == "gemm")
    measured = max(w.case.size("m") for w in planned_cpu.design if w.case.family == "gemm")
    assert measured >= asked / 2


def test_corners_share_out_a_point() -> None:
    assert dict(corners([[1, 16], [100, 400]], (4, 200))) == pytest.approx(
        {(1, 100): 0.25, (16, 100): 0.25, (1, 400): 0.25, (16, 400): 0.25})
    assert dict(corners([[1, 16]], (64,))) == {(16,): 1.0}
