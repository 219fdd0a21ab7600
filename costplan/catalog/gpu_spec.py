"""What a GPU is to a cost planner: dense peaks, memory as the driver exposes it, links, power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """One accelerator. ``None`` is unknown or absent; ``notes`` says which, and where sources disagree.

    ``peak_flops`` maps a compute format (``fp32 fp16 bf16 fp8 int8 fp4``) to dense FLOP/s (or OP/s), never
    the sparse figure. ``mem_bytes`` is what the driver reports as total (what an engine multiplies by its
    memory fraction); ``mem_marketed_bytes`` what the box says, its GB read as GiB. Link speeds are bytes/s
    **per GPU and direction**; ``link_gpus`` GPUs reach each other over the link (more than a node on NVL72,
    fewer on NVLink bridges; None: as many as a node holds). ``sources`` maps a field name
    (``peak_flops.bf16`` for a peak) to where its value comes from.
    """

    name: str
    title: str
    vendor: str
    arch: str
    compute_capability: str
    peak_flops: Mapping[str, float]
    mem_bytes: int
    mem_marketed_bytes: int
    mem_bandwidth_bytes_per_s: float
    l2_bytes: int | None
    num_sms: int | None
    link: str | None  # NVLink4, xGMI, PCIe, RoCE, ICI ...
    link_bytes_per_s: float | None
    pcie_bytes_per_s: float | None
    node_net_bytes_per_s: float | None  # RoCE / InfiniBand per GPU
    gpus_per_node: int
    tdp_w: float | None
    notes: str
    sources: Mapping[str, str]
    link_gpus: int | None = None

    def peak(self, compute: str) -> float | None:
        """Dense peak FLOP/s of format ``compute``; None where the device has no such unit."""
        return self.peak_flops.get(compute)

    @property
    def is_cpu(self) -> bool:
        """A processor, not an accelerator: no tensor parallelism, no graphs, no collectives."""
        return self.vendor.upper() == "CPU" or self.arch.lower() == "cpu"
