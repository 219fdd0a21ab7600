"""The machine that a live model runs on: its name, as a profile would state it, and the memory that is free."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from costplan.core.errors import InputError
from costplan.kernels.live_model import require


def describe(device: str) -> dict[str, str]:
    """Name, cores and versions. Raises InputError where the device is missing."""
    require()
    import torch

    versions = {"torch": str(torch.__version__), "transformers": version("transformers")}
    if device == "cuda":
        if not torch.cuda.is_available():
            raise InputError("no CUDA device is usable", hint="run `costplan doctor`, or validate with --device cpu")
        return {"name": torch.cuda.get_device_name(0), **versions}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"name": _cpu_name(), "cores": str(cores), "threads": str(torch.get_num_threads()), **versions}


def free_bytes(device: str) -> int | None:
    """Memory that a model may take now; None where the system does not tell."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(0)[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
