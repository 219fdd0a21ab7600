"""The wheel, installed into a new environment and used from another folder, finds its profiles and configs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.wheel


def call(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COSTPLAN_PROFILES")}
    return subprocess.run([str(a) for a in args], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def or_skip(done: subprocess.CompletedProcess[str], what: str) -> None:
    """Skip where the package index cannot be reached; fail for any other reason."""
    offline = ("No matching distribution", "Could not find a version", "ConnectionError", "Connection refused",
               "Temporary failure in name resolution", "Max retries exceeded", "Name or service not known")
    if done.returncode and any(sign in done.stdout + done.stderr for sign in offline):
        pytest.skip(f"{what}: the package index cannot be reached")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def costplan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of a new environment that has nothing but the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    built = call(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, cwd=folder)
    or_skip(built, "building the wheel")
    wheel = next(folder.glob("costplan-*.whl"))
    venv.create(folder / "env", with_pip=True)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    installed = call(scripts / "python", "-m", "pip", "install", "--no-compile", wheel, cwd=folder)
    or_skip(installed, "installing the wheel")
    return scripts / "costplan"


def test_predict_works_from_another_folder(costplan: Path, tmp_path: Path) -> None:
    done = call(costplan, "predict", "--model", "llama-3.1-8b", "--gpu", "h100_sxm", "--isl", "1000", "--osl", "200",
                "--concurrency", "16", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["profile"]["measured_on"] == "h100_sxm"
    assert answer["metrics"]["tpot_s"]["value"] > 0


def test_profiles_configs_and_catalogues_are_in_the_wheel(costplan: Path, tmp_path: Path) -> None:
    names = {p["name"] for p in json.loads(call(costplan, "profile", "list", "--json", cwd=tmp_path).stdout)}
    assert {"h100_sxm-vllm", "h200_sxm-vllm", "a100_80gb_sxm-vllm", "b200_sxm-vllm"} <= names
    python = costplan.parent / "python"
    script = "from costplan.core.shipped import shipped_dir; print(shipped_dir('configs'))"
    done = call(python, "-c", script, cwd=tmp_path)
    configs = Path(done.stdout.strip())
    assert (configs / "chat.yaml").is_file()
    assert ROOT not in configs.parents
    shown = call(costplan, "workload", "show", configs / "chat.yaml", "--json", "-n", "200", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert len(json.loads(call(costplan, "catalog", "gpus", "--json", cwd=tmp_path).stdout)) >= 35


def test_base_install_is_light(costplan: Path, tmp_path: Path) -> None:
    python = costplan.parent / "python"
    listed = json.loads(call(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path).stdout)
    heavy = {"torch", "triton", "vllm", "jax", "numba", "pyarrow", "scipy"} & {p["name"].lower() for p in listed}
    assert heavy == set()
