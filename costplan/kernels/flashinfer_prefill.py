"""FlashInfer's paged prefill: the kernel for every GPU (``fa2``) and the one for Hopper (``fa3``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.attention_call import poisoned, prepare_attention
from costplan.kernels.attention_inputs import AttnSet
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.flashinfer_library import DTYPES, HEAD_DIMS, pages_of, probe_flashinfer, workspace
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case


class FlashInferFa2:
    """Also takes mixed batches: chunks of a prompt beside decoding sequences."""

    name, device, domain, families = "flashinfer-fa2", "cuda", "flashinfer", ATTENTION
    choice = "fa2"
    majors: tuple[int, ...] = (8, 9, 10, 12)
    limits = AttnLimits(DTYPES, head_dims=HEAD_DIMS, contiguous=False, decode=False, splits="one_or_auto")

    def probe(self) -> Availability:
        return probe_flashinfer(self.limits, self.majors)

    def supports(self, case: Case) -> str | None:
        return refusal(case, self.limits)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        scratch = workspace(inputs.device)
        return prepare_attention(case, inputs, lambda given: self.bind(given, scratch),
                                 f"flashinfer_prefill_{self.choice}", unit_scales=True)

    def bind(self, given: AttnSet, scratch: Any) -> Callable[[], Any]:
        import flashinfer

        s = given.shape
        indptr, indices, last = pages_of(given)
        wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(scratch, "NHD", backend=self.choice)
        splits = {"disable_split_kv": True} if s.num_splits == 1 else {}
        wrapper.plan(given.cu_q, indptr, indices, last, s.num_heads, s.num_kv_heads, s.head_dim, s.page_size,
                     causal=True, window_left=s.window - 1, q_data_type=given.q.dtype,
                     kv_data_type=given.k_pages.dtype, **splits)
        return partial(wrapper.run, given.q, (given.k_pages, given.v_pages), out=poisoned(given.q))


class FlashInferFa3(FlashInferFa2):
    name, choice, majors = "flashinfer-fa3", "fa3", (9,)
    limits = AttnLimits(SAME_16, head_dims=HEAD_DIMS, contiguous=False, decode=False, splits="auto")
