"""FlashAttention 2, the package ``flash-attn``: contiguous or in pages of multiples of 256 tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.attention_call import prepare_attention, window_of
from costplan.kernels.attention_inputs import AttnSet, shape_of
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, first, probe
from costplan.profile.case import Case

LIMITS = AttnLimits(SAME_16, page_step=256)
LIBRARY = Library("flash-attn", "flash_attn", "pip install flash-attn --no-build-isolation (compiles for an hour where "
                  "no wheel fits the torch version)", (8, 9, 10, 12), "../flash_attn_2_cuda*.so", LIMITS.words())


class Fa2Package:
    name, device, domain, families = "fa2", "cuda", "fa2", ATTENTION

    def probe(self) -> Availability:
        return probe(LIBRARY, _kernels)

    def supports(self, case: Case) -> str | None:
        if reason := refusal(case, LIMITS):
            return reason
        shape = shape_of(case)
        if shape.num_splits and not (shape.decode and (shape.page_size or shape.uniform)):
            return "a number of splits is taken in decode only, and not in a ragged contiguous cache"
        return None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_attention(case, inputs, bind, "fa2", as_tokens=_tokens)


def _kernels(module: Any) -> str | None:
    """FlashAttention 4 shares the folder ``flash_attn``, but has no FA2 kernels."""
    return None if hasattr(module, "flash_attn_with_kvcache") else "flash_attn is here without FA2's kernels"


def _tokens(out: Any) -> Any:
    out = first(out)
    return out.flatten(0, 1) if out.dim() == 4 else out


def bind(given: AttnSet) -> Callable[[], Any]:
    """Decode goes to ``flash_attn_with_kvcache`` (the kernel that splits), everything else to the varlen call."""
    import flash_attn

    s = given.shape
    options: dict[str, Any] = {"causal": True, "window_size": window_of(s)}
    if s.decode and (s.page_size or s.uniform):
        cache = (given.k_pages, given.v_pages) if s.page_size else (
            x.view(s.batch, -1, s.num_kv_heads, s.head_dim) for x in (given.k, given.v))
        return partial(flash_attn.flash_attn_with_kvcache, given.q[:, None], *cache, cache_seqlens=given.kv_lens,
                       block_table=given.block_table, num_splits=s.num_splits, **options)
    kv = (given.k_pages, given.v_pages) if s.page_size else (given.k, given.v)
    return partial(flash_attn.flash_attn_varlen_func, given.q, *kv, given.cu_q, given.cu_kv, max(s.q_lens),
                   max(s.kv_lens), block_table=given.block_table, **options)
