"""Plots of the machine: the kernels of a step under the GPU's roofline, and the memory of one GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from costplan.catalog.gpu_spec import GpuSpec
from costplan.core.units import GIB
from costplan.perf.explain import KernelRow
from costplan.plan.types import Memory, Plan
from costplan.report.columns import Column
from costplan.report.html.chart import LABEL, Chart, Spec, by_colour, layer, number, whole
from costplan.report.html.palette import BLUE, GREEN, GREY, LINE, MUTED, ORANGE, PAPER, PURPLE, TEXT
from costplan.report.numbers import gib, percent, si, significant
from costplan.report.plan_details import Section
from costplan.report.roofline_text import RooflineView

INNER = (270.0, 210.0)
"""About what the axes leave of the roofline plot, to judge whether names touch."""
MOST_KERNELS = 6
WORTH_A_POINT = 0.002
"""Share of a step's time below which a kernel is left out of the plot."""
_COLOURS = {"decode": BLUE.light, "prefill": ORANGE.light}
_SHAPES = {"decode": "circle", "prefill": "square"}


def roofline(steps: Mapping[str, RooflineView]) -> Chart | None:
    """Kernels of the mean steps (``decode``, ``prefill``) under the roofs of their GPU; None where none computes."""
    rows = [p for phase, v in steps.items() for r in v.rows if (p := _point(phase, r, v)) is not None]
    if not rows:
        return None
    gpu = next(iter(steps.values())).gpu
    return Chart(
        "roofline", f"Kernels under the roofline of {gpu.title}",
        "Each mark is a kernel of the mean step; the larger, the more of the step it takes. On the slope memory "
        f"bandwidth ({si(gpu.mem_bandwidth_bytes_per_s)}B/s) limits, under the flat lines arithmetic; the distance "
        "below is what the kernel loses.", _under_roofs(rows, gpu, list(steps)),
        [Column("step"), Column("kernel"), Column("calls", right=True), Column("FLOP/B", right=True),
         Column("FLOP/s", right=True), Column("share of step", right=True), Column("of roof", right=True),
         Column("bound"), Column("evidence")],
        [[phase, r.name, significant(r.calls), "-" if r.intensity is None else significant(r.intensity),
          "-" if not r.flops else si(r.flops / r.predicted_s), percent(r.calls * r.predicted_s / v.step_s),
          percent(r.efficiency), r.bound, str(r.evidence)] for phase, v in steps.items() for r in v.rows])


def kernels(steps: Mapping[str, RooflineView]) -> Section:
    """Where the time of each step goes."""
    rows = []
    for phase, v in steps.items():
        longest = sorted(v.rows, key=lambda r: -r.calls * r.predicted_s)[:MOST_KERNELS]
        rows += [[f"{phase}: {r.name}", percent(r.calls * r.predicted_s / v.step_s), percent(r.efficiency)]
                 for r in longest]
        rows.append([f"{phase}: engine's own", percent(v.engine_s / v.step_s), ""])
    return Section("roofline", [Column("kernel"), Column("share of step", right=True), Column("of roof", right=True)],
                   rows, note="the mean decode step and prefill step of the recommended plan, and what takes their "
                              "time")


def _point(phase: str, r: KernelRow, v: RooflineView) -> Spec | None:
    """None for kernels that compute nothing or take next to no time."""
    share = r.calls * r.predicted_s / v.step_s
    if r.intensity is None or r.flops is None or share < WORTH_A_POINT:
        return None
    return {"phase": phase, "name": r.name, "intensity": r.intensity, "flops": r.flops / r.predicted_s, "share": share}


def _under_roofs(rows: Sequence[Spec], gpu: GpuSpec, phases: Sequence[str]) -> Spec:
    left = 10 ** math.floor(math.log10(min(r["intensity"] for r in rows)))
    roofs, names = _roofs(gpu, left, max(r["intensity"] for r in rows))
    right, top = (max(r[k] for r in roofs) for k in ("intensity", "flops"))
    bottom = min(r["flops"] for r in (*roofs, *rows))
    x = number("intensity", "FLOP per byte", axis={"format": "~g", "values": _decades(left, right)}, type="log",
               domain=[left, right], nice=False)
    y = number("flops", "FLOP/s of one GPU", axis={"format": "~s", "values": _decades(bottom, top)}, type="log",
               domain=[bottom, top * 1.4], nice=False)
    size = {"field": "share", "type": "quantitative", "legend": None, "scale": {"domain": [0, 1], "range": [25, 700]}}
    said = {"x": x, "y": y, "text": {"field": "name"}}
    beside = _named(rows, names, (left, right), (bottom, top * 1.4))
    return whole(
        layer("line", {"x": x, "y": y, "detail": {"field": "roof"}}, roofs, color=MUTED.light, strokeWidth=2),
        layer("text", {"x": x, "y": y, "text": {"field": "roof"}}, names, align="right", dx=-10, color=MUTED.light),
        layer("point", {"x": x, "y": y, "color": by_colour("phase", {k: _COLOURS[k] for k in phases}),
                        "shape": by_colour("phase", {k: _SHAPES[k] for k in phases}), "size": size},
              rows, filled=True, opacity=0.8),
        layer("text", said, beside, align="left", color=PAPER.light, stroke=PAPER.light, strokeWidth=4),
        layer("text", said, beside, align="left"), height=300)


