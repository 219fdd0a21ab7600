"""Student's t against its published table, and against its own laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.profile.student import quantile, tail


@pytest.mark.parametrize(("p", "df", "t"), [
    (0.975, 1, 12.706), (0.95, 2, 2.920), (0.975, 4, 2.776), (0.95, 10, 1.812), (0.995, 30, 2.750), (0.975, 1e6, 1.960),
])
def test_quantiles_are_those_of_the_table(p: float, df: float, t: float) -> None:
    assert quantile(p, df) == pytest.approx(t, abs=6e-4)


@given(st.floats(-30, 30), st.floats(1, 200))
def test_tails_of_both_sides_sum_to_one(t: float, df: float) -> None:
    assert tail(t, df) + tail(-t, df) == pytest.approx(1.0)
    assert tail(t, df) >= tail(t + 0.5, df)


@given(st.floats(0.01, 0.99), st.floats(1, 100))
def test_the_quantile_inverts_the_tail(p: float, df: float) -> None:
    assert 1.0 - tail(quantile(p, df), df) == pytest.approx(p, abs=1e-9)
