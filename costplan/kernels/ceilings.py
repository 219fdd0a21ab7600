"""What the device can do at best, measured before anything else: the limits that every kernel is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from costplan.kernels.backend import Prepared
from costplan.kernels.device import Device
from costplan.kernels.timer.clock import Clock
from costplan.kernels.timer.protocol import Limits, Regime, sample


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Bandwidth in bytes/s (copy counts what is read and what is written; read only what is read), dense FLOP/s (int8:
    OP/s) by format, and the seconds of an empty measurement."""

    copy_bytes_per_s: float
    read_bytes_per_s: float
    flops_per_s: dict[str, float]
    floor_s: float


def measure(device: Device, clock: Clock, limits: Limits) -> Ceilings:
    """Copy and read bandwidth far beyond the caches, and the largest square GEMM of each format that is quick."""
    on_gpu = device.kind == "cuda"
    nbytes = min(device.memory_bytes // 8, (4 << 30) if on_gpu else max(256 << 20, 8 * device.cache_bytes))
    copy_s, read_s = _bandwidth(device.kind, nbytes, clock, limits)
    size = 8192 if on_gpu else 1024
    rates = {}
    for name in ("fp32", "bf16", "fp16", "fp8", "int8"):
        seconds = _gemm_s(device.kind, name, size, clock, limits)
        if seconds is not None:
            rates[name] = 2.0 * size**3 / seconds
    return Ceilings(2.0 * nbytes / copy_s, nbytes / read_s, rates, clock.floor_s())


def _best_s(call: Any, clock: Clock, limits: Limits) -> float:
    """The 10th percentile of repeated calls: a ceiling is what the device reaches when nothing disturbs it."""
    prepared = Prepared((call,), lambda _: 0.0, 0.0, "ceiling", graphable=False)
    return sample(prepared, clock, Regime.STEADY, limits).summary.p10_s


def _bandwidth(device: str, nbytes: int, clock: Clock, limits: Limits) -> tuple[float, float]:
    import torch

    source = torch.ones(nbytes // 4, dtype=torch.float32, device=device)
    target = torch.zeros_like(source)
    copy_s = _best_s(lambda: target.copy_(source), clock, limits)
    return copy_s, _best_s(source.sum, clock, limits)


def _gemm_s(device: str, name: str, size: int, clock: Clock, limits: Limits) -> float | None:
    """Seconds of one square GEMM; None where torch has none for the format on this device."""
    import torch

    try:
        if name == "int8":
            a, b = (torch.randint(-127, 127, (size, size), dtype=torch.int8, device=device) for _ in range(2))
            return _best_s(lambda: torch._int_mm(a, b.t()), clock, limits)
        if name == "fp8":
            if device == "cpu":
                return None
            a, b = (torch.randn(size, size, device=device).to(torch.float8_e4m3fn) for _ in range(2))
            one = torch.ones((), device=device)
            return _best_s(lambda: torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16),
                           clock, limits)
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        return _best_s(lambda: a @ b.t(), clock, limits)
    except (RuntimeError, NotImplementedError):
        return None
