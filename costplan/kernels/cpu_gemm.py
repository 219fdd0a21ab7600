"""Dense matrix products on the CPU as a linear layer runs them (oneDNN or MKL inside torch)."""

from __future__ import annotations

from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs
from costplan.kernels.matmul_inputs import operands, product_error
from costplan.profile.case import Case

_TOLERANCE = {"bf16": 1e-2, "fp16": 1e-2, "fp32": 1e-5}
_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}


class CpuGemm:
    """``torch.nn.functional.linear``."""

    name = "torch-cpu-gemm"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"gemm"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return f"measures {', '.join(self.families)} only"
        return None if case.text("dtype") in _TOLERANCE else f"no {case.text('dtype')} matrix products"

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import torch.nn.functional as f

        m, n, k, dtype = case.size("m"), case.size("n"), case.size("k"), case.text("dtype")
        x, first = operands(inputs, m, n, k, dtype)
        weights = [first, *(first.clone() for _ in range(inputs.sets(n * k * _BYTES[dtype]) - 1))]

        def call(w: Any) -> Any:
            return lambda: f.linear(x, w)

        return Prepared([call(w) for w in weights], product_error(x, first), _TOLERANCE[dtype], "torch-linear")
