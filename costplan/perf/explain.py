"""One engine step kernel by kernel: what each must do, the least time that takes, and the time predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from costplan.core.evidence import Evidence
from costplan.perf.batch import BatchState
from costplan.perf.ops import Op


@dataclass(frozen=True, slots=True)
class KernelRow:
    """``calls`` per step of one kernel; all other figures are of one call.

    ``flops`` and ``bytes`` are None where the kernel only moves messages between GPUs. ``roofline_s`` is the
    least time on this GPU, one kernel launch included.
    """

    part: str
    name: str
    calls: float
    flops: float | None
    bytes: float | None
    roofline_s: float
    predicted_s: float
    log_sd: float
    bound: str
    evidence: Evidence

    @property
    def intensity(self) -> float | None:
        """FLOPs per byte; None where either is unknown or nothing is computed."""
        return self.flops / self.bytes if self.flops and self.bytes else None

    @property
    def efficiency(self) -> float:
        """Roofline time over predicted time."""
        return self.roofline_s / self.predicted_s


def kernel_rows(ops: Sequence[Op], batch: BatchState) -> list[KernelRow]:
    """The kernels that a step over ``batch`` runs, the most expensive first; equal kernels are one row."""
    found: dict[tuple[object, ...], KernelRow] = {}
    for op in ops:
        row = _row(op, batch)
        if row is None:
            continue
        key = (row.part, row.name, row.flops, row.bytes, row.predicted_s)
        seen = found.get(key)
        found[key] = row if seen is None else replace(seen, calls=seen.calls + row.calls)
    return sorted(found.values(), key=lambda r: -r.calls * r.predicted_s)


def _row(op: Op, batch: BatchState) -> KernelRow | None:
    point = op.at(batch)
    if point is None:
        return None
    t = op.kernel.time(point)
    work = op.kernel.work(point) if op.kernel.work else None
    return KernelRow(op.part, op.kernel.name, op.count, work.flops if work else None, work.bytes if work else None,
                     op.kernel.baseline(point), t.seconds, t.log_sd, t.bound, t.evidence)
