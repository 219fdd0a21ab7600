"""What all CPU backends of torch share: they are there where torch is."""

from __future__ import annotations

import importlib.util

from costplan.kernels.backend import Availability

INSTALL = "pip install torch"


def torch_here() -> Availability:
    """Availability of torch itself."""
    if importlib.util.find_spec("torch") is None:
        return Availability(None, "torch is not installed", INSTALL)
    try:
        import torch
    except (ImportError, OSError) as e:
        return Availability(None, f"torch cannot be imported: {e}", INSTALL)
    return Availability(torch.__version__, facts={"cpu_capability": torch.backends.cpu.get_cpu_capability(),
                                                  "threads": str(torch.get_num_threads())})
