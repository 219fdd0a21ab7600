"""A kernel book that remembers which measured columns each of its kernels stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costplan.campaign.kernel import SWEEPS, Kernel
from costplan.perf.attention_kernel import AttentionShape, MlaShape
from costplan.perf.book import KernelBook
from costplan.perf.elementwise_kernel import MEASURED_OPS, Parts
from costplan.perf.formats import MatmulFormat
from costplan.perf.linear_kernel import LinearShape
from costplan.perf.moe_kernel import MoeShape
from costplan.perf.timed import TimedKernel

MOE_ROUTING = "power_law_1.01"
"""Mild skew is nearest to real traffic (see perf/moe_kernel.py)."""
_CONV_KERNEL = 4


class RecordingBook(KernelBook):
    """`KernelBook` with ``kernels``: `Kernel` of every `TimedKernel` handed out, by its id.

    Attention is recorded for pages of ``page_size`` tokens in decode and contiguous in prefill.
    """

    def __init__(self, *args: Any, page_size: int = 16, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.page_size = page_size
        self.kernels: dict[int, Kernel] = {}

    def _note(self, timed: TimedKernel, family: str, **fixed: int | str) -> TimedKernel:
        named = {k: v for k, v in fixed.items() if v != 0}
        self.kernels[id(timed)] = Kernel.of(family, SWEEPS[family], **named)
        return timed

    def gemm(self, n: int, k: int, fmt: MatmulFormat, name: str) -> TimedKernel:
        return self._note(super().gemm(n, k, fmt, name), "gemm", n=n, k=k, dtype=fmt.tables[0])

    def attn_decode(self, shape: AttentionShape, *args: Any, **kwargs: Any) -> TimedKernel:
        return self._note(super().attn_decode(shape, *args, **kwargs), "attn_decode", **_heads(shape),
                          page_size=self.page_size)

    def attn_prefill(self, shape: AttentionShape, *args: Any, **kwargs: Any) -> TimedKernel:
        return self._note(super().attn_prefill(shape, *args, **kwargs), "attn_prefill", **_heads(shape))

    def elementwise(self, name: str, bytes_per_token: float, parts: Parts) -> tuple[TimedKernel, ...]:
        found = super().elementwise(name, bytes_per_token, parts)
        for timed, (part, width) in zip(found, parts, strict=False):
            if timed.grid is not None:
                self._note(timed, "elementwise", op=MEASURED_OPS[part][0], k=width, dtype="bf16")
        return found

    def mla(self, shape: MlaShape, *, prefill: bool) -> TimedKernel:
        return self._note(super().mla(shape, prefill=prefill), "mla_prefill" if prefill else "mla_decode",
                          num_heads=shape.num_heads, dtype="bf16", kv_dtype=shape.kv_dtype)

    def moe(self, shape: MoeShape, fmt: MatmulFormat) -> TimedKernel:
        return self._note(super().moe(shape, fmt), "moe", hidden_size=shape.hidden, inter_size=shape.inter,
                          top_k=shape.top_k, num_experts=shape.num_experts, tp=shape.tp, ep=shape.ep,
                          dtype=fmt.tables[0], distribution=MOE_ROUTING)

    def collective(self, op: str, num_gpus: int) -> TimedKernel:
        return self._note(super().collective(op, num_gpus), "collective", op=op, num_gpus=num_gpus, dtype="bf16")

    def linear_attention(self, shape: LinearShape, *, prefill: bool) -> list[TimedKernel]:
        found = super().linear_attention(shape, prefill=prefill)
        sweep: Sequence[str] = ("batch", "seq_len") if prefill else ("batch",)
        kernel = Kernel.of(
            "linear_attention", sweep, kind=shape.kind, phase="prefill" if prefill else "decode",
            hidden_size=shape.hidden_size, num_k_heads=shape.num_k_heads, head_k_dim=shape.head_k_dim,
            num_v_heads=shape.num_v_heads, head_v_dim=shape.head_v_dim, conv_kernel=_CONV_KERNEL)
        self.kernels[id(found[0])] = kernel
        return found


def _heads(s: AttentionShape) -> dict[str, int | str]:
    return {"num_heads": s.num_heads, "num_kv_heads": s.num_kv_heads, "head_dim": s.head_dim, "window": s.window,
            "dtype": "bf16", "kv_dtype": s.kv_dtype}
