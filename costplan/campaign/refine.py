"""The adaptive rule: where does another point take most error out of the plan, per second of measuring?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from costplan.campaign.design import Wanted
from costplan.campaign.device import Device
from costplan.campaign.estimate import case_s
from costplan.campaign.fit import Fit, fit
from costplan.campaign.kernel import Kernel, between
from costplan.campaign.results import Measured
from costplan.campaign.shapes import Demand, DemandPoint
from costplan.campaign.stand_in import source_at
from costplan.perf.timed import ANALYTIC_SD
from costplan.profile.case import Case

GAIN = 0.6
"""Part of an interval's error that its middle point takes away: 3/4 where the curve is smooth, less at a cliff."""
UNKNOWN_GAIN = 0.8
"""Part of the error that the first points of a kernel take away."""
URGENCY = 4
"""Power with which systems that are known better than the worst count less."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Cases that belong together (one size of one axis, across the others), and the plan variance they remove."""

    cases: tuple[Case, ...]
    gain: float
    seconds: float


def fits_of(measured: Measured, demand: Demand, device: Device) -> dict[Kernel, Fit]:
    """What the planner would know of every kernel now."""
    return {kernel: fit(kernel, measured, device) for kernel in demand.kernels}


def plan_error(measured: Measured, demand: Demand, device: Device) -> float:
    """Relative standard error of the step time of the system that is known worst.

    Errors of one kernel at different sizes go together (they add up), those of different kernels do not
    (squares add up).
    """
    return max(_errors(_masses(fits_of(measured, demand, device), demand)).values(), default=0.0)


def _masses(fits: Mapping[Kernel, Fit], demand: Demand) -> dict[Kernel, dict[int, float]]:
    """Sum of weight x relative error by kernel and system, weights within a system adding up to 1."""
    share = system_weights(demand)
    out: dict[Kernel, dict[int, float]] = {}
    for p in demand.points:
        own = out.setdefault(p.kernel, {})
        own[p.system] = own.get(p.system, 0.0) + p.weight / share[p.system] * fits[p.kernel].log_sd(p.at)
    return out


def _errors(masses: Mapping[Kernel, Mapping[int, float]]) -> dict[int, float]:
    """Relative standard error of each system's step time."""
    squares: dict[int, float] = {}
    for own in masses.values():
        for system, mass in own.items():
            squares[system] = squares.get(system, 0.0) + mass * mass
    return {system: math.sqrt(s) for system, s in squares.items()}


def _urgency(masses: Mapping[Kernel, Mapping[int, float]]) -> dict[int, float]:
    """How much a system's error matters: that of the worst counts in full, of others less and less."""
    errors = _errors(masses)
    worst = max(errors.values(), default=1.0) or 1.0
    return {system: (e / worst) ** URGENCY for system, e in errors.items()}


def system_weights(demand: Demand) -> dict[int, float]:
    """Share of each system in the demand."""
    out: dict[int, float] = {}
    for p in demand.points:
        out[p.system] = out.get(p.system, 0.0) + p.weight
    return out


def next_cases(measured: Measured, demand: Demand, device: Device, *, budget_left_s: float, max_case_s: float,
               asked: Collection[Case], pending: Sequence[Wanted] = (), batch_s: float = 30.0) -> list[Case]:
    """The most telling cases that nobody asked for yet, as many as take about ``batch_s`` (one round)."""
    fits = fits_of(measured, demand, device)
    masses = _masses(fits, demand)
    share, urgency = system_weights(demand), _urgency(masses)
    pull = {k: {s: 2 * m * urgency[s] / share[s] for s, m in own.items()} for k, own in masses.items()}
    proposals = [p for k in demand.kernels
                 for p in _midpoints(fits[k], demand.of(k), pull[k], device, max_case_s, asked)]
    proposals += _pending(pending, len(share), asked)
    left = min(budget_left_s, batch_s)
    chosen: dict[Case, None] = {}
    for p in sorted(proposals, key=lambda p: (-p.gain / p.seconds, p.cases[0].key)):
        new = [c for c in p.cases if c not in chosen]
        seconds = sum(case_s(c, device) for c in new)
        if new and seconds <= left:
            chosen.update(dict.fromkeys(new))
            left -= seconds
    return list(chosen)


def _pending(pending: Sequence[Wanted], systems: int, asked: Collection[Case]) -> Iterator[Proposal]:
    """Cells of the first grid that the budget left out: they take most of the error that nothing known leaves."""
    for w in pending:
        if w.case not in asked:
            yield Proposal((w.case,), UNKNOWN_GAIN * 2 * (ANALYTIC_SD * w.value) ** 2 * systems, w.seconds)


def _midpoints(f: Fit, points: Sequence[DemandPoint], pull: Mapping[int, float], device: Device,
               max_case_s: float, asked: Collection[Case]) -> Iterator[Proposal]:
    """Middle sizes of every interval of every axis that demand falls into. ``pull`` by system turns weight x error
    into plan variance."""
    grid = f.grid
    if grid is None:
        return
    axes = [[round(x) for x in a] for a in grid.axes]
    errors = [e * e for e in f.axis_errors()]
    total = sum(errors) or 1.0
    for d, axis in enumerate(axes):
        for low, high in pairwise(axis):
            inside = [p for p in points if low < p.at[d] < high]
            middle = between(f.kernel.sweep[d], low, high) if inside else None
            if middle is None:
                continue
            others = [[middle] if i == d else sorted({x for p in inside for x in _bracket(a, p.at[i])})
                      for i, a in enumerate(axes)]
            cases = [c for at in product(*others) if (source := source_at(f.kernel, at, device, max_case_s))
                     and (c := source.case(at)) not in asked]
            if cases:
                gain = sum(pull[p.system] * p.weight * f.log_sd(p.at) for p in inside)
                yield Proposal(tuple(cases), GAIN * errors[d] / total * gain, sum(case_s(c, device) for c in cases))


def _bracket(axis: Sequence[int], x: int) -> tuple[int, ...]:
    """The sizes on either side of ``x``."""
    below = [a for a in axis if a <= x]
    above = [a for a in axis if a >= x]
    return tuple({below[-1] if below else axis[0], above[0] if above else axis[-1]})
