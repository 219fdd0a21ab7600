"""Medians, their intervals, and when to stop."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.kernels.timer.stats import Settling, quantile, summarise

times = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=200)


@given(times)
def test_a_summary_is_ordered_and_knows_the_median(x: list[float]) -> None:
    s = summarise(x)
    assert s.median_s == pytest.approx(statistics.median(x), rel=1e-12)
    assert min(x) <= s.low_s <= s.median_s <= s.high_s <= max(x)
    assert s.p10_s <= s.median_s <= s.p90_s
    assert s.n == len(x)


@given(times, st.floats(0, 1))
def test_quantiles_follow_the_standard_library(x: list[float], q: float) -> None:
    ordered = sorted(x)
    assert ordered[0] <= quantile(ordered, q) <= ordered[-1]
    if len(x) > 1:
        quartiles = statistics.quantiles(x, n=4, method="inclusive")
        for at, want in zip((0.25, 0.5, 0.75), quartiles, strict=True):
            assert abs(quantile(ordered, at) - want) <= 1e-9 * ordered[-1]


def test_the_interval_of_the_median_covers_it_as_often_as_it_says() -> None:
    rng = random.Random(3)
    for n in (7, 20, 101):
        covered = 0
        for _ in range(600):
            s = summarise([rng.lognormvariate(0, 1) for _ in range(n)])
            covered += s.low_s <= 1.0 <= s.high_s
        assert covered / 600 >= 0.93


def test_few_samples_give_the_whole_range() -> None:
    s = summarise([3.0, 1.0, 2.0])
    assert (s.low_s, s.high_s) == (1.0, 3.0)


def test_noise_that_does_not_fall_is_given_up() -> None:
    settling = Settling(target_width=0.01, patience=3)
    looks = [settling.hopeless(summarise([1.0, 2.0] * 20)) for _ in range(4)]
    assert looks == [False, False, False, True]
    assert not settling.settled(summarise([1.0, 2.0] * 20))
    assert settling.settled(summarise([1.0] * 20))
