"""Weeks, their trend, and plan against actual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from random import Random

import pytest

from costplan.core.errors import InputError
from costplan.history.entry import Entry, Kind, instant, service_name, usd_per_mtok
from costplan.history.summary import summaries
from costplan.history.trend import trend, weekly

Make = Callable[..., Entry]


def test_weeks_begin_on_monday_and_take_the_middle(entry: Make) -> None:
    found = weekly([entry(0, 1.0), entry(6, 3.0), entry(6.4, 2.0), entry(7, 9.0)])
    assert [(w.monday, w.usd_per_mtok_out, w.count) for w in found] == [
        (date(2026, 8, 3), 2.0, 3), (date(2026, 8, 10), 9.0, 1)]


def test_a_steady_rise_is_found_exactly_and_gaps_do_not_matter(entry: Make) -> None:
    weeks = weekly([entry(7 * i, 1.02**i) for i in (0, 1, 2, 5, 6, 9)])
    found = trend(weeks)
    assert found is not None and found.direction == "rising"
    assert found.per_week == pytest.approx(0.02) and found.low90 == pytest.approx(0.02)
    assert trend(weeks[:3]) is None
    falling = trend(weekly([entry(7 * i, 0.98**i) for i in range(8)]))
    assert falling is not None and falling.direction == "falling"


def test_one_wild_week_moves_no_trend(entry: Make) -> None:
    found = trend(weekly([entry(7 * i, 50.0 if i == 4 else 1.0) for i in range(12)]))
    assert found is not None and found.per_week == 0.0 and found.direction == "steady"


def test_the_interval_covers_a_flat_line_as_often_as_it_says(entry: Make) -> None:
    draw, hit, n = Random(4), 0, 600
    one = weekly([entry(7 * i) for i in range(10)])
    for _ in range(n):
        found = trend([replace(w, usd_per_mtok_out=draw.lognormvariate(0, 0.05)) for w in one])
        assert found is not None
        hit += found.low90 <= 0 <= found.high90
    assert 0.87 <= hit / n <= 0.97  # the interval is made of whole ranks, so it errs to the wide side


def test_actuals_meet_the_plan_in_force_then(entry: Make) -> None:
    plans = [entry(0, 1.0, Kind.PLAN, low90=0.8, high90=1.2), entry(10, 2.0, Kind.PLAN, low90=1.5, high90=None)]
    actuals = [entry(-1, 5.0), entry(5, 1.5), entry(10, 3.0), entry(20, 1.0)]
    (found,) = summaries(sorted([*plans, *actuals], key=lambda e: e.at))
    assert [c.ratio for c in found.compared] == [1.5, 1.5, 0.5]
    assert [c.inside90 for c in found.compared] == [False, True, False]
    assert found.median_ratio == 1.5
    assert found.latest == actuals[-1] and found.watched == tuple(actuals)


def test_services_are_apart_and_plans_alone_are_watched(entry: Make) -> None:
    one, two = summaries([entry(0, 1.0, Kind.PLAN, "b"), entry(1, 2.0, service="a")])
    assert (one.service, two.service) == ("a", "b")
    assert two.watched == two.plans and two.median_ratio is None and two.alert is None


def test_cost_per_token_is_the_formula() -> None:
    assert usd_per_mtok(3.6, 1000.0) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "2026-11-21T25:00", "9999-12-31T23:59:59-14:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a time"):
        instant(text)


def test_times_are_utc() -> None:
    assert instant("2026-11-21T12:00:00+02:00").isoformat() == "2026-11-21T10:00:00+00:00"
    assert instant("2026-11-21").isoformat() == "2026-11-21T00:00:00+00:00"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J", "x" * 201])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        service_name(name)
