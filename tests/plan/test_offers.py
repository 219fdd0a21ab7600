"""Whole instances, the user's providers, and the largest fleet that a price buys."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.models import model
from costplan.catalog.price import Purchase
from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.layout import Layout
from costplan.plan.fleet import Market
from costplan.plan.offers import instances_for, offers, rent
from costplan.plan.space import Candidate, space
from costplan.workload.workload import Candidates, Constraints

from .conftest import MODEL, PRICES, TODAY, price


@pytest.mark.parametrize(("count", "layout", "replicas", "instances"), [
    (8, Layout(1), 8, 1), (8, Layout(1), 9, 2), (8, Layout(4), 3, 2), (8, Layout(3), 2, 1), (8, Layout(3), 3, 2),
    (1, Layout(1), 5, 5), (1, Layout(2), 1, None), (8, Layout(8, 2), 3, 6), (4, Layout(2, 4), 1, 2),
    (8, Layout(1, 1, 8, 8), 2, 2), (4, Layout(1, 1, 8, 8), 2, None),
])
def test_replicas_are_packed_whole(count: int, layout: Layout, replicas: int, instances: int | None) -> None:
    assert instances_for(price("h100_sxm", 2.0, count), layout, replicas) == instances


@given(st.integers(1, 500), st.sampled_from([Layout(1), Layout(2), Layout(4), Layout(8), Layout(1, 2)]))
def test_what_is_rented_holds_the_fleet_and_nothing_cheaper_does(replicas: int, layout: Layout) -> None:
    found = rent(PRICES, "h100_sxm", layout, replicas, TODAY)
    assert found is not None
    assert found.num_gpus >= replicas * layout.num_gpus
    assert found.idle_gpus == found.num_gpus - replicas * layout.num_gpus
    assert found.usd_per_h == pytest.approx(found.instances * found.price.price_usd_per_instance_h)
    for p in PRICES:
        count = instances_for(p, layout, replicas) if p.gpu == "h100_sxm" else None
        assert count is None or count * p.price_usd_per_instance_h >= found.usd_per_h - 1e-9
    more = rent(PRICES, "h100_sxm", layout, replicas + 1, TODAY)
    assert more is not None
    assert more.usd_per_h >= found.usd_per_h


def test_only_allowed_offers() -> None:
    assert {p.purchase for p in offers(Constraints(), PRICES)} == {Purchase.ON_DEMAND}
    assert any(p.purchase is Purchase.SPOT for p in offers(Constraints(purchase=("spot",)), PRICES))
    assert offers(Constraints(providers=("someone",), regions=("here",)), PRICES)
    with pytest.raises(UnknownNameError):
        offers(Constraints(providers=("somewon",)), PRICES)
    with pytest.raises(UnknownNameError):
        offers(Constraints(regions=("mars-1",)), PRICES)


def test_old_prices_are_flagged() -> None:
    old = (price("h100_sxm", 2.0, day=date(2026, 1, 1)),)
    found = rent(old, "h100_sxm", Layout(1), 1, TODAY)
    assert found is not None
    assert found.stale
    assert "stale" in found.label
    assert rent(old, "l40s", Layout(1), 1, TODAY) is None
    with pytest.raises(InputError):
        rent(old, "h100_sxm", Layout(1), 0, TODAY)


def one(limits: Constraints) -> tuple[Candidate, Market]:
    found = space(model(MODEL), Candidates(gpus=("h100_sxm",), engines=("vllm",), tp=(1,), weights=("bf16",)), limits,
                  PRICES, max_tokens=2000, model=MODEL)
    return next(iter(found.by_system.values()))[0], Market(offers(limits, PRICES), limits, TODAY, PRICES)


@given(st.floats(0.1, 1000))
def test_the_largest_fleet_for_a_price(usd_per_h: float) -> None:
    c, market = one(Constraints())
    most = market.most_replicas(c, usd_per_h)
    if most:
        assert market.rent(c, most).usd_per_h <= usd_per_h * (1 + 1e-9)  # type: ignore[union-attr]
    assert market.rent(c, most + 1).usd_per_h > usd_per_h  # type: ignore[union-attr]


def test_limits_on_gpus_and_budget() -> None:
    c, market = one(Constraints(max_gpus=3))
    assert market.rent(c, 3) is not None
    assert market.rent(c, 4) is None
    assert market.most_replicas(c, 1e9) == 3
    c, market = one(Constraints(budget_usd_per_month=4000))
    assert market.rent(c, 2) is not None
    assert market.rent(c, 3) is None


def test_an_unknown_purchase_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as refused:
        offers(Constraints(purchase=("spott",)), PRICES)
    assert refused.value.nearest[0] == "spot"
