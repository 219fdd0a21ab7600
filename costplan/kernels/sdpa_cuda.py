"""torch's ``scaled_dot_product_attention`` with one of its CUDA kernels forced: FlashAttention 2, cuDNN, or CUTLASS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_call import batched, flat, prepare_attention
from costplan.kernels.attention_inputs import AttnSet, AttnShape, shape_of
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.profile.case import Case

LIMITS = AttnLimits(SAME_16, page_step=0, splits="auto", window=False, ragged=False)
SQUARE = "a causal mask with cached tokens before it"


class Sdpa:
    """One forced kernel. ``choice`` is its name in ``SDPBackend``."""

    device, domain, families, limits = "cuda", "torch-cuda", ATTENTION, LIMITS
    name, choice, kernel = "", "", ""

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install torch", limits=self.limits.words()))

    def supports(self, case: Case) -> str | None:
        if reason := refusal(case, self.limits):
            return reason
        return self._mask(shape_of(case))

    def _mask(self, shape: AttnShape) -> str | None:
        return None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_attention(case, inputs, self.bind, self.kernel, {"forced": self.choice}, as_tokens=flat)

    def bind(self, given: AttnSet) -> Callable[[], Any]:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        q, k, v = batched(given)
        shape, choice = given.shape, getattr(SDPBackend, self.choice)
        options = {"enable_gqa": shape.num_heads != shape.num_kv_heads, **_causal(shape)}

        def call() -> Any:
            with sdpa_kernel(choice):
                return scaled_dot_product_attention(q, k, v, **options)

        return call


def _causal(shape: AttnShape) -> dict[str, Any]:
    """The mask: none in decode, ``is_causal`` without cached tokens, else aligned to the lower right corner."""
    from torch.nn.attention.bias import causal_lower_right

    q_len, kv_len = shape.q_lens[0], shape.kv_lens[0]
    if q_len == 1:
        return {}
    return {"is_causal": True} if q_len == kv_len else {"attn_mask": causal_lower_right(q_len, kv_len)}


class SdpaFlash(Sdpa):
    name, choice, kernel = "sdpa-flash", "FLASH_ATTENTION", "sdpa_flash"


class SdpaCudnn(Sdpa):
    name, choice, kernel = "sdpa-cudnn", "CUDNN_ATTENTION", "sdpa_cudnn"
    limits = AttnLimits(SAME_16, max_head_dim=128, page_step=0, splits="auto", window=False, ragged=False)

    def _mask(self, shape: AttnShape) -> str | None:
        return None if shape.decode or shape.q_lens == shape.kv_lens else f"torch gives cuDNN no way to say {SQUARE}"


class SdpaEfficient(Sdpa):
    name, choice, kernel = "sdpa-efficient", "EFFICIENT_ATTENTION", "sdpa_efficient"

    def _mask(self, shape: AttnShape) -> str | None:
        return None if shape.num_heads == shape.num_kv_heads else "no grouped heads"
