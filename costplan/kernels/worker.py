"""The process in which kernels run: ``python -m costplan.kernels.worker``, one JSON request a line in, one answer out.

It is a process of its own so that a crash, a hang or a broken CUDA context of one library ends nothing but itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any, TextIO

from costplan.kernels import ceilings, registry
from costplan.kernels.backend import Backend, Prepared, Unsupported
from costplan.kernels.device import Device, describe
from costplan.kernels.inputs import Inputs
from costplan.kernels.timer import protocol
from costplan.kernels.timer.clock import Clock, CpuClock, CudaClock
from costplan.kernels.timer.protocol import Limits, Regime, WrongResultError
from costplan.profile.case import Case

_FATAL = ("MemoryError:", "AcceleratorError", "CUDA error", "device-side assert", "illegal memory access",
          "CUBLAS_STATUS_EXECUTION")
"""Words of errors after which this process cannot be trusted any more."""
_SET_MEMORY_SHARE = 0.25


class Worker:
    """Answers requests about one kind of device."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._backends: dict[str, Backend] = {}

    @cached_property
    def device(self) -> Device:
        return describe(self.kind)

    @cached_property
    def clock(self) -> Clock:
        return CudaClock(self.device.cache_bytes) if self.kind == "cuda" else CpuClock(self.device.cache_bytes)

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """One reply. ``failed`` tells why there is no result; ``fatal`` that this process must be replaced."""
        known = {"describe": self._describe, "ceilings": self._ceilings, "probe": self._probe, "measure": self._measure}
        try:
            return known[asked["op"]](asked)
        except Unsupported as e:
            return {"failed": f"not supported: {e}"}
        except WrongResultError as e:
            return {"failed": str(e), "wrong": True}
        except Exception as e:
            text = f"{type(e).__name__}: {str(e).strip().splitlines()[0][:300] if str(e).strip() else ''}"
            self._free()
            return {"failed": text, "fatal": any(word in text for word in _FATAL)}

    def _describe(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"device": asdict(self.device)}

    def _ceilings(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"ceilings": asdict(ceilings.measure(self.device, self.clock, _limits(asked, self.kind)))}

    def _probe(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"availability": asdict(self._backend(asked["backend"]).probe())}

    def _backend(self, name: str) -> Backend:
        if name not in self._backends:
            self._backends[name] = registry.backend(name)
        return self._backends[name]

    def _measure(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        from costplan.kernels.nvml import telemetry

        began = time.perf_counter()
        case, backend = Case.from_json(asked["case"]), self._backend(asked["backend"])
        limits = _limits(asked, self.kind)
        if reason := backend.supports(case):
            raise Unsupported(reason)
        inputs = Inputs(self.kind, self.device.cache_bytes, int(self.device.memory_bytes * _SET_MEMORY_SHARE),
                        int(asked["seed"]))
        prepared = backend.prepare(case, inputs)
        error = protocol.check(prepared, self._poison)
        ready_s = time.perf_counter() - began
        before = telemetry(self.kind)
        wanted = [Regime(r) for r in asked["regimes"]]
        if self.kind == "cpu" and len(prepared.calls) == 1 and Regime.STEADY in wanted:
            wanted = [Regime.STEADY]  # one input set alone exceeds the cache threefold: there is nothing to overwrite
        regimes = [self._sampled(prepared, r, limits) for r in wanted]
        after = telemetry(self.kind)
        kernel, facts, sets = kernel_name(backend.name, prepared.kernel), dict(prepared.facts), len(prepared.calls)
        del prepared
        self._free()
        return {"kernel": kernel, "facts": facts, "sets": sets, "error": error, "prepare_s": round(ready_s, 4),
                "spent_s": round(time.perf_counter() - began, 4), "regimes": regimes,
                "telemetry": {"before": before, "after": after}}

    def _sampled(self, prepared: Prepared, regime: Regime, limits: Limits) -> dict[str, Any]:
        s = protocol.sample(prepared, self.clock, regime, limits)
        return {"regime": regime.value, "samples_ns": [round(x * 1e9) for x in s.samples_s],
                "median_s": s.summary.median_s, "stop": s.stop, "calls_per_sample": s.calls_per_sample,
                "warmup_s": round(s.warmup_s, 4)}

    def _poison(self) -> None:
        """Leave NaN in the memory that the next outputs are likely to get."""
        import torch

        kept = [torch.full((n,), float("nan"), dtype=torch.float32, device=self.kind)
                for n in (1 << 12, 1 << 16, 1 << 20, 1 << 22)]
        del kept

    def _free(self) -> None:
        gc.collect()
        if self.kind == "cuda":
            import torch

            with contextlib.suppress(Exception):
                torch.cuda.empty_cache()


def kernel_name(backend: str, kernel: str) -> str:
    """The name in the table: that of the backend first, by which planners choose what an engine runs."""
    plain = kernel.replace("_", "-")
    return plain if plain.startswith(backend) else f"{backend}:{plain}"


def _limits(asked: Mapping[str, Any], kind: str) -> Limits:
    base = asdict(protocol.GPU if kind == "cuda" else protocol.CPU)
    return Limits(**{**base, **asked.get("limits", {})})


def _end_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies: nothing may run beside a resumed measurement."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def serve(kind: str, asked: TextIO, told: TextIO) -> None:
    """Answer until the input ends."""
    worker = Worker(kind)
    for line in asked:
        reply = worker.answer(json.loads(line))
        told.write(json.dumps(reply, default=str) + "\n")
        told.flush()
        if reply.get("fatal"):
            return


def main() -> None:
    """Answers go to the real standard output; whatever a library prints goes to standard error."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as told:
        os.dup2(2, 1)
        serve(sys.argv[1], sys.stdin, told)


if __name__ == "__main__":
    main()
