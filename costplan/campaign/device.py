"""The device to be measured, as far as a design must know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from costplan.catalog.gpu_spec import GpuSpec

USABLE = 0.8
"""Part of the memory that input sets may fill; the rest is for the reference check, workspaces and others."""


@dataclass(frozen=True, slots=True)
class Device:
    """``kind`` is cuda or cpu, ``count`` how many equal devices are present (collectives need several),
    ``gpu`` what the catalogue, or a measurement of the ceilings, says of one."""

    kind: str
    gpu: GpuSpec
    count: int = 1

    @property
    def memory_bytes(self) -> float:
        """Bytes that one case may use."""
        return USABLE * self.gpu.mem_bytes


def measured_device(kind: str, name: str, *, peak_flops: Mapping[str, float], bandwidth_bytes_per_s: float,
                    mem_bytes: int, cache_bytes: int | None = None, count: int = 1) -> Device:
    """A device that is in no catalogue, from its measured ceilings: FLOP/s by format, copy bandwidth."""
    spec = GpuSpec(
        name=name, title=name, vendor="CPU" if kind == "cpu" else "unknown", arch=kind, compute_capability="",
        peak_flops=MappingProxyType(dict(peak_flops)), mem_bytes=mem_bytes, mem_marketed_bytes=mem_bytes,
        mem_bandwidth_bytes_per_s=bandwidth_bytes_per_s, l2_bytes=cache_bytes, num_sms=None, link=None,
        link_bytes_per_s=None, pcie_bytes_per_s=None, node_net_bytes_per_s=None, gpus_per_node=max(1, count),
        tdp_w=None, notes="ceilings measured on this machine", sources=MappingProxyType({}))
    return Device(kind, spec, count)
