"""Length distributions: their laws, and their draws against their own statements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import InputError
from costplan.core.rng import stream
from costplan.workload.lengths import Fixed, JointLengths, LengthDistribution, LogNormal, QuantileTable, normal_cdf
from costplan.workload.summary import ranks

N = 40_000


@pytest.mark.parametrize("d", [
    Fixed(7), LogNormal(900, 0.8, 1, 100_000), LogNormal(900, 1.5, 100, 4000),
    QuantileTable.through([0, 0.5, 0.9, 1], [10, 100, 1000, 5000]),
    QuantileTable.through([0.01, 0.5, 0.9, 1], [10, 100, 1000, 5000], 300)])
def test_draws_agree_with_mean_and_quantiles(d: LengthDistribution) -> None:
    x = d.sample(N, stream(1, "test"))
    assert x.dtype == np.int64 and x.min() >= 1 and x.max() <= d.max_tokens
    assert x.mean() == pytest.approx(d.mean, rel=0.03)
    for p in (0.1, 0.5, 0.9):
        assert np.quantile(x, p) == pytest.approx(d.quantile(p), rel=0.05)
    assert d.quantile(0) <= d.quantile(0.3) <= d.quantile(1) <= d.max_tokens


def test_lognormal_from_mean_and_median() -> None:
    assert LogNormal(1000, (2 * np.log(1.5)) ** 0.5, 1, 10_000_000).mean == pytest.approx(1500, rel=1e-3)
    assert LogNormal(1000, 0, 1, 10).mean == 10


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[float], list[float], float]:
    n = draw(st.integers(1, 6))
    p = [0.0, *sorted(draw(st.sets(st.integers(1, 99), min_size=n, max_size=n))), 100]
    x = sorted(draw(st.lists(st.integers(1, 10_000), min_size=len(p), max_size=len(p))))
    return [v / 100 for v in p], [float(v) for v in x], draw(st.floats(0.05, 0.95))


@given(tables())
def test_a_given_mean_is_kept_and_knots_too(table: tuple[list[float], list[float], float]) -> None:
    p, x, share = table
    low, rise = QuantileTable.through(p, x).corners()
    wanted = low + share * rise
    d = QuantileTable.through(p, x, wanted)
    assert d.mean == pytest.approx(wanted)
    for a, b in zip(p, x, strict=True):
        assert d.quantile(a) == pytest.approx(b)
    u = np.linspace(0, 1, 200_001)
    assert np.mean([d.quantile(v) for v in u[::2000].tolist()]) <= x[-1]
    assert np.all(np.diff(d._at(u)) >= -1e-9)


@pytest.mark.parametrize(("p", "x", "mean", "says"), [
    ([0.5, 0.5, 1], [1, 2, 3], None, "twice"), ([0.5, 1], [5, 3], None, "fall"), ([0, 0.5], [1, 2], None, "upper end"),
    ([0, 1], [1, 2], 5, "contradicts")])
def test_tables_that_are_refused(p: list[float], x: list[float], mean: float | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        QuantileTable.through(p, x, mean)


@pytest.mark.parametrize("rho", [-0.8, 0.0, 0.4, 0.9, 1.0])
def test_rank_correlation_is_the_one_asked_for(rho: float) -> None:
    j = JointLengths(LogNormal(1000, 1, 1, 10**6), QuantileTable.through([0, 0.5, 1], [1, 3000, 20000]), rho)
    isl, osl = j.sample(N, stream(3, "test"))
    assert np.corrcoef(ranks(isl), ranks(osl))[0, 1] == pytest.approx(rho, abs=0.02)


def test_normal_cdf_against_the_standard_library() -> None:
    from statistics import NormalDist

    z = np.random.default_rng(0).normal(0, 2, 500)
    exact = np.array([NormalDist().cdf(v) for v in z.tolist()])
    assert np.abs(normal_cdf(z) - exact).max() < 2e-7


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_ranks_are_those_of_pandas(values: list[int]) -> None:
    pd = pytest.importorskip("pandas")
    assert ranks(np.array(values)).tolist() == pd.Series(values).rank().tolist()
