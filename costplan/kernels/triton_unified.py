"""vLLM's Triton kernel for every batch (``unified_attention``): paged, split into segments in decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_call import poisoned, prepare_attention, window_of
from costplan.kernels.attention_inputs import AttnSet, AttnShape, shape_of
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.profile.case import Case

LIMITS = AttnLimits((*SAME_16, ("bf16", "fp8"), ("fp16", "fp8")), contiguous=False, power_of_two_pages=True)
LIBRARY = Library("vllm", "vllm.v1.attention.ops.triton_unified_attention", "pip install vllm (and triton)",
                  (8, 9, 10, 12), "v1/attention/ops/triton_unified_attention.py", LIMITS.words())
ENGINE_SEGMENTS = 16
ENGINE_LEAST_GRID = 128
"""vLLM 0.26 splits where sequences times KV heads are at most this, into that many segments."""


class TritonUnified:
    name, device, domain, families = "triton-unified", "cuda", "triton", ATTENTION

    def probe(self) -> Availability:
        return probe(LIBRARY)

    def supports(self, case: Case) -> str | None:
        if reason := refusal(case, LIMITS):
            return reason
        shape = shape_of(case)
        if shape.num_splits > 1 and not shape.decode:
            return "splits in decode only"
        return "splits into powers of two only" if shape.num_splits & (shape.num_splits - 1) else None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        segments = segments_of(shape_of(case))
        kernel = "triton_unified_2d" if segments == 1 else "triton_unified_3d"
        return prepare_attention(case, inputs, bind, kernel, {"segments": segments}, unit_scales=True)


def segments_of(shape: AttnShape) -> int:
    """Parts that each sequence's cache is read in: as asked, or as vLLM would."""
    if not shape.decode:
        return 1
    if shape.num_splits:
        return shape.num_splits
    return ENGINE_SEGMENTS if shape.batch <= ENGINE_LEAST_GRID // shape.num_kv_heads else 1


def bind(given: AttnSet) -> Callable[[], Any]:
    """A call that writes into its own buffer, poisoned before."""
    from vllm.v1.attention.ops.triton_unified_attention import unified_attention

    s, out = given.shape, poisoned(given.q)
    options = {**_segments(given), **_quantised(given)}
    one = given.q.new_ones(1, dtype=_fp32())

    def call() -> Any:
        unified_attention(q=given.q, k=given.k_pages, v=given.v_pages, out=out, cu_seqlens_q=given.cu_q,
                          max_seqlen_q=max(s.q_lens), seqused_k=given.kv_lens, max_seqlen_k=max(s.kv_lens),
                          softmax_scale=s.head_dim ** -0.5, causal=True, window_size=window_of(s),
                          block_table=given.block_table, softcap=0.0, q_descale=None, k_descale=one, v_descale=one,
                          **options)
        return out

    return call


def _segments(given: AttnSet) -> dict[str, Any]:
    """Buffers of the split kernel: a part's output, greatest score and sum."""
    s, n = given.shape, segments_of(given.shape)
    if n == 1:
        return {}
    width = 1 << (s.head_dim - 1).bit_length()
    rows = (s.tokens, s.num_heads, n)
    buffers = [given.q.new_empty(size, dtype=_fp32()) for size in ((*rows, width), rows, rows)]
    return {"seq_threshold_3D": s.batch, "num_par_softmax_segments": n, "softmax_segm_output": buffers[0],
            "softmax_segm_max": buffers[1], "softmax_segm_expsum": buffers[2]}


def _quantised(given: AttnSet) -> dict[str, Any]:
    if given.k_scale is None:
        return {}
    from vllm.v1.kv_cache_interface import KVQuantMode

    return {"kv_quant_mode": KVQuantMode.FP8_PER_TENSOR}


def _fp32() -> Any:
    import torch

    return torch.float32
