"""Attention inputs: pages hold what the contiguous cache held, and the reference is softmax attention."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.kernels.attention_inputs import make_sets, reference_error, shape_of
from costplan.kernels.inputs import Inputs, relative_error
from costplan.profile.lengths import ragged_case

torch = pytest.importorskip("torch", reason="torch is not installed: no kernels to run")
lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40)).map(lambda p: (p[0], p[0] + p[1])), min_size=1,
                   max_size=4)


def dense(pairs: list[tuple[int, int]], page: int, window: int = 0, kv_dtype: str = "fp32") -> float:
    """Relative error of torch's own attention, sequence by sequence, against our reference."""
    case = ragged_case(pairs, num_heads=4, num_kv_heads=2, head_dim=16, page_size=page, window=window, dtype="fp32",
                       kv_dtype=kv_dtype)
    inputs = Inputs("cpu", 1, 1 << 30, 5)
    s = make_sets(shape_of(case), inputs, 1)[0]
    out = []
    for i, (q_len, kv_len) in enumerate(pairs):
        q = s.q[s.cu_q[i]:s.cu_q[i + 1]].transpose(0, 1)
        if page:
            used = s.block_table[i, : -(-kv_len // page)].long()
            k, v = (x[used].flatten(0, 1)[:kv_len] for x in (s.k_pages, s.v_pages))
        else:
            k, v = (x[s.cu_kv[i]:s.cu_kv[i + 1]] for x in (s.k, s.v))
        k, v = k.float(), v.float()
        if s.k_scale is not None:
            k, v = k * s.k_scale[i][None, :, None], v * s.v_scale[i][None, :, None]
        at = torch.arange(kv_len - q_len, kv_len)[:, None]
        seen = torch.arange(kv_len)[None] <= at
        if window:
            seen &= torch.arange(kv_len)[None] > at - window
        k, v = (x.transpose(0, 1).repeat_interleave(2, 0) for x in (k, v))
        out.append(torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(0, 1))
    return reference_error(s, inputs)(torch.cat(out))


@settings(max_examples=25)
@given(lengths, st.sampled_from([0, 1, 4, 16]), st.sampled_from([0, 5]))
def test_the_reference_is_attention_over_the_same_cache(pairs: list[tuple[int, int]], page: int, window: int) -> None:
    assert dense(pairs, page, window) < 1e-5


@pytest.mark.parametrize("kv_dtype", ["fp8", "int8"])
@pytest.mark.parametrize("page", [0, 4])
def test_eight_bit_caches_come_with_their_scales(kv_dtype: str, page: int) -> None:
    assert dense([(3, 20), (1, 7)], page, kv_dtype=kv_dtype) < 1e-5


def test_a_wrong_output_is_seen() -> None:
    case = ragged_case([(2, 9)], num_heads=4, num_kv_heads=2, head_dim=16, dtype="fp32", kv_dtype="fp32")
    inputs = Inputs("cpu", 1, 1 << 30, 5)
    s = make_sets(shape_of(case), inputs, 1)[0]
    error = reference_error(s, inputs)
    assert error(torch.zeros(2, 4, 16)) == pytest.approx(1.0)
    assert error(torch.full((2, 4, 16), float("nan"))) == float("inf")


def test_sets_rotate_through_three_times_the_cache() -> None:
    inputs = Inputs("cpu", cache_bytes=1000, memory_bytes=1 << 20, seed=0)
    assert inputs.sets(100) == 31
    assert inputs.sets(5000) == 1
    assert Inputs("cpu", 1 << 30, 1000, 0).sets(400) == 2


def test_inputs_repeat_with_their_seed() -> None:
    a, b, c = (Inputs("cpu", 1, 1, seed).randn(3, 4, dtype="fp32") for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert relative_error(a, a) == 0.0
