"""Shapes that are measured but never fitted: random draws of the demand, and how far predictions miss them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from costplan.campaign.device import Device
from costplan.campaign.estimate import case_s
from costplan.campaign.fit import fit
from costplan.campaign.kernel import kernel_of
from costplan.campaign.planner_view import Site, planner_kernels, predicted_s
from costplan.campaign.results import Measured, Row, fastest
from costplan.campaign.shapes import Demand
from costplan.campaign.stand_in import source_at
from costplan.core.errors import OutOfRangeError
from costplan.core.rng import stream
from costplan.profile.case import Case


@dataclass(frozen=True, slots=True)
class Miss:
    """One held-out case: measured and predicted seconds, and its weight in the demand."""

    case: Case
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return abs(self.predicted_s / self.measured_s - 1.0)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Relative errors on held-out cases: median and 90th percentile, by family and in all; ``step_error`` is that of
    the demand-weighted time. None where nothing was held out. ``unanswered`` cases lie beyond all that was measured."""

    cases: int
    unanswered: int
    median: float | None
    p90: float | None
    step_error: float | None
    by_family: tuple[tuple[str, int, float, float], ...]
    misses: tuple[Miss, ...]


def split_ragged(demand: Demand) -> tuple[Demand, list[Case]]:
    """The demand with three of four ragged batches, and the others to be held out."""
    held = demand.ragged[3::4]
    return replace(demand, ragged=tuple(x for x in demand.ragged if x not in held)), [case for case, _ in held]


def draw(demand: Demand, device: Device, *, n: int, seed: int, max_case_s: float, without: Collection[Case],
         budget_s: float = math.inf) -> list[Case]:
    """``n`` different cases drawn as often as they take time, first one of each family, none of ``without``."""
    points = demand.points
    sources = [source_at(p.kernel, p.at, device, max_case_s) for p in points]
    cases = [None if k is None else k.case(p.at) for k, p in zip(sources, points, strict=True)]
    able = [i for i, c in enumerate(cases) if c is not None and c not in without]
    if not able:
        return []
    rng = stream(seed, "campaign.heldout")
    weights = [points[i].weight for i in able]
    order = sorted(range(len(able)), key=lambda j: rng.exponential() / max(weights[j], 1e-300))
    chosen: dict[Case, None] = {}
    spent = 0.0
    firsts = {points[able[j]].kernel.family: j for j in reversed(order)}
    for j in (*firsts.values(), *order):
        case = cases[able[j]]
        if case is None:
            continue
        seconds = case_s(case, device)
        if case not in chosen and len(chosen) < n and spent + seconds <= budget_s:
            chosen[case] = None
            spent += seconds
    return list(chosen)


def judge(results: Sequence[Row], held_out: Collection[Case], device: Device, sites: Sequence[Site] = ()) -> HeldOut:
    """Predictions from everything else that was measured, against the held-out rows.

    The planner's own kernels answer, with what ragged batches cost for ragged batches only; where they have no
    answer (no site is given, a stand-in) the same grid over the rows of the case's own kernel does.
    """
    kept = frozenset(held_out)
    used = [r for r in results if r.case not in kept]
    even = planner_kernels(sites, [r for r in used if r.case.family != "attn_ragged"], device)
    uneven = planner_kernels(sites, used, device)
    measured = Measured.of(used)
    misses, unanswered = [], 0
    for case, seconds in fastest(r for r in results if r.case in kept).items():
        predicted = predicted_s(case, uneven if case.family == "attn_ragged" else even)
        if predicted is None:
            predicted = _own_s(case, measured, device)
        if predicted is None:
            unanswered += 1
        else:
            misses.append(Miss(case, seconds, predicted))
    return summarise(misses, unanswered)


def _own_s(case: Case, measured: Measured, device: Device) -> float | None:
    """Seconds by the rows of the case's own kernel; None where nothing was measured within reach."""
    kernel, at = kernel_of(case)
    timed = fit(kernel, measured, device).timed
    try:
        return None if timed.grid is None else timed.seconds(at)
    except OutOfRangeError:
        return None


def summarise(misses: Sequence[Miss], unanswered: int = 0) -> HeldOut:
    """Median and p90 of the errors, by family."""
    if not misses:
        return HeldOut(0, unanswered, None, None, None, (), ())
    families: dict[str, list[float]] = {}
    for m in misses:
        families.setdefault(m.case.family, []).append(m.error)
    errors = [m.error for m in misses]
    # cases are drawn as often as they take time: the mean of the ratios is the ratio of step times
    step = abs(sum(m.predicted_s / m.measured_s for m in misses) / len(misses) - 1.0)
    rows = tuple((f, len(e), quantile(e, 0.5), quantile(e, 0.9)) for f, e in sorted(families.items()))
    return HeldOut(len(misses), unanswered, quantile(errors, 0.5), quantile(errors, 0.9), step, rows, tuple(misses))


def quantile(values: Sequence[float], fraction: float) -> float:
    """Linear interpolation between order statistics."""
    order = sorted(values)
    place = fraction * (len(order) - 1)
    low = math.floor(place)
    high = min(low + 1, len(order) - 1)
    return order[low] + (order[high] - order[low]) * (place - low)

