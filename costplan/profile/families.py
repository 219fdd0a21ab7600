"""The kernel families and their columns. Units: seconds, bytes, tokens. Sizes are per rank.

``int`` and ``text`` columns identify a case; ``latency_s`` (median over runs) is what was measured.
Optional columns: ``spread`` (relative half width, p90 - p10 over the median, halved) and ``runs``.
``window`` 0 means full attention, ``page_size`` 0 contiguous or not recorded, ``num_splits`` 0 automatic.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Schema of one table."""

    name: str
    ints: tuple[str, ...]
    texts: tuple[str, ...]


_ATTN = ("num_heads", "num_kv_heads", "head_dim", "window", "page_size")
_MODULE = ("dtype", "kv_dtype", "gemm_dtype", "kernel")

FAMILIES: dict[str, Family] = {f.name: f for f in (
    Family("gemm", ("m", "n", "k"), ("dtype", "kernel")),
    # batch sequences of q_len new tokens, each after kv_len - q_len cached ones
    Family("attn_prefill", ("batch", "q_len", "kv_len", *_ATTN), ("dtype", "kv_dtype", "kernel")),
    Family("attn_decode", ("batch", "kv_len", *_ATTN, "num_splits"), ("dtype", "kv_dtype", "kernel")),
    # any batch, ragged or mixed: ``lengths`` spells out its sequences (profile/lengths.py)
    Family("attn_ragged", ("batch", "q_tokens", "kv_tokens", "max_kv_len", *_ATTN, "num_splits"),
           ("lengths", "dtype", "kv_dtype", "kernel")),
    Family("mla_prefill", ("batch", "q_len", "kv_len", "num_heads"), ("dtype", "kv_dtype", "kernel")),
    Family("mla_decode", ("batch", "kv_len", "num_heads"), ("dtype", "kv_dtype", "kernel")),
    # whole MLA blocks: projections, RoPE and attention together; gemm_dtype is that of the projections
    Family("mla_module_prefill", ("batch", "q_len", "kv_len", "num_heads"), _MODULE),
    Family("mla_module_decode", ("batch", "kv_len", "num_heads"), _MODULE),
    Family("dsa_module_prefill", ("batch", "q_len", "kv_len", "num_heads"), ("model", *_MODULE)),
    Family("dsa_module_decode", ("batch", "kv_len", "num_heads"), ("model", *_MODULE)),
    Family("mla_bmm", ("tokens", "num_heads"), ("op", "dtype", "kernel")),
    # routed experts only; num_experts and inter_size before sharding by tp and ep
    Family("moe", ("tokens", "hidden_size", "inter_size", "top_k", "num_experts", "tp", "ep"),
           ("dtype", "distribution", "kernel")),
    Family("collective", ("num_gpus", "message_bytes"), ("op", "dtype", "kernel")),
    Family("linear_attention", ("batch", "seq_len", "hidden_size", "num_k_heads", "head_k_dim", "num_v_heads",
                                "head_v_dim", "conv_kernel"), ("kind", "phase", "kernel")),
    # m tokens by k elements
    Family("elementwise", ("m", "k"), ("op", "dtype", "kernel")),
)}
