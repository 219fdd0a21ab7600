"""The first cases: a coarse tensor grid around what the workload visits, and what a grid cannot tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from costplan.campaign.device import Device
from costplan.campaign.estimate import case_s
from costplan.campaign.kernel import Kernel, legal
from costplan.campaign.shapes import Demand, DemandPoint
from costplan.campaign.stand_in import affordable, source_at
from costplan.profile.case import Case

PAGES = (0, 1, 16, 32, 64, 128, 256)
SPLITS = (1, 2, 4, 8)
_RATIO = {"message_bytes": 16.0}
_FAMILY_RATIO = {"elementwise": 16.0}
RATIO = 8.0
"""Sizes of the first grid are three octaves apart; the adaptive rule halves where that is too coarse."""
EXTRA_SHARE = 0.05
"""Value of a page size or split count beside the grid, as a share of its kernel's weight."""
END_SHARE = 0.4
"""Value of the outermost sizes of a kernel, as a share of its heaviest cell's."""
RAGGED_SHARE = 0.3
"""Value of all ragged batches together, as a share of the attention's weight."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One case with the share of step time it tells about, and what it takes. ``tier`` 0 comes first: one coarse
    answer per family; 1 is the grid, 2 what lies beside it."""

    case: Case
    value: float
    seconds: float
    tier: int = 1


def initial(demand: Demand, device: Device, max_case_s: float) -> list[Wanted]:
    """The first grid, page sizes, splits and ragged batches: best value per second first within each tier."""
    found: dict[Case, Wanted] = {}
    covered: set[object] = set()
    for kernel in demand.kernels:
        points = demand.of(kernel)
        cells = _cells(kernel, points, device, max_case_s)
        first = _coarse(kernel, cells, covered)
        beside = _beside(kernel, points, demand, device, max_case_s)
        for w in (*(replace(c, tier=0) if c.case in first else c for c in cells), *beside):
            _add(found, w)
    for w in _ragged(demand, device, max_case_s):
        _add(found, w)
    return sorted(found.values(), key=lambda w: (w.tier, -w.value / w.seconds, w.case.key))


def _add(found: dict[Case, Wanted], w: Wanted) -> None:
    """Values of a case that several kernels ask for (with one stand-in) add up."""
    old = found.get(w.case)
    found[w.case] = w if old is None else replace(old, value=old.value + w.value, tier=min(old.tier, w.tier))


def _coarse(kernel: Kernel, cells: Sequence[Wanted], covered: set[object]) -> set[Case]:
    """Cells that come before all others: three of the heaviest kernel of each family (the heaviest, and the least and
    greatest along the first axis), one of the heaviest of each format, operation and class of matrix sizes."""
    kind = (kernel.family, kernel.chunked, *(kernel.get(n) for n in ("dtype", "kv_dtype", "op")), _weight_class(kernel))
    if not cells or kind in covered:
        return set()
    heaviest = max(cells, key=lambda c: c.value).case
    if kernel.family in covered:
        covered.add(kind)
        return {heaviest}
    covered.update((kernel.family, kind))
    order = sorted(cells, key=lambda c: c.case.size(kernel.sweep[0]))
    return {heaviest, order[0].case, order[-1].case}


def _weight_class(kernel: Kernel) -> int | None:
    """Matrices of one class lie within a factor of 8; without one of each, grids would be asked far outside."""
    if kernel.family != "gemm":
        return None
    return round(math.log(kernel.number("n") * kernel.number("k"), 8))


def axis_sizes(kernel: Kernel, d: int, points: Sequence[DemandPoint]) -> list[int]:
    """Sizes of one axis of the first grid: from below the least to above the greatest size that is visited."""
    axis = kernel.sweep[d]
    ratio = _FAMILY_RATIO.get(kernel.family, _RATIO.get(axis, RATIO))
    low, high = min(p.at[d] for p in points), max(p.at[d] for p in points)
    first, last = 2 ** math.floor(math.log2(max(1, low))), 2 ** math.ceil(math.log2(max(1, high)))
    steps = max(1, math.ceil(math.log(last / first) / math.log(ratio) - 1e-9))
    exact = [first * (last / first) ** (i / steps) for i in range(steps + 1)]
    return sorted({legal(axis, 2 ** round(math.log2(x))) for x in exact})


def _cells(kernel: Kernel, points: Sequence[DemandPoint], device: Device, max_case_s: float) -> list[Wanted]:
    """Affordable cells of the first grid, each with the demand that lies around it."""
    axes = [axis_sizes(kernel, d, points) for d in range(len(kernel.sweep))]
    weight: dict[tuple[int, ...], float] = {}
    for p in points:
        for at, share in corners(axes, p.at):
            weight[at] = weight.get(at, 0.0) + share * p.weight
    out = []
    for at in product(*axes):
        source = source_at(kernel, at, device, max_case_s) if at in weight else None
        if source is not None:
            case = source.case(at)
            out.append(Wanted(case, weight[at], case_s(case, device)))
    return _hold_ends(kernel, out)


