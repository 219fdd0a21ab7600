"""Split-KV decode (Flash-Decoding) on the CPU: chunks of the cache side by side, merged by their log-sum-exp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_inputs import AttnSet, make_sets, reference_error, shape_of
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_attention import TOLERANCE, format_problem
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case


class CpuSplitKv:
    """All splits as one batched flash call over ``batch x splits`` sequences, queries of a KV head packed, then a
    merge weighted by ``exp(lse)`` (Dao et al., Flash-Decoding, 2023)."""

    name = "torch-cpu-splitkv"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"attn_decode"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures decode only"
        if case.size("page_size") or case.size("window"):
            return "needs a contiguous cache without a window"
        splits = case.size("num_splits")
        if splits < 1:
            return "runs an explicit number of splits only"
        if case.size("kv_len") % splits:
            return "the cache must divide into equal splits"
        return format_problem(case.text("dtype"), case.text("kv_dtype"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        shape = shape_of(case)
        sets = make_sets(shape, inputs)
        return Prepared([_split(s) for s in sets], reference_error(sets[0], inputs), TOLERANCE[shape.dtype],
                        "torch-flash-splitkv", {"num_splits": shape.num_splits})


def _split(s: AttnSet) -> Callable[[], Any]:
    import torch

    shape, splits = s.shape, s.shape.num_splits
    batch, kv_heads, dim = shape.batch, shape.num_kv_heads, shape.head_dim
    group = shape.num_heads // kv_heads
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def chunks(x: Any) -> Any:
        return x.view(batch * splits, -1, kv_heads, dim).transpose(1, 2).contiguous()

    k, v = chunks(s.k), chunks(s.v)
    q = s.q.view(batch, 1, kv_heads, group, dim).expand(batch, splits, kv_heads, group, dim).flatten(0, 1)

    def call() -> Any:
        out, lse = flash(q, k, v)
        weight = lse.view(batch, splits, kv_heads, group).softmax(1)
        parts = out.view(batch, splits, kv_heads, group, dim).float()
        return (parts * weight[..., None]).sum(1).to(s.q.dtype).view(batch, shape.num_heads, dim)

    return call
