"""What the CUDA backends call binds to the signatures of the real packages, and gives what the reference says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from costplan.kernels import registry
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case
from costplan.profile.lengths import ragged_case
from tests.kernels import flashinfer_stand_in, vllm_stand_in
from tests.kernels.recorded import RECORD, Calls, flash, put, signature

HEADS: dict[str, int | str] = {"num_heads": 8, "num_kv_heads": 2, "head_dim": 64, "dtype": "bf16", "kv_dtype": "bf16"}
FP8: dict[str, int | str] = {**HEADS, "dtype": "fp8", "kv_dtype": "fp8"}
FP8_KV: dict[str, int | str] = {**HEADS, "kv_dtype": "fp8"}
MIXED = ((5, 19), (1, 33), (1, 7))


def decode(page: int = 16, **more: int | str) -> Case:
    return Case.of("attn_decode", batch=3, kv_len=37, page_size=page, **{**HEADS, **more})


def prefill(page: int = 0, q_len: int = 9, kv_len: int = 21, **more: int | str) -> Case:
    return Case.of("attn_prefill", batch=2, q_len=q_len, kv_len=kv_len, page_size=page, **{**HEADS, **more})


def mixed(page: int, **more: int | str) -> Case:
    return ragged_case(MIXED, page_size=page, **{**HEADS, **more})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """All stand-ins in place."""
    pytest.importorskip("torch", reason="torch is not installed: no tensors to call with")
    made = Calls()
    vllm_stand_in.install(monkeypatch, made)
    vllm_stand_in.install_deepgemm(monkeypatch, made)
    flashinfer_stand_in.install(monkeypatch, made)
    for module in ("flash_attn_interface", "fa3_fwd_interface", "flash_attn", "flash_attn.cute.interface"):
        names = [n.split(":")[1] for n in RECORD["functions"] if n.startswith(f"{module}:")]
        put(monkeypatch, module, **{n: made.bound(n, signature(f"{module}:{n}"), answer(module)) for n in names})
    return made


def answer(module: str) -> Callable[[dict[str, Any]], Any]:
    """FlashAttention 4 and some FA3 builds return the output beside its softmax sums."""
    return (lambda a: (flash(a), None)) if module != "flash_attn" else flash


def measured(name: str, case: Case) -> Any:
    """The backend's `Prepared` on a CPU, after all of its calls ran and the first was checked."""
    backend = registry.backend(name)
    assert backend.supports(case) is None
    prepared = backend.prepare(case, Inputs("cpu", cache_bytes=1 << 18, memory_bytes=256 << 20, seed=3))
    assert len(prepared.calls) > 1
    assert prepared.error(prepared.calls[0]()) <= prepared.tolerance
    for call in prepared.calls[1:3]:
        call()
    wrong = prepared.calls[1]()
    assert prepared.error(wrong) > prepared.tolerance, "the check accepts the output of other inputs"
    return prepared


@pytest.mark.parametrize("case", [
    decode(), decode(1), decode(256), decode(0), decode(16, num_splits=4), decode(16, window=8), prefill(), prefill(32),
    prefill(window=5), mixed(16), mixed(0), decode(16, **FP8), prefill(**FP8), mixed(64, **FP8),
    decode(16, dtype="fp16", kv_dtype="fp16")], ids=lambda c: c.key)
@pytest.mark.parametrize("name", ["fa3-vllm", "fa3-upstream"])
def test_flash_attention_3(name: str, case: Case, calls: Calls) -> None:
    measured(name, case)
    splits = case.size("num_splits") if case.family != "attn_prefill" else 0
    asked = calls.named("flash_attn_varlen_func") + calls.named("flash_attn_with_kvcache")
    assert {a["num_splits"] for a in asked} == {splits}
    if name == "fa3-vllm" and case.size("page_size"):
        assert {a["page_size"] for a in calls.named("get_scheduler_metadata")} == {case.size("page_size")}
        assert all(a["scheduler_metadata"] is not None for a in asked)


@pytest.mark.parametrize("case", [decode(0), decode(0, num_splits=4), decode(0, **FP8), prefill(), mixed(0),
                                  prefill(256, q_len=64, kv_len=300)], ids=lambda c: c.key)
def test_fa3_fwd(case: Case, calls: Calls) -> None:
    measured("fa3-fwd", case)
    assert calls.seen


def test_fa3_fwd_does_not_pack_heads_when_told(calls: Calls) -> None:
    measured("fa3-fwd-unpacked", prefill())
    assert {a["pack_gqa"] for a in calls.named("flash_attn_varlen_func")} == {False}


@pytest.mark.parametrize("case", [decode(256), decode(0), decode(0, num_splits=4), decode(256, window=8), prefill(),
                                  prefill(256), mixed(0), mixed(256)], ids=lambda c: c.key)
