"""`costplan profile --workload` from flags to a profile that plans accept, on a worker that makes up its times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from costplan.cli.app import main
from costplan.cli.profile_setup import budget_s, families
from costplan.core.errors import CostplanError, InputError, UnknownNameError
from costplan.profile.store import Profile
from tests.kernels.measuring import Answers

DEVICE = {"kind": "cpu", "name": "Test CPU", "key": "cpu_test_2c", "memory_bytes": 24 << 30, "cache_bytes": 32 << 20,
          "cores": 2, "capability": "", "versions": {"torch": "2.13.0", "python": "3.11"}}
RUN = ["profile", "--workload", "chat", "--model", "qwen3-0.6b", "--device", "cpu"]


class FakePool(Answers):
    """A pool of workers that measure nothing; stops like a user after ``stop_after`` measurements."""

    stop_after = 10**9
    device: Mapping[str, Any] = DEVICE

    def __init__(self, device: str) -> None:
        super().__init__()

    def __enter__(self) -> FakePool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, domain: str, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        if request["op"] == "describe":
            return {"device": dict(self.device)}
        if len(self.measured) >= self.stop_after:
            raise KeyboardInterrupt
        return self(domain, request, timeout_s)


@pytest.fixture(autouse=True)
def _no_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("costplan.kernels.pool.Pool", FakePool)
    monkeypatch.setattr(FakePool, "stop_after", 10**9)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")


def test_a_run_becomes_a_profile_that_plan_predict_and_verify_accept(tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine"
    assert main([*RUN, "--budget", "2m", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "held out" in said
    assert f"costplan plan WORKLOAD --profile {out} --gpu cpu_test_2c" in said.replace("\n            ", " ")
    assert not out.with_name("mine.partial").exists()
    p = Profile.load(out)
    assert {"gemm", "attn_decode", "attn_prefill", "elementwise"} <= set(p.families)
    assert p.manifest.origin["workload"]["held_out"]["cases"] > 0
    assert main(["profile", "verify", str(out)]) == 0
    assert main(["profile", "show", str(out)]) == 0
    assert "cpu_test_2c" in capsys.readouterr().out
    code = main(["predict", "--model", "qwen3-0.6b", "--gpu", "cpu_test_2c", "--profile", str(out), "--isl", "200",
                 "--osl", "50", "--concurrency", "2", "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert json.loads(told.out)
    code = main(["plan", "chat", "--model", "qwen3-0.6b", "--gpu", "cpu_test_2c", "--profile", str(out), "--price",
                 "cpu_test_2c=0.10", "--json"])
    told = capsys.readouterr()
    assert code in (0, 5), told.err


def test_the_default_place_is_where_plans_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--budget", "30s"]) == 0
    assert (tmp_path / "data" / "costplan" / "profiles" / "cpu_test_2c-costplan" / "manifest.json").is_file()
    capsys.readouterr()
    assert main(["profile", "list"]) == 0
    assert "cpu_test_2c-costplan" in capsys.readouterr().out


def test_a_dry_run_measures_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "p"
    assert main([*RUN, "--budget", "10m", "--dry-run", "--price", "6", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "gemm" in said
    assert "$1.00 for the whole budget" in said
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_keeps_its_rows_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "p"
    monkeypatch.setattr(FakePool, "stop_after", 12)
    assert main([*RUN, "--out", str(out)]) == 130
    assert "go on with --resume" in capsys.readouterr().err
    assert main([*RUN, "--out", str(out)]) == 2
    assert "holds an interrupted run" in capsys.readouterr().err
    monkeypatch.setattr(FakePool, "stop_after", 10**9)
    assert main([*RUN, "--out", str(out), "--resume", "--seed", "5"]) == 2
    assert "seed was 0, now 5" in capsys.readouterr().err
    assert main([*RUN, "--out", str(out), "--resume"]) == 0
    assert Profile.load(out).manifest.origin["runs"].__len__() == 2
    assert main([*RUN, "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "said"), [
    (["--device", "gpu"], "unknown device 'gpu'"), (["--engine", "vlm"], "unknown engine 'vlm'"),
    (["--budget", "10"], "10 has no unit"), (["--budget", "0s"], "above 0"), (["--only", "gem"], "kernel family 'gem'"),
    (["--backend", "torch-cpu-gem"], "kernel backend 'torch-cpu-gem'"), (["--resume"], "nothing to resume"),
    (["--model", "qwen3-0.6"], "qwen3-0.6"), (["--only", "mla_decode"], "")])
def test_bad_flags_say_what_is_wrong(flags: list[str], said: str, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--out", str(tmp_path / "p"), *flags]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "hint:" in told
    assert not (tmp_path / "p").exists()


def test_no_workload_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile"]) == 2
    assert "--workload" in capsys.readouterr().out


def test_a_device_that_cannot_be_used_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(FakePool, "ask", lambda *_: {"failed": "ModuleNotFoundError: No module named 'torch'"})
    assert main([*RUN, "--out", str(tmp_path / "p")]) == 2
    assert "pip install torch" in capsys.readouterr().err


def test_budgets_and_families() -> None:
    assert [budget_s(t) for t in ("10m", "90s", "1h", "2min", "500ms")] == [600.0, 90.0, 3600.0, 120.0, 0.5]
    with pytest.raises(InputError):
        budget_s("soon")
    found = families(["attention,gemm"])
    assert found is not None
    assert {"attn_decode", "attn_ragged", "mla_decode", "gemm"} <= set(found)
    assert families(None) is None
    with pytest.raises(UnknownNameError):
        families(["x"])
    assert issubclass(UnknownNameError, CostplanError)
