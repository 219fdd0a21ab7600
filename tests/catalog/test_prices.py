"""The shipped price table is clean, and prices are found, aged and rounded to whole instances."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.gpus import gpus
from costplan.catalog.price import STALE_AFTER_DAYS, Price, Purchase
from costplan.catalog.prices import (
    cheapest,
    find_prices,
    fleet_usd_per_h,
    freshness,
    instances_needed,
    prices,
    purchase_name,
)
from costplan.core.errors import InputError, UnknownNameError

PRICE = Price("aws", "us-east-1", "p5.48xlarge", "h100_sxm", 8, Purchase.ON_DEMAND, 55.04, date(2026, 7, 20), "test")


def test_every_price_has_a_known_gpu_a_source_and_a_sane_size() -> None:
    assert len(prices()) > 300
    for p in prices():
        assert p.gpu in gpus()
        assert 1 <= p.gpu_count <= 16
        assert 0.05 <= p.price_usd_per_gpu_h <= 60
        assert p.provider == p.provider.lower()
        assert p.region
        assert p.instance
        assert "@" in p.source, "repository and commit"
        assert p.price_date is None or date(2026, 1, 1) <= p.price_date <= date(2026, 11, 21)


def test_no_price_is_given_twice() -> None:
    keys = Counter((p.provider, p.region, p.instance, p.purchase) for p in prices())
    assert [k for k, n in keys.items() if n > 1] == []


def test_one_instance_has_one_gpu_and_count() -> None:
    shapes: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for p in prices():
        shapes.setdefault((p.provider, p.instance), set()).add((p.gpu, p.gpu_count))
    assert [k for k, v in shapes.items() if len(v) > 1] == []


def test_spot_is_below_on_demand() -> None:
    on_demand = {(p.provider, p.region, p.instance): p for p in find_prices(purchase=Purchase.ON_DEMAND)}
    pairs = [(p, on_demand[k]) for p in find_prices(purchase=Purchase.SPOT)
             if (k := (p.provider, p.region, p.instance)) in on_demand]
    assert len(pairs) > 80
    assert all(spot.price_usd_per_instance_h < full.price_usd_per_instance_h for spot, full in pairs)


def test_prices_whose_catalogue_has_no_date_are_undated() -> None:
    assert {p.provider for p in prices() if p.price_date is None} == {
        "lambda", "nebius", "verda", "hyperstack", "runpod", "gcp"}
    assert all(p.gpu.startswith("tpu_") for p in prices() if p.price_date is None and p.provider == "gcp")


@pytest.mark.parametrize(("gpu", "provider", "purchase", "usd_per_gpu_h"), [
    ("h100_sxm", "aws", "on_demand", 6.88), ("h100_sxm", "gcp", "spot", 1.2757),
    ("h200_sxm", "aws", "on_demand", 7.912), ("b200_sxm", "verda", "on_demand", 4.89),
    ("gb200", "azure", "on_demand", 27.04), ("mi300x", "azure", "on_demand", 6.0),
    ("a100_80gb_sxm", "aws", "on_demand", 3.4309), ("l40s", "aws", "on_demand", 1.861),
    ("tpu_v6e", "gcp", "spot", 1.89), ("rtx_pro_6000", "gcp", "on_demand", 4.4999),
    ("inferentia2", "aws", "on_demand", 0.7582),
])
def test_cheapest_per_gpu_as_in_the_sources(gpu: str, provider: str, purchase: str, usd_per_gpu_h: float) -> None:
    found = cheapest(gpu, purchase, provider=provider)
    assert found is not None
    assert found.price_usd_per_gpu_h == pytest.approx(usd_per_gpu_h, abs=5e-4)


def test_search_takes_names_as_people_write_them() -> None:
    assert find_prices("NVIDIA H100 80GB HBM3", "AWS", purchase="on-demand") == find_prices("h100_sxm", "aws",
                                                                                          purchase=Purchase.ON_DEMAND)


def test_search_filters_and_sorts() -> None:
    found = find_prices("l4", provider="gcp", region="us-central1", purchase="spot")
    assert found
    assert all((p.gpu, p.provider, p.region, p.purchase) == ("l4", "gcp", "us-central1", "spot") for p in found)
    per_gpu = [p.price_usd_per_gpu_h for p in found]
    assert per_gpu == sorted(per_gpu)


def test_a_price_of_all_regions_holds_in_each() -> None:
    everywhere = replace(PRICE, region="all", provider="lambda")
    assert set(find_prices(region="us-east-1", among=[PRICE, everywhere])) == {PRICE, everywhere}


def test_no_price_is_none_and_an_unknown_name_is_an_error() -> None:
    assert cheapest("h20") is None
    for query in ({"gpu": "h100_sxn"}, {"provider": "awz"}, {"region": "us-esat-1"}, {"purchase": "spott"}):
        with pytest.raises(UnknownNameError) as e:
            find_prices(**query)
        assert e.value.nearest


def test_whole_instances_are_rented() -> None:
    assert instances_needed(PRICE, 1) == 1
    assert instances_needed(PRICE, 8) == 1
    assert instances_needed(PRICE, 9) == 2
    assert fleet_usd_per_h(PRICE, 9) == pytest.approx(110.08)
    with pytest.raises(InputError):
        instances_needed(PRICE, 0)


@given(st.integers(1, 16), st.integers(1, 5000))
def test_instances_hold_the_gpus_and_none_is_spare(gpu_count: int, num_gpus: int) -> None:
    n = instances_needed(replace(PRICE, gpu_count=gpu_count), num_gpus)
    assert (n - 1) * gpu_count < num_gpus <= n * gpu_count


def test_for_one_gpu_a_small_instance_beats_a_cheaper_large_one() -> None:
    small = replace(PRICE, instance="small", gpu_count=1, price_usd_per_instance_h=8.0)
    assert cheapest("h100_sxm", among=[PRICE, small]) == PRICE
    assert cheapest("h100_sxm", num_gpus=1, among=[PRICE, small]) == small
    assert cheapest("h100_sxm", num_gpus=8, among=[PRICE, small]) == PRICE


@given(st.integers(1, 64), st.floats(1.0, 3.0))
def test_a_higher_price_never_lowers_the_cheapest_fleet(num_gpus: int, factor: float) -> None:
    dearer = [replace(p, price_usd_per_instance_h=p.price_usd_per_instance_h * factor) for p in prices()]
    before, after = cheapest("l4", num_gpus=num_gpus), cheapest("l4", num_gpus=num_gpus, among=dearer)
    assert before is not None
    assert after is not None
    assert fleet_usd_per_h(after, num_gpus) >= fleet_usd_per_h(before, num_gpus)


@pytest.mark.parametrize(("age_days", "stale"), [(0, False), (STALE_AFTER_DAYS, False), (STALE_AFTER_DAYS + 1, True)])
def test_a_price_turns_stale_after_90_days(age_days: int, stale: bool) -> None:
    assert PRICE.price_date is not None
    today = PRICE.price_date + timedelta(days=age_days)
    assert PRICE.is_stale(today) is stale
    assert ("stale" in freshness(PRICE, today)) is stale
    assert str(age_days) in freshness(PRICE, today)


def test_an_undated_price_is_stale_and_a_future_one_is_named() -> None:
    assert freshness(replace(PRICE, price_date=None), date(2026, 1, 1)) == "undated: stale"
    assert "future" in freshness(PRICE, date(2026, 7, 19))
    assert freshness(PRICE, date(2026, 7, 21)) == "1 day old"


@pytest.mark.parametrize(("text", "value"), [("on-demand", "on_demand"), ("On Demand", "on_demand"), ("SPOT", "spot"),
                                             ("preemptible", "spot"), ("reserved-1y", "1y"), ("3y", "3y")])
def test_purchase_names(text: str, value: str) -> None:
    assert purchase_name(text) == value
