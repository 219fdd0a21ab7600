"""Timed kernels of one GPU, built when first asked for and kept: a search asks for the same shapes again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from costplan.catalog.gpu_spec import GpuSpec
from costplan.perf.attention_kernel import AttentionShape, MlaShape, attention, mla
from costplan.perf.collective_kernel import collective
from costplan.perf.elementwise_kernel import Parts, elementwise
from costplan.perf.formats import MatmulFormat
from costplan.perf.gemm_kernel import gemm
from costplan.perf.kernel_source import KernelSource, Source
from costplan.perf.linear_kernel import LinearShape, linear_attention
from costplan.perf.moe_kernel import MoeShape, moe
from costplan.perf.ragged import uneven
from costplan.perf.timed import TimedKernel

T = TypeVar("T")


class KernelBook:
    """Kernels for ``target`` from profiles that were measured on ``measured_on``.

    ``static_quant`` says that activations are quantised inside the preceding kernel (see `gemm_kernel`),
    ``prefixes`` which of several attention kernels the engine runs (see `engine_kernels`).
    """

    def __init__(self, sources: Sequence[Source], measured_on: GpuSpec | None, target: GpuSpec, *,
                 static_quant: bool = False, prefixes: tuple[str, ...] = ()) -> None:
        self.source = KernelSource(sources, measured_on, target, prefixes)
        self.static_quant = static_quant
        self._kept: dict[object, object] = {}

    @property
    def target(self) -> GpuSpec:
        return self.source.target

    def _keep(self, key: object, make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
        return cast(T, self._kept[key])

    def gemm(self, n: int, k: int, fmt: MatmulFormat, name: str) -> TimedKernel:
        """Coordinate: ``(m,)``."""
        return self._keep(("gemm", n, k, fmt.weight, fmt.compute, name),
                          lambda: gemm(self.source, n, k, fmt, name, static_quant=self.static_quant))

    def attn_decode(self, shape: AttentionShape) -> TimedKernel:
        """Coordinates: ``(batch, kv_len)``."""
        return self._keep(("decode", shape), lambda: self._uneven(shape, attention(self.source, shape, prefill=False)))

    def attn_prefill(self, shape: AttentionShape) -> TimedKernel:
        """Coordinates: ``(batch, q_len)``, and ``(batch, q_len, kv_len)`` too where `reads_context`."""
        return self._keep(("prefill", shape), lambda: self._uneven(shape, attention(self.source, shape, prefill=True),
                                                                   prefill=True))

    def _uneven(self, shape: AttentionShape, kernel: TimedKernel, *, prefill: bool = False) -> TimedKernel:
        return uneven(self.source, shape, kernel, prefill=prefill)

    def elementwise(self, name: str, bytes_per_token: float, parts: Parts) -> tuple[TimedKernel, ...]:
        """Coordinate: ``(tokens,)``."""
        return self._keep(("elementwise", name, bytes_per_token, parts),
                          lambda: elementwise(self.source, name, bytes_per_token, parts))

    def mla(self, shape: MlaShape, *, prefill: bool) -> TimedKernel:
        """Coordinates: ``(batch, q_len)`` or ``(batch, kv_len)``."""
        return self._keep((shape, prefill), lambda: mla(self.source, shape, prefill=prefill))

    def moe(self, shape: MoeShape, fmt: MatmulFormat) -> TimedKernel:
        """Coordinate: ``(tokens,)`` over all ranks."""
        return self._keep((shape, fmt.weight, fmt.compute), lambda: moe(self.source, shape, fmt))

    def collective(self, op: str, num_gpus: int) -> TimedKernel:
        """Coordinate: ``(message_bytes,)``."""
        return self._keep((op, num_gpus), lambda: collective(self.source, op, num_gpus))

    def linear_attention(self, shape: LinearShape, *, prefill: bool) -> list[TimedKernel]:
        """Coordinates: ``(batch, seq_len)``, in decode ``(batch,)``."""
        return self._keep((shape, prefill), lambda: linear_attention(self.source, shape, prefill=prefill))
