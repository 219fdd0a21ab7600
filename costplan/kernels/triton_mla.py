"""The Triton Flash-Decoding kernel of vLLM and SGLang on latent attention, with vLLM's four splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_call import poisoned
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.mla_inputs import LATENT, MLA_DECODE, PAGE, SCALE, MlaSet, mla_refusal, prepare_mla_decode
from costplan.kernels.triton_decode import TritonDecode
from costplan.profile.case import Case

SPLITS = 4


class TritonMla:
    name, device, domain, families = "triton-mla", "cuda", "triton", MLA_DECODE

    def probe(self) -> Availability:
        return TritonDecode().probe()

    def supports(self, case: Case) -> str | None:
        return mla_refusal(case, MLA_DECODE, ("bf16", "fp16"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_mla_decode(case, inputs, bind, "triton_flash_decoding_mla")


def bind(given: MlaSet) -> Callable[[], Any]:
    import torch
    from vllm.v1.attention.ops.triton_decode_attention import decode_attention_fwd

    batch, heads = given.q.shape[:2]
    out = poisoned(given.q[..., :LATENT].contiguous())
    lse = given.q.new_empty(batch, heads, dtype=torch.float32)
    parts = given.q.new_empty(batch, heads, SPLITS, LATENT + 1, dtype=torch.float32)
    one, cache = given.q.new_ones((), dtype=torch.float32), given.pages[:, :, None]

    def call() -> Any:
        decode_attention_fwd(given.q, cache, cache[..., :LATENT], out, lse, given.table, given.lens, parts, SPLITS,
                             SCALE, PAGE, k_scale=one, v_scale=one, is_mla=True)
        return out

    return call
