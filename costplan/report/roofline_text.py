"""`costplan roofline`: the kernels of one step against the least time that they can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from costplan.catalog.gpu_spec import GpuSpec
from costplan.perf.batch import BatchState
from costplan.perf.explain import KernelRow
from costplan.report.columns import Column, dropped, facts, heading, table
from costplan.report.numbers import percent, seconds, si, significant
from costplan.report.style import Style

SCHEMA = "costplan.roofline/1"
_COLUMNS = (
    Column("kernel"), Column("calls", right=True), Column("FLOP", right=True, expendable=3),
    Column("bytes", right=True, expendable=2), Column("FLOP/B", right=True, expendable=1),
    Column("roofline", right=True), Column("predicted", right=True), Column("share", right=True, expendable=1),
    Column("of roof", right=True), Column("bound"), Column("evidence"))


@dataclass(frozen=True, slots=True)
class RooflineView:
    """One step: the question in words, its kernels, and the whole step's time with the engine's own part."""

    title: str
    gpu: GpuSpec
    batch: BatchState
    rows: Sequence[KernelRow]
    step_s: float
    engine_s: float
    basis: str


def roofline_text(v: RooflineView, style: Style) -> str:
    """Title, table, totals, and what the GPU could do at best."""
    cells = [_cells(r, v.step_s) for r in v.rows]
    cells.append(["engine", "", "", "", "", "", seconds(v.engine_s), percent(v.engine_s / v.step_s), "", "", ""])
    cells.append(["step", "", *(si(_total(v.rows, k)) for k in ("flops", "bytes")), "",
                  seconds(_least(v.rows)), seconds(v.step_s), "", percent(_least(v.rows) / v.step_s), "", ""])
    lines = [*heading(v.title, style), "", *table(_COLUMNS, cells, style), ""]
    lines += facts([("figures", "of all calls of one step; roofline: max(FLOP / peak, bytes / bandwidth) and one "
                                "launch of 2 us per call; of roof: roofline / predicted"),
                    ("kernels", v.basis), ("peaks", _peaks(v.gpu))], style)
    left_out = dropped(_COLUMNS, cells, style)
    if left_out:
        lines += facts([("left out", f"{', '.join(left_out)}: no room in {style.width} columns (--json has all)")],
                       style)
    return "\n".join(lines) + "\n"


def _cells(r: KernelRow, step_s: float) -> list[str]:
    def known(x: float | None) -> str:
        return "-" if x is None else si(r.calls * x)

    return [r.name, significant(r.calls), known(r.flops), known(r.bytes),
            "-" if r.intensity is None else significant(r.intensity), seconds(r.calls * r.roofline_s),
            seconds(r.calls * r.predicted_s), percent(r.calls * r.predicted_s / step_s), percent(r.efficiency),
            r.bound, r.evidence.value]


def _least(rows: Sequence[KernelRow]) -> float:
    return sum(r.calls * r.roofline_s for r in rows)


def _total(rows: Sequence[KernelRow], what: str) -> float:
    return sum(r.calls * (getattr(r, what) or 0.0) for r in rows)


def _peaks(gpu: GpuSpec) -> str:
    flops = ", ".join(f"{k} {v / 1e12:,.{0 if v >= 1e13 else 2}f}" for k, v in gpu.peak_flops.items())
    speed = gpu.mem_bandwidth_bytes_per_s
    read = f"{speed / 1e12:.2f} TB/s" if speed >= 1e11 else f"{speed / 1e9:.1f} GB/s"
    return f"{gpu.title}: {read}; dense TFLOP/s (int8: TOP/s): {flops}"


def roofline_json(v: RooflineView) -> dict[str, Any]:
    """The same as plain values; figures of one call, in FLOPs, bytes and seconds."""
    return {
        "schema": SCHEMA, "title": v.title, "gpu": v.gpu.name, "step_s": v.step_s, "engine_s": v.engine_s,
        "roofline_s": _least(v.rows), "basis": v.basis,
        "batch": {"decode_seqs": v.batch.decode_seqs, "decode_kv_tokens": v.batch.decode_kv_tokens,
                  "prefill_tokens": v.batch.prefill_tokens, "prefill_seqs": v.batch.prefill_seqs},
        "kernels": [{
            "part": r.part, "name": r.name, "calls_per_step": r.calls, "flops": r.flops, "bytes": r.bytes,
            "flops_per_byte": r.intensity, "roofline_s": r.roofline_s, "predicted_s": r.predicted_s,
            "efficiency": r.efficiency, "log_sd": r.log_sd, "bound": r.bound, "evidence": r.evidence.value,
        } for r in v.rows],
    }
