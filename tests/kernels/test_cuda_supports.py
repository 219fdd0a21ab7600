"""What the CUDA backends say they can run: the documented limits of the real builds, and laws on random cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.kernels import registry
from costplan.kernels.cuda_places import CUDA
from costplan.kernels.moe_routing import route
from costplan.profile.case import Case
from costplan.profile.families import FAMILIES
from costplan.profile.lengths import ragged_case

HEADS: dict[str, int | str] = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "dtype": "bf16", "kv_dtype": "bf16"}
FP8 = {"dtype": "fp8", "kv_dtype": "fp8"}
NAMES = [name for name, _ in CUDA]


def decode(**more: int | str) -> Case:
    return Case.of("attn_decode", batch=4, kv_len=4096, **{**HEADS, **more})


def prefill(**more: int | str) -> Case:
    return Case.of("attn_prefill", **{"batch": 2, "q_len": 512, "kv_len": 512, **HEADS, **more})


def moe(**more: int | str) -> Case:
    return Case.of("moe", **{"tokens": 8, "hidden_size": 256, "inter_size": 512, "top_k": 2, "num_experts": 8, "tp": 1,
                             "ep": 1, "dtype": "bf16", "distribution": "balanced", **more})


@pytest.mark.parametrize(("name", "case", "reason"), [
    ("fa3-vllm", decode(page_size=1), None), ("fa3-vllm", decode(page_size=48), None),
    ("fa3-vllm", decode(page_size=16, num_splits=32), None), ("fa3-vllm", decode(page_size=16, **FP8), None),
    ("fa3-vllm", decode(page_size=16, kv_dtype="fp8"), "no kernel for bf16 with fp8 KV"),
    ("fa3-vllm", decode(head_dim=512), "over 256"), ("fa3-vllm", decode(dtype="fp32", kv_dtype="fp32"), "no kernel"),
    ("fa3-fwd", decode(page_size=16), "takes contiguous"), ("fa3-fwd", decode(page_size=256), "TMA only"),
    ("fa3-fwd", prefill(page_size=256), None), ("fa3-fwd", prefill(page_size=256, **FP8), "TMA only"),
    ("fa3-fwd", prefill(page_size=128), "takes contiguous"), ("fa3-fwd", decode(dtype="fp16", kv_dtype="fp16"), "fp16"),
    ("fa3-fwd", prefill(window=128), "window"), ("fa3-fwd-unpacked", decode(), "packed only"),
    ("fa3-fwd-unpacked", prefill(num_kv_heads=32), "nothing to pack"), ("fa3-fwd-unpacked", prefill(), None),
    ("fa2", decode(page_size=256), None), ("fa2", decode(page_size=128), "multiples of 256"),
    ("fa2", decode(**FP8), "no kernel for fp8"), ("fa2", prefill(page_size=512), None),
    ("fa4", decode(page_size=16), None), ("fa4", decode(page_size=16, num_splits=2), "does not split"),
    ("fa4", decode(**FP8), "no kernel for fp8"), ("fa2-torch", decode(page_size=16), "no paged cache"),
    ("sdpa-flash", ragged_case(((1, 9), (1, 10)), **HEADS), "equal lengths"),
    ("sdpa-flash", prefill(window=64), "window"), ("sdpa-flash", prefill(q_len=128), None),
    ("sdpa-cudnn", prefill(q_len=128), "no way to say"), ("sdpa-cudnn", prefill(), None),
    ("sdpa-cudnn", prefill(head_dim=256), "over 128"), ("sdpa-efficient", prefill(), "grouped"),
    ("flashinfer-decode", decode(page_size=1), None), ("flashinfer-decode", decode(), "needs a paged cache"),
    ("flashinfer-decode", decode(page_size=16, num_heads=40), "5 query heads"),
    ("flashinfer-decode-tc", decode(page_size=16, num_heads=40), None),
    ("flashinfer-decode", decode(page_size=16, num_splits=4), "chooses its splits"),
    ("flashinfer-decode-tc", decode(page_size=16, num_splits=4), "1 split or automatic"),
    ("flashinfer-decode", decode(page_size=16, kv_dtype="fp8"), None),
    ("flashinfer-decode", prefill(page_size=16), "decode"),
    ("flashinfer-decode", decode(page_size=16, head_dim=96), "built for 64, 128, 256"),
    ("flashinfer-fa2", prefill(page_size=16, kv_dtype="fp8"), None),
    ("flashinfer-fa3", prefill(page_size=16, kv_dtype="fp8"), "no kernel for bf16 with fp8 KV"),
    ("flashinfer-fa3", decode(page_size=16), "prefill only"),
    ("triton-unified", decode(page_size=24), "power of two"), ("triton-unified", decode(), "needs a paged cache"),
    ("triton-unified", decode(page_size=16, num_splits=3), "powers of two"),
    ("triton-decode", decode(page_size=16), "needs a number of splits"),
    ("triton-decode", decode(page_size=16, num_splits=8), None),
    ("triton-decode", prefill(page_size=16), "decode only"),
    ("flex", decode(page_size=8), "takes contiguous"), ("flex", decode(page_size=64), None),
    ("flashmla", Case.of("mla_decode", batch=4, kv_len=64, num_heads=128, dtype="bf16", kv_dtype="bf16"), None),
    ("flashmla", Case.of("mla_decode", batch=4, kv_len=64, num_heads=128, dtype="bf16", kv_dtype="fp8"), "fp8 KV"),
    ("flashmla", decode(), "not attn_decode"),
    ("torch-gemm", Case.of("gemm", m=1, n=7, k=5, dtype="bf16"), None),
    ("torch-fp8-row", Case.of("gemm", m=1, n=24, k=64, dtype="fp8"), "multiple of 16"),
    ("torch-fp8-block", Case.of("gemm", m=1, n=192, k=128, dtype="fp8_block"), "multiple of 128"),
    ("deepgemm", Case.of("gemm", m=1, n=192, k=128, dtype="fp8_block"), None),
    ("torch-int8", Case.of("gemm", m=16, n=64, k=64, dtype="int8"), "at least 17"),
    ("torch-nvfp4", Case.of("gemm", m=16, n=128, k=128, dtype="nvfp4"), None),
    ("torch-nvfp4", Case.of("gemm", m=16, n=128, k=128, dtype="mxfp4"), "no kernel"),
    ("torch-moe", moe(ep=3), "do not divide"), ("torch-moe", moe(distribution="zipf"), "unknown routing"),
    ("torch-moe", moe(distribution="power_law_1.2"), None), ("deepgemm-moe", moe(dtype="fp8_block"), None),
    ("deepgemm-moe", moe(dtype="fp8_block", tp=8), "multiples of 128"),
    ("torch-elementwise", Case.of("elementwise", m=4, k=100, op="rope", dtype="bf16"), "head size"),
    ("torch-elementwise", Case.of("elementwise", m=4, k=100, op="gelu", dtype="bf16"), "no op gelu"),
    ("nccl", Case.of("collective", num_gpus=1, message_bytes=64, op="all_reduce", dtype="bf16"), "needs 2 GPUs"),
    ("nccl", Case.of("collective", num_gpus=8, message_bytes=1 << 20, op="all_reduce", dtype="bf16"), None),
    ("nccl", Case.of("collective", num_gpus=8, message_bytes=64, op="moe_dispatch", dtype="bf16"), "no collective"),
], ids=lambda x: getattr(x, "key", str(x)))
def test_documented_limits(name: str, case: Case, reason: str | None) -> None:
    said = registry.backend(name).supports(case)
    if reason is None:
        assert said is None
    else:
        assert reason in str(said)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any family, sensible and senseless sizes alike."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    small = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 17, 24, 64, 100, 128, 256, 512, 4096])
    values: dict[str, Any] = {n: draw(small) for n in FAMILIES[family].ints}
    words = st.sampled_from(["bf16", "fp16", "fp8", "fp8_block", "int8", "int4", "fp32", "nvfp4", "", "balanced",
                             "power_law_1.01", "rope", "all_reduce", "1:4,3:9x2", "4:1", "x"])
    values |= {n: draw(words) for n in FAMILIES[family].texts if n != "kernel"}
    return Case.of(family, **values)


@given(cases())
def test_supports_never_raises_and_gives_a_reason(case: Case) -> None:
    for name in NAMES:
        backend = registry.backend(name)
        reason = backend.supports(case)
        assert reason is None or reason.strip()
        if reason is None:
            assert case.family in backend.families
            zeros = {"window", "page_size", "num_splits"}
            assert all(v for k, v in case.values().items() if k not in zeros), "a supported case has no zero size"


@pytest.mark.parametrize("name", NAMES)
def test_identity(name: str) -> None:
    backend = registry.backend(name)
    assert (backend.name, backend.device) == (name, "cuda")
    assert backend.families and backend.families <= set(FAMILIES) and backend.domain


@pytest.mark.parametrize("name", NAMES)
def test_probe_never_raises_and_tells_how_to_install(name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing to probe")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: costplan doctor shows what runs on it")
    found = registry.backend(name).probe()
    assert not found.ok and found.reason and found.install


@given(st.integers(1, 60), st.integers(1, 4), st.sampled_from([4, 8, 16]), st.sampled_from([1, 2, 4]),
       st.sampled_from(["balanced", "power_law_1.01", "power_law_1.2"]), st.integers(0, 99))
def test_routing_conserves_tokens(tokens: int, top_k: int, experts: int, ep: int, how: str, seed: int) -> None:
    """Over all experts every token is seen top_k times, by no expert twice; the rank taken is the busiest."""
    whole = route(tokens, top_k, experts, 1, how, seed)
    assert whole.assignments == tokens * top_k
    seen = [t for rows in whole.rows for t in rows]
    assert all(seen.count(t) == top_k for t in range(tokens))
    assert all(len(set(rows)) == len(rows) for rows in whole.rows)
    part = route(tokens, top_k, experts, ep, how, seed)
    assert len(part.rows) == experts // ep and part.assignments >= math.ceil(tokens * top_k / ep)


def test_power_law_is_skewed() -> None:
    counts = sorted(map(len, route(4096, 8, 128, 1, "power_law_1.2", 1).rows))
    even = [len(r) for r in route(4096, 8, 128, 1, "balanced", 1).rows]
    assert max(even) - min(even) <= 1
    assert counts[-1] > 4 * counts[len(counts) // 2]
