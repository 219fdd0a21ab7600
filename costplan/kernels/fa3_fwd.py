"""The wheel ``fa3-fwd``: FlashAttention 3, forward only, without 16-bit floats of the fp16 kind, windows, or paged
decode. The only build with heads not packed (``pack_gqa`` off)."""

from __future__ import annotations

from typing import Any

from costplan.kernels.attention_call import prepare_attention
from costplan.kernels.attention_inputs import AttnSet, shape_of
from costplan.kernels.attention_limits import ATTENTION, FP8, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.fa3_calls import bind
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, first, probe
from costplan.profile.case import Case

LIMITS = AttnLimits((("bf16", "bf16"), *FP8), head_dims=(64, 96, 128, 192, 256), window=False, page_step=256)
LIBRARY = Library("fa3-fwd", "fa3_fwd_interface", "pip install fa3-fwd==0.0.3", (9,), "fa3_fwd/_C*.so",
                  {**LIMITS.words(), "pages": "contiguous; multiples of 256 in bf16 prefill (TMA) only"})
TMA_HEAD_DIMS = (64, 128)
TMA_LEAST_ROWS = 192


class Fa3Fwd:
    name, device, domain, families = "fa3-fwd", "cuda", "fa3-fwd", ATTENTION
    pack_gqa: bool | None = None
    kernel = "fa3_fwd"

    def probe(self) -> Availability:
        return probe(LIBRARY)

    def supports(self, case: Case) -> str | None:
        if reason := refusal(case, LIMITS):
            return reason
        shape = shape_of(case)
        if shape.page_size and (shape.dtype == "fp8" or shape.head_dim not in TMA_HEAD_DIMS
                                or min(shape.q_lens) * shape.num_heads // shape.num_kv_heads <= TMA_LEAST_ROWS):
            return "pages by TMA only: bf16 prefill, head_dim 64 or 128, over 192 query rows per KV head"
        return None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import fa3_fwd_interface

        def bound(given: AttnSet) -> Any:
            return bind(fa3_fwd_interface, given, pack_gqa=self.pack_gqa)

        packed = "auto" if self.pack_gqa is None else str(self.pack_gqa)
        return prepare_attention(case, inputs, bound, self.kernel, {"pack_gqa": packed}, as_tokens=first)


class Fa3FwdUnpacked(Fa3Fwd):
    """The same library told not to pack the query heads of a KV head into one tile."""

    name, kernel, pack_gqa = "fa3-fwd-unpacked", "fa3_fwd_unpacked", False

    def supports(self, case: Case) -> str | None:
        if reason := super().supports(case):
            return reason
        shape = shape_of(case)
        if shape.num_heads == shape.num_kv_heads:
            return "nothing to pack: one query head per KV head"
        if shape.decode or shape.page_size:
            return "split and paged kernels are built packed only"
        return "split kernels are built packed only" if shape.num_splits != 1 and case.family == "attn_ragged" else None
