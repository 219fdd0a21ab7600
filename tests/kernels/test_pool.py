"""Worker processes: real kernels in them, and what their deaths look like from outside."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from costplan.kernels.pool import Pool
from costplan.profile.case import Case

pytest.importorskip("torch", reason="torch is not installed: no kernels to run")
QUICK = {"min_samples": 3, "min_time_s": 0.0, "max_time_s": 0.05, "warmup_min_s": 0.0, "warmup_max_s": 0.01}


def measure(case: Case, backend: str = "torch-cpu-gemm", **limits: float) -> dict[str, object]:
    return {"op": "measure", "backend": backend, "case": case.as_json(), "regimes": ["steady", "cold"], "seed": 1,
            "limits": {**QUICK, **limits}}


def test_one_worker_measures_survives_errors_and_is_replaced_when_it_dies() -> None:
    case = Case.of("gemm", m=2, n=64, k=64, dtype="bf16")
    with Pool("cpu") as pool:
        told = pool.ask("d", measure(case), 60)
        assert told["kernel"] == "torch-cpu-gemm:torch-linear"
        assert [r["regime"] for r in told["regimes"]] == ["steady", "cold"]
        assert min(told["regimes"][0]["samples_ns"]) > 0
        assert told["error"] < 1e-2
        assert pool.ask("d", {"op": "describe"}, 10)["device"]["kind"] == "cpu"
        wrong = pool.ask("d", measure(Case.of("gemm", m=2, n=64, k=64, dtype="nvfp4")), 10)
        assert wrong["failed"] == "not supported: no nvfp4 matrix products"
        assert not wrong.get("fatal")
        worker = pool._workers["d"]._process
        timer = threading.Timer(0.3, os.kill, (worker.pid, signal.SIGKILL))
        timer.start()
        died = pool.ask("d", measure(case, min_time_s=20.0, max_time_s=20.0, min_samples=10**6), 60)
        assert died["fatal"]
        assert "killed by SIGKILL" in died["failed"]
        late = pool.ask("d", {"op": "describe"}, 60)
        assert "device" in late
        began = time.monotonic()
        hung = pool.ask("d", measure(case, min_time_s=30.0, max_time_s=30.0, min_samples=10**6), 0.5)
        assert hung["fatal"]
        assert "no answer within" in hung["failed"]
        assert time.monotonic() - began < 20
