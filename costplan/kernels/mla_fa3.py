"""FlashAttention 3 of vLLM on latent attention: 64/512 with the latent query apart in decode, 192/128 in prefill."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.fa3_vllm import Fa3Vllm
from costplan.kernels.inputs import Inputs
from costplan.kernels.mla_inputs import (
    LATENT,
    MLA_DECODE,
    MLA_PREFILL,
    PAGE,
    ROPE,
    SCALE,
    MlaSet,
    mla_refusal,
    prepare_mla_decode,
)
from costplan.kernels.mla_prefill import PrefillSet, prepare_mla_prefill
from costplan.profile.case import Case


class Fa3Mla:
    name, device, domain, families = "fa3-mla", "cuda", "fa3-vllm", MLA_DECODE | MLA_PREFILL

    def probe(self) -> Availability:
        return Fa3Vllm().probe()

    def supports(self, case: Case) -> str | None:
        return mla_refusal(case, self.families, ("bf16", "fp16"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        if case.family == "mla_decode":
            return prepare_mla_decode(case, inputs, bind_decode, "fa3_vllm_mla")
        return prepare_mla_prefill(case, inputs, bind_prefill, "fa3_vllm_192_128")


def bind_decode(given: MlaSet) -> Callable[[], Any]:
    """Keys are the rotary part, values the latent part of the same pages; the latent query goes in as ``q_v``."""
    from vllm.vllm_flash_attn.flash_attn_interface import flash_attn_varlen_func, get_scheduler_metadata

    q, cache = given.q, given.pages[:, :, None]
    schedule = get_scheduler_metadata(
        batch_size=q.shape[0], max_seqlen_q=1, max_seqlen_k=given.kv_len, num_heads_q=q.shape[1], num_heads_kv=1,
        headdim=ROPE, cache_seqlens=given.lens, qkv_dtype=q.dtype, headdim_v=LATENT, cu_seqlens_q=given.cu_q,
        page_size=PAGE, causal=True, num_splits=0)
    return partial(flash_attn_varlen_func, q=q[..., LATENT:], k=cache[..., LATENT:], v=cache[..., :LATENT],
                   q_v=q[..., :LATENT], max_seqlen_q=1, cu_seqlens_q=given.cu_q, max_seqlen_k=given.kv_len,
                   seqused_k=given.lens, block_table=given.table, softmax_scale=SCALE, causal=True, fa_version=3,
                   scheduler_metadata=schedule, num_splits=0)


def bind_prefill(given: PrefillSet) -> Callable[[], Any]:
    from vllm.vllm_flash_attn.flash_attn_interface import flash_attn_varlen_func

    return partial(flash_attn_varlen_func, q=given.q, k=given.k, v=given.v, max_seqlen_q=given.q_len,
                   cu_seqlens_q=given.cu_q, max_seqlen_k=given.kv_len, cu_seqlens_k=given.cu_kv, softmax_scale=SCALE,
                   causal=True, fa_version=3)
