"""FlashInfer's paged decode: the kernel for CUDA cores, and the prefill kernel on tensor cores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.attention_call import poisoned, prepare_attention
from costplan.kernels.attention_inputs import AttnSet, AttnShape, shape_of
from costplan.kernels.attention_limits import ATTENTION, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.flashinfer_library import DTYPES, HEAD_DIMS, pages_of, probe_flashinfer, workspace
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case

GROUPS = (1, 2, 3, 4, 8)


class FlashInferDecode:
    """Plans once, as an engine does per step, in the form that CUDA graphs need."""

    name, device, domain = "flashinfer-decode", "cuda", "flashinfer"
    families = ATTENTION - {"attn_prefill"}
    tensor_cores, kernel = False, "flashinfer_decode_cuda_cores"
    limits = AttnLimits(DTYPES, head_dims=HEAD_DIMS, contiguous=False, prefill=False, splits="auto")

    def probe(self) -> Availability:
        return probe_flashinfer(self.limits)

    def supports(self, case: Case) -> str | None:
        return refusal(case, self.limits) or self._heads(shape_of(case))

    def _heads(self, shape: AttnShape) -> str | None:
        group = shape.num_heads // shape.num_kv_heads
        if group in GROUPS:
            return None
        return f"{group} query heads per KV head: compiled for {', '.join(map(str, GROUPS))}"

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        scratch = workspace(inputs.device)
        return prepare_attention(case, inputs, lambda given: self.bind(given, scratch), self.kernel, unit_scales=True)

    def bind(self, given: AttnSet, scratch: Any) -> Callable[[], Any]:
        import flashinfer

        s = given.shape
        indptr, indices, last = pages_of(given)
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            scratch, "NHD", use_cuda_graph=True, use_tensor_cores=self.tensor_cores,
            paged_kv_indptr_buffer=indptr.clone(), paged_kv_indices_buffer=indices.clone(),
            paged_kv_last_page_len_buffer=last.clone(), backend="fa2" if self.tensor_cores else "auto")
        wrapper.plan(indptr, indices, last, s.num_heads, s.num_kv_heads, s.head_dim, s.page_size,
                     window_left=s.window - 1, q_data_type=given.q.dtype, kv_data_type=given.k_pages.dtype,
                     **self._splits(s))
        return partial(wrapper.run, given.q, (given.k_pages, given.v_pages), out=poisoned(given.q))

    def _splits(self, shape: AttnShape) -> dict[str, Any]:
        return {}


class FlashInferDecodeTensor(FlashInferDecode):
    name, tensor_cores, kernel = "flashinfer-decode-tc", True, "flashinfer_decode_tensor_cores"
    limits = AttnLimits(DTYPES, head_dims=HEAD_DIMS, contiguous=False, prefill=False, splits="one_or_auto")

    def _heads(self, shape: AttnShape) -> str | None:
        return None

    def _splits(self, shape: AttnShape) -> dict[str, Any]:
        return {"disable_split_kv": True} if shape.num_splits == 1 else {}
