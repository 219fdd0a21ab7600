"""Cases as kernels and sizes, and the sizes that engines really run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.campaign.kernel import Kernel, between, kernel_of, legal
from costplan.profile.case import Case

HEADS: dict[str, int | str] = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "dtype": "bf16",
                               "kv_dtype": "fp8"}
SIZE = st.integers(1, 100_000)


@given(m=SIZE, n=SIZE, k=SIZE)
def test_a_matrix_product_is_its_kernel_at_m(m: int, n: int, k: int) -> None:
    case = Case.of("gemm", m=m, n=n, k=k, dtype="bf16")
    kernel, at = kernel_of(case)
    assert (kernel.case(at), at, kernel.number("n")) == (case, (m,), n)


@given(batch=SIZE, q=SIZE, context=st.integers(0, 100_000), page=st.sampled_from([0, 16, 256]))
def test_prompts_and_chunks_are_two_kernels_that_give_their_case_back(batch: int, q: int, context: int, page: int,
                                                                      ) -> None:
    case = Case.of("attn_prefill", batch=batch, q_len=q, kv_len=q + context, page_size=page, **HEADS)
    kernel, at = kernel_of(case)
    assert kernel.case(at) == case
    assert kernel.chunked == (context > 0)
    assert at == ((q, context) if context else (batch, q))


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_linear_attention_varies_in_its_phase_s_own_sizes(phase: str) -> None:
    case = Case.of("linear_attention", batch=4, seq_len=0 if phase == "decode" else 64, hidden_size=2048,
                   num_k_heads=16, head_k_dim=128, num_v_heads=32, head_v_dim=128, conv_kernel=4, kind="gdn",
                   phase=phase)
    kernel, at = kernel_of(case)
    assert kernel.case(at) == case
    assert len(at) == (2 if phase == "prefill" else 1)


def test_the_same_columns_in_any_order_are_the_same_kernel() -> None:
    assert Kernel.of("gemm", ("m",), n=1, k=2, dtype="bf16") == Kernel.of("gemm", ("m",), dtype="bf16", k=2, n=1)


@given(axis=st.sampled_from(["m", "batch", "tokens", "q_len", "kv_len", "context", "message_bytes"]),
       size=st.floats(1, 1e7))
def test_legal_sizes_stay_legal_and_near(axis: str, size: float) -> None:
    x = legal(axis, size)
    assert legal(axis, x) == x
    assert x >= 0 if axis == "context" else x >= 1
    if size >= 2048:
        assert x == pytest.approx(size, rel=0.15)


@given(m=st.integers(5, 512))
def test_batches_of_a_graph_are_multiples_of_eight(m: int) -> None:
    assert legal("m", m) in (4, 8) or legal("m", m) % 8 == 0


@given(low=st.integers(1, 10_000), ratio=st.floats(1.0, 64.0), axis=st.sampled_from(["m", "kv_len", "batch"]))
def test_a_middle_lies_strictly_between(low: int, ratio: float, axis: str) -> None:
    high = int(low * ratio)
    middle = between(axis, low, high)
    assert middle is None or low < middle < high
    if ratio > 4 and low >= 8:
        assert middle is not None
