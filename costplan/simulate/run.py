"""One call: requests + step times + limits + rules -> `SimulationResult`."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.core.errors import UnknownNameError
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.step_parts import StepParts
from costplan.simulate.fast import run_fast
from costplan.simulate.policy import EnginePolicy, SchedulerLimits
from costplan.simulate.prefix_units import PrefixUnits
from costplan.simulate.quota import Quota
from costplan.simulate.reference import run_reference
from costplan.simulate.requests import SimRequests, from_workload
from costplan.simulate.result import SimulationResult
from costplan.simulate.setup import setup
from costplan.simulate.step_table import StepTable, TableRange, step_table
from costplan.workload.requests import Requests
from costplan.workload.workload import Slo, Tenant

ENGINES = {"fast": run_fast, "reference": run_reference}


def table_for(model: KernelLatencyModel | StepParts, requests: SimRequests, limits: SchedulerLimits) -> StepTable:
    """Step times over all that ``requests`` can make an engine with these ``limits`` do."""
    seqs = min(limits.max_num_seqs, len(requests))
    longest = min(requests.max_tokens, limits.capacity_tokens)
    return step_table(model, TableRange(seqs, limits.max_num_batched_tokens, longest, limits.capacity_tokens))


def quotas_of(tenants: Sequence[Tenant], burst_s: float = 60.0) -> tuple[Quota | None, ...]:
    """Token buckets of a workload's tenants; each may save up ``burst_s`` seconds (limits per minute are usual)."""
    return tuple(None if t.max_tokens_per_s is None else
                 Quota(max(1, round(t.max_tokens_per_s)), max(1, round(t.max_tokens_per_s * burst_s)))
                 for t in tenants)


def simulate(requests: SimRequests | Requests, model: KernelLatencyModel | StepParts | StepTable,
             limits: SchedulerLimits, policy: EnginePolicy, *, slo: Slo | None = None,
             quotas: Sequence[Quota | None] = (), engine: str = "fast",
             units: PrefixUnits | None = None) -> SimulationResult:
    """Run ``requests`` through one engine. Nothing is drawn here: the same input gives the same bytes.

    Give a `StepTable` (and ``units``, for shared prefixes) where many runs share one. Requests that can never
    run are refused at once and named in ``result.refusals``.
    """
    if engine not in ENGINES:
        raise UnknownNameError("simulation engine", engine, ENGINES)
    if isinstance(requests, Requests):
        requests = from_workload(requests)
    table = model if isinstance(model, StepTable) else table_for(model, requests, limits)
    ready = setup(requests, table, limits, policy, quotas, units)
    return SimulationResult(ready, ENGINES[engine](ready), slo)
