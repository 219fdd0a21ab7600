"""Integer matrix products by torch: INT8 by INT8 (``_int_mm``), and BF16 by INT4 weights (``_weight_int4pack_mm``)."""

from __future__ import annotations

from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.compiling import compiled
from costplan.kernels.gemm_call import GEMM, GemmLimits, gemm_refusal, prepare_gemm
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.kernels.quantised import Quantised, by_row, plain
from costplan.profile.case import Case

INT8_LIMITS = GemmLimits(("int8",), n_step=8, k_step=8, least_m=17)
INT4_LIMITS = GemmLimits(("int4",), n_step=64, k_step=128)
GROUP, INNER_TILES = 128, 8


class CudaInt8:
    """The product in INT32 and the two scales afterwards, in one kernel where torch.compile fuses them."""

    name, device, domain, families = "torch-int8", "cuda", "torch-cuda", GEMM

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install torch", limits=INT8_LIMITS.words()))

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, INT8_LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        scaled = compiled(_scaled, inputs.device)

        def bind(a: Quantised, b: Quantised) -> Any:
            return partial(scaled, a.stored, b.stored.t(), a.scale, b.scale.t().contiguous())

        return prepare_gemm(case, inputs, lambda a, b: (by_row(a, "int8"), by_row(b, "int8")), bind,
                            "torch_int_mm_scaled", 1)


def _scaled(a: Any, b: Any, a_scale: Any, b_scale: Any) -> Any:
    import torch

    return (torch._int_mm(a, b).float() * a_scale * b_scale).to(torch.bfloat16)


class CudaInt4:
    """torch's own weight-only kernel (groups of 128): meant for small batches; engines use Marlin."""

    name, device, domain, families = "torch-int4", "cuda", "torch-cuda", GEMM

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install torch", limits=INT4_LIMITS.words()))

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, INT4_LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import torch

        def bind(a: Quantised, b: Quantised) -> Any:
            packed, scales = b.stored
            return partial(torch.ops.aten._weight_int4pack_mm, a.stored, packed, GROUP, scales)

        return prepare_gemm(case, inputs, lambda a, b: (plain(a), int4_packed(b)), bind, "torch_weight_int4pack_mm",
                            0.5, {"activations": "bf16", "group": GROUP}, drawn_as="bf16")


def int4_packed(weights: Any) -> Quantised:
    """Weights ``[n, k]`` in groups of 128 along k: 4-bit numbers 0..15 packed for tensor cores, BF16 scale and zero."""
    import torch

    groups = weights.float().unflatten(-1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = ((high - low) / 15).clamp_min(1e-6).to(torch.bfloat16).float()
    zero = (low + scale * 8).to(torch.bfloat16).float()
    numbers = ((groups - low) / scale).round().clamp(0, 15)
    values = ((numbers - 8) * scale + zero).flatten(-2)
    pairs = numbers.flatten(-2).to(torch.int32)
    byte = (pairs[:, ::2] << 4 | pairs[:, 1::2]).to(torch.uint8)
    packed = torch.ops.aten._convert_weight_to_int4pack(byte, INNER_TILES)
    scales = torch.stack([scale[..., 0].t(), zero[..., 0].t()], -1).to(torch.bfloat16).contiguous()
    return Quantised((packed, scales), None, lambda rows: values[list(rows)].to("cpu", torch.float64))
