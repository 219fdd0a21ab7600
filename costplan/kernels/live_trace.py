"""Which operators one step spends its time in, by torch.profiler, grouped as the step model groups its kernels."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from costplan.profile.steps import StepCase, StepTrace

GROUPS = ("gemm", "attention", "elementwise", "copy", "other", "gaps")
_GEMM = ("linear", "addmm", "mm", "bmm", "matmul", "mkldnn_linear", "_weight_int4pack_mm", "_int_mm", "_scaled_mm")
_ATTENTION = ("scaled_dot_product", "flash_attn", "flash_fwd", "flash_attention", "flex_attention")
_COPY = ("copy_", "_to_copy", "to", "clone", "contiguous", "index_copy_", "index_copy", "index_select", "index_put_",
         "cat", "gather", "slice_scatter", "_reshape_copy", "reshape")
_ELEMENTWISE = ("mul", "add", "silu", "sigmoid", "neg", "pow", "mean", "rsqrt", "rms_norm", "_fused_rms_norm", "cos",
                "sin", "div", "sub", "sum", "native_layer_norm", "add_", "mul_", "argmax", "embedding", "square",
                "sqrt", "softmax", "_softmax")
_LIBRARIES = ("aten::", "flash_attn")  # a GPU kernel counts at the operator that launched it, not twice
_LONGEST, _STEPS = 6, 3


def trace(step: Callable[[], Any], case: StepCase, device: str, median_s: float | None) -> StepTrace:
    """Mean of warmed-up steps under the profiler. ``median_s``, the time of the step without it, scales what the
    profiler slows down; None where the step was timed in another mode than the profiler can see."""
    from torch.profiler import ProfilerActivity, profile

    step()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with _silent_stderr(), profile(activities=activities) as seen:
        profiled_s = sum(_wall_s(step, device) for _ in range(_STEPS)) / _STEPS
    groups, calls = dict.fromkeys(GROUPS, 0.0), dict.fromkeys(GROUPS, 0)
    rest: list[tuple[str, float, int]] = []
    for event in seen.key_averages():
        seconds = _seconds(event, device) / _STEPS
        if not seconds:
            continue
        group = group_of(event.key)
        groups[group] += seconds
        calls[group] += event.count // _STEPS
        if group not in ("gemm", "attention"):
            rest.append((event.key.removeprefix("aten::"), seconds, event.count // _STEPS))
    on_gpu = device == "cuda"
    whole_s = median_s if on_gpu and median_s is not None else profiled_s
    groups["gaps"] = max(0.0, whole_s - sum(groups.values()))
    scale = 1.0 if on_gpu or median_s is None else median_s / profiled_s
    longest = sorted(rest, key=lambda r: -r[1])[:_LONGEST]
    return StepTrace(case, {g: s * scale for g, s in groups.items()}, calls,
                     tuple((name, s * scale, n) for name, s, n in longest))


def _seconds(event: Any, device: str) -> float:
    """An operator's own time: on a GPU that of the kernels it launched."""
    if device != "cuda":
        return float(event.self_cpu_time_total) * 1e-6
    return float(event.self_device_time_total) * 1e-6 if event.key.startswith(_LIBRARIES) else 0.0


def group_of(name: str) -> str:
    """The group of an operator, by its name without namespace and overload: of ``aten::mm``, ``aten.mm.default``."""
    parts = name.replace("::", ".").split(".")
    bare = parts[1] if len(parts) > 1 else name
    if any(word in name for word in _ATTENTION):
        return "attention"
    for group, names in (("gemm", _GEMM), ("copy", _COPY), ("elementwise", _ELEMENTWISE)):
        if bare in names:
            return group
    return "other"


def _wall_s(step: Callable[[], Any], device: str) -> float:
    began = time.perf_counter()
    step()
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter() - began


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without the lines that the profiler's library writes to the process's standard error."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
