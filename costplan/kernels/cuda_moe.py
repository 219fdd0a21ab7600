"""Routed experts by torch's grouped products: gather, gate and up, SiLU, down, combine as one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.compiling import compiled
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.kernels.moe_inputs import MOE, MoeSet, bf16, make_sets, moe_error, moe_refusal
from costplan.kernels.quantised import Quantised, by_row
from costplan.profile.case import Case

TOLERANCE, TOLERANCE_FP8 = 2e-2, 8e-2


class CudaMoe:
    name, device, domain, families = "torch-moe", "cuda", "torch-cuda", MOE
    kernel, dtypes, step, weight_bytes, tolerance = "torch_grouped_mm", ("bf16",), 8, 2.0, TOLERANCE

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install 'torch>=2.10'", (8, 9, 10), None,
                             {"formats": ", ".join(self.dtypes)}), _grouped)

    def supports(self, case: Case) -> str | None:
        return moe_refusal(case, self.dtypes, self.step)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        sets = make_sets(case, inputs, self.quantise, self.weight_bytes)
        return Prepared([self.bind(s) for s in sets], moe_error(sets[0]), self.tolerance, self.kernel,
                        {"sets": len(sets), "assignments": sets[0].routing.assignments})

    def quantise(self, x: Any) -> Quantised:
        return bf16(x)

    def bind(self, given: MoeSet) -> Callable[[], Any]:
        up, down = (_stack([w.stored for w in ws]).transpose(1, 2) for ws in (given.up, given.down))
        run = compiled(experts, given.x.device.type)
        return partial(run, given.x, up, down, given.gather, given.offsets, given.slot, given.weight)


class CudaMoeFp8(CudaMoe):
    """FP8 by rows, activations quantised in the call as engines do."""

    name, kernel, dtypes, step, weight_bytes = "torch-moe-fp8", "torch_scaled_grouped_mm", ("fp8",), 16, 1.0
    tolerance = TOLERANCE_FP8

    def probe(self) -> Availability:
        library = Library("torch", "torch", "pip install 'torch>=2.10'", (9, 10), None, {"formats": "fp8"})
        return probe(library, _grouped)

    def quantise(self, x: Any) -> Quantised:
        return by_row(x.float())

    def bind(self, given: MoeSet) -> Callable[[], Any]:
        up, down = (_stack([w.stored for w in ws]).transpose(1, 2) for ws in (given.up, given.down))
        up_scale, down_scale = (_stack([w.scale[:, 0] for w in ws]) for ws in (given.up, given.down))
        run = compiled(experts_fp8, given.x.device.type)
        return partial(run, given.x, up, down, up_scale, down_scale, given.gather, given.offsets, given.slot,
                       given.weight)


def experts(x: Any, up: Any, down: Any, gather: Any, offsets: Any, slot: Any, weight: Any) -> Any:
    """``[tokens, hidden]`` of BF16 experts."""
    import torch

    h = torch._grouped_mm(x[gather], up, offs=offsets)
    return combine(torch._grouped_mm(gated(h), down, offs=offsets), slot, weight)


def experts_fp8(x: Any, up: Any, down: Any, up_scale: Any, down_scale: Any, gather: Any, offsets: Any, slot: Any,
                weight: Any) -> Any:
    """The same with FP8 weights and activations, a scale per row of each."""
    import torch

    multiply = partial(torch._scaled_grouped_mm, offs=offsets, out_dtype=torch.bfloat16, use_fast_accum=True)
    a, a_scale = rows_in_fp8(x[gather])
    h = multiply(a, up, a_scale, up_scale)
    b, b_scale = rows_in_fp8(gated(h))
    return combine(multiply(b, down, b_scale, down_scale), slot, weight)


def gated(h: Any) -> Any:
    """SiLU of the first half times the second."""
    import torch

    gate, value = h.chunk(2, -1)
    return torch.nn.functional.silu(gate) * value


def rows_in_fp8(x: Any) -> tuple[Any, Any]:
    """FP8 rows and their fp32 scales ``[rows]``."""
    import torch

    scale = x.abs().amax(-1).float().clamp_min(1e-6) / 448.0
    return (x.float() / scale[:, None]).to(torch.float8_e4m3fn), scale


def combine(y: Any, slot: Any, weight: Any) -> Any:
    """Each token's outputs, weighted and summed."""
    return (y[slot] * weight[..., None]).sum(1)


def _stack(tensors: Sequence[Any]) -> Any:
    import torch

    return torch.stack(list(tensors))


def _grouped(_: Any) -> str | None:
    import torch

    return None if hasattr(torch, "_grouped_mm") else f"torch {torch.__version__} has no grouped product"
