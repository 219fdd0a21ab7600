"""The CUDA backends that call torch alone, run on a CPU where its operators exist there, else by their schemas."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import pytest

from costplan.kernels import registry
from costplan.kernels.cuda_elementwise import OPS
from costplan.kernels.inputs import Inputs
from costplan.kernels.nccl import Nccl
from costplan.profile.case import Case
from costplan.profile.lengths import ragged_case
from tests.kernels import vllm_stand_in
from tests.kernels.recorded import flash

torch: Any = pytest.importorskip("torch", reason="torch is not installed: no kernels to run")
HEADS: dict[str, int | str] = {"num_heads": 8, "num_kv_heads": 2, "head_dim": 64, "dtype": "bf16", "kv_dtype": "bf16"}
MHA = {**HEADS, "num_kv_heads": 8}


def gemm(dtype: str, m: int = 32, n: int = 256, k: int = 256) -> Case:
    return Case.of("gemm", m=m, n=n, k=k, dtype=dtype)


def experts(dtype: str, ep: int = 1, distribution: str = "power_law_1.01", tokens: int = 24) -> Case:
    return Case.of("moe", tokens=tokens, hidden_size=128, inter_size=64, top_k=2, num_experts=8, tp=2, ep=ep,
                   dtype=dtype, distribution=distribution)


def measured(name: str, case: Case) -> Any:
    """The backend's `Prepared` after its first call was checked, and the check was seen to refuse another output."""
    backend = registry.backend(name)
    assert backend.supports(case) is None
    prepared = backend.prepare(case, Inputs("cpu", cache_bytes=1 << 18, memory_bytes=64 << 20, seed=3))
    out = prepared.calls[0]()
    assert prepared.error(out) <= prepared.tolerance
    if len(prepared.calls) > 1 and case.family != "elementwise":
        assert prepared.error(prepared.calls[1]()) > prepared.tolerance
    return prepared


@pytest.mark.parametrize(("name", "case"), [
    ("torch-gemm", gemm("bf16", 1)), ("torch-gemm", gemm("fp16", 33, 100, 72)), ("torch-fp8-tensor", gemm("fp8")),
    ("torch-fp8-tensor", gemm("fp8", 1)), ("torch-int8", gemm("int8")), ("torch-int8", gemm("int8", 17, 72, 80))],
    ids=lambda x: getattr(x, "key", x))
def test_products(name: str, case: Case) -> None:
    measured(name, case)


@pytest.mark.skipif(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13), reason="needs torch 2.13 on a CPU")
@pytest.mark.parametrize("m", [1, 40])
def test_fp8_by_rows(m: int) -> None:
    measured("torch-fp8-row", gemm("fp8", m))


@pytest.mark.parametrize("case", [experts("bf16"), experts("bf16", 2), experts("bf16", 1, "balanced", 3)],
                         ids=lambda c: c.key)
def test_experts(case: Case) -> None:
    assert measured("torch-moe", case).facts["assignments"] >= case.size("tokens") * 2 // case.size("ep")


