"""FlashAttention 3 built from upstream's ``hopper`` folder (``flash_attn_interface``)."""

from __future__ import annotations

from functools import partial

from costplan.kernels.attention_call import prepare_attention
from costplan.kernels.attention_limits import ATTENTION, FP8, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.fa3_calls import bind
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, first, probe
from costplan.profile.case import Case

LIMITS = AttnLimits((*SAME_16, *FP8))
LIBRARY = Library("flash_attn_3", "flash_attn_interface", "build Dao-AILab/flash-attention, folder hopper "
                  "(python setup.py install); the package flash-attn-3 of the index is an empty placeholder", (9,),
                  "flash_attn_3/_C*.so", LIMITS.words())


class Fa3Upstream:
    name, device, domain, families = "fa3-upstream", "cuda", "fa3-upstream", ATTENTION

    def probe(self) -> Availability:
        return probe(LIBRARY)

    def supports(self, case: Case) -> str | None:
        return refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import flash_attn_interface

        return prepare_attention(case, inputs, partial(bind, flash_attn_interface), "fa3_upstream", as_tokens=first)
