"""The interpolator: exact on its cells, exact on what is linear in logs, honest about what it does not know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.evidence import Evidence
from costplan.perf.grid import Grid, fill, leave_one_out

M, N = [1.0, 2.0, 4.0, 8.0, 16.0], [10.0, 100.0, 1000.0, 10000.0]


def plane(a: float, b: float, c: float) -> np.ndarray:
    return np.array([[a + b * math.log(m) + c * math.log(n) for n in N] for m in M])


def test_a_measured_cell_reads_back_as_measured() -> None:
    grid = Grid([M, N], plane(0.3, 0.1, -0.2))
    r = grid.read((4.0, 100.0))
    assert r.evidence is Evidence.MEASURED
    assert r.log_ratio == pytest.approx(0.3 + 0.1 * math.log(4) - 0.2 * math.log(100), abs=1e-12)


@given(a=st.floats(-1, 1), b=st.floats(-1, 1), c=st.floats(-1, 1), x=st.floats(1, 16), y=st.floats(10, 10000))
def test_what_is_linear_in_logs_is_reproduced_everywhere(a: float, b: float, c: float, x: float, y: float) -> None:
    r = Grid([M, N], plane(a, b, c)).read((x, y))
    assert r.log_ratio == pytest.approx(a + b * math.log(x) + c * math.log(y), abs=1e-9)
    assert r.octaves == 0


@given(x=st.floats(17, 1e6))
def test_outside_the_nearest_efficiency_is_held_and_the_error_grows_with_distance(x: float) -> None:
    grid = Grid([M, N], plane(0.0, 0.1, 0.0))
    near, far = grid.read((x, 100.0)), grid.read((2 * x, 100.0))
    assert near.log_ratio == pytest.approx(0.1 * math.log(16))
    assert near.evidence is Evidence.EXTRAPOLATED
    assert far.log_sd > near.log_sd
    assert far.octaves == pytest.approx(near.octaves + 1)


def test_gaps_are_filled_and_never_called_measured() -> None:
    values = plane(0.1, 0.2, 0.3)
    values[2, 1] = np.nan
    values[4, 3] = np.nan
    grid = Grid([M, N], values)
    inside, corner = grid.read((4.0, 100.0)), grid.read((16.0, 10000.0))
    assert inside.log_ratio == pytest.approx(0.1 + 0.2 * math.log(4) + 0.3 * math.log(100), abs=1e-9)
    assert Evidence.MEASURED not in (inside.evidence, corner.evidence)
    assert corner.log_sd > grid.read((8.0, 1000.0)).log_sd


@given(st.lists(st.lists(st.one_of(st.just(float("nan")), st.floats(-2, 2)), min_size=4, max_size=4), min_size=5,
                max_size=5))
def test_any_pattern_of_gaps_is_filled_within_the_measured_range(rows: list[list[float]]) -> None:
    values = np.array(rows)
    if not np.isfinite(values).any():
        with pytest.raises(ValueError, match="at least one"):
            Grid([M, N], values)
        return
    full = fill([np.log(M), np.log(N)], values)
    known = np.isfinite(values)
    assert np.isfinite(full).all()
    assert (full[known] == values[known]).all()


def test_a_step_that_neighbouring_lines_share_is_reproduced() -> None:
    values = plane(0.0, 0.0, 0.1)
    values[3:] += 0.7  # tile quantisation at m = 8, the same for every n
    loo = leave_one_out([np.log(M), np.log(N)], values)
    assert np.nanmax(np.abs(loo - values)) < 1e-9 or np.nanmedian(np.abs(loo - values)) < 1e-9


def test_noise_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    calm = Grid([M, N], plane(0, 0.1, 0.1))
    noisy = Grid([M, N], plane(0, 0.1, 0.1) + rng.normal(0, 0.2, (5, 4)))
    assert noisy.read((3.0, 300.0)).log_sd > 3 * calm.read((3.0, 300.0)).log_sd


def test_a_single_cell_answers_everywhere_with_growing_doubt() -> None:
    grid = Grid([[8.0]], np.array([0.5]))
    assert grid.read((8.0,)).log_ratio == 0.5
    assert grid.read((800.0,)).evidence is Evidence.EXTRAPOLATED
