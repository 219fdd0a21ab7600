"""A plan set as JSON that stands alone: `explain`, `emit` and `diff` need nothing but this file.

The same question gives the same bytes: keys are sorted, numbers have ten significant digits, nothing says when.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Any

from costplan import __version__
from costplan.core.evidence import Estimate
from costplan.plan.types import Loser, Plan, PlanSet, Relaxation
from costplan.report.derivation import Derivation
from costplan.workload.workload import Workload

SCHEMA = "costplan.plan/1"
DIGITS = 10


def plan_json(s: PlanSet, inputs: Mapping[str, str] | None = None,
              derivations: Mapping[str, Derivation] | None = None) -> dict[str, Any]:
    """The whole answer. ``inputs`` holds digests of what it was computed from, by name, ``derivations`` the parts
    behind each plan."""
    return {
        "schema": SCHEMA, "tool": {"name": "costplan", "version": __version__}, "seed": s.seed,
        "inputs": dict(inputs or {}), "model": s.model, "feasible": s.feasible,
        "workload": _workload(s.workload, s), "best": s.best.name if s.best else None,
        "same_precision": s.same_precision.name if s.same_precision else None,
        "plans": [_plan(p) for p in s.plans], "pareto": list(s.pareto), "losers": [_loser(x) for x in s.losers],
        "sensitivities": values(s.sensitivities), "relaxations": [_relaxation(r) for r in s.relaxations],
        "derivations": values(derivations or {}), "search": values(s.stats), "notes": list(s.notes)}


def written(document: Mapping[str, Any]) -> str:
    """Strict JSON with sorted keys and a newline at the end."""
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _plan(p: Plan) -> dict[str, Any]:
    found: dict[str, Any] = values(p)
    return {**found, "name": p.name, "num_gpus": p.num_gpus}


def _loser(x: Loser) -> dict[str, Any]:
    """The plan by its name: it is among the plans, or was left out of them."""
    return {"alternative": x.alternative, "reason": x.reason, "plan": x.plan.name if x.plan else None,
            "extra_usd_per_mtok_out": values(x.extra_usd_per_mtok_out)}


def _relaxation(r: Relaxation) -> dict[str, Any]:
    return {"what": r.what, "asked": r.asked, "needed": r.needed, "plan": r.plan.name if r.plan else None}


def _workload(w: Workload, s: PlanSet) -> dict[str, Any]:
    """The question: without requests, which may be millions."""
    found: dict[str, Any] = values({
        "name": w.name, "description": w.description, "requests_per_s": w.requests_per_s,
        "peak_requests_per_s": w.peak_requests_per_s, "concurrency": w.arrivals.concurrency,
        "mean_isl_tokens": s.mean_isl, "mean_osl_tokens": s.mean_osl, "slo": w.slo.targets,
        "candidates": w.candidates, "constraints": w.constraints, "tenants": w.tenants, "diurnal": w.diurnal,
        "hosted_api": w.hosted_api})
    return found


def values(x: Any) -> Any:
    """Dataclasses as objects, enums and dates as text, floats with ten digits; estimates with their intervals."""
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        found = {f.name: values(getattr(x, f.name)) for f in dataclasses.fields(x)}
        return {**found, **_intervals(x)} if isinstance(x, Estimate) else found
    if isinstance(x, Enum):
        return x.value
    if isinstance(x, Mapping):
        return {str(values(k)): values(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [values(v) for v in x]
    if isinstance(x, date):
        return x.isoformat()
    return _number(x) if isinstance(x, float) else x


def _intervals(e: Estimate) -> dict[str, Any]:
    return {"interval_50": [_number(v) for v in e.i50], "interval_90": [_number(v) for v in e.i90]}


def _number(x: float) -> float | None:
    """Ten digits, so that the last bits of a machine make no difference; what is not finite is not known."""
    return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None
