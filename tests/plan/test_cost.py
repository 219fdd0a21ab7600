"""$/1M tokens from throughput and price: the formula, its laws, and whole machines."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.prices import prices
from costplan.core.errors import InputError
from costplan.core.evidence import Estimate, Evidence
from costplan.plan.cost import cost, listed_price

TODAY = date(2026, 11, 21)


def made(tok_s: float) -> Estimate:
    return Estimate(tok_s, 0.1, Evidence.INTERPOLATED)


def test_the_formula_by_hand() -> None:
    found = cost(made(1000.0), 200, 3.6, "stated")
    assert found.usd_per_mtok_out.value == pytest.approx(1.0)
    assert found.usd_per_request.value == pytest.approx(200e-6)
    assert found.usd_per_mtok_out.evidence is Evidence.INTERPOLATED
    assert found.usd_per_mtok_out.log_sd == 0.1


@given(st.floats(1, 1e6), st.floats(0.01, 1e4), st.floats(1.0, 10.0))
def test_a_higher_price_never_lowers_the_cost(tok_s: float, usd: float, factor: float) -> None:
    low, high = cost(made(tok_s), 100, usd, ""), cost(made(tok_s), 100, usd * factor, "")
    assert high.usd_per_mtok_out.value >= low.usd_per_mtok_out.value


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_must_be_a_price(usd: float) -> None:
    with pytest.raises(InputError, match="price must be positive"):
        cost(made(1.0), 1, usd, "")


@pytest.mark.parametrize("together", [1, 2, 4, 8])
def test_tensor_parallel_ranks_rent_one_machine(together: int) -> None:
    found = listed_price("h100_sxm", 8, TODAY, together=together)
    assert found is not None
    fits = [p for p in prices() if p.gpu == "h100_sxm" and p.purchase == "on_demand" and p.gpu_count >= together]
    assert found.usd_per_h == min(-(-8 // p.gpu_count) * p.price_usd_per_instance_h for p in fits)


def test_more_room_never_costs_less() -> None:
    costs = [listed_price("h100_sxm", 8, TODAY, together=n) for n in (1, 2, 4, 8)]
    values = [c.usd_per_h for c in costs if c]
    assert len(values) == 4
    assert values == sorted(values)


def test_age_is_in_the_label() -> None:
    found = listed_price("h100_sxm", 1, TODAY)
    assert found is not None
    assert found.stale is ("stale" in found.label)
    assert listed_price("jetson_agx_orin_64gb", 1, TODAY) is None
