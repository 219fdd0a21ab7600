"""FlashAttention 2 as torch ships it, in its variable-length form: ragged batches, grouped heads, windows, no pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.attention_call import prepare_attention, window_of
from costplan.kernels.attention_inputs import AttnSet
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, first, probe
from costplan.profile.case import Case

LIMITS = AttnLimits(SAME_16, page_step=0, splits="auto")
LIBRARY = Library("torch", "torch", "pip install torch", (8, 9, 10, 12), None, LIMITS.words())


class Fa2Torch:
    name, device, domain, families = "fa2-torch", "cuda", "torch-cuda", ATTENTION

    def probe(self) -> Availability:
        return probe(LIBRARY)

    def supports(self, case: Case) -> str | None:
        return refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_attention(case, inputs, bind, "fa2_torch_varlen", as_tokens=first)


def bind(given: AttnSet) -> Callable[[], Any]:
    """The operator below ``torch.nn.attention.varlen``, which also would clear a random state at every call."""
    import torch

    s = given.shape
    left, right = window_of(s)
    return partial(torch.ops.aten._flash_attention_forward, given.q, given.k, given.v, given.cu_q, given.cu_kv,
                   max(s.q_lens), max(s.kv_lens), 0.0, True, False, window_size_left=left,
                   window_size_right=0 if s.window else right)
