"""FlashAttention 4, the package ``flash-attn-4`` (CuTe DSL): on Hopper neither split-KV nor FP8."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.attention_call import prepare_attention, window_of
from costplan.kernels.attention_inputs import AttnSet
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, first, probe
from costplan.profile.case import Case

LIMITS = AttnLimits(SAME_16, splits="none")
LIBRARY = Library("flash-attn-4", "flash_attn.cute.interface", "pip install --pre flash-attn-4", (9, 10, 11), None,
                  LIMITS.words())


class Fa4:
    name, device, domain, families = "fa4", "cuda", "fa4", ATTENTION

    def probe(self) -> Availability:
        return probe(LIBRARY)

    def supports(self, case: Case) -> str | None:
        return refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_attention(case, inputs, bind, "fa4_cute", {"num_splits": 1}, as_tokens=first)


def bind(given: AttnSet) -> Callable[[], Any]:
    """The varlen call; a paged cache is given by its page table and used lengths."""
    from flash_attn.cute.interface import flash_attn_varlen_func

    s = given.shape
    options: dict[str, Any] = {"cu_seqlens_q": given.cu_q, "max_seqlen_q": max(s.q_lens), "causal": True,
                               "max_seqlen_k": max(s.kv_lens), "window_size": window_of(s, None), "num_splits": 1}
    if s.page_size:
        return partial(flash_attn_varlen_func, given.q, given.k_pages, given.v_pages, seqused_k=given.kv_lens,
                       page_table=given.block_table, **options)
    return partial(flash_attn_varlen_func, given.q, given.k, given.v, cu_seqlens_k=given.cu_kv, **options)
