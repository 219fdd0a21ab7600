"""Raw samples: read, held against the tables, summed up; damage is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.cli import app as cli
from costplan.core.errors import ProfileError
from costplan.profile.raw_summary import summarise
from costplan.profile.sample_check import check_samples
from costplan.profile.samples import read_samples
from costplan.profile.store import Profile

RUNS = {"r1": {1: 1e-5, 64: 3e-5}, "r2": {1: 1.1e-5, 64: 3.3e-5}}


def test_samples_come_back_and_the_tables_equal_their_medians(make: SimpleNamespace, tmp_path: Path) -> None:
    made = make.own_profile(tmp_path / "own", RUNS)
    found = read_samples(made)
    assert found is not None and found.runs == ("r1", "r2")
    assert len(found.by_key()) == 2 and len(found.sampled) == 8 + 2
    assert check_samples(made, found) == 2
    seen = summarise(found)
    assert (seen.cases, seen.passes, seen.stops) == (2, 8, {"settled": 4, "not settled: noise": 4})
    assert seen.skipped == {"not installed": 1}
    assert seen.worst_pass_spread == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert seen.sentinel_drift == pytest.approx(0.0296, abs=1e-4)


def test_an_imported_profile_has_no_samples() -> None:
    assert read_samples(Profile.load("h200_sxm-vllm")) is None


def test_a_table_that_says_something_else_is_found(make: SimpleNamespace, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    made = make.own_profile(tmp_path / "own", RUNS, table_factor=1.01)
    assert cli.main(["profile", "verify", str(made.folder)]) == 2
    assert "the table says" in capsys.readouterr().out
    good = make.own_profile(tmp_path / "good", RUNS, table_factor=1.0004)
    assert cli.main(["profile", "verify", str(good.folder)]) == 0
    assert "raw samples: SHA-256, and 2 rows equal the median" in capsys.readouterr().out


def line(case: Any = None, telemetry: Any = None, **changed: Any) -> dict[str, Any]:
    return {"case": case or {"family": "gemm", "m": 1, "n": 64, "k": 64, "dtype": "bf16"}, "backend": "b",
            "kernel": "mkldnn", "pass": 1, "run": "r3", "telemetry": telemetry or {}, "regimes": [
                {"regime": "steady", "samples_ns": [10000], "median_s": 1e-5, "stop": "settled", **changed}]}


@pytest.mark.parametrize(("bad", "said"), [
    (line(samples_ns=[]), "samples_ns"), (line(samples_ns=[-1]), "samples_ns"), (line(median_s=0), "median_s"),
    (line(case={"family": "gem"}), "unknown kernel family 'gem'"), (line(case=3), "case must be"),
    ({"case": line()["case"]}, "'regimes' is missing"), (line(telemetry=3), "telemetry"),
])
def test_a_bad_line_is_named(make: SimpleNamespace, tmp_path: Path, bad: dict[str, Any], said: str) -> None:
    made = make.own_profile(tmp_path / "own", {"r1": {1: 1e-5}}, lines=[bad])
    with pytest.raises(ProfileError, match=said) as e:
        read_samples(made)
    assert e.value.where and e.value.where.endswith(":7") and e.value.hint


def test_a_wrong_median_in_the_samples_is_found(make: SimpleNamespace, tmp_path: Path) -> None:
    made = make.own_profile(tmp_path / "own", {"r1": {1: 1e-5}}, lines=[line(samples_ns=[20000])])
    found = read_samples(made)
    assert found is not None
    with pytest.raises(ProfileError, match="its samples give"):
        check_samples(made, found)


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b + b"\n", lambda b: b"", lambda b: None])
def test_damage_is_seen_by_the_checksum(make: SimpleNamespace, tmp_path: Path,
                                        damage: Callable[[bytes], bytes | None]) -> None:
    made = make.own_profile(tmp_path / "own", RUNS)
    file = made.folder / "samples.jsonl.gz"
    left = damage(file.read_bytes())
    file.unlink() if left is None else file.write_bytes(left)
    with pytest.raises(ProfileError, match="raw samples"):
        read_samples(made)


@given(st.binary(max_size=300))
def test_garbage_never_escapes_as_another_error(tmp_path_factory: pytest.TempPathFactory, make: SimpleNamespace,
                                                data: bytes) -> None:
    import hashlib
    from dataclasses import replace

    folder = tmp_path_factory.getbasetemp() / "garbage"
    made = Profile.load(folder) if folder.exists() else make.own_profile(folder, RUNS)
    for content in (data, gzip.compress(data)):
        (folder / "samples.jsonl.gz").write_bytes(content)
        raw = {"file": "samples.jsonl.gz", "sha256": hashlib.sha256(content).hexdigest()}
        try:
            read_samples(Profile(folder, replace(made.manifest, origin={"raw": raw})))
        except ProfileError:
            continue


def test_show_says_how_well_it_was_measured(make: SimpleNamespace, tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    made = make.own_profile(tmp_path / "own", RUNS)
    assert cli.main(["profile", "show", str(made.folder)]) == 0
    out = capsys.readouterr().out
    for said in ("AMD EPYC", "24.00 GiB", "19.0 GB/s", "bf16 420 GFLOP/s", "50 ns", "not settled: noise",
                 "not installed", "3.0% within a run", "2 cases with kernel"):
        assert said in out, said
    assert cli.main(["profile", "show", str(made.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"]["stops"]["settled"] == 4
