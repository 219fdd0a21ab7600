"""Percentiles, goodput, warm-up and convergence."""

from __future__ import annotations

import numpy as np
import pytest

from costplan.core.errors import InputError
from costplan.simulate.convergence import batch_means, mser5
from costplan.simulate.metrics import summarise
from costplan.simulate.policy import VLLM, SchedulerLimits
from costplan.simulate.requests import SimRequests, all_at_once, closed_loop, open_loop
from costplan.simulate.run import simulate
from costplan.simulate.step_table import StepTable
from costplan.workload.workload import Metric, Slo, SloTarget

LIMITS = SchedulerLimits(16, 256, 500, 16)


def slo(metric: Metric, limit_s: float, percentile: float = 0.9) -> Slo:
    return Slo((SloTarget(metric, percentile, limit_s),))


def test_a_summary_agrees_with_the_requests(table: StepTable) -> None:
    r = simulate(open_loop(500, 15.0, (1, 200), (1, 100), seed=1), table, LIMITS, VLLM)
    s = summarise(r)
    assert s.requests == 500
    assert s.output_tok_s == pytest.approx(r.setup.osl.sum() / (r.finish_s.max() - r.sent_s.min()))
    assert s.ttft.p99 == pytest.approx(np.quantile(r.ttft_s, 0.99))
    assert s.tpot is not None
    assert s.tpot.mean == pytest.approx(r.tpot_s[r.setup.osl > 1].mean())
    assert s.itl is not None
    gaps = (r.e2e_s - r.ttft_s).sum() / (r.setup.osl - 1).sum()
    assert s.itl.mean == pytest.approx(gaps)
    assert s.itl.p50 == pytest.approx(gaps, rel=0.2)
    assert s.itl.max == pytest.approx(r.max_itl_s.max())
    assert 0 < s.kv_mean < s.kv_peak <= 1
    assert 0 < s.busy_share <= 1
    assert s.goodput_per_s is None
    assert s.convergence.converged
    assert s.achieved_over_offered == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("metric", list(Metric))
def test_goodput_counts_requests_within_the_limit(table: StepTable, metric: Metric) -> None:
    requests = open_loop(300, 25.0, (1, 200), (1, 100), seed=1)
    values = {Metric.TTFT: "ttft_s", Metric.TPOT: "tpot_s", Metric.ITL: "max_itl_s", Metric.E2E: "e2e_s"}
    free = simulate(requests, table, LIMITS, VLLM)
    limit = float(np.quantile(getattr(free, values[metric]), 0.7))
    s = summarise(simulate(requests, table, LIMITS, VLLM, slo=slo(metric, limit)))
    assert s.attainment == pytest.approx(0.7, abs=0.02)
    assert s.goodput_per_s == pytest.approx(s.attainment * s.requests_per_s)
    loose = summarise(simulate(requests, table, LIMITS, VLLM, slo=slo(metric, 1e3)))
    assert loose.attainment == 1.0
    assert loose.slo_met
    assert not summarise(simulate(requests, table, LIMITS, VLLM, slo=slo(metric, 1e-6))).slo_met


def test_an_answer_of_one_token_has_no_tpot(table: StepTable) -> None:
    s = summarise(simulate(all_at_once(5, 10, 1), table, LIMITS, VLLM, slo=slo(Metric.TPOT, 1e-9)))
    assert s.tpot is None
    assert s.itl is None
    assert s.attainment == 1.0
    assert s.slo_met


def test_refused_requests_break_the_slo(table: StepTable) -> None:
    requests = SimRequests(np.zeros(2), np.asarray([10, 9000]), np.asarray([2, 2]))
    s = summarise(simulate(requests, table, LIMITS, VLLM, slo=slo(Metric.E2E, 1e3)))
    assert s.refused == 1
    assert not s.slo_met
    with pytest.raises(InputError, match="every request was refused") as e:
        summarise(simulate(SimRequests(np.zeros(1), np.asarray([9000]), np.asarray([2])), table, LIMITS, VLLM))
    assert "KV cache" in str(e.value.hint)


def test_an_overloaded_engine_falls_behind(table: StepTable) -> None:
    s = summarise(simulate(open_loop(2000, 500.0, 100, 100), table, LIMITS, VLLM))
    assert s.achieved_over_offered is not None
    assert s.achieved_over_offered < 0.9
    assert not s.convergence.converged
    assert summarise(simulate(closed_loop(50, 4, 10, 10), table, LIMITS, VLLM)).achieved_over_offered is None


def test_warm_up_is_cut_at_the_end_of_the_transient() -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(10, 1, 2000)
    assert mser5(series) <= 400
    series[:300] += np.linspace(30, 0, 300)
    assert 200 <= mser5(series) <= 600
    assert mser5(series[:10]) == 0


def test_the_summary_leaves_the_start_out(table: StepTable) -> None:
    r = simulate(closed_loop(1000, 32, 100, 50), table, LIMITS, VLLM)
    assert summarise(r, warmup=0.25).warmup_requests == 250
    assert summarise(r, warmup="mser5").requests + summarise(r, warmup="mser5").warmup_requests == 1000
    for bad in (1.0, -0.1, "auto"):
        with pytest.raises(InputError, match="warmup"):
            summarise(r, warmup=bad)


def test_batch_means_cover_the_mean() -> None:
    """95 % intervals of independent normals hold the true mean in about 95 of 100 runs."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        series = rng.normal(5, 2, 1000)
        found = batch_means(series)
        assert found.relative_half_width is not None
        inside += abs(series.mean() - 5) <= found.relative_half_width * series.mean()
    assert 180 <= inside <= 199
    assert batch_means(np.zeros(1000)).relative_half_width is None
    assert batch_means(rng.normal(5, 2, 20)).relative_half_width is None
    assert (batch_means(np.arange(1000.0)).lag1 or 0) > 0.7
