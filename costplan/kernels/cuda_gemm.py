"""16-bit matrix products by torch: what engines call for unquantised layers (cuBLAS chooses the kernel)."""

from __future__ import annotations

from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.gemm_call import GEMM, TOLERANCE, GemmLimits, gemm_refusal, prepare_gemm
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.kernels.quantised import plain
from costplan.profile.case import Case

LIMITS = GemmLimits(("bf16", "fp16"))


class CudaGemm:
    name, device, domain, families = "torch-gemm", "cuda", "torch-cuda", GEMM

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install torch", limits=LIMITS.words()))

    def supports(self, case: Case) -> str | None:
        return gemm_refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        from torch.nn.functional import linear

        def bind(a: Any, b: Any) -> Any:
            return partial(linear, a.stored, b.stored)

        return prepare_gemm(case, inputs, lambda a, b: (plain(a), plain(b)), bind, "torch_linear", 2,
                            {"activations": case.text("dtype")}, tolerance=TOLERANCE, drawn_as=case.text("dtype"))
