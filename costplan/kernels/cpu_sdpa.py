"""Contiguous attention on the CPU by torch's flash kernels: as models call it, and with a KV head's queries packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_inputs import AttnSet, make_sets, reference_error, shape_of
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_attention import TOLERANCE, attend, causal_mask, format_problem, plain_causal
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case


class CpuSdpa:
    """``scaled_dot_product_attention``; equal sequences in one call, ragged ones one after another."""

    name = "torch-cpu-sdpa"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"attn_prefill", "attn_decode", "attn_ragged"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures attention only"
        if case.size("page_size"):
            return "needs a contiguous cache"
        if case.family != "attn_prefill" and case.size("num_splits") > 1:
            return "does not split the cache"
        return format_problem(case.text("dtype"), case.text("kv_dtype"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        shape = shape_of(case)
        sets = make_sets(shape, inputs)
        make = _equal if shape.uniform else _one_by_one
        return Prepared([make(s) for s in sets], reference_error(sets[0], inputs), TOLERANCE[shape.dtype],
                        "torch-sdpa-flash", {"calls": 1 if shape.uniform else shape.batch})


class CpuSdpaPacked:
    """Decode with the queries of one KV head as rows of one small matrix, so that the cache is read once per KV head
    instead of once per query head (PackGQA in FlashAttention's words)."""

    name = "torch-cpu-sdpa-packed"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"attn_decode"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures decode only"
        if case.size("page_size") or case.size("num_splits") > 1:
            return "needs a contiguous cache, read in one piece"
        if case.size("window"):
            return "no windows"
        if case.size("num_heads") == case.size("num_kv_heads"):
            return "nothing to pack: each query head has its own KV head"
        return format_problem(case.text("dtype"), case.text("kv_dtype"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        shape = shape_of(case)
        sets = make_sets(shape, inputs)

        def call(s: AttnSet) -> Callable[[], Any]:
            _, k, v = _batched(s)
            q = s.q.view(shape.batch, shape.num_kv_heads, -1, shape.head_dim)
            return lambda: attend(q, k, v, None, False).reshape(s.q.shape)

        return Prepared([call(s) for s in sets], reference_error(sets[0], inputs), TOLERANCE[shape.dtype],
                        "torch-sdpa-flash-packed")


def _batched(s: AttnSet) -> tuple[Any, Any, Any]:
    """``[batch, heads, len, head_dim]`` views of equal sequences."""
    batch = s.shape.batch
    q, k, v = (x.view(batch, -1, *x.shape[1:]).transpose(1, 2) for x in (s.q, s.k, s.v))
    return q, k.contiguous(), v.contiguous()


def _equal(s: AttnSet) -> Callable[[], Any]:
    q, k, v = _batched(s)
    causal = plain_causal(s.shape)
    mask = None if causal else causal_mask(s.shape.q_lens[0], s.shape.kv_lens[0], s.shape.window)
    return lambda: attend(q, k, v, mask, causal).transpose(1, 2).flatten(0, 1)


def _one_by_one(s: AttnSet) -> Callable[[], Any]:
    """Ragged sequences: one call each, as an engine without a ragged kernel runs them."""
    import torch

    parts = []
    q_from, kv_from = s.cu_q.tolist(), s.cu_kv.tolist()
    for i, (q_len, kv_len) in enumerate(zip(s.shape.q_lens, s.shape.kv_lens, strict=True)):
        q = s.q[q_from[i]:q_from[i + 1]].transpose(0, 1)[None]
        k, v = (x[kv_from[i]:kv_from[i + 1]].transpose(0, 1)[None] for x in (s.k, s.v))
        causal = q_len == kv_len and q_len > 1 and not s.shape.window
        parts.append((q, k, v, None if causal else causal_mask(q_len, kv_len, s.shape.window), causal))
    return lambda: torch.cat([attend(*p)[0].transpose(0, 1) for p in parts])
