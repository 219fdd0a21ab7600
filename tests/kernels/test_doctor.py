"""`costplan doctor`: libraries that crash, hang or do not fit; machines without torch; questions about SDPA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from costplan.cli.app import main
from costplan.core.errors import InputError
from costplan.kernels import doctor, registry
from costplan.kernels.nvml import telemetry, throttle_words, throttled
from costplan.kernels.sdpa_choice import EXAMPLE, choice, read
from costplan.kernels.skew import advise

GOOD: dict[str, Any] = {
    "torch": {"version": "2.11.0+cu130", "cuda": "13.0", "gpus": [{"name": "H200"}]}, "driver": "580.65",
    "driver_cuda": "13.0", "nvcc": "13.0", "driver_loaded": True, "pins": [], "telemetry": {"throttle": "idle"}}


def pin(by: str, of: str, wanted: str, found: str) -> dict[str, str]:
    return {"by": by, "of": of, "wanted": wanted, "found": found}


@pytest.mark.parametrize(("change", "reasons", "words", "grave"), [
    ({}, {}, None, False),
    ({"torch": {"error": "not installed"}}, {}, "torch is not installed", True),
    ({"torch": {"error": "ImportError: libcudart.so.13"}}, {}, "cannot be imported", True),
    ({"torch": {"version": "2.13.0", "cuda": None}}, {}, "built without CUDA", False),
    ({"driver_cuda": "12.8"}, {}, "torch needs 13.0", True),
    ({"torch": {"version": "2.14", "cuda": "13.2"}}, {}, "compiled at run time", False),
    ({"driver_cuda": "13.2"}, {}, None, False),
    ({"pins": [pin("vllm", "torch", "2.11.0", "2.13.0+cu130")]}, {}, "asks for torch", False),
    ({"pins": [pin("vllm", "torch", "2.11.0", "2.11.0+cu130")]}, {}, None, False),
    ({"pins": [pin("torch", "nvidia-cudnn-cu13", "9.19.0.56", "9.1.0")]}, {}, "cudnn", False),
    ({}, {"fa2": "import fails: ImportError: x.so: undefined symbol: _ZN3c10"}, "built for another torch", False),
    ({}, {"fa3-fwd": "libcudart.so.12: cannot open shared object file"}, "misses a shared library", False),
    ({"nvcc": None}, {"flashinfer-fa2": ""}, "no nvcc", False),
    ({"nvcc": None}, {"flashinfer-fa2": "gone"}, None, False),
    ({"nvcc": "12.4"}, {"deepgemm": ""}, "nvcc is of CUDA 12.4", False),
    ({"telemetry": {"throttle": "hardware thermal, idle"}}, {}, "held down", False),
    ({"telemetry": {"memory_used_by_others_bytes": 8e9}}, {}, "7.5 GiB", False),
    ({"driver_unread": "pynvml is not installed"}, {}, "cannot be recorded", False)])
def test_skew(change: dict[str, Any], reasons: dict[str, str], words: str | None, grave: bool) -> None:
    found = advise({**GOOD, **change}, reasons)
    if words is None:
        assert found == []
    else:
        assert any(words in a.what and a.do and a.grave is grave for a in found), found


def backends(*names: str) -> list[Any]:
    return [registry.backend(n) for n in names]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a library in front of all others that probing processes see."""
    pytest.importorskip("torch", reason="torch is not installed: nothing is probed")

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")

    return write


def test_a_crash_is_reported_and_the_next_backend_is_looked_at(library: Any) -> None:
    library("fa3_fwd_interface", "import os; os.abort()")
    fwd, gemm = doctor._domain(backends("fa3-fwd", "torch-gemm"), 120.0)
    assert fwd.availability.reason == "crashed when imported: SIGABRT"
    assert "crash" not in gemm.availability.reason


def test_a_hanging_library_costs_its_time_limit(library: Any) -> None:
    library("fa3_fwd_interface", "import time; time.sleep(600)")
    [found] = doctor._domain(backends("fa3-fwd"), 12.0)
    assert found.availability.reason == "no answer within 12 s"


def test_a_library_that_prints_and_raises(library: Any) -> None:
    library("fa3_fwd_interface", "print('{\"name\": \"x\"}'); raise RuntimeError('not today')")
    [found] = doctor._domain(backends("fa3-fwd"), 120.0)
    assert found.availability.reason == "import fails: RuntimeError: not today"
    assert "pip install" in found.availability.install