def test_fp8_experts_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grouped FP8 product exists on GPUs only: its schema binds the arguments, a loop computes."""
    schema = torch.ops.aten._scaled_grouped_mm.default._schema

    def product(*args: Any, **kwargs: Any) -> Any:
        names = [a.name for a in schema.arguments]
        given = dict(zip(names, args, strict=False)) | kwargs
        assert set(given) <= set(names)
        a, b = given["self"].float() * given["scale_a"][:, None], given["mat2"].float() * given["scale_b"][:, None]
        ends = [0, *given["offs"].tolist()]
        assert given["offs"].dtype == torch.int32
        return torch.cat([a[s:e] @ b[i] for i, (s, e) in enumerate(pairwise(ends))]).to(
            given["out_dtype"])

    monkeypatch.setattr(torch, "_scaled_grouped_mm", product)
    measured("torch-moe-fp8", experts("fp8"))


@pytest.mark.parametrize("m", [1, 5, 64])
def test_block_scales_lie_as_cublas_wants(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layouts in torch's own checks for Hopper, and the value of the product."""
    from torch.nn import functional

    if not hasattr(functional, "scaled_mm"):
        pytest.skip("this torch has no scaled_mm")

    def product(a: Any, b: Any, a_scale: Any, a_kind: Any, b_scale: Any, b_kind: Any, *, output_dtype: Any) -> Any:
        blocks = a.shape[1] // 128
        assert a.shape[0] % 4 == 0 and a_scale.shape == (a.shape[0], blocks) and a_scale.stride(0) == 1
        assert b_scale.shape == (-(-blocks // 4) * 4, b.shape[1] // 128) and b_scale.stride(0) == 1
        assert (a_kind.name, b_kind.name) == ("BlockWise1x128", "BlockWise128x128")
        left = a.float() * a_scale.repeat_interleave(128, 1)
        right = b.float() * b_scale[:blocks].repeat_interleave(128, 0).repeat_interleave(128, 1)
        return (left @ right).to(output_dtype)

    monkeypatch.setattr(functional, "scaled_mm", product)
    measured("torch-fp8-block", gemm("fp8_block", m, 256, 640))


@pytest.mark.parametrize("op", sorted(OPS))
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_elementwise(op: str, dtype: str) -> None:
    prepared = measured("torch-elementwise", Case.of("elementwise", m=6, k=512, op=op, dtype=dtype))
    out = prepared.calls[0]()
    spoilt = tuple(x.roll(1, 0) for x in out) if isinstance(out, tuple) else out.roll(1, 0)
    assert prepared.error(spoilt) > prepared.tolerance


@pytest.mark.parametrize("case", [Case.of("attn_decode", batch=3, kv_len=37, **HEADS),
                                  Case.of("attn_prefill", batch=2, q_len=9, kv_len=21, window=5, **HEADS),
                                  ragged_case(((5, 19), (1, 33)), **HEADS)], ids=lambda c: c.key)
def test_torch_flash_varlen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = torch.ops.aten._flash_attention_forward.default._schema
    names = [a.name for a in schema.arguments]

    def forward(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        a = dict(zip(names, args, strict=False)) | kwargs
        assert set(a) <= set(names)
        out = flash({"q": a["query"], "k": a["key"], "v": a["value"], "cu_seqlens_q": a["cum_seq_q"], "causal": True,
                     "cu_seqlens_k": a["cum_seq_k"], "window_size": (a["window_size_left"], a["window_size_right"])})
        return out, None, None, None, None

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", forward)
    measured("fa2-torch", case)


@pytest.mark.parametrize(("name", "case"), [
    ("sdpa-flash", Case.of("attn_prefill", batch=2, q_len=16, kv_len=16, **MHA)),
    ("sdpa-flash", Case.of("attn_decode", batch=2, kv_len=40, **MHA)),
    ("flex", Case.of("attn_prefill", batch=2, q_len=16, kv_len=40, **HEADS)),
    ("flex", Case.of("attn_prefill", batch=2, q_len=16, kv_len=40, window=9, **HEADS)),
    ("flex", Case.of("attn_decode", batch=3, kv_len=130, **HEADS)),
    ("flex", Case.of("attn_decode", batch=3, kv_len=130, page_size=16, **HEADS)),
    ("flex", Case.of("attn_decode", batch=3, kv_len=130, page_size=64, window=40, **HEADS)),
    ("flex", Case.of("attn_prefill", batch=2, q_len=140, kv_len=200, page_size=32, **HEADS))],
    ids=lambda x: getattr(x, "key", x))
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_torch_attention(name: str, case: Case) -> None:
    measured(name, case)


@pytest.mark.parametrize(("name", "choice"), [("sdpa-flash", "FLASH_ATTENTION"), ("sdpa-cudnn", "CUDNN_ATTENTION"),
                                              ("sdpa-efficient", "EFFICIENT_ATTENTION")])
@pytest.mark.parametrize("q_len", [1, 16, 9])
def test_forced_sdpa_kernel(name: str, choice: str, q_len: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is forced around the call; the call and its mask are torch's own, computed by its plain kernel."""
    from torch.nn import attention

    forced = []
    real = attention.sdpa_kernel

    def sdpa_kernel(chosen: Any) -> Any:
        forced.append(chosen.name)
        return real(attention.SDPBackend.MATH)

    monkeypatch.setattr(attention, "sdpa_kernel", sdpa_kernel)
    case = Case.of("attn_prefill", batch=2, q_len=q_len, kv_len=16, **(MHA if name == "sdpa-efficient" else HEADS))
    if name == "sdpa-cudnn" and q_len == 9:
        assert "no way to say" in str(registry.backend(name).supports(case))
        return
    measured(name, case)
    assert set(forced) == {choice}


def test_vllm_operators_bind() -> None:
    """torch's dispatcher binds the calls to the recorded schemas."""
    def scaled(out: Any, a: Any, b: Any, a_scale: Any, b_scale: Any, bias: Any) -> None:
        assert b.stride(0) == 1 and a_scale.shape == (a.shape[0], 1) and b_scale.shape == (1, b.shape[1])
        out.copy_((a.float() * a_scale) @ (b.float() * b_scale))

    def repack(words: Any, perm: Any, k: int, n: int, bits: int, is_a_8bit: bool) -> Any:
        assert words.shape == (k // 8, n) and words.dtype == torch.int32 and bits == 4 and not perm.numel()
        return words.clone()

    def marlin(a: Any, c: Any, words: Any, bias: Any, scales: Any, *rest: Any) -> Any:
        m, n, k = rest[7:10]
        from costplan.kernels.vllm_gemm import SCALE_ORDER, UINT4B8

        assert rest[6] == UINT4B8 and a.shape == (m, k)
        order = torch.tensor(SCALE_ORDER).argsort()
        plain = scales.reshape(-1, 64)[:, order].reshape(-1, n).float().repeat_interleave(128, 0)
        shifts = torch.arange(0, 32, 4)
        numbers = (words[:, None].long() >> shifts[None, :, None] & 15).reshape(k, n)
        return (a.float() @ ((numbers - 8) * plain)).to(a.dtype)

    kept = vllm_stand_in.operators({"_C::cutlass_scaled_mm": scaled, "_C::gptq_marlin_repack": repack,
                                    "_C::marlin_gemm": marlin})
    measured("vllm-cutlass-fp8", gemm("fp8"))
    measured("vllm-marlin", gemm("int4", 5, 128, 256))
    kept.clear()


def test_flashmla_binds() -> None:
    def dense(q: Any, cache: Any, width: int, lens: Any, table: Any, scale: float, causal: bool, meta: Any, splits: Any,
              out: Any) -> Any:
        from tests.kernels.recorded import attend, paged

        made = [attend(q[i], paged(cache, table[i], int(n)), paged(cache, table[i], int(n))[..., :width], scale)
                for i, n in enumerate(lens)]
        fresh = (torch.zeros(1), torch.zeros(1)) if meta is None else (meta.clone(), splits.clone())
        return torch.stack(made).to(q.dtype), torch.zeros(1), *fresh

    kept = vllm_stand_in.operators({"_flashmla_C::dense_decode_fwd": dense})
    measured("flashmla", Case.of("mla_decode", batch=2, kv_len=100, num_heads=16, dtype="bf16", kv_dtype="bf16"))
    kept.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="spawns ranks over shared memory")
@pytest.mark.parametrize("op", ["all_reduce", "all_gather"])
def test_collectives_over_two_processes(op: str) -> None:
    """The group, its shared counter and its end are real; gloo stands in for NCCL."""
    case = Case.of("collective", num_gpus=2, message_bytes=4096, op=op, dtype="fp32")
    assert Nccl().supports(case) is None
    prepared = Nccl().prepare(case, Inputs("cpu", 1 << 16, 1 << 24, 3))
    for _ in range(20):
        out = prepared.calls[0]()
    assert prepared.error(out) < 1e-6
    assert prepared.error(out.roll(1)) > prepared.tolerance and not prepared.graphable
    del prepared
    assert not torch.distributed.is_initialized()


def test_int4_numbers_fit_their_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the packer gets are two 4-bit numbers a byte, even columns in the high half."""
    from costplan.kernels.cuda_int import int4_packed

    seen = []
    monkeypatch.setattr(torch.ops.aten, "_convert_weight_to_int4pack", lambda b, tiles: seen.append((b, tiles)) or b)
    weights = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    packed = int4_packed(weights)
    byte, tiles = seen[0]
    numbers = torch.stack([byte >> 4, byte & 15], -1).flatten(-2).float()
    scales = packed.stored[1].float().repeat_interleave(128, 0).permute(2, 1, 0)
    values = (numbers - 8) * scales[0] + scales[1]
    assert byte.dtype == torch.uint8 and tiles == 8 and byte.shape == (64, 128)
    assert torch.allclose(values, packed.value(range(64)).float(), atol=1e-4)
    assert float((values - weights).norm() / weights.norm()) < 0.12


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="this torch has no 4-bit floats")
@pytest.mark.parametrize("m", [3, 130])
def test_nvfp4_numbers_and_scales(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and tiled scales, undone by the layout that cuBLAS documents, give the values of the reference."""
    def plain(byte: Any, scale: Any) -> Any:
        from costplan.kernels.cuda_nvfp4 import VALUES

        rows, columns = byte.shape[0], byte.shape[1] // 8
        code = torch.stack([byte & 15, byte >> 4], -1).flatten(-2).long()
        sign = 1.0 - 2.0 * (code >= 8)
        flat = scale.view(torch.uint8)
        wide = -(-columns // 4)
        i, j = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        at = ((i // 128) * wide + j // 4) * 512 + (i % 32) * 16 + (i % 128 // 32) * 4 + j % 4
        spread = flat[at].view(torch.float8_e4m3fn).float().repeat_interleave(16, 1)
        return torch.tensor(VALUES)[code % 8] * sign * spread

    def product(a: Any, b: Any, *, scale_a: Any, scale_b: Any, out_dtype: Any) -> Any:
        left, right = plain(a.view(torch.uint8), scale_a), plain(b.t().view(torch.uint8), scale_b)
        return (left @ right.t()).to(out_dtype)

    monkeypatch.setattr(torch, "_scaled_mm", product)
    measured("torch-nvfp4", gemm("nvfp4", m, 128, 192))


@pytest.mark.parametrize(("name", "case"), [
    *(("torch-elementwise", Case.of("elementwise", m=6, k=512, op=op, dtype="bf16")) for op in sorted(OPS)),
    ("torch-moe", experts("bf16", 2)), ("torch-int8", gemm("int8")),
    ("flex", Case.of("attn_decode", batch=3, kv_len=130, page_size=16, **HEADS)),
    ("flex", Case.of("attn_prefill", batch=2, q_len=16, kv_len=40, window=9, **HEADS))],
    ids=lambda x: getattr(x, "key", x))
def test_what_is_compiled_is_one_graph(name: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph break (an error), and no second compilation for the other sets (torch gives up after eight)."""
    from torch._dynamo.utils import counters

    def compiled(function: Any, device: str) -> Any:
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False, fullgraph=True, backend="aot_eager")

    monkeypatch.setattr(sys.modules[type(registry.backend(name)).__module__], "compiled", compiled)
    counters.clear()
    prepared = measured(name, case)
    for call in prepared.calls:
        call()
    assert len(prepared.calls) > 2
    assert counters["stats"]["unique_graphs"] == 1