def _named(rows: Sequence[Spec], roofs: Sequence[Spec], across: tuple[float, float],
           up: tuple[float, float]) -> list[Spec]:
    """Where to write the names of the largest marks: right of the mark, below it or left of it, if there is room."""
    per_x, per_y = INNER[0] / math.log(across[1] / across[0]), INNER[1] / math.log(up[1] / up[0])

    def at(r: Spec) -> tuple[float, float]:
        return per_x * math.log(r["intensity"] / across[0]), per_y * math.log(r["flops"] / up[0])

    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in map(at, rows)]
    taken += [(x - 10 - _wide(r["roof"]), y - 6, x, y + 6) for r in roofs for x, y in (at(r),)]
    found: list[Spec] = []
    for r in sorted(rows, key=lambda r: -r["share"]):
        (x, y), wide = at(r), _wide(r["name"])
        for a, b in ((x + 14, y), (min(x - wide / 2, INNER[0] - wide), y - 20), (x - wide - 14, y)):
            box = (a, b - 6, a + wide, b + 6)
            if a > 0 and box[2] <= INNER[0] and box[1] > 0 and not any(_touch(box, o) for o in taken):
                taken.append(box)
                found.append({"name": r["name"], "intensity": across[0] * math.exp(a / per_x),
                              "flops": up[0] * math.exp(b / per_y)})
                break
    return found


def _wide(text: str) -> float:
    """About how wide ``text`` is drawn."""
    return 0.55 * LABEL * len(text)


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _roofs(gpu: GpuSpec, left: float, most: float) -> tuple[list[Spec], list[Spec]]:
    """Corners of the roofs of the formats with a peak of their own, and where to write their names."""
    bandwidth = gpu.mem_bandwidth_bytes_per_s
    peaks: dict[float, str] = {}
    for name in ("bf16", "fp8", "fp4"):
        peak = gpu.peak(name)
        if peak is not None:
            peaks.setdefault(peak, name)
    right = max(most * 2, 4 * max(peaks, default=bandwidth) / bandwidth)
    roofs: list[Spec] = []
    names: list[Spec] = []
    for peak, name in peaks.items():
        said = f"{name} {si(peak)}FLOP/s"
        corners = (left, peak / bandwidth, right)
        roofs += [{"roof": said, "intensity": x, "flops": min(peak, bandwidth * x)} for x in corners]
        names.append({"roof": said, "intensity": peak / bandwidth, "flops": peak})
    return roofs, names


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten from ``low`` to ``high``."""
    return [10.0**k for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def memory(p: Plan) -> Chart:
    """What fills one GPU, the KV cache split into what this load uses at its peak and what stays free."""
    m = p.memory
    rows: list[Spec] = []
    at = 0.0
    for name, size, colour in _parts(m):
        rows.append({"part": name, "from": at / GIB, "to": (at + size) / GIB, "size": size, "colour": colour})
        at += size
    legend = {"columns": 2, "symbolType": "square", "symbolStrokeColor": MUTED.light}
    spec = whole(layer("bar", {
        "x": number("from", "GiB of one GPU", nice=False, domain=[0, at / GIB]), "x2": {"field": "to"},
        "color": {**by_colour("part", {r["part"]: r["colour"] for r in rows}), "legend": legend}},
        stroke=TEXT.light, strokeWidth=0.7, height=34), height=190, data=rows)
    used = "" if m.peak_occupancy is None else (
        f" At most {gib(m.kv_bytes * m.peak_occupancy)} of the {gib(m.kv_bytes)} KV cache are in use at this load "
        f"({percent(m.peak_occupancy)}).")
    return Chart("memory", "What fills one GPU", f"{gib(m.total_bytes)} in all, from left to right as in the legend."
                 f"{used}", spec, [Column("part"), Column("size", right=True), Column("share", right=True)],
                 [[r["part"], gib(r["size"]), percent(r["size"] / m.total_bytes)] for r in rows])


def _parts(m: Memory) -> list[tuple[str, float, str]]:
    """Name, bytes and colour of what is there."""
    used = m.kv_bytes if m.peak_occupancy is None else m.kv_bytes * m.peak_occupancy
    parts = [("weights", m.weights_bytes, BLUE), ("activations", m.activation_bytes, PURPLE),
             ("CUDA graphs", m.graph_bytes, MUTED), ("runtime", m.runtime_bytes, GREY),
             ("KV cache" if m.peak_occupancy is None else "KV cache in use", used, GREEN),
             ("KV cache free", m.kv_bytes - used, LINE)]
    found = [(name, float(size), ink.light) for name, size, ink in parts if size > 0]
    outside = [("outside the engine's share", float(m.reserved_bytes), "transparent")] if m.reserved_bytes else []
    return [*found, *outside]
