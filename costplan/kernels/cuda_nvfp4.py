"""NVFP4 matrix products by torch (cuBLAS): 4-bit numbers, an FP8 scale per 16 of them. Blackwell only."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.gemm_call import GEMM, GemmLimits, gemm_refusal, prepare_gemm
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.kernels.quantised import Quantised
from costplan.profile.case import Case

LIMITS = GemmLimits(("nvfp4",), n_step=128, k_step=64)
VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What three bits mean; the fourth is the sign."""
BLOCK = 16


class CudaNvfp4:
    name, device, domain, families = "torch-nvfp4", "cuda", "torch-cuda", GEMM

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install 'torch>=2.9' with CUDA 12.8 or later, on a Blackwell GPU",
                             (10, 12), None, LIMITS.words()), _packed_type)

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import torch

        kind = torch.float4_e2m1fn_x2

        def bind(a: Quantised, b: Quantised) -> Any:
            return partial(torch._scaled_mm, a.stored.view(kind), b.stored.view(kind).t(), scale_a=tiled(a.scale),
                           scale_b=tiled(b.scale), out_dtype=torch.bfloat16)

        return prepare_gemm(case, inputs, lambda a, b: (in_nvfp4(a), in_nvfp4(b)), bind, "torch_scaled_mm_nvfp4",
                            0.5625)


def in_nvfp4(x: Any) -> Quantised:
    """Rows ``[n, k]`` as bytes ``[n, k / 2]`` (the earlier number in the low half) and FP8 scales ``[n, k / 16]``."""
    import torch

    parts = x.float().unflatten(-1, (-1, BLOCK))
    scale = (parts.abs().amax(-1) / 6.0).clamp_min(2.0 ** -6).to(torch.float8_e4m3fn)
    scaled = parts / scale.float()[..., None]
    edges = torch.tensor([(a + b) / 2 for a, b in pairwise(VALUES)], device=x.device)
    index = torch.bucketize(scaled.abs(), edges)
    code = (index + 8 * (scaled < 0)).flatten(-2).to(torch.uint8)
    levels = torch.tensor(VALUES, device=x.device)[index] * scaled.sign()
    values = (levels * scale.float()[..., None]).flatten(-2)
    byte = (code[:, ::2] | code[:, 1::2] << 4).contiguous()
    return Quantised(byte, scale, lambda rows: values[list(rows)].to("cpu", torch.float64))


def tiled(scale: Any) -> Any:
    """Scales in the order cuBLAS reads: tiles of 128 rows by 4 columns, each as 32 rows of 4 times 4."""
    import torch

    rows, columns = scale.shape
    padded: Any = torch.nn.functional.pad(scale.view(torch.uint8), (0, -columns % 4, 0, -rows % 128))
    tiles = padded.view(-1, 128, padded.shape[1] // 4, 4).permute(0, 2, 1, 3)
    return tiles.reshape(-1, 4, 32, 4).transpose(1, 2).reshape(-1).view(torch.float8_e4m3fn).contiguous()


def _packed_type(_: Any) -> str | None:
    import torch

    return None if hasattr(torch, "float4_e2m1fn_x2") else f"torch {torch.__version__} has no 4-bit floats"
