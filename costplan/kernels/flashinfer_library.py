"""FlashInfer as a library: how it is found, and what its plans take from an input set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from costplan.kernels.attention_inputs import AttnSet
from costplan.kernels.attention_limits import AttnLimits
from costplan.kernels.backend import Availability
from costplan.kernels.library import Library, probe

DTYPES = (("bf16", "bf16"), ("fp16", "fp16"), ("bf16", "fp8"), ("fp16", "fp8"))
HEAD_DIMS = (64, 128, 256)
WORKSPACE_BYTES = 256 << 20


def probe_flashinfer(limits: AttnLimits, majors: tuple[int, ...] = (8, 9, 10, 12)) -> Availability:
    """Availability, with the number of kernels that were compiled beforehand: the others compile at first use, which
    takes a minute or more each and needs nvcc."""
    library = Library("flashinfer-python", "flashinfer", "pip install flashinfer-python==0.6.14", majors, None,
                      limits.words())
    found = probe(library)
    return Availability(found.version, found.reason, found.install, {**found.facts, **_compiled()})


def _compiled() -> dict[str, str]:
    from importlib.util import find_spec

    spec = find_spec("flashinfer")
    if spec is None or not spec.submodule_search_locations:
        return {}
    modules = {p.stem for root in spec.submodule_search_locations for p in Path(root).glob("data/aot/*/*.so")}
    return {"compiled_beforehand": str(len(modules)), "compiled_modules": ", ".join(sorted(modules)[:20])}


def pages_of(given: AttnSet) -> tuple[Any, Any, Any]:
    """``(indptr, indices, last_page_len)`` of a paged cache, int32 on its device."""
    import torch

    size, lens = given.shape.page_size, given.shape.kv_lens
    counts = [-(-n // size) for n in lens]
    starts = [0]
    for n in counts:
        starts.append(starts[-1] + n)
    device = given.block_table.device
    indices = torch.cat([given.block_table[i, :n] for i, n in enumerate(counts)])
    last = [(n - 1) % size + 1 for n in lens]
    return (torch.tensor(starts, dtype=torch.int32, device=device), indices.contiguous(),
            torch.tensor(last, dtype=torch.int32, device=device))


def workspace(device: str) -> Any:
    """Scratch memory that all wrappers of a case share: they run one after another."""
    import torch

    return torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
