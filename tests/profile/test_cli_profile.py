"""``costplan profile`` from the outside."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from costplan.cli.profile import app
from costplan.core.errors import CostplanError
from costplan.profile.store import write_profile

run = CliRunner()


@pytest.fixture
def folder(make: SimpleNamespace, tmp_path: Path) -> Path:
    return write_profile(tmp_path / "gpu1-vllm", make.manifest(), [make.gemm((1, 1e-5), (256, 2e-5))]).folder


def test_show_prints_provenance_and_coverage(folder: Path) -> None:
    done = run.invoke(app, ["show", str(folder)])
    assert done.exit_code == 0
    assert "Apache-2.0" in done.stdout and "m 1..256" in done.stdout
    data = json.loads(run.invoke(app, ["show", str(folder), "--json"]).stdout)
    assert data["coverage"] == [{"family": "gemm", "dtype": "bf16", "kernel": "cutlass", "rows": 2,
                                 "hull": {"m": [1, 256], "n": [4096, 4096], "k": [4096, 4096]}}]
    assert data["manifest"]["gpu"] == "gpu1"


def test_verify_says_what_it_checked_and_fails_on_damage(folder: Path) -> None:
    done = run.invoke(app, ["verify", str(folder)])
    assert (done.exit_code, done.stdout.startswith("ok ")) == (0, True)
    assert "SHA-256" in done.stdout and "2 rows" in done.stdout
    data = (folder / "gemm.npz").read_bytes()
    (folder / "gemm.npz").write_bytes(data[:-1])
    done = run.invoke(app, ["verify", str(folder)])
    assert (done.exit_code, done.stdout.startswith("BAD")) == (2, True)
    [told] = json.loads(run.invoke(app, ["verify", str(folder), "--json"]).stdout)
    assert "damaged" in told["error"] and "re-import" in told["hint"]


def test_list_knows_the_users_profiles_and_the_broken_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTPLAN_PROFILES", str(folder.parent))
    (folder.parent / "bad").mkdir()
    (folder.parent / "bad" / "manifest.json").write_text("{}")
    listed = {p["name"]: p for p in json.loads(run.invoke(app, ["list", "--json"]).stdout)}
    assert listed["gpu1-vllm"]["rows"] == {"gemm": 2}
    assert "error" in listed["bad"]
    assert "h200_sxm-vllm" in listed
    assert "unusable" in run.invoke(app, ["list"]).stdout


def test_import_writes_a_folder_per_gpu_and_engine(make: SimpleNamespace, tmp_path: Path) -> None:
    source = tmp_path / "src"
    make.write_parquet(source / "p/systems/data/h200_sxm/gemm/vllm/0.31.0/gemm_perf.parquet", make.gemm_rows((1, 0.02)))
    args = ["import", "aiconfigurator", "--from", str(source), "--gpu", "H200", "--engine", "vllm",
            "-o", str(tmp_path / "o")]
    done = run.invoke(app, args)
    assert done.exit_code == 0, done.output
    assert done.stdout == "" and "1 rows in 1 families, 0 refused" in done.stderr
    assert (tmp_path / "o" / "h200_sxm-vllm" / "manifest.json").is_file()
    again = run.invoke(app, args)
    assert isinstance(again.exception, CostplanError) and "exists already" in again.exception.message


def test_import_of_an_unknown_gpu_fails_before_anything_is_read(tmp_path: Path) -> None:
    done = run.invoke(app, ["import", "aiconfigurator", "--from", "aisimulate", "--gpu", "h299", "--engine", "vllm",
                            "-o", str(tmp_path / "o")])
    assert isinstance(done.exception, CostplanError) and done.exception.hint
    assert not (tmp_path / "o").exists()
