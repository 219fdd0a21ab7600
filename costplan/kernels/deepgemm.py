"""DeepGEMM: FP8 products scaled by blocks, compiled at first use for every n and k (needs nvcc)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.gemm_call import GEMM, GemmLimits, gemm_refusal, prepare_gemm
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.kernels.quantised import Quantised, by_block
from costplan.profile.case import Case

LIMITS = GemmLimits(("fp8_block",), n_step=64, k_step=128)
PLACES = ("deep_gemm", "vllm.third_party.deep_gemm")


class DeepGemm:
    name, device, domain, families = "deepgemm", "cuda", "deepgemm", GEMM

    def probe(self) -> Availability:
        return probe_deepgemm(LIMITS.words())

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_gemm(case, inputs, lambda a, b: (by_block(a, 1), by_block(b, 128)), bind,
                            "deepgemm_fp8_gemm_nt", 1)


def bind(a: Quantised, b: Quantised) -> Callable[[], Any]:
    """A call that writes BF16 into its own buffer."""
    import torch

    out = torch.full((a.stored.shape[0], b.stored.shape[0]), float("nan"), device=a.stored.device, dtype=torch.bfloat16)
    gemm, a_scale = library().fp8_gemm_nt, column_major(a.scale)

    def call() -> Any:
        gemm((a.stored, a_scale), (b.stored, b.scale), out)
        return out

    return call


def column_major(scale: Any) -> Any:
    """Scales ``[rows, k / 128]`` column by column, columns at multiples of 16 bytes: the layout in which engines
    quantise, and which DeepGEMM would else make by a kernel of its own in every call."""
    rows, columns = scale.shape
    stored = scale.new_zeros(columns, -(-rows // 4) * 4).t()[:rows]
    stored.copy_(scale)
    return stored


def library() -> Any:
    """The module, on its own or inside vLLM. Raises ModuleNotFoundError."""
    for place in PLACES:
        try:
            return import_module(place)
        except ModuleNotFoundError as e:
            if not place.startswith((e.name or "") + ".") and place != e.name:
                raise
    raise ModuleNotFoundError("neither deep_gemm nor vllm is installed", name="deep_gemm")


def probe_deepgemm(limits: Any) -> Availability:
    """Availability of either place; it compiles kernels, so it asks for nvcc too."""
    from importlib.util import find_spec

    install = "build deepseek-ai/DeepGEMM, or pip install vllm"
    place = PLACES[1] if find_spec("deep_gemm") is None and find_spec("vllm") else PLACES[0]
    return probe(Library("deep_gemm", place, install, (9, 10), "_C*.so" if place == PLACES[0] else
                         "third_party/deep_gemm/_C*.so", limits), _compiler)


def _compiler(_: Any) -> str | None:
    import os
    import shutil
    from pathlib import Path

    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    found = shutil.which("nvcc") or (Path(home) / "bin" / "nvcc").is_file()
    return None if found else "needs nvcc: it compiles its kernels at first use"
