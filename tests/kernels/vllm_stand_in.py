"""vLLM's kernels as stand-ins: FlashAttention's interface, two Triton entry points, compiled operators, DeepGEMM."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from tests.kernels.recorded import RECORD, Calls, attend, documented, flash, paged, put, signature

OPS = "vllm.v1.attention.ops"
FLASH = "vllm.vllm_flash_attn.flash_attn_interface"


class KVQuantMode(IntEnum):
    """Two of vLLM's modes, with its numbers."""

    NONE = 0
    FP8_PER_TENSOR = 1


def install(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    """Put the package ``vllm`` in place."""
    import torch

    def flash_varlen(a: dict[str, Any]) -> Any:
        assert a["fa_version"] == 3
        assert a["block_table"] is None or a["seqused_k"] is not None
        return flash(a)

    def schedule(a: dict[str, Any]) -> Any:
        assert a["cache_seqlens"].dtype == torch.int32 and len(a["cache_seqlens"]) == a["batch_size"]
        return torch.zeros(8, dtype=torch.int32)

    def function(module: str, name: str, answer: Any) -> Any:
        return calls.bound(name, signature(f"{module}:{name}"), answer)

    put(monkeypatch, FLASH, flash_attn_varlen_func=function(FLASH, "flash_attn_varlen_func", flash_varlen),
        get_scheduler_metadata=function(FLASH, "get_scheduler_metadata", schedule))
    unified, decode = f"{OPS}.triton_unified_attention", f"{OPS}.triton_decode_attention"
    put(monkeypatch, unified, unified_attention=function(unified, "unified_attention", _unified))
    put(monkeypatch, decode, decode_attention_fwd=function(decode, "decode_attention_fwd", _decode))
    put(monkeypatch, "vllm.v1.kv_cache_interface", KVQuantMode=KVQuantMode)


def _unified(a: dict[str, Any]) -> None:
    q, k = a["q"], a["k"]
    if a["num_par_softmax_segments"]:
        n = a["num_par_softmax_segments"]
        assert a["softmax_segm_output"].shape[:3] == (*q.shape[:2], n) and len(a["seqused_k"]) <= a["seq_threshold_3D"]
    if k.element_size() == 1:
        assert int(a["kv_quant_mode"]) == 1
    for i, length in enumerate(a["seqused_k"]):
        mine = slice(int(a["cu_seqlens_q"][i]), int(a["cu_seqlens_q"][i + 1]))
        keys, values = (paged(x, a["block_table"][i], int(length)).double() * s for x, s in (
            (k, float(a["k_descale"])), (a["v"], float(a["v_descale"]))))
        a["out"][mine] = attend(q[mine], keys, values, a["softmax_scale"], a["window_size"]).to(q.dtype)


def _decode(a: dict[str, Any]) -> None:
    assert a["num_kv_splits"] == a["attn_logits"].shape[2]
    assert a["k_buffer"].shape[1] == a["page_size"]
    for i, length in enumerate(a["b_seq_len"]):
        k, v = (paged(a[n], a["req_to_token"][i], int(length)).double() * float(s) for n, s in (
            ("k_buffer", a["k_scale"]), ("v_buffer", a["v_scale"])))
        a["o"][i:i + 1] = attend(a["q"][i:i + 1], k, v, a["sm_scale"]).to(a["o"].dtype)


def install_deepgemm(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    """Put the package ``deep_gemm`` in place."""
    def matrix(pair: tuple[Any, Any], rows: int) -> Any:
        stored, scale = pair
        spread = scale.repeat_interleave(rows, -2)[..., :stored.shape[-2], :].repeat_interleave(128, -1)
        return stored.float().double() * spread.double()

    def gemm(a: dict[str, Any]) -> None:
        a["d"].copy_(matrix(a["a"], 1) @ matrix(a["b"], 128).T)

    def grouped(a: dict[str, Any]) -> None:
        rows, weights = matrix(a["a"], 1), matrix(a["b"], 128)
        for i, expert in enumerate(a["grouped_layout"].tolist()):
            if expert >= 0:
                a["d"][i] = (rows[i] @ weights[expert].T).to(a["d"].dtype)

    answers = {"fp8_gemm_nt": gemm, "m_grouped_fp8_gemm_nt_contiguous": grouped,
               "get_mk_alignment_for_contiguous_layout": lambda a: 8}
    put(monkeypatch, "deep_gemm", **{n: calls.bound(n, documented(n), f) for n, f in answers.items()})


def operators(names: dict[str, Any]) -> list[Any]:
    """Register CPU kernels under the recorded schemas; torch's own dispatcher then binds the arguments."""
    import torch

    kept = []
    for name, kernel in names.items():
        space, op = name.split("::")
        library = torch.library.Library(space, "FRAGMENT")
        library.define(RECORD["operators"][name].split("::", 1)[1])
        library.impl(op, kernel, "CPU")
        kept.append(library)
    return kept
