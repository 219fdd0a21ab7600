"""FLOPs and bytes of each kernel against counts made by hand or by brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.perf import roofline


def test_gemm_counts_a_multiply_add_as_two() -> None:
    w = roofline.gemm(8, 4096, 14336, 2.0, 2.0)
    assert w.flops == 2 * 8 * 4096 * 14336
    assert w.bytes == 2 * (4096 * 14336 + 8 * 14336 + 8 * 4096)


@given(q=st.integers(1, 60), c=st.integers(0, 60), window=st.integers(0, 80))
def test_causal_pairs_equal_a_count(q: int, c: int, window: int) -> None:
    kv = q + c
    count = sum(min(pos, window) if window else pos for pos in range(c + 1, kv + 1))
    assert roofline.causal_pairs(q, kv, window) == pytest.approx(count)


def test_decode_attention_of_llama_8b_reads_its_cache_once() -> None:
    w = roofline.attn_decode(16, 4096, 32, 8, 128, 2.0)
    assert w.bytes == pytest.approx(16 * 4096 * 8 * 128 * 2 * 2 + 16 * 2 * 32 * 128 * 2)
    assert w.flops == 4 * 16 * 32 * 128 * 4096


@given(b=st.integers(1, 64), s=st.integers(1, 8192), window=st.integers(1, 8192))
def test_a_window_never_costs_more_than_full_attention(b: int, s: int, window: int) -> None:
    full, part = (roofline.attn_decode(b, s, 32, 8, 128, 2.0, w) for w in (0, window))
    assert part.flops <= full.flops
    assert part.bytes <= full.bytes


def test_fp8_cache_halves_decode_traffic() -> None:
    bf16, fp8 = (roofline.attn_decode(64, 8192, 64, 8, 128, b).bytes for b in (2.0, 1.0))
    assert fp8 / bf16 == pytest.approx(0.5, rel=0.01)


def test_mla_decode_reads_one_latent_for_all_heads() -> None:
    few, many = (roofline.mla_decode(8, 4096, h, 512, 64, 2.0) for h in (16, 128))
    assert few.bytes == pytest.approx(8 * 4096 * 576 * 2, rel=0.05)
    assert many.bytes < 1.2 * few.bytes
    assert many.flops == 8 * few.flops


@given(tokens=st.integers(1, 5000))
def test_distinct_experts_lies_between_one_token_and_all(tokens: int) -> None:
    n = roofline.distinct_experts(tokens, 4, 128)
    assert 4 - 1e-9 <= n <= 128
    assert n <= 4 * tokens + 1e-9


def test_moe_sharding_divides_flops_and_weights() -> None:
    whole = roofline.moe(256, 4096, 14336, 2, 8, 1, 1, 2.0)
    tp, ep = (roofline.moe(256, 4096, 14336, 2, 8, t, e, 2.0) for t, e in ((8, 1), (1, 8)))
    assert tp.flops == pytest.approx(whole.flops / 8)
    assert ep.flops == pytest.approx(whole.flops / 8)
    assert tp.bytes == pytest.approx(ep.bytes, rel=0.05)


def test_time_is_the_larger_of_the_two_limits() -> None:
    w = roofline.Work(1e12, 1e9)
    assert w.time_s(1e15, 1e12) == pytest.approx(1e-3)
    assert w.time_s(1e13, 1e12) == pytest.approx(0.1)
    assert w.intensity == 1000
