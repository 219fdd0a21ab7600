"""A device that only a profile knows, through the real command line: predict, simulate, roofline, plan, explain, emit,
catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from costplan.catalog.gpus import forget_devices
from costplan.cli.app import main
from costplan.profile.store import Profile

from .. import own_profile as own  # noqa: TID252

WORKLOAD = """
name: small
model: qwen3-0.6b
load:
  rate: {requests_per_s: 0.2}
lengths:
  isl: {lognormal: {p50: 200, sigma: 0.5, min: 10, max: 1000}}
  osl: {fixed: 50}
slo:
  ttft: {p95: 2s}
  tpot: {p95: 200ms}
"""
LOAD = ["-m", "qwen3-0.6b", "-g", "cpu_x", "--isl", "300", "--osl", "50", "--concurrency", "4"]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    forget_devices()
    yield
    forget_devices()


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return own.write(tmp_path_factory.mktemp("profiles") / "cpu_x-costplan")


@pytest.fixture
def workload(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(WORKLOAD)
    return str(path)


@pytest.mark.parametrize("command", [
    ["predict", *LOAD, "--price", "0.1"], ["simulate", *LOAD, "-n", "50"],
    ["roofline", "-m", "qwen3-0.6b", "-g", "cpu_x", "--batch", "4", "--context", "512"],
])
def test_commands_with_the_profile_answer(command: list[str], profile: Profile,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--profile", str(profile.folder), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert "stand in" not in err
    assert "cpu_x" in out


def test_a_slower_page_shows_in_a_simulation(profile: Profile, capsys: pytest.CaptureFixture[str]) -> None:
    means = []
    for size in ("128", "64", "16"):
        assert main(["simulate", *LOAD, "-n", "50", "--profile", str(profile.folder), "--block-size", size,
                     "--json"]) == 0
        means.append(json.loads(capsys.readouterr().out)["summary"]["tpot"]["mean"])
    assert means == sorted(means)
    assert means[0] < means[2]


def test_without_the_profile_the_name_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *LOAD]) == 2
    assert "unknown GPU 'cpu_x'" in capsys.readouterr().err


def test_profiles_in_the_search_path_make_their_devices_known(
        profile: Profile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COSTPLAN_PROFILES", str(profile.folder.parent))
    assert main(["predict", *LOAD, "--json"]) == 0
    forget_devices()
    assert main(["kv", "-m", "qwen3-0.6b", "-g", "cpu_x"]) == 0
    forget_devices()
    capsys.readouterr()
    assert main(["catalog", "gpus"]) == 0
    assert "cpu_x" in capsys.readouterr().out
    forget_devices()
    assert main(["predict", *(x.replace("cpu_x", "cpu_y") for x in LOAD)]) == 2
    assert "cpu_x" in capsys.readouterr().err


def test_a_cpu_is_one_rank(profile: Profile, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *LOAD, "--profile", str(profile.folder), "--tp", "2"]) == 2
    assert "is a CPU" in capsys.readouterr().err


def test_a_plan_from_a_profile_and_a_price(profile: Profile, workload: str, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--profile", str(profile.folder), "--price", "cpu_x=0.10"]
    file = str(tmp_path / "plan.json")
    assert main(["plan", workload, "--gpu", "cpu_x", *given, "--json", "-o", file]) == 0
    found = json.loads(Path(file).read_text())
    best = found["plans"][0]
    config = best["config"]
    assert (config["gpu"], config["engine"], config["block_size"]) == ("cpu_x", "vllm", 128)
    assert best["replicas"] * 0.10 * 730 == pytest.approx(73.0 * best["replicas"])
    pages = {p["block_size"]: p["kernel_efficiency"] for p in best["pages"]}
    assert pages[128] == pytest.approx(1.0)
    assert pages[16] == pytest.approx(1 / 1.5, rel=1e-3)
    capsys.readouterr()
    assert main(["explain", file]) == 0
    assert "stated with --price" in " ".join(capsys.readouterr().out.split())
    assert main(["emit", file]) == 2
    assert "emit does not support CPUs" in capsys.readouterr().err
    assert main(["explain", file, *given]) == 2


def test_the_device_joins_the_candidates_of_a_workload(profile: Profile, workload: str,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(workload)
    path.write_text(WORKLOAD + "candidates:\n  gpus: [l40s]\n  engines: [vllm]\n  tp: [1]\n")
    assert main(["plan", workload, "--profile", str(profile.folder), "--price", "cpu_x=0.10", "--price", "l40s=0.9",
                 "--csv"]) == 0
    out = capsys.readouterr().out
    assert "cpu_x" in out
    assert "l40s" in out
    assert "yours" in out


@pytest.mark.parametrize(("text", "words"), [
    ("cpu_x", "NAME=USD"), ("cpu_x=", "NAME=USD"), ("cpu_x=-1", "NAME=USD"), ("cpu_x=nan", "NAME=USD"),
    ("cpu_q=1", "unknown GPU"),
])
def test_a_wrong_price_is_refused(text: str, words: str, profile: Profile, workload: str,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", workload, "--profile", str(profile.folder), "--price", text]) == 2
    assert words in capsys.readouterr().err


def test_a_measured_device_without_a_price_is_named(profile: Profile, workload: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", workload, "--profile", str(profile.folder), "--gpu", "cpu_x"]) == 5
    assert "no price" in capsys.readouterr().out


def test_a_profile_with_a_broken_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = own.write(tmp_path / "broken", {**own.DEVICE, "mem_bytes": 0})
    assert main(["predict", *LOAD, "--profile", str(broken.folder)]) == 2
    assert "mem_bytes" in capsys.readouterr().err
    other = own.write(tmp_path / "other", {**own.DEVICE, "name": "cpu_other"})
    assert main(["predict", *LOAD, "--profile", str(other.folder)]) == 2
    assert "cpu_other" in capsys.readouterr().err
