"""FLOPs and bytes of each kernel of a transformer step, and the least time they can take.

Roofline: Williams, Waterman, Patterson, CACM 52(4), 2009. A multiply-add counts as two FLOPs. Bytes are the
compulsory traffic: every operand read once, every result written once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """What a kernel must do: floating-point operations and bytes to and from memory."""

    flops: float
    bytes: float

    def time_s(self, peak_flops: float, bandwidth_bytes_per_s: float) -> float:
        """Least time in seconds on a device with these dense peaks."""
        return max(self.flops / peak_flops, self.bytes / bandwidth_bytes_per_s)

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes


def gemm(m: float, n: float, k: float, weight_bytes: float, act_bytes: float, out_bytes: float = 2.0) -> Work:
    """``[m, k] x [k, n]``; bytes per element of weights, activations and results."""
    return Work(2.0 * m * n * k, weight_bytes * n * k + act_bytes * m * k + out_bytes * m * n)


def causal_pairs(q_len: float, kv_len: float, window: int = 0) -> float:
    """Query-key pairs of ``q_len`` causal queries at the end of ``kv_len`` keys, each seeing at most ``window``."""
    first = kv_len - q_len + 1
    if not window or kv_len <= window:
        return q_len * (first + kv_len) / 2
    if first >= window:
        return q_len * window
    ramp = window - first + 1  # queries that see fewer keys than the window holds
    return ramp * (first + window) / 2 + (q_len - ramp) * window


def attn_prefill(batch: float, q_len: float, kv_len: float, num_heads: float, num_kv_heads: float,
                 head_dim: float, kv_bytes: float, window: int = 0) -> Work:
    """Causal attention of ``batch`` sequences with ``q_len`` new tokens after ``kv_len - q_len`` cached ones."""
    seen = min(kv_len, q_len + window) if window else kv_len
    flops = 4.0 * batch * num_heads * head_dim * causal_pairs(q_len, kv_len, window)
    data = batch * head_dim * (2 * 2.0 * num_heads * q_len + 2 * kv_bytes * num_kv_heads * seen)
    return Work(flops, data)


def attn_decode(batch: float, kv_len: float, num_heads: float, num_kv_heads: float, head_dim: float,
                kv_bytes: float, window: int = 0) -> Work:
    """One new token for each of ``batch`` sequences over ``kv_len`` keys and values."""
    seen = min(kv_len, window) if window else kv_len
    flops = 4.0 * batch * num_heads * head_dim * seen
    data = batch * head_dim * (2 * kv_bytes * num_kv_heads * seen + 2 * 2.0 * num_heads)
    return Work(flops, data)


def mla_decode(batch: float, kv_len: float, num_heads: float, kv_lora_rank: float, rope_dim: float,
               kv_bytes: float) -> Work:
    """Latent attention in absorbed form: all heads read one latent per token (arXiv 2405.04434, 2.1.2)."""
    width = kv_lora_rank + rope_dim
    flops = 2.0 * batch * num_heads * kv_len * (width + kv_lora_rank)
    data = batch * (kv_bytes * width * kv_len + 2.0 * num_heads * (width + kv_lora_rank))
    return Work(flops, data)


def mla_prefill(batch: float, q_len: float, kv_len: float, num_heads: float, qk_dim: float, v_dim: float) -> Work:
    """Latent attention in expanded form: keys and values are materialised per head in bf16."""
    pairs = causal_pairs(q_len, kv_len)
    data = batch * num_heads * 2.0 * (q_len * (qk_dim + v_dim) + kv_len * (qk_dim + v_dim))
    return Work(2.0 * batch * num_heads * pairs * (qk_dim + v_dim), data)


def distinct_experts(tokens: float, top_k: int, num_experts: int) -> float:
    """Expected number of experts that at least one of ``tokens`` picks, with uniform routing."""
    return float(num_experts * (1.0 - (1.0 - top_k / num_experts) ** tokens))


def moe(tokens: float, hidden: float, inter: float, top_k: int, num_experts: int, tp: int, ep: int,
        weight_bytes: float, gated: bool = True) -> Work:
    """Routed experts on one rank: ``ep`` ranks share the experts, ``tp`` ranks the width of each."""
    matrices = 3 if gated else 2
    local_pairs = tokens * top_k / ep
    params = matrices * hidden * inter / tp
    touched = distinct_experts(tokens, top_k, num_experts) / ep
    data = touched * params * weight_bytes + 2.0 * local_pairs * (2 * hidden + matrices * inter / tp)
    return Work(2.0 * local_pairs * params, data)