def _hold_ends(kernel: Kernel, cells: list[Wanted]) -> list[Wanted]:
    """The heaviest of the least and of the greatest cells along the first axis are worth nearly as much as the
    heaviest of all: without them a kernel is asked far outside what was measured."""
    if not cells:
        return cells
    size = {w.case: w.case.size(kernel.sweep[0]) for w in cells}
    least = END_SHARE * max(w.value for w in cells)
    ends = [max((w for w in cells if size[w.case] == end), key=lambda w: w.value).case
            for end in (min(size.values()), max(size.values()))]
    return [replace(w, value=max(w.value, least)) if w.case in ends else w for w in cells]


def corners(axes: Sequence[Sequence[float]], at: Sequence[float]) -> Iterator[tuple[tuple[int, ...], float]]:
    """Cells around a point with their weights in (log) linear interpolation; outside, the nearest."""
    sides = [_sides(axis, x) for axis, x in zip(axes, at, strict=True)]
    for choice in product(*sides):
        yield tuple(int(size) for size, _ in choice), math.prod(share for _, share in choice)


def _sides(axis: Sequence[float], x: float) -> list[tuple[float, float]]:
    if x <= axis[0] or len(axis) == 1:
        return [(axis[0], 1.0)]
    if x >= axis[-1]:
        return [(axis[-1], 1.0)]
    i = next(j for j in range(len(axis) - 1) if axis[j] <= x < axis[j + 1])
    w = math.log(x / axis[i]) / math.log(axis[i + 1] / axis[i])
    return [(axis[i], 1.0 - w), (axis[i + 1], w)]


def _beside(kernel: Kernel, points: Sequence[DemandPoint], demand: Demand, device: Device,
            max_case_s: float) -> Iterator[Wanted]:
    """Other page sizes at three typical points, and split counts at few long sequences, for the heaviest attention
    kernel of each KV format."""
    if kernel.family not in ("attn_decode", "attn_prefill") or kernel.chunked or not _heaviest(kernel, demand):
        return
    total = sum(p.weight for p in points)
    places = _typical(points, kernel)
    for page in PAGES:
        for at in places if page != kernel.number("page_size") else ():
            yield from _variant(kernel, at, total, device, max_case_s, page_size=page)
    if kernel.family == "attn_decode":
        longest = max(p.at[1] for p in points)
        for at in {(1, legal("kv_len", longest)), (4, legal("kv_len", longest / 2))}:
            for splits in (0, *SPLITS):
                yield from _variant(kernel, at, total, device, max_case_s, num_splits=splits)


def _variant(kernel: Kernel, at: tuple[int, ...], weight: float, device: Device, max_case_s: float,
             **fixed: int) -> Iterator[Wanted]:
    values = {k: v for k, v in (dict(kernel.fixed) | fixed).items() if v != 0}
    case = Kernel.of(kernel.family, kernel.sweep, **values).case(at)
    if affordable(case, device, max_case_s):
        yield Wanted(case, EXTRA_SHARE * weight, case_s(case, device), 2)


def _heaviest(kernel: Kernel, demand: Demand) -> bool:
    """Whether no other kernel of its family and KV format takes more time."""
    same = (k for k in demand.kernels if k.family == kernel.family and k.get("kv_dtype") == kernel.get("kv_dtype")
            and not k.chunked)
    return next(same, None) == kernel


def _typical(points: Sequence[DemandPoint], kernel: Kernel) -> list[tuple[int, ...]]:
    """Light, middle and heavy: the 20, 60 and 95 % points of the demand by total size, on powers of two."""
    order = sorted(points, key=lambda p: math.prod(p.at))
    total, seen, out = sum(p.weight for p in points), 0.0, []
    marks = [0.2, 0.6, 0.95]
    for p in order:
        seen += p.weight / total
        while marks and seen >= marks[0] - 1e-9:
            marks.pop(0)
            out.append(tuple(legal(a, 2 ** round(math.log2(x))) for a, x in zip(kernel.sweep, p.at, strict=True)))
    return list(dict.fromkeys(out))


def _ragged(demand: Demand, device: Device, max_case_s: float) -> Iterator[Wanted]:
    share = RAGGED_SHARE * sum(p.weight for p in demand.points if p.kernel.family.startswith("attn"))
    cases = [(c, w) for c, w in demand.ragged if affordable(c, device, max_case_s)]
    for i, (case, w) in enumerate(cases):
        yield Wanted(case, share * w, case_s(case, device), 0 if i == 0 else 1)
