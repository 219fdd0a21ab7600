"""8-bit matrix products on the CPU: INT8 x INT8 with scales, and INT8 weights under 16-bit inputs."""

from __future__ import annotations

from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs
from costplan.kernels.matmul_inputs import operands, product_error
from costplan.profile.case import Case


class CpuInt8:
    """``torch._int_mm`` (dtype int8; activations come quantised) and ``_weight_int8pack_mm`` (dtype int8_wo)."""

    name = "torch-cpu-int8"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"gemm"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures gemm only"
        if case.text("dtype") not in ("int8", "int8_wo"):
            return f"no {case.text('dtype')} matrix products"
        return None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        m, n, k = case.size("m"), case.size("n"), case.size("k")
        x, w = operands(inputs, m, n, k, "fp32")
        w_scale = w.abs().amax(1).clamp_min(1e-9) / 127.0
        w8 = (w / w_scale[:, None]).round().to(_int8())
        sets = inputs.sets(n * k)
        weights = [w8, *(w8.clone() for _ in range(sets - 1))]
        if case.text("dtype") == "int8":
            return _both_int8(x, w8, weights, w_scale)
        return _weight_only(x, w8, weights, w_scale)


def _int8() -> Any:
    import torch

    return torch.int8


def _both_int8(x: Any, w8: Any, weights: list[Any], w_scale: Any) -> Prepared:
    import torch

    x_scale = x.abs().amax(1).clamp_min(1e-9) / 127.0
    x8 = (x / x_scale[:, None]).round().to(torch.int8)

    def call(w: Any) -> Any:
        return lambda: (torch._int_mm(x8, w.t()) * x_scale[:, None] * w_scale).to(torch.bfloat16)

    error = product_error(x8.double() * x_scale[:, None].double(), w8.float() * w_scale[:, None])
    return Prepared([call(w) for w in weights], error, 1e-2, "torch-int-mm")


def _weight_only(x: Any, w8: Any, weights: list[Any], w_scale: Any) -> Prepared:
    import torch

    x16, scale16 = x.to(torch.bfloat16), w_scale.to(torch.bfloat16)

    def call(w: Any) -> Any:
        return lambda: torch._weight_int8pack_mm(x16, w, scale16)

    error = product_error(x16, w8.float() * scale16.float()[:, None])
    return Prepared([call(w) for w in weights], error, 1e-2, "torch-int8-weight-only")
