"""Own runs correct predictions near them: laws of shift, narrowing, distance and outliers; the file and its door."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import CostplanError
from costplan.perf.assemble import latency_model
from costplan.perf.batch import BatchState
from costplan.perf.calibrated_model import calibrated_model
from costplan.perf.calibration import METRICS, Observed, calibrated, correction, setting_of
from costplan.perf.calibration_file import read_calibration, written
from costplan.perf.kinship import LEVELS, Setting, correlation, table
from costplan.perf.layout import Layout
from costplan.perf.predict import Deployment, predict
from costplan.perf.steady import Load, LoadKind

DEP = Deployment(model("llama-3.1-8b"), gpu("h100_sxm"))
LOAD = Load(LoadKind.CONCURRENCY, 16, 1000, 200)
HERE = setting_of(DEP, LOAD)
SD = 0.2


def run(error: float, setting: Setting = HERE, metric: str = "tpot") -> Observed:
    return Observed(setting, {metric: error}, {metric: SD})


def elsewhere(level: int) -> Setting:
    """A setting that shares only the first ``level`` levels with `HERE`."""
    other = Setting("x", "x", "x", "x", HERE.load)
    return replace(other, **{name: getattr(HERE, name) for name in LEVELS[:level]})


def test_nothing_known_changes_nothing() -> None:
    c = correction((), "tpot", HERE, SD)
    assert (c.factor, c.narrowing, c.runs) == (1.0, 1.0, 0)


@given(st.floats(-0.5, 0.5), st.integers(1, 6))
def test_a_shift_goes_towards_what_was_measured_and_never_beyond(error: float, n: int) -> None:
    c = correction([run(error)] * n, "tpot", HERE, SD)
    assert abs(c.log_shift) <= abs(error) + 1e-9
    assert c.log_shift * error >= 0


def test_three_runs_shift_further_and_narrow_more_than_one() -> None:
    one, three = (correction([run(0.15)] * n, "tpot", HERE, SD) for n in (1, 3))
    assert 0 < one.log_shift < three.log_shift < 0.15
    assert 1 > one.narrowing > three.narrowing > 0.1


def test_it_fades_out_with_distance() -> None:
    shifts = [correction([run(0.2, elsewhere(level))], "tpot", HERE, SD).log_shift for level in range(5)]
    assert shifts == sorted(shifts)
    assert shifts[0] == 0
    assert shifts[4] > 2 * shifts[3] > 0
    widths = [correction([run(0.2, elsewhere(level))], "tpot", HERE, SD).narrowing for level in range(5)]
    assert widths == sorted(widths, reverse=True)


def test_a_near_load_says_more_than_a_far_one() -> None:
    near, far = (replace(HERE, load=(HERE.load[0], HERE.load[1] + d, *HERE.load[2:])) for d in (0.3, 4.0))
    assert (correction([run(0.2, near)], "tpot", HERE, SD).log_shift
            > correction([run(0.2, far)], "tpot", HERE, SD).log_shift > 0)


@pytest.mark.parametrize("wild", [-3.0, 3.0])
def test_one_outlier_does_not_move_the_others(wild: float) -> None:
    loads = [replace(HERE, load=(HERE.load[0], HERE.load[1] + d, *HERE.load[2:])) for d in (-0.5, 0.0, 0.5, 0.2)]
    steady = [run(0.1, s) for s in loads[:3]]
    calm, shaken = correction(steady, "tpot", HERE, SD), correction([*steady, run(wild, loads[3])], "tpot", HERE, SD)
    assert abs(shaken.log_shift - calm.log_shift) < 0.15
    assert abs(wild) > 20 * abs(shaken.log_shift - calm.log_shift)


def test_disagreeing_runs_widen_instead_of_narrowing_further() -> None:
    agree = correction([run(0.1), run(0.1), run(0.1)], "tpot", HERE, SD)
    torn = correction([run(0.8), run(-0.8), run(0.1)], "tpot", HERE, SD)
    assert torn.narrowing > agree.narrowing


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4), st.floats(-5, 5)), min_size=1, max_size=12),
       st.sampled_from(METRICS))
def test_any_runs_give_a_finite_correction(runs: list[tuple[float, int, float]], metric: str) -> None:
    seen = [run(e, replace(s := elsewhere(level), load=(s.load[0], s.load[1] + d, *s.load[2:])), metric)
            for e, level, d in runs]
    c = correction(seen, metric, HERE, SD)
    assert math.isfinite(c.log_shift)
    assert 0 < c.narrowing < 50


def test_shares_are_shares() -> None:
    for shares in table()["shares"].values():
        assert all(0 <= v < 1 for k, v in shares.items() if k != "load_range")
        assert 0 < correlation(HERE, HERE, shares) < 1


def test_a_prediction_is_shifted_and_narrowed() -> None:
    p = predict(DEP, LOAD)
    seen = [run(0.2), run(0.2), Observed(HERE, {"ttft": -0.3, "output_tok_s": -0.1}, {"ttft": SD, "output_tok_s": SD})]
    q = calibrated(p, DEP, LOAD, seen)
    assert q.tpot_s.value > p.tpot_s.value
    assert q.tpot_s.log_sd < p.tpot_s.log_sd
    assert q.ttft_s.value < p.ttft_s.value
    assert q.output_tok_s.value < p.output_tok_s.value
    assert q.output_tok_s_per_gpu.value == pytest.approx(q.output_tok_s.value)
    assert "own runs of this deployment" in q.tpot_s.basis
    assert calibrated(p, DEP, LOAD, ()) is p


def test_latencies_alone_move_a_closed_loops_throughput_by_littles_law() -> None:
    p = predict(DEP, LOAD)
    q = calibrated(p, DEP, LOAD, [run(0.2)])
    assert q.output_tok_s.value * q.e2e_s.value == pytest.approx(p.output_tok_s.value * p.e2e_s.value)


def test_an_open_loop_that_keeps_up_serves_what_arrives() -> None:
    slow = Load(LoadKind.RATE, 0.5, 1000, 200)
    p = predict(DEP, slow)
    seen = [Observed(setting_of(DEP, slow), {"tpot": 0.2, "output_tok_s": -0.5}, {"tpot": SD, "output_tok_s": SD})]
    assert calibrated(p, DEP, slow, seen).output_tok_s == p.output_tok_s


def test_a_calibrated_model_scales_every_step() -> None:
    plain = latency_model(DEP.spec, DEP.gpu, Layout(), engine="vllm")
    tuned = calibrated_model(plain, DEP, [run(0.2)] * 3)
    steps = [BatchState(decode_seqs=8, decode_kv_tokens=8000), BatchState(prefill_tokens=2000, prefill_seqs=1)]
    factors = [tuned.step_s(b) / plain.step_s(b) for b in steps]
    assert factors[0] == pytest.approx(factors[1])
    assert factors[0] > 1.05
    assert 0 < tuned.narrowing["step"] <= 1
    assert "calibrated" in tuned.basis
    assert calibrated_model(plain, DEP, ()) is plain


def values(**changed: Any) -> dict[str, Any]:
    pair = {"measured": 0.011, "predicted": 0.01, "log_sd": 0.2}
    return {"schema": "costplan.calibration/1", "costplan_version": "0.0.1", "date": "2026-11-21",
            "system": {"engine": HERE.engine, "gpu": HERE.gpu, "model": HERE.model, "deployment": HERE.deployment},
            "sources": [{"file": "r.json", "sha256": "0" * 64, "tool": "vllm bench serve", "runs": 1}],
            "runs": [{"source": "r.json:1", "load": "concurrency", "value": 16.0, "isl": 1000.0, "osl": 200.0,
                      "tpot": pair}]} | changed


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(written(values()), encoding="utf-8")
    found = read_calibration(tmp_path / "c.yaml")
    (seen,) = found.observed
    assert seen.setting == HERE
    assert seen.log_error == {"tpot": pytest.approx(math.log(1.1))}
    assert "run costplan calibrate again" in found.warnings[0]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("measured: 0.011", "measured: -1", "measured"), ("runs: 1", "rums: 1", "unknown key"),
    ("concurrency", "circular", "load"), ("calibration/1", "calibration/9", "schema"), ("0000", "zz", "sha256"),
    ("log_sd: 0.2", "log_sd: .nan", "log_sd"), ("isl: 1000.0", "isl: 0", "isl")])
def test_a_bad_file_says_where(old: str, new: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(written(values()).replace(old, new), encoding="utf-8")
    with pytest.raises(CostplanError, match=said):
        read_calibration(tmp_path / "c.yaml")
