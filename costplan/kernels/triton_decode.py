"""The Triton Flash-Decoding kernel of vLLM and SGLang (``decode_attention_fwd``): paged, a given number of splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_call import poisoned, prepare_attention
from costplan.kernels.attention_inputs import AttnSet
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.profile.case import Case

LIMITS = AttnLimits((*SAME_16, ("bf16", "fp8"), ("fp16", "fp8")), contiguous=False, prefill=False, splits="given",
                    window=False)
LIBRARY = Library("vllm", "vllm.v1.attention.ops.triton_decode_attention", "pip install vllm (and triton)",
                  (8, 9, 10, 12), "v1/attention/ops/triton_decode_attention.py", LIMITS.words())


class TritonDecode:
    name, device, domain, families = "triton-decode", "cuda", "triton", ATTENTION - {"attn_prefill"}

    def probe(self) -> Availability:
        return probe(LIBRARY)

    def supports(self, case: Case) -> str | None:
        return refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_attention(case, inputs, bind, "triton_flash_decoding", unit_scales=True)


def bind(given: AttnSet) -> Callable[[], Any]:
    """A call that writes into its own buffer, poisoned before."""
    import torch
    from vllm.v1.attention.ops.triton_decode_attention import decode_attention_fwd

    s, out = given.shape, poisoned(given.q)
    lse = given.q.new_empty(s.batch, s.num_heads, dtype=torch.float32)
    parts = given.q.new_empty(s.batch, s.num_heads, s.num_splits, s.head_dim + 1, dtype=torch.float32)
    one = given.q.new_ones((), dtype=torch.float32)

    def call() -> Any:
        decode_attention_fwd(given.q, given.k_pages, given.v_pages, out, lse, given.block_table, given.kv_lens, parts,
                             s.num_splits, s.head_dim ** -0.5, s.page_size, k_scale=one, v_scale=one)
        return out

    return call
