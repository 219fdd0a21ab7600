"""FlashAttention 3 as vLLM builds it: paged with any page size, split-KV, FP8; scheduled ahead as the engine does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.attention_call import prepare_attention, window_of
from costplan.kernels.attention_inputs import AttnSet
from costplan.kernels.attention_limits import ATTENTION, FP8, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.profile.case import Case

LIMITS = AttnLimits((*SAME_16, *FP8))
LIBRARY = Library("vllm", "vllm.vllm_flash_attn.flash_attn_interface",
                  "pip install vllm (0.26.0 is the last one for torch 2.11)", (9,), "vllm_flash_attn/_vllm_fa3_C*.so",
                  LIMITS.words())


class Fa3Vllm:
    name, device, domain, families = "fa3-vllm", "cuda", "fa3-vllm", ATTENTION

    def probe(self) -> Availability:
        return probe(LIBRARY, lambda m: None if m.FA3_AVAILABLE else f"no FA3 in this vLLM: {m.FA3_UNAVAILABLE_REASON}")

    def supports(self, case: Case) -> str | None:
        return refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        planned = "precomputed" if case.size("page_size") else "in the call"
        return prepare_attention(case, inputs, bind, "fa3_vllm", {"scheduler_metadata": planned})


def bind(given: AttnSet) -> Callable[[], Any]:
    """The call that vLLM makes: everything varlen, a paged cache by block table and used lengths."""
    from vllm.vllm_flash_attn.flash_attn_interface import flash_attn_varlen_func

    s = given.shape
    options: dict[str, Any] = {"q_descale": given.q_scale, "k_descale": given.k_scale, "v_descale": given.v_scale,
                               "num_splits": s.num_splits, "window_size": list(window_of(s)), "causal": True,
                               "fa_version": 3, "max_seqlen_q": max(s.q_lens), "max_seqlen_k": max(s.kv_lens),
                               "cu_seqlens_q": given.cu_q}
    if not s.page_size:
        return partial(flash_attn_varlen_func, given.q, given.k, given.v, cu_seqlens_k=given.cu_kv, **options)
    return partial(flash_attn_varlen_func, given.q, given.k_pages, given.v_pages, seqused_k=given.kv_lens,
                   block_table=given.block_table, scheduler_metadata=_schedule(given), **options)


def _schedule(given: AttnSet) -> Any:
    """Tile schedule of a paged batch, computed once per engine step for all layers."""
    from vllm.vllm_flash_attn.flash_attn_interface import get_scheduler_metadata

    s = given.shape
    return get_scheduler_metadata(
        batch_size=s.batch, max_seqlen_q=max(s.q_lens), max_seqlen_k=max(s.kv_lens), num_heads_q=s.num_heads,
        num_heads_kv=s.num_kv_heads, headdim=s.head_dim, cache_seqlens=given.kv_lens, qkv_dtype=given.q.dtype,
        cu_seqlens_q=given.cu_q, page_size=s.page_size, causal=True, window_size=window_of(s),
        num_splits=s.num_splits)