def test_without_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(registry, "names", lambda: ("torch-gemm", "fa3-vllm"))
    assert main(["doctor"]) == 4
    out = capsys.readouterr().out
    assert "0 of 2 backends run" in out and "pip install torch" in out


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing is probed")
    monkeypatch.setattr(registry, "names", lambda: ("torch-gemm",))
    code = main(["doctor", "--json", "--sdpa", "dtype=bf16 heads=4 head_dim=64 q=32 causal"])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if torch.cuda.is_available() else 4) and found["usable"] is (code == 0)
    assert found["schema"] == "costplan.doctor/1" and found["environment"]["torch"]["version"] == torch.__version__
    assert found["backends"][0]["facts"]["formats"] == "bf16, fp16"
    assert found["sdpa"]["ran"] in ("flash", "cudnn", "efficient", "math")


@pytest.mark.parametrize("argv", [["--device", "gpu"], ["--sdpa", "dtype=bf16 colour=red"], ["--sdpa", "heads=8/3"],
                                  ["--sdpa", "dtype=fp8"], ["--timeout", "0"]])
def test_bad_input(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *argv]) == 2
    assert "hint:" in capsys.readouterr().err


def test_sdpa_question() -> None:
    asked = read(EXAMPLE)
    assert (asked.num_heads, asked.num_kv_heads, asked.q_len, asked.causal) == (32, 8, 4096, True)
    assert read("heads=8").num_kv_heads == 8
    with pytest.raises(InputError):
        read("q=0")


def test_sdpa_choice_follows_the_inputs() -> None:
    """What the profiler saw, not a table: fp64-like shapes aside, a CPU runs its flash kernel and nothing of CUDA."""
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing to run")
    found = choice("dtype=bf16 heads=4/2 head_dim=64 q=32 kv=32 causal")
    assert found["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found["ran"] != "unknown" and any("attention" in n for n in found["operators"])


def test_throttle_words() -> None:
    assert throttle_words(0) == "none" and throttle_words(0x5) == "idle, power cap"
    assert throttle_words(1 << 20) == "unknown 0x100000"
    assert throttled(throttle_words(0x40)) and not throttled(throttle_words(0x4)) and not throttled(None)


class NVMLError(Exception):
    """As in pynvml."""


def test_telemetry_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in with NVML's names: units, words, and one reading that the driver refuses."""
    import sys
    from types import SimpleNamespace as Box

    asked = []

    def refuse(_: Any) -> Any:
        raise NVMLError("Not Supported")

    nvml = Box(NVMLError=NVMLError, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, NVML_TEMPERATURE_GPU=0, nvmlInit=lambda: None,
               nvmlShutdown=lambda: asked.append("shut"), nvmlDeviceGetHandleByIndex=lambda i: asked.append(i) or "h",
               nvmlSystemGetDriverVersion=lambda: b"580.65", nvmlDeviceGetClockInfo=lambda h, k: 1980,
               nvmlDeviceGetMaxClockInfo=lambda h, k: 1980, nvmlDeviceGetPowerUsage=lambda h: 350_000,
               nvmlDeviceGetEnforcedPowerLimit=lambda h: 700_000, nvmlDeviceGetTemperature=lambda h, s: 41,
               nvmlDeviceGetCurrentClocksThrottleReasons=lambda h: 4, nvmlDeviceGetEccMode=refuse,
               nvmlDeviceGetMemoryInfo=lambda h: Box(used=5), nvmlDeviceGetUtilizationRates=lambda h: Box(gpu=50),
               nvmlDeviceGetComputeRunningProcesses=lambda h: [Box(pid=-1, usedGpuMemory=3)])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    found = telemetry("cuda")
    assert (found["power_w"], found["throttle"], found["utilisation"]) == (350.0, "power cap", 0.5)
    assert found["driver"] == "580.65"
    assert found["ecc"] is None and "ecc: Not Supported" in str(found["unread"])
    assert found["memory_used_by_others_bytes"] == 3.0 and asked == [2, "shut"]


def test_telemetry_without_nvml_and_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert telemetry("cuda")["power_w"] is None and "nvidia-ml-py" in str(telemetry("cuda")["unread"])
    cores = telemetry("cpu")["cores"]
    assert isinstance(cores, float) and cores >= 1
