"""Bounds never exclude the best plan: against brute force, and against the simulator itself."""

from __future__ import annotations

import math
from datetime import date

import pytest

from costplan.catalog.gpus import gpu
from costplan.plan.bench import Bench
from costplan.plan.bounds import roofline_floor, table_floor
from costplan.plan.demand import demand
from costplan.plan.evaluate import Simulated
from costplan.plan.fleet import Draft, Market, Sizer
from costplan.plan.offers import offers
from costplan.plan.question import Question, question
from costplan.plan.search import RUN_SLACK, Search
from costplan.plan.space import Space, space
from costplan.workload.arrivals import ClosedLoop
from costplan.workload.workload import Slo, Workload

from .conftest import PRICES, TODAY, choosing

N = 600


def made(workload: Workload) -> tuple[Question, Space, Simulated, Market]:
    asked = question(workload, 0)
    market = Market(offers(workload.constraints, PRICES), workload.constraints, date(2026, 11, 21), PRICES)
    found = space(asked.spec, workload.candidates, workload.constraints, market.prices,
                  max_tokens=asked.shape.max_tokens, model=asked.spec.name)
    return asked, found, Simulated(asked, Bench(asked), N), market


def brute_force(workload: Workload) -> Draft | None:
    """Every candidate sized without any bound or rival."""
    asked, found, evaluator, market = made(workload)
    sizer = Sizer(asked, evaluator, market, asked.targets)
    drafts = [sizer.draft(c) for cs in found.by_system.values() for c in cs]
    return min((d for d in drafts if d is not None), key=lambda d: d.score, default=None)


def searched(workload: Workload) -> tuple[Draft | None, int]:
    asked, found, evaluator, market = made(workload)
    result = Search(asked, found, evaluator.bench, evaluator, market, demand(asked, N)).run()
    return (result.ranked[0] if result.ranked else None), result.pruned


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_the_search_finds_what_brute_force_finds(workload: Workload, loop: str) -> None:
    wide = choosing(workload, gpus=("h100_sxm", "l40s", "a100_80gb_sxm"), weights=("bf16", "fp8", "int4"), tp=(1, 2))
    if loop == "closed":
        from dataclasses import replace

        wide = replace(wide, arrivals=ClosedLoop(64), slo=Slo())
    every = brute_force(wide)
    best, pruned = searched(wide)
    assert every is not None
    assert best is not None
    assert best.usd_per_mtok_out == pytest.approx(every.usd_per_mtok_out, rel=1e-9)
    assert pruned > 0


def test_no_simulated_replica_beats_its_bounds(workload: Workload) -> None:
    asked, found, evaluator, market = made(choosing(workload, gpus=("h100_sxm", "l40s", "a100_80gb_sxm"),
                                                    tp=(1, 2, 4), max_num_seqs=(16, 256)))
    need = demand(asked, N)
    sizer = Sizer(asked, evaluator, market, ())
    for candidates in found.by_system.values():
        evaluator.bench.cover(candidates)
        for c in candidates:
            table = table_floor(evaluator.bench.table(c), c, need)
            roof = roofline_floor(asked.spec, gpu(c.config.gpu), c, need)
            slack = 1 + RUN_SLACK + c.config.max_num_seqs / N
            served = sizer.capacity(c, table.requests_per_s(1) / 4, 1)
            assert served <= table.requests_per_s(1) * slack
            assert served <= roof.requests_per_s(1) * slack
            run = evaluator.at_rate(c, max(served / 8, 1e-3), 1)
            from costplan.workload.workload import Metric

            assert run.at(Metric.TPOT, 0.01) >= 0.999 * table.step_s
            assert table.step_s >= roof.step_s
            assert math.isfinite(table.request_s)


def test_an_impossible_limit_is_seen_without_simulation(workload: Workload) -> None:
    from .conftest import slo

    asked, found, evaluator, market = made(workload)
    impossible = slo(1.0, 1e-4).targets
    for candidates in found.by_system.values():
        roof = roofline_floor(asked.spec, gpu(candidates[0].config.gpu), candidates[0], demand(asked, N))
        assert roof.broken(impossible, demand(asked, N)) is not None
        assert roof.broken(asked.targets, demand(asked, N)) is None
    assert evaluator.runs == 0
    assert market.today == TODAY
