"""Laws of the adaptive rule on a device whose every time is known."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest

from costplan.campaign.campaign import Campaign
from costplan.campaign.estimate import case_s
from costplan.campaign.fit import baseline_of, fit, octaves_between
from costplan.campaign.kernel import Kernel, kernel_of
from costplan.campaign.refine import next_cases, plan_error
from costplan.campaign.results import Measured, Result
from costplan.campaign.shapes import Demand, DemandPoint
from costplan.core.rng import stream
from costplan.perf.timed import ANALYTIC_SD
from tests.campaign.conftest import H200, synthetic_s

GEMM = Kernel.of("gemm", ("m",), n=4096, k=4096, dtype="bf16")
OTHER = Kernel.of("gemm", ("m",), n=6144, k=4096, dtype="bf16")


def rows(kernel: Kernel, sizes: list[int], factor: float = 2.0) -> list[Result]:
    base = baseline_of(kernel, H200)
    return [Result(kernel.case((m,)), "only", factor * base((m,))) for m in sizes]


def demand(*points: tuple[Kernel, int, float]) -> Demand:
    return Demand(tuple(DemandPoint(k, (m,), w, 0) for k, m, w in points), (), ("one",))


def test_nothing_measured_is_as_uncertain_as_a_roofline() -> None:
    assert plan_error(Measured.of([]), demand((GEMM, 64, 1.0)), H200) == pytest.approx(ANALYTIC_SD)


def test_errors_within_a_kernel_add_up_and_across_kernels_their_squares() -> None:
    one = demand((GEMM, 64, 0.5), (GEMM, 512, 0.5))
    two = demand((GEMM, 64, 0.5), (OTHER, 64, 0.5))
    nothing = Measured.of([])
    assert plan_error(nothing, one, H200) == pytest.approx(ANALYTIC_SD)
    assert plan_error(nothing, two, H200) == pytest.approx(ANALYTIC_SD / math.sqrt(2))


def test_the_worst_known_system_counts() -> None:
    points = (DemandPoint(GEMM, (64,), 0.5, 0), DemandPoint(OTHER, (64,), 0.5, 1))
    both = Demand(points, (), ("known", "unknown"))
    measured = Measured.of(rows(GEMM, [16, 32, 64, 128, 256]))
    assert plan_error(measured, both, H200) == pytest.approx(ANALYTIC_SD)


def test_a_constant_efficiency_is_known_from_few_points() -> None:
    f = fit(GEMM, Measured.of(rows(GEMM, [8, 64, 512, 4096])), H200)
    assert f.timed.seconds((200,)) == pytest.approx(2 * baseline_of(GEMM, H200)((200,)), rel=1e-6)
    assert f.log_sd((200,)) < 0.02


def test_a_smaller_matrix_lends_its_efficiency_with_doubt() -> None:
    half = Kernel.of("gemm", ("m",), n=2048, k=4096, dtype="bf16")
    wide = Kernel.of("gemm", ("m",), n=4096, k=4096, dtype="bf16")
    f = fit(wide, Measured.of(rows(half, [8, 64, 512, 4096])), H200)
    assert octaves_between(wide, half) == 1.0
    assert f.timed.seconds((512,)) == pytest.approx(2 * baseline_of(wide, H200)((512,)), rel=1e-6)
    assert f.log_sd((512,)) > 0.1
    both = fit(wide, Measured.of([*rows(half, [8, 64, 1024], 9.0), *rows(wide, [512, 4096])]), H200)
    assert both.log_sd((512,)) < both.log_sd((8,))
    assert both.timed.seconds((1024,)) < 3 * baseline_of(wide, H200)((1024,))  # its own neighbours answer


def test_the_next_point_goes_where_the_curve_bends() -> None:
    smooth, bent = rows(GEMM, [8, 64, 512, 4096]), rows(OTHER, [8, 64, 4096])
    bent.append(Result(OTHER.case((512,)), "only", 5 * baseline_of(OTHER, H200)((512,))))
    points = [(k, m, 0.25) for k in (GEMM, OTHER) for m in (200, 1500)]
    results = [*smooth, *bent]
    found = next_cases(Measured.of(results), demand(*points), H200, budget_left_s=100.0, max_case_s=10.0,
                       asked={r.case for r in results}, batch_s=1.2)
    assert found[0].size("n") == 6144
    assert all(64 < c.size("m") < 4096 for c in found)


def test_the_next_points_keep_to_the_budget(planned: Campaign) -> None:
    results = [Result(c, "only", synthetic_s(c)) for c in planned.first()]
    for budget_s in (0.0, 1.0, 7.0):
        found = next_cases(Measured.of(results), planned.demand, H200, budget_left_s=budget_s, max_case_s=15.0,
                           asked={r.case for r in results})
        assert sum(case_s(c, H200) for c in found) <= budget_s
        assert bool(found) == (budget_s > 0)
        assert not {r.case for r in results} & set(found)


def test_the_plan_s_error_falls_as_points_are_added(planned: Campaign) -> None:
    """In expectation over the order in which the points of a fine grid come in."""
    c = replace(planned, target=0.0, budget_s=400.0)
    cases = [*(w.case for w in c.design)]
    results = [Result(x, "only", synthetic_s(x)) for x in cases]
    for _ in range(4):
        results += [Result(x, "only", synthetic_s(x)) for x in c.more(results)]
    means = []
    for share in (0.1, 0.3, 0.6, 1.0):
        errors = []
        for seed in range(6):
            order = stream(seed, "test.order").permutation(len(results))
            chosen = [results[int(i)] for i in order[: round(share * len(order))]]
            errors.append(plan_error(Measured.of(chosen), planned.demand, H200))
        means.append(statistics.mean(errors))
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.5 * means[0]


def test_kernels_of_measured_rows_are_found_again(planned: Campaign) -> None:
    results = [Result(c, "only", synthetic_s(c)) for c in planned.first()]
    measured = Measured.of(results)
    assert measured.cases == len(planned.first())
    assert all(measured.at(kernel_of(r.case)[0])[kernel_of(r.case)[1]] == r.seconds for r in results)
