"""FP8 matrix products by torch: one scale per tensor, one per row, or one per 128-wide block (cuBLAS, CUTLASS)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.gemm_call import GEMM, GemmLimits, gemm_refusal, prepare_gemm
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.kernels.quantised import Quantised, by_block, by_row, by_tensor
from costplan.profile.case import Case

LIMITS = GemmLimits(("fp8",), n_step=16, k_step=16)
BLOCK_LIMITS = GemmLimits(("fp8_block",), n_step=128, k_step=128)


class CudaFp8Tensor:
    name, device, domain, families = "torch-fp8-tensor", "cuda", "torch-cuda", GEMM

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install torch", limits=LIMITS.words(), least=(8, 9)))

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_gemm(case, inputs, lambda a, b: (by_tensor(a), by_tensor(b)),
                            lambda a, b: _scaled_mm(a, b, b.scale, inputs.device), "torch_scaled_mm_tensor", 1)


class CudaFp8Row(CudaFp8Tensor):
    name = "torch-fp8-row"

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_gemm(case, inputs, lambda a, b: (by_row(a), by_row(b)),
                            lambda a, b: _scaled_mm(a, b, b.scale.t().contiguous(), inputs.device),
                            "torch_scaled_mm_row", 1)


def _scaled_mm(a: Quantised, b: Quantised, b_scale: Any, device: str) -> Callable[[], Any]:
    """Fast accumulation is what engines use; CPUs do not know it."""
    import torch

    return partial(torch._scaled_mm, a.stored, b.stored.t(), scale_a=a.scale, scale_b=b_scale,
                   out_dtype=torch.bfloat16, use_fast_accum=device == "cuda")


class CudaFp8Block:
    """DeepSeek's scheme: activations by 1 x 128, weights by 128 x 128. cuBLAS offers it on Hopper only."""

    name, device, domain, families = "torch-fp8-block", "cuda", "torch-cuda", GEMM

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install 'torch>=2.10' with CUDA 12.9 or later", (9,), None,
                             BLOCK_LIMITS.words()), _blockwise)

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, BLOCK_LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import torch

        padded = -case.size("m") % 4

        def quantise(a: Any, b: Any) -> tuple[Quantised, Quantised]:
            return by_block(torch.nn.functional.pad(a, (0, 0, 0, padded)), 1), by_block(b, 128)

        return prepare_gemm(case, inputs, quantise, bind_block, "torch_scaled_mm_block", 1,
                            {"padded_m": case.size("m") + padded})


def bind_block(a: Quantised, b: Quantised) -> Callable[[], Any]:
    """Scales as cuBLAS wants them: those of activations row by row in memory, those of weights padded to a multiple
    of four along k."""
    from torch.nn.functional import ScalingType, pad, scaled_mm

    a_scale = a.scale.t().contiguous().t()
    b_scale = pad(b.scale, (0, -b.scale.shape[1] % 4)).t()
    return partial(scaled_mm, a.stored, b.stored.t(), a_scale, ScalingType.BlockWise1x128, b_scale,
                   ScalingType.BlockWise128x128, output_dtype=_bf16())


def _blockwise(_: Any) -> str | None:
    import torch

    kinds = getattr(torch.nn.functional, "ScalingType", None)
    return None if hasattr(kinds, "BlockWise128x128") else f"torch {torch.__version__} has no block-scaled product"


def _bf16() -> Any:
    import torch

    return torch.bfloat16
