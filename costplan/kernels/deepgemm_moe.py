"""Routed experts by DeepGEMM: FP8 scaled by blocks, each expert's rows padded to its alignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.compiling import compiled
from costplan.kernels.cuda_moe import combine, gated
from costplan.kernels.deepgemm import library, probe_deepgemm
from costplan.kernels.inputs import Inputs
from costplan.kernels.moe_inputs import MOE, MoeSet, make_sets, moe_error, moe_refusal
from costplan.kernels.quantised import by_block
from costplan.profile.case import Case

TOLERANCE = 8e-2


class DeepGemmMoe:
    name, device, domain, families = "deepgemm-moe", "cuda", "deepgemm", MOE

    def probe(self) -> Availability:
        return probe_deepgemm({"formats": "fp8_block"})

    def supports(self, case: Case) -> str | None:
        return moe_refusal(case, ("fp8_block",), 128)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        align = int(library().get_mk_alignment_for_contiguous_layout())
        sets = make_sets(case, inputs, lambda w: by_block(w.float(), 128), 1.0, align)
        facts = {"sets": len(sets), "assignments": sets[0].routing.assignments, "padded_rows": len(sets[0].gather)}
        return Prepared([bind(s) for s in sets], moe_error(sets[0]), TOLERANCE,
                        "deepgemm_m_grouped_fp8", facts)


def bind(given: MoeSet) -> Callable[[], Any]:
    """Quantise gathered rows, multiply, gate and quantise again, multiply, combine; buffers are made beforehand."""
    import torch

    multiply = library().m_grouped_fp8_gemm_nt_contiguous
    up, down = ((torch.stack([w.stored for w in ws]), torch.stack([w.scale for w in ws])) for ws in (
        given.up, given.down))
    valid = given.gather >= 0
    owner = torch.searchsorted(given.offsets, torch.arange(len(valid), device=given.x.device), right=True)
    layout = torch.where(valid, owner, -1).to(torch.int32)
    source = given.gather.clamp_min(0)
    h, y = (given.x.new_full((len(valid), w[0].shape[1]), float("nan")) for w in (up, down))
    first, second, last = (compiled(f, given.x.device.type) for f in (_gathered, _gated, combine))

    def call() -> Any:
        multiply(first(given.x, source), up, h, layout)
        multiply(second(h), down, y, layout)
        return last(y, given.slot, given.weight)

    return call


def _gathered(x: Any, source: Any) -> tuple[Any, Any]:
    return in_blocks(x[source])


def _gated(h: Any) -> tuple[Any, Any]:
    return in_blocks(gated(h))


def in_blocks(x: Any) -> tuple[Any, Any]:
    """FP8 rows and their fp32 scales per 128 columns ``[rows, k / 128]``, column by column in memory."""
    import torch

    parts = x.float().unflatten(-1, (-1, 128))
    scale = parts.abs().amax(-1).clamp_min(1e-6) / 448.0
    return (parts / scale[..., None]).flatten(-2).to(torch.float8_e4m3fn), scale.t().contiguous().t()
