"""Errors, evidence, dtypes, atomic writes, random streams."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.atomic import new_folder, write_text
from costplan.core.dtypes import DTYPES, dtype
from costplan.core.errors import CostplanError, InputError, UnknownNameError
from costplan.core.evidence import Estimate, Evidence, worst
from costplan.core.rng import stream
from costplan.core.shipped import shipped_dir


def test_an_error_says_where_and_what_to_try() -> None:
    e = CostplanError("no such key", hint="try block_size", where="plan.yaml:3")
    assert str(e) == "plan.yaml:3: no such key"
    assert e.hint == "try block_size"


def test_an_unknown_name_offers_the_nearest() -> None:
    e = UnknownNameError("GPU", "h100_smx", ["h100_sxm", "h200_sxm", "l4"])
    assert e.nearest[0] == "h100_sxm"
    assert "did you mean" in (e.hint or "")
    assert "known:" in (UnknownNameError("GPU", "zzzzzz", ["l4"]).hint or "")


def test_evidence_is_ordered() -> None:
    assert worst([Evidence.MEASURED, Evidence.ANALYTIC, Evidence.INTERPOLATED]) is Evidence.ANALYTIC
    assert worst([]) is Evidence.MEASURED


@given(value=st.floats(1e-9, 1e9), sd=st.floats(0, 2))
def test_intervals_nest_and_contain_the_value(value: float, sd: float) -> None:
    e = Estimate(value, sd, Evidence.MEASURED)
    (a, b), (c, d) = e.i50, e.i90
    assert c <= a <= value * (1 + 1e-12)
    assert value * (1 - 1e-12) <= b <= d
    assert math.sqrt(c * d) == pytest.approx(value)


def test_a_rate_keeps_the_relative_error_of_its_time() -> None:
    e = Estimate(0.02, 0.1, Evidence.INTERPOLATED, "x")
    r = e.inverse(1.0)
    assert r.value == pytest.approx(50)
    assert r.i90[0] == pytest.approx(1 / e.i90[1])
    assert e.scaled(3).value == pytest.approx(0.06)


def test_block_formats_count_their_scales() -> None:
    assert dtype("mxfp4").bits == 4.25
    assert dtype("nvfp4").bits == 4.5
    assert dtype("BFloat16").name == "bf16"
    assert all(d.bits >= 4 for d in DTYPES.values())
    with pytest.raises(UnknownNameError) as e:
        dtype("pf8", where="--kv")
    assert "fp8" in (e.value.hint or "")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    write_text(target, "old")
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "absent" / "plan.json", "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_folder(tmp_path / "p") as tmp:
        (tmp / "a").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "p") as tmp:
        (tmp / "a").write_text("x")
    assert (tmp_path / "p" / "a").read_text() == "x"
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "p"):
        pass


def test_streams_are_independent_of_each_other_and_of_order() -> None:
    a = stream(7, "arrivals").random(5)
    stream(7, "lengths").random(100)
    assert (stream(7, "arrivals").random(5) == a).all()
    assert (stream(7, "lengths").random(5) != a).all()
    assert (stream(8, "arrivals").random(5) != a).all()


def test_shipped_folders_are_found() -> None:
    assert (shipped_dir("configs") / "chat.yaml").is_file()
    with pytest.raises(CostplanError, match="no nothing"):
        shipped_dir("nothing")
