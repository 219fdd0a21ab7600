"""vLLM's own matrix kernels, from its compiled operators: CUTLASS FP8 with a scale per row, Marlin INT4 weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.gemm_call import GEMM, GemmLimits, gemm_refusal, prepare_gemm
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, binary_path, probe
from costplan.kernels.quantised import Quantised, by_row, plain
from costplan.profile.case import Case

FP8_LIMITS = GemmLimits(("fp8",), n_step=16, k_step=16)
INT4_LIMITS = GemmLimits(("int4",), n_step=64, k_step=128)
GROUP = 128
UINT4B8 = 4 << 8 | 8 << 17 | 1 << 50
"""vLLM's number of its type uint4b8: four bits of mantissa, bias 8, IEEE NaNs (which it has none of)."""
INSTALL = "pip install vllm (0.26.0 is the last one for torch 2.11)"
SCALE_ORDER = [i + 8 * j for i in range(8) for j in range(8)]


def _library(limits: GemmLimits) -> Library:
    return Library("vllm", "vllm", INSTALL, (8, 9, 10, 12), "_C_stable_libtorch*.so", limits.words(), (8, 0))


def operators() -> Any:
    """``torch.ops._C`` with vLLM's operators. Raises ImportError where its compiled file is absent."""
    import torch

    if not hasattr(torch.ops._C, "cutlass_scaled_mm"):
        path = binary_path(_library(FP8_LIMITS))
        if path is None:
            raise ImportError("vLLM's compiled operators (_C_stable_libtorch) are not here")
        load: Any = torch.ops.load_library
        load(str(path))
    return torch.ops._C


def _loads(_: Any) -> str | None:
    try:
        operators()
    except (ImportError, OSError) as e:
        return str(e).splitlines()[0][:200]
    return None


class VllmCutlassFp8:
    name, device, domain, families = "vllm-cutlass-fp8", "cuda", "vllm-ops", GEMM

    def probe(self) -> Availability:
        return probe(_library(FP8_LIMITS), _loads)

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, FP8_LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_gemm(case, inputs, lambda a, b: (by_row(a), by_row(b)), bind_fp8, "vllm_cutlass_scaled_mm", 1)


def bind_fp8(a: Quantised, b: Quantised) -> Callable[[], Any]:
    import torch

    out = torch.full((a.stored.shape[0], b.stored.shape[0]), float("nan"), device=a.stored.device, dtype=torch.bfloat16)
    multiply, weights, scale = operators().cutlass_scaled_mm, b.stored.t(), b.scale.t().contiguous()

    def call() -> Any:
        multiply(out, a.stored, weights, a.scale, scale, None)
        return out

    return call


class VllmMarlin:
    """Symmetric INT4 in groups of 128, as GPTQ checkpoints have it."""

    name, device, domain, families = "vllm-marlin", "cuda", "vllm-ops", GEMM

    def probe(self) -> Availability:
        return probe(_library(INT4_LIMITS), _loads)

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, INT4_LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_gemm(case, inputs, lambda a, b: (plain(a), marlin_packed(b)), bind_marlin, "vllm_marlin", 0.5,
                            {"activations": "bf16", "group": GROUP}, drawn_as="bf16")


def bind_marlin(a: Quantised, b: Quantised) -> Callable[[], Any]:
    packed, scales, workspace, (n, k) = b.stored
    return partial(operators().marlin_gemm, a.stored, None, packed, None, scales, None, None, None, None, None,
                   workspace, UINT4B8, a.stored.shape[0], n, k, True, False, True, False)


def marlin_packed(weights: Any) -> Quantised:
    """Weights ``[n, k]`` as 4-bit numbers 0..15 about 8, eight along k per int32, in Marlin's order."""
    import torch

    n, k = weights.shape
    groups = weights.float().unflatten(-1, (-1, GROUP))
    scale = (groups.abs().amax(-1, keepdim=True) / 7.5).clamp_min(1e-6).to(torch.bfloat16).float()
    numbers = ((groups / scale).round() + 8).clamp(0, 15)
    values = ((numbers - 8) * scale).flatten(-2)
    shifts = torch.arange(0, 32, 4, device=weights.device, dtype=torch.int64)
    words = (numbers.flatten(-2).t().reshape(k // 8, 8, n).to(torch.int64) << shifts[None, :, None]).sum(1)
    words = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32).contiguous()
    none = torch.empty(0, dtype=torch.int32, device=weights.device)
    packed = operators().gptq_marlin_repack(words, none, k, n, 4, False)
    by_group = scale[..., 0].t().contiguous()
    order = SCALE_ORDER if k > GROUP else [2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)]
    scales = by_group.reshape(-1, len(order))[:, order].reshape(-1, n).to(torch.bfloat16).contiguous()
    workspace = torch.zeros(4 * 256, dtype=torch.int32, device=weights.device)
    stored = (packed, scales, workspace, (n, k))
    return Quantised(stored, None, lambda rows: values[list(rows)].to("cpu", torch.float64))
