"""INT4 weights in groups of 32 to 128 under 16-bit inputs on the CPU."""

from __future__ import annotations

from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs
from costplan.kernels.matmul_inputs import operands, product_error
from costplan.profile.case import Case

GROUP = 128


class CpuInt4:
    """``torch.ops.aten._weight_int4pack_mm_for_cpu``."""

    name = "torch-cpu-int4"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"gemm"})

    def probe(self) -> Availability:
        found = torch_here()
        if not found.ok:
            return found
        import torch

        if not hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu"):
            return Availability(found.version, "this torch has no INT4 product for CPUs", "pip install 'torch>=2.6'")
        return found

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures gemm only"
        if case.text("dtype") != "int4":
            return f"no {case.text('dtype')} matrix products"
        if case.size("k") % GROUP or case.size("n") % 16:
            return f"k must be a multiple of {GROUP} and n of 16"
        return None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import torch

        m, n, k = case.size("m"), case.size("n"), case.size("k")
        x, w = operands(inputs, m, n, k, "fp32")
        x16 = x.to(torch.bfloat16)
        groups = w.view(n, k // GROUP, GROUP)
        scale = (groups.abs().amax(-1) / 7.0).clamp_min(1e-9).to(torch.bfloat16)
        codes = (groups / scale.float()[..., None]).round().clamp(-8, 7).to(torch.int32).view(n, k) + 8
        zeros = torch.zeros_like(scale)
        scales_zeros = torch.stack([scale, zeros], -1).transpose(0, 1).contiguous()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
        copies = [packed, *(packed.clone() for _ in range(inputs.sets(n * k / 2) - 1))]

        def call(p: Any) -> Any:
            return lambda: torch.ops.aten._weight_int4pack_mm_for_cpu(x16, p, GROUP, scales_zeros)

        dense = ((codes - 8).view(n, -1, GROUP).float() * scale.float()[..., None]).view(n, k)
        return Prepared([call(p) for p in copies], product_error(x16, dense), 1e-2, "torch-int4-weight-only",
                        {"group": GROUP})
