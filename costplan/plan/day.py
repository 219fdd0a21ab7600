"""A day of 24 hours: what is asked of a fleet, and what it can take."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.plan.types import Plan
from costplan.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Hour:
    """Requests per second of one hour: asked, served at most by the fleet as planned, and by one that follows the
    load. Spare replicas serve nothing."""

    hour: int
    requests_per_s: float
    static_requests_per_s: float
    autoscaled_requests_per_s: float


def hours(p: Plan, w: Workload) -> tuple[Hour, ...]:
    """The day of ``p``; empty where the workload states no hours or is a closed loop."""
    if w.diurnal is None or w.requests_per_s is None or p.money.diurnal is None:
        return ()
    each = p.capacity_requests_per_s.value
    static = (p.replicas - p.spare_replicas) * each
    return tuple(Hour(i, w.requests_per_s * weight, static, max(0, n - p.spare_replicas) * each)
                 for i, (weight, n) in enumerate(zip(w.diurnal, p.money.diurnal.replicas_by_hour, strict=True)))
