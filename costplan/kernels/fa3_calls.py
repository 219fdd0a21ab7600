"""The two calls of FlashAttention 3's own Python interface, which upstream and ``fa3-fwd`` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.attention_call import window_of
from costplan.kernels.attention_inputs import AttnSet


def bind(module: Any, given: AttnSet, **more: object) -> Callable[[], Any]:
    """A contiguous cache goes to ``flash_attn_varlen_func``, a paged one to ``flash_attn_with_kvcache``."""
    s = given.shape
    options: dict[str, Any] = {"q_descale": given.q_scale, "k_descale": given.k_scale, "v_descale": given.v_scale,
                               "num_splits": s.num_splits, "window_size": window_of(s), "causal": True,
                               "max_seqlen_q": max(s.q_lens), "cu_seqlens_q": given.cu_q, **more}
    if not s.page_size:
        return partial(module.flash_attn_varlen_func, given.q, given.k, given.v, cu_seqlens_k=given.cu_kv,
                       max_seqlen_k=max(s.kv_lens), **options)
    return partial(module.flash_attn_with_kvcache, given.q, given.k_pages, given.v_pages,
                   cache_seqlens=given.kv_lens, page_table=given.block_table, **options)