def test_flash_attention_2(case: Case, calls: Calls) -> None:
    measured("fa2", case)
    splits = {a["num_splits"] for a in calls.named("flash_attn_with_kvcache")}
    assert splits <= {case.size("num_splits") if case.family != "attn_prefill" else 0}


@pytest.mark.parametrize("case", [decode(16), decode(1), prefill(), prefill(128), prefill(window=5), mixed(16)],
                         ids=lambda c: c.key)
def test_flash_attention_4(case: Case, calls: Calls) -> None:
    measured("fa4", case)
    assert {a["num_splits"] for a in calls.named("flash_attn_varlen_func")} == {1}


@pytest.mark.parametrize("case", [decode(16), decode(1), decode(256), decode(16, window=8), decode(16, **FP8_KV),
                                  ragged_case(((1, 5), (1, 40)), page_size=16, **HEADS)], ids=lambda c: c.key)
@pytest.mark.parametrize("name", ["flashinfer-decode", "flashinfer-decode-tc"])
def test_flashinfer_decode(name: str, case: Case, calls: Calls) -> None:
    measured(name, case)
    made, plan = (calls.named(f"BatchDecodeWithPagedKVCacheWrapper.{n}")[0] for n in ("__init__", "plan"))
    assert made["use_cuda_graph"] and made["use_tensor_cores"] == name.endswith("tc")
    assert plan["page_size"] == case.size("page_size") and plan["window_left"] == case.size("window") - 1


def test_flashinfer_is_told_not_to_split(calls: Calls) -> None:
    measured("flashinfer-decode-tc", decode(16, num_splits=1))
    assert calls.named("BatchDecodeWithPagedKVCacheWrapper.plan")[0]["disable_split_kv"] is True


@pytest.mark.parametrize("case", [prefill(16), prefill(1), prefill(16, window=5), mixed(16)], ids=lambda c: c.key)
@pytest.mark.parametrize("name", ["flashinfer-fa2", "flashinfer-fa3"])
def test_flashinfer_prefill(name: str, case: Case, calls: Calls) -> None:
    measured(name, case)
    assert calls.named("BatchPrefillWithPagedKVCacheWrapper.__init__")[0]["backend"] == name[-3:]
    assert calls.named("BatchPrefillWithPagedKVCacheWrapper.plan")[0]["causal"] is True


@pytest.mark.parametrize(("case", "segments"), [
    (decode(16), 16), (decode(1, num_splits=1), None), (decode(256, num_splits=4), 4), (decode(16, **FP8_KV), 16),
    (decode(16, window=8), 16), (prefill(16), None), (mixed(32), None)], ids=lambda x: getattr(x, "key", str(x)))
def test_triton_unified(case: Case, segments: int | None, calls: Calls) -> None:
    measured("triton-unified", case)
    assert calls.named("unified_attention")[0]["num_par_softmax_segments"] == segments


@pytest.mark.parametrize("case", [decode(p, num_splits=s) for p, s in ((1, 1), (16, 8), (256, 3))] + [
    decode(16, num_splits=4, **FP8_KV)], ids=lambda c: c.key)
def test_triton_decode(case: Case, calls: Calls) -> None:
    measured("triton-decode", case)
    assert calls.named("decode_attention_fwd")[0]["num_kv_splits"] == case.size("num_splits")


@pytest.mark.parametrize("name", ["fa3-mla", "triton-mla", "flashinfer-mla"])
@pytest.mark.parametrize("kv_len", [64, 130])
def test_latent_decode(name: str, kv_len: int, calls: Calls) -> None:
    measured(name, Case.of("mla_decode", batch=2, kv_len=kv_len, num_heads=16, dtype="bf16", kv_dtype="bf16"))
    assert calls.seen


def test_latent_prefill(calls: Calls) -> None:
    measured("fa3-mla", Case.of("mla_prefill", batch=2, q_len=9, kv_len=20, num_heads=4, dtype="bf16", kv_dtype="bf16"))
    assert calls.named("flash_attn_varlen_func")[0]["v"].shape[-1] == 128


@pytest.mark.parametrize("m", [1, 7, 130])
def test_deepgemm(m: int, calls: Calls) -> None:
    measured("deepgemm", Case.of("gemm", m=m, n=192, k=256, dtype="fp8_block"))
    scale = calls.named("fp8_gemm_nt")[0]["a"][1]
    assert scale.stride() == (1, -(-m // 4) * 4), "as engines quantise: no transposition in the call"


@pytest.mark.parametrize("ep", [1, 2])
def test_deepgemm_experts(ep: int, calls: Calls) -> None:
    prepared = measured("deepgemm-moe", Case.of("moe", tokens=12, hidden_size=128, inter_size=256, top_k=2,
                                                num_experts=4, tp=2, ep=ep, dtype="fp8_block", distribution="balanced"))
    assert prepared.facts["padded_rows"] % 8 == 0
    layout = calls.named("m_grouped_fp8_gemm_nt_contiguous")[0]["grouped_layout"]
    assert int((layout >= 0).sum()) == 24 // ep
