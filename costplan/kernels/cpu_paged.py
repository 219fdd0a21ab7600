"""Paged attention on the CPU: gather the pages of each sequence, then SDPA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_inputs import AttnSet, make_sets, reference_error, shape_of
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_attention import TOLERANCE, attend, causal_mask, format_problem, plain_causal
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case


class CpuPaged:
    """``index_select`` of pages by block table into a contiguous cache and flash SDPA over it, in each call."""

    name = "torch-cpu-paged"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"attn_prefill", "attn_decode", "attn_ragged"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures attention only"
        if not case.size("page_size"):
            return "needs a paged cache"
        if case.family != "attn_prefill" and case.size("num_splits") > 1:
            return "does not split the cache"
        return format_problem(case.text("dtype"), case.text("kv_dtype"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        shape = shape_of(case)
        sets = make_sets(shape, inputs)
        make = _equal if shape.uniform else _one_by_one
        return Prepared([make(s) for s in sets], reference_error(sets[0], inputs), TOLERANCE[shape.dtype],
                        "torch-gather-sdpa", {"calls": 1 if shape.uniform else shape.batch})


def _equal(s: AttnSet) -> Callable[[], Any]:
    shape, table = s.shape, s.block_table.long().flatten()
    batch, q_len, kv_len = shape.batch, shape.q_lens[0], shape.kv_lens[0]
    q = s.q.view(batch, q_len, shape.num_heads, shape.head_dim).transpose(1, 2)
    causal = plain_causal(shape)
    mask = None if causal else causal_mask(q_len, kv_len, shape.window)

    def gathered(pages: Any) -> Any:
        whole = pages.index_select(0, table).view(batch, -1, shape.num_kv_heads, shape.head_dim)
        return whole[:, :kv_len].transpose(1, 2)

    return lambda: attend(q, gathered(s.k_pages), gathered(s.v_pages), mask, causal).transpose(1, 2).flatten(0, 1)


def _one_by_one(s: AttnSet) -> Callable[[], Any]:
    import torch

    shape, starts = s.shape, s.cu_q.tolist()
    parts = []
    for i, (q_len, kv_len) in enumerate(zip(shape.q_lens, shape.kv_lens, strict=True)):
        used = s.block_table[i, : -(-kv_len // shape.page_size)].long()
        causal = q_len == kv_len and q_len > 1 and not shape.window
        mask = None if causal else causal_mask(q_len, kv_len, shape.window)
        parts.append((s.q[starts[i]:starts[i + 1]].transpose(0, 1)[None], used, kv_len, mask, causal))

    def gathered(pages: Any, used: Any, kv_len: int) -> Any:
        return pages.index_select(0, used).flatten(0, 1)[:kv_len].transpose(0, 1)[None]

    return lambda: torch.cat([
        attend(q, gathered(s.k_pages, used, n), gathered(s.v_pages, used, n), mask, causal)[0].transpose(0, 1)
        for q, used, n, mask, causal in parts])
