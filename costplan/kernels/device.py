"""What a device says about itself: name, caches, memory, software. Read only."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from costplan.core.errors import InputError

_DEFAULT_CPU_CACHE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """One device. ``cache_bytes`` is its last-level cache; ``cores`` CPU cores that may be used, or multiprocessors."""

    kind: str  # cpu | cuda
    name: str
    key: str
    memory_bytes: int
    cache_bytes: int
    cores: int
    capability: str
    versions: Mapping[str, str]


def describe(kind: str) -> Device:
    """The device of this process. Raises InputError where there is none of the kind."""
    if kind == "cpu":
        return _cpu()
    if kind == "cuda":
        return _cuda()
    raise InputError(f"no device called {kind!r}", hint="give --device cpu or --device cuda")


def _cuda() -> Device:
    import torch

    if not torch.cuda.is_available():
        raise InputError("no CUDA device is usable", hint="run `costplan doctor`, or measure the CPU with --device cpu")
    p = torch.cuda.get_device_properties(0)
    return Device("cuda", p.name, slug(p.name), p.total_memory, int(p.L2_cache_size), p.multi_processor_count,
                  f"{p.major}.{p.minor}", _versions())


def _cpu() -> Device:
    name = cpu_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Device("cpu", name, f"cpu_{slug(name)}_{cores}c", memory_bytes(), _cpu_cache_bytes(), cores, "",
                  _versions())


def slug(name: str) -> str:
    """A name as a catalogue key: lower case, words joined by underscores, without marketing."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"\((?:r|tm)\)|@.*$", " ", name.lower()))
    noise = {"processor", "cpu", "core", "corporation", "nvidia", "with", "gpu", "genuine"}
    return "_".join(w for w in words if w not in noise) or "unknown"


def cpu_name() -> str:
    """Model name of the CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Memory that this process may use: of the machine, or less where a control group limits it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def _cpu_cache_bytes() -> int:
    """Size of the largest cache that the first core sees."""
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        found = re.match(r"(\d+)([KMG]?)", file.read_text(encoding="utf-8"))
        if found:
            sizes.append(int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]])
    return max(sizes, default=_DEFAULT_CPU_CACHE_BYTES)


def _versions() -> dict[str, str]:
    import torch

    out = {"python": platform.python_version(), "torch": torch.__version__, "kernel": platform.release()}
    if torch.version.cuda:
        out["cuda"] = torch.version.cuda
    if torch.backends.cudnn.is_available():
        out["cudnn"] = str(torch.backends.cudnn.version())
    return out
