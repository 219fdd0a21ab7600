"""A plan file read back: JSON of `costplan plan --json`, checked, as the values that wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from costplan.core.errors import InputError
from costplan.plan.types import Plan, SearchStats, Sensitivity
from costplan.report.derivation import Derivation
from costplan.workload.workload import Candidates, Constraints, HostedApi, SloTarget, Tenant

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

LARGEST_BYTES = 64 * 2**20


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
        return adapter().validate_json(data)
    except ValidationError as e:
        raise InputError(_said(e), where=source, hint="expected the output of: costplan plan WORKLOAD --json") from None


def _said(e: ValidationError) -> str:
    errors: Sequence[Any] = e.errors(include_url=False, include_context=False, include_input=False)
    first = errors[0]
    path = ".".join(str(x) for x in first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{path + ': ' if path else ''}{first['msg']}{more}"
