"""A plan file read back: JSON of `costplan plan --json`, checked, as the values that wrote it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from costplan.core.errors import InputError
from costplan.plan.types import Plan, SearchStats, Sensitivity
from costplan.report.derivation import Derivation
from costplan.workload.workload import Candidates, Constraints, HostedApi, SloTarget, Tenant

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

LARGEST_BYTES = 64 * 2**20
HINT = "expected the output of: costplan plan WORKLOAD --json"


@dataclass(frozen=True, slots=True)
class Tool:
    """What wrote the file."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The question behind a plan."""

    name: str
    requests_per_s: float | None
    peak_requests_per_s: float | None
    concurrency: int | None
    mean_isl_tokens: float
    mean_osl_tokens: float
    slo: tuple[SloTarget, ...]
    candidates: Candidates
    constraints: Constraints
    tenants: tuple[Tenant, ...] = ()
    diurnal: tuple[float, ...] | None = None
    hosted_api: HostedApi | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class LoserLine:
    """Why an alternative lost; ``plan`` names its best form."""

    alternative: str
    reason: str
    plan: str | None
    extra_usd_per_mtok_out: float | None


@dataclass(frozen=True, slots=True)
class RelaxationLine:
    """One loosening that makes the workload feasible."""

    what: str
    asked: str
    needed: str
    plan: str | None


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What a plan file holds; keys that a later costplan adds are ignored."""

    schema: Literal["costplan.plan/1"]
    tool: Tool
    seed: int
    model: str
    feasible: bool
    workload: Asked
    best: str | None
    same_precision: str | None
    plans: tuple[Plan, ...]
    pareto: tuple[str, ...]
    losers: tuple[LoserLine, ...]
    sensitivities: tuple[Sensitivity, ...]
    relaxations: tuple[RelaxationLine, ...]
    search: SearchStats
    notes: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    derivations: dict[str, Derivation] = field(default_factory=dict)

    def ranked(self, rank: int) -> Plan:
        """The plan of that rank. Raises InputError where there is none."""
        if not self.plans:
            raise InputError("the file holds no plan: its workload is infeasible", hint="see its relaxations")
        found = next((p for p in self.plans if p.rank == rank), None)
        if found is None:
            raise InputError(f"no plan of rank {rank}", where="--rank",
                             hint=f"the file has ranks 1 to {len(self.plans)}")
        return found


def adapter() -> TypeAdapter[PlanFile]:
    """Reads, and describes, `PlanFile`."""
    from pydantic import TypeAdapter

    return TypeAdapter(PlanFile)


def parse_plan(data: bytes, source: str) -> PlanFile:
    """The plan in ``data``. Raises InputError with the path of the first wrong value."""
    from pydantic import ValidationError

    if len(data) > LARGEST_BYTES:
        raise InputError(f"larger than {LARGEST_BYTES // 2**20} MiB", where=source, hint="is this a plan file?")
    try:
        found = adapter().validate_json(data)
    except ValidationError as e:
        raise InputError(_said(e), where=source, hint=HINT) from None
    for i, p in enumerate(found.plans):
        for name, value in _above_zero(p):
            if not 0 < value < math.inf:
                raise InputError(f"plans.{i}.{name}: must be above 0, got {value:g}", where=source, hint=HINT)
    for name, d in found.derivations.items():
        if not (0 < d.decode.time_s.value < math.inf and 0 < d.prefill.time_s.value < math.inf):
            raise InputError(f"derivations.{name}: a step takes time", where=source, hint=HINT)
    return found


def _above_zero(p: Plan) -> Iterator[tuple[str, float]]:
    """Numbers that others are divided by."""
    yield "requests_per_s", p.requests_per_s
    yield "capacity_requests_per_s", p.capacity_requests_per_s.value
    yield "output_tok_s", p.output_tok_s.value
    yield "replicas without spare_replicas", p.replicas - p.spare_replicas
    yield "memory.total_bytes", p.memory.total_bytes
    yield "money.rental.usd_per_h", p.money.rental.usd_per_h
    yield "money.rental.price.gpu_count", p.money.rental.price.gpu_count
    for m in p.slo:
        yield "slo.target.limit_s", m.target.limit_s


def _said(e: ValidationError) -> str:
    errors: Sequence[Any] = e.errors(include_url=False, include_context=False, include_input=False)
    first = errors[0]
    path = ".".join(str(x) for x in first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{path + ': ' if path else ''}{first['msg']}{more}"
