"""Routed experts on the CPU: one pair of matrix products per expert that was picked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs, relative_error
from costplan.kernels.routing import tokens_per_expert
from costplan.profile.case import Case

_CHECK_TOKENS = 16


class CpuMoe:
    """Gather an expert's tokens, gate and up projection, SiLU, down projection, weighted scatter back, expert after
    expert, as eager implementations do. Sizes of one rank: experts over ``ep``, their width over ``tp``."""

    name = "torch-cpu-moe"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"moe"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures moe only"
        if case.text("dtype") not in ("bf16", "fp32"):
            return f"no {case.text('dtype')} experts on a CPU"
        if case.size("num_experts") % max(1, case.size("ep")) or case.size("inter_size") % max(1, case.size("tp")):
            return "experts and widths must divide evenly over the ranks"
        if tokens_per_expert(1, 1, 1, case.text("distribution")) is None:
            return f"unknown routing {case.text('distribution')}"
        return None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import torch

        hidden, dtype = case.size("hidden_size"), case.text("dtype")
        experts, inter = case.size("num_experts") // case.size("ep"), case.size("inter_size") // case.size("tp")
        share = tokens_per_expert(case.size("tokens"), case.size("top_k"), case.size("num_experts"),
                                  case.text("distribution")) or []
        mine = share[:experts]
        x = inputs.randn(max(1, case.size("tokens")), hidden, dtype=dtype)
        up = inputs.randn(experts, 2 * inter, hidden, dtype=dtype, scale=hidden**-0.5)
        down = inputs.randn(experts, hidden, inter, dtype=dtype, scale=inter**-0.5)
        picked = [inputs.randint(0, x.shape[0], (n,), torch.int64) for n in mine]
        gates = [inputs.randn(n, 1, dtype="fp32").abs().to(x.dtype) for n in mine]
        call = _experts(x, up, down, picked, gates)

        def error(out: Any) -> float:
            exact = _experts(x.double(), up.double(), down.double(), picked, [g.double() for g in gates])
            return relative_error(out[:_CHECK_TOKENS], exact()[:_CHECK_TOKENS])

        return Prepared([call], error, 2e-2, "torch-expert-loop", {"experts_hit": sum(1 for n in mine if n)})


def _experts(x: Any, up: Any, down: Any, picked: list[Any], gates: list[Any]) -> Callable[[], Any]:
    from torch.nn.functional import linear, silu

    def call() -> Any:
        out = x.new_zeros(x.shape)
        for e, (rows, gate) in enumerate(zip(picked, gates, strict=True)):
            if not len(rows):
                continue
            a, b = linear(x[rows], up[e]).chunk(2, -1)
            out.index_add_(0, rows, linear(silu(a) * b, down[e]) * gate)
        return out

    return call
