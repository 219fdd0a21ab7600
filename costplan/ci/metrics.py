"""The numbers that guardrails and tables speak of, taken from a plan; their ids are part of `report.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from costplan.ci.types import MetricDiff
from costplan.core.errors import UnknownNameError
from costplan.core.evidence import Estimate
from costplan.plan.types import Plan

COST = "cost_usd_per_mtok_out"
FULL_LOAD = "cost_usd_per_mtok_out_saturated"
MONTHLY = "monthly_cost_usd"
GOODPUT = "goodput_rps_per_gpu"
EXTRAPOLATED = "extrapolated_frac"
_LATENCY = re.compile(r"(ttft|tpot|itl|e2e)_p(\d{1,2}(?:\.\d{1,4})?)_s\Z")


@dataclass(frozen=True, slots=True)
class MetricKind:
    """How people call a metric, its unit, and whether more of it is worse."""

    label: str
    unit: str
    more_is_worse: bool = True


KINDS: Mapping[str, MetricKind] = {
    COST: MetricKind("cost per 1M output tokens", "usd/Mtok"),
    FULL_LOAD: MetricKind("cost per 1M output tokens at full load", "usd/Mtok"),
    "cost_usd_per_request": MetricKind("cost per request", "usd"),
    MONTHLY: MetricKind("monthly cost", "usd"),
    GOODPUT: MetricKind("goodput per GPU", "req/s", more_is_worse=False),
    "goodput_frac": MetricKind("requests within all limits", "frac", more_is_worse=False),
    "p_meets_slo": MetricKind("chance to hold the limits", "frac", more_is_worse=False),
    "num_gpus": MetricKind("GPUs rented", "GPUs"),
    EXTRAPOLATED: MetricKind("extrapolated share", "frac"),
}


def kind(metric: str) -> MetricKind:
    """What is known of a metric by its id. Raises UnknownNameError with near misses."""
    if metric in KINDS:
        return KINDS[metric]
    found = _LATENCY.match(metric)
    if found is None:
        raise UnknownNameError("metric", metric, [*KINDS, "ttft_p95_s", "ttft_p99_s", "tpot_p95_s", "tpot_p99_s",
                                                  "itl_p99_s", "e2e_p99_s"])
    return MetricKind(f"{found[1].upper()} p{found[2]}", "s")


@dataclass(frozen=True, slots=True)
class Number:
    """One metric of one plan. ``limit`` is the workload's own limit on it."""

    value: float
    low: float | None = None
    high: float | None = None
    evidence: str | None = None
    limit: float | None = None
    ranged: bool = False


def numbers(plan: Plan) -> dict[str, Number]:
    """All metrics of ``plan`` by id."""
    m = plan.money
    shares = {str(k): v for k, v in plan.evidence_shares.items()}
    cost = m.i90_usd_per_mtok_out
    found = {
        COST: Number(m.usd_per_mtok_out.value, cost.low, cost.high, str(m.usd_per_mtok_out.evidence), ranged=True),
        FULL_LOAD: _of(m.usd_per_mtok_out_saturated),
        "cost_usd_per_request": _of(m.usd_per_request),
        MONTHLY: Number(m.usd_per_month),
        GOODPUT: _of(plan.capacity_requests_per_s.scaled(1 / plan.config.num_gpus)),
        "goodput_frac": Number(plan.goodput),
        "p_meets_slo": Number(plan.p_meets_slo),
        "num_gpus": Number(float(m.rental.num_gpus)),
        EXTRAPOLATED: Number(shares.get("extrapolated", 0.0)),
    }
    return {**found, **dict(_latencies(plan))}


def _latencies(plan: Plan) -> Iterator[tuple[str, Number]]:
    limits = {(t.target.metric, t.target.percentile): t.target.limit_s for t in plan.slo}
    for x in plan.latencies:
        for fraction, seconds in x.percentiles:
            yield f"{x.metric}_p{fraction * 100:g}_s", _of(seconds, limits.get((x.metric, fraction)))


def _of(e: Estimate, limit: float | None = None) -> Number:
    return Number(e.value, *e.i90, str(e.evidence), limit, ranged=True)


def differences(base: Plan | None, head: Plan | None) -> dict[str, MetricDiff]:
    """Every metric that either side has; both sides' plans are those recommended."""
    old, new = ({} if p is None else numbers(p) for p in (base, head))
    return {name: _difference(name, old.get(name), new.get(name)) for name in {**new, **old}}


def _difference(name: str, base: Number | None, head: Number | None) -> MetricDiff:
    shown = head or base
    assert shown is not None
    return MetricDiff(
        kind(name).unit, base.value if base else None, head.value if head else None,
        change(base.value, head.value) if base and head else None,
        (shown.low, shown.high) if shown.ranged else None, shown.evidence, shown.limit)


def change(base: float, head: float) -> float | None:
    """Relative change; exactly 0 for equal numbers, None where it has no meaning."""
    if base == head:
        return 0.0
    return head / base - 1.0 if base > 0 else None
