"""Dollars: the formula, a bill that adds up, a day of hours, and the hosted API to compare with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costplan.core.units import HOURS_PER_MONTH
from costplan.plan.money import usd_per_mtok
from costplan.plan.planner import plan
from costplan.plan.types import Plan
from costplan.workload.arrivals import ClosedLoop, GammaArrivals
from costplan.workload.prefix import Groups, PrefixModel
from costplan.workload.workload import HostedApi, Slo, Workload

from .conftest import PRICES, QUICK, TODAY, choosing, within


def best(workload: Workload) -> Plan:
    found = plan(choosing(workload, gpus=("h100_sxm",), weights=("fp8",)), today=TODAY, prices=PRICES,
                 options=QUICK).best
    assert found is not None
    return found


def test_the_formula_by_hand() -> None:
    assert usd_per_mtok(3.6, 1000.0) == pytest.approx(1.0)


def test_the_parts_add_up_to_the_bill(workload: Workload) -> None:
    p = best(workload)
    m = p.money
    isl, osl = workload.mean_isl, workload.mean_osl
    hourly = p.requests_per_s * 3600 / 1e6 * (isl * m.tokens.input_usd_per_mtok + osl * m.tokens.output_usd_per_mtok)
    assert hourly == pytest.approx(m.rental.usd_per_h, rel=1e-6)
    assert m.usd_per_request.value * p.requests_per_s * 3600 == pytest.approx(m.rental.usd_per_h)
    assert m.usd_per_mtok_out.value == pytest.approx(usd_per_mtok(m.rental.usd_per_h, p.requests_per_s * osl))
    assert m.usd_per_mtok_total.value == pytest.approx(usd_per_mtok(m.rental.usd_per_h, p.requests_per_s * (isl + osl)))
    assert m.usd_per_month == pytest.approx(m.rental.usd_per_h * HOURS_PER_MONTH)
    assert m.tokens.prefill_share + m.tokens.cached_share + m.tokens.decode_share == pytest.approx(1.0)
    assert m.usd_per_mtok_out_saturated.value <= m.usd_per_mtok_out.value * 1.001
    assert m.tokens.cached_input_usd_per_mtok is None


def test_cached_input_has_a_price_of_its_own(workload: Workload) -> None:
    p = best(replace(workload, prefix=PrefixModel(16, 256, Groups(4, 64))))
    t, hit = p.money.tokens, p.prefix_hit_rate
    assert 0.3 < hit < 0.95
    assert t.cached_input_usd_per_mtok is not None
    assert t.cached_input_usd_per_mtok < t.input_usd_per_mtok
    hourly = p.requests_per_s * 3600 / 1e6 * (
        workload.mean_isl * ((1 - hit) * t.input_usd_per_mtok + hit * t.cached_input_usd_per_mtok)
        + workload.mean_osl * t.output_usd_per_mtok)
    assert hourly == pytest.approx(p.money.rental.usd_per_h, rel=1e-6)


def test_spot_is_offered_beside_the_list_price(workload: Workload) -> None:
    options = {o.purchase.value: o for o in best(workload).money.purchases}
    assert set(options) == {"on_demand", "spot"}
    assert options["spot"].usd_per_mtok_out < options["on_demand"].usd_per_mtok_out


def test_a_day_of_hours(workload: Workload) -> None:
    hours = tuple(24 * x / 36 for x in (*[1.0] * 12, *[2.0] * 12))
    p = best(replace(workload, diurnal=hours, arrivals=GammaArrivals(120.0)))
    day = p.money.diurnal
    assert day is not None
    assert len(day.replicas_by_hour) == 24
    assert max(day.replicas_by_hour) <= p.replicas
    assert day.static_usd_per_day == pytest.approx(24 * p.money.rental.usd_per_h)
    assert day.autoscaled_usd_per_day <= day.static_usd_per_day
    assert 0 <= day.saving < 1
    assert p.peak_requests_per_s == pytest.approx(160.0)


def test_break_even_against_an_api(workload: Workload) -> None:
    api = HostedApi("someone's", 0.2, 0.6)
    p = best(replace(workload, hosted_api=api))
    b = p.money.break_even
    assert b is not None
    each = (workload.mean_isl * 0.2 + workload.mean_osl * 0.6) / 1e6
    assert b.api_usd_per_request == pytest.approx(each)
    assert b.requests_per_s * each * 3600 == pytest.approx(p.money.rental.usd_per_h)
    assert (b.saves_usd_per_month > 0) == (b.requests_per_s < p.requests_per_s)
    assert b.reachable == (b.utilisation <= 1)
    free = best(replace(workload, hosted_api=HostedApi("free", 0.0, 0.0)))
    assert free.money.break_even is None


def test_a_closed_loop_is_priced_by_what_it_serves(workload: Workload) -> None:
    p = best(replace(workload, arrivals=ClosedLoop(64), slo=Slo()))
    assert p.requests_per_s > 0
    assert p.money.usd_per_mtok_out.value == pytest.approx(
        usd_per_mtok(p.money.rental.usd_per_h, p.requests_per_s * workload.mean_osl))
    assert p.binding.value == "concurrency"


def test_spares_are_paid_for(workload: Workload) -> None:
    assert best(within(workload, spare_replicas=2)).money.rental.usd_per_h > best(workload).money.rental.usd_per_h
