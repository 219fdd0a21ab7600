"""FlashInfer's latent attention over pages."""

from __future__ import annotations

from functools import partial
from typing import Any

from costplan.kernels.attention_call import poisoned
from costplan.kernels.attention_limits import AttnLimits
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.flashinfer_library import probe_flashinfer, workspace
from costplan.kernels.inputs import Inputs
from costplan.kernels.mla_inputs import LATENT, MLA_DECODE, PAGE, ROPE, SCALE, MlaSet, mla_refusal, prepare_mla_decode
from costplan.profile.case import Case


class FlashInferMla:
    name, device, domain, families = "flashinfer-mla", "cuda", "flashinfer", MLA_DECODE

    def probe(self) -> Availability:
        return probe_flashinfer(AttnLimits((("bf16", "bf16"), ("fp16", "fp16")), head_dims=(576,), contiguous=False,
                                           prefill=False, splits="auto", window=False), (9,))

    def supports(self, case: Case) -> str | None:
        return mla_refusal(case, MLA_DECODE, ("bf16", "fp16"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        scratch = workspace(inputs.device)
        return prepare_mla_decode(case, inputs, lambda given: _bind(given, scratch), "flashinfer_mla_fa3")


def _bind(given: MlaSet, scratch: Any) -> Any:
    """Planned once per step; the last page may hold tokens that ``kv_len_arr`` leaves out."""
    import flashinfer

    each = given.table.shape[1]
    wrapper = flashinfer.mla.BatchMLAPagedAttentionWrapper(scratch, backend="fa3")
    wrapper.plan(given.cu_q, given.cu_q * each, given.table.flatten(), given.lens, given.q.shape[1], LATENT, ROPE,
                 PAGE, False, SCALE, given.q.dtype, given.pages.dtype)
    latent, rope = given.q[..., :LATENT].contiguous(), given.q[..., LATENT:].contiguous()
    return partial(wrapper.run, latent, rope, given.pages[..., :LATENT], given.pages[..., LATENT:],
                   out=poisoned(latent))
