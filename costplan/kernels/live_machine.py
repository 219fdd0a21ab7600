"""The machine that a live model runs on: its name, as a profile would state it, and the memory that is free."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from costplan.kernels import device
from costplan.kernels.live_model import require


def describe(kind: str) -> dict[str, str]:
    """Name, cores and versions. Raises InputError where the device is missing."""
    require()
    found = device.describe(kind)
    told = {"name": found.name, "torch": found.versions["torch"], "transformers": version("transformers")}
    if kind == "cuda":
        return told
    import torch

    return {**told, "cores": str(found.cores), "threads": str(torch.get_num_threads())}


def free_bytes(kind: str) -> int | None:
    """Memory that a model may take now; None where the system does not tell."""
    if kind == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(0)[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return None
