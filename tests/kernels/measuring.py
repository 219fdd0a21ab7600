"""Measuring without kernels: a worker that answers at once, and cases for it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from costplan.kernels.session import Result
from costplan.profile.case import Case

HEADS: dict[str, int | str] = {"num_heads": 8, "num_kv_heads": 2, "head_dim": 64, "dtype": "bf16", "kv_dtype": "bf16"}
GEMMS = [Case.of("gemm", m=m, n=512, k=512, dtype="bf16") for m in (1, 2, 4, 8, 16, 32, 64)]
DECODES = [Case.of("attn_decode", batch=b, kv_len=256, page_size=p, **HEADS) for b in (1, 4, 16) for p in (0, 16)]
NAMES = ("torch-cpu-gemm", "torch-cpu-sdpa", "torch-cpu-paged")


class FixedCases:
    """The same cases in every run; `later` are asked for once the first are measured."""

    def __init__(self, first: Sequence[Case], later: Sequence[Case] = (), slow: frozenset[str] = frozenset()) -> None:
        self.slow = slow
        self._first, self._later = list(first), list(later)
        self.seen: list[int] = []

    def first(self) -> Sequence[Case]:
        return self._first

    def more(self, results: Sequence[Result], budget_left_s: float) -> Sequence[Case]:
        self.seen.append(len(results))
        return [c for c in self._later if c not in {r.case for r in results}]

    why = "enough"

    def skips(self, results: Sequence[Result]) -> frozenset[str]:
        return self.slow

    def wants(self, case: Case, backend: str, skips: frozenset[str]) -> bool:
        return backend not in skips


class Answers:
    """An ``ask`` that makes up times from the case alone, and keeps what it was asked."""

    def __init__(self, pause_s: float = 0.0, failing: Mapping[str, str] | None = None,
                 deadly: frozenset[str] = frozenset()) -> None:
        self.pause_s = pause_s
        self.failing = dict(failing or {})
        self.deadly = deadly
        self.measured: list[tuple[str, str]] = []

    def __call__(self, domain: str, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        if request["op"] == "probe":
            return {"availability": {"version": "1", "reason": "", "install": "", "facts": {}}}
        if request["op"] == "ceilings":
            return {"ceilings": {"copy_bytes_per_s": 2e10, "read_bytes_per_s": 1.5e10, "floor_s": 1e-7,
                                 "flops_per_s": {"bf16": 4e11, "fp32": 7e10}}}
        time.sleep(self.pause_s)
        case, backend = Case.from_json(request["case"]), str(request["backend"])
        self.measured.append((case.key, backend))
        if backend in self.deadly:
            return {"failed": "the worker process ended (killed by SIGSEGV)", "fatal": True}
        if backend in self.failing:
            return {"failed": self.failing[backend]}
        digest = hashlib.sha256(f"{case.key} {backend}".encode()).digest()
        base = 1e-4 * (1 + digest[0] / 64)
        samples = [round(base * 1e9 * (1 + 0.001 * (i % 5))) for i in range(20)]
        return {"kernel": backend.removeprefix("torch-cpu-"), "facts": {}, "sets": 3, "error": 1e-3, "prepare_s": 0.01,
                "telemetry": {}, "regimes": [
                    {"regime": r, "samples_ns": samples, "median_s": sorted(samples)[10] * 1e-9, "stop": "settled",
                     "calls_per_sample": 1, "warmup_s": 0.0} for r in request["regimes"]]}
