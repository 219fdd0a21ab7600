"""Attention over one sequence, or over equal ones, on the CPU: how the SDPA backends call torch."""

from __future__ import annotations

from typing import Any

from costplan.kernels.attention_inputs import AttnShape

TOLERANCE = {"bf16": 1e-2, "fp16": 1e-2, "fp32": 1e-5}


def format_problem(shape_dtype: str, kv_dtype: str) -> str | None:
    """Why SDPA cannot take these formats; None if it can."""
    if shape_dtype not in TOLERANCE:
        return f"no {shape_dtype} attention on a CPU"
    return None if kv_dtype == shape_dtype else f"keys and values must be {shape_dtype} like the queries"


def causal_mask(q_len: int, kv_len: int, window: int) -> Any:
    """Boolean ``[q_len, kv_len]``: what the last ``q_len`` of ``kv_len`` tokens see; None where that is everything."""
    import torch

    if q_len == 1 and not (window and window < kv_len):
        return None
    at = torch.arange(kv_len - q_len, kv_len)[:, None]
    keys = torch.arange(kv_len)[None, :]
    seen = keys <= at
    return seen & (keys > at - window) if window else seen


def plain_causal(shape: AttnShape) -> bool:
    """Whether SDPA's own ``is_causal`` (top-left) is the right mask: whole prompts, no window."""
    return not shape.window and all(q == kv for q, kv in zip(shape.q_lens, shape.kv_lens, strict=True)) \
        and max(shape.q_lens) > 1


def attend(q: Any, k: Any, v: Any, mask: Any, causal: bool) -> Any:
    """SDPA with flash kernels: ``q [batch, num_heads, q_len, head_dim]``, ``k`` and ``v`` with their own heads."""
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])
