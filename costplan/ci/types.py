"""What a comparison of two states found, as values: `report.json` is this; comment and page are renderings of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from costplan.report.plan_file import Tool

SCHEMA = "costplan.ci/1"


class InputKind(StrEnum):
    """Which input of a plan a change belongs to, in the order in which causes of equal size are told."""

    PRICES = "prices"
    WORKLOAD = "workload"
    MODEL = "model"
    HARDWARE = "hardware"
    ENGINE = "engine"
    PROFILE = "profile"
    SEED = "seed"
    COSTPLAN = "costplan"
    TOGETHER = "together"


class Verdict(StrEnum):
    """How one workload, or one profile, moved."""

    SAME = "same"
    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    NOT_JUDGED = "not_judged"
    NEW = "new"
    REMOVED = "removed"


class Status(StrEnum):
    """How one guardrail did."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    ACCEPTED = "accepted"
    NOT_JUDGED = "not_judged"


class Level(StrEnum):
    """What a broken guardrail means: ``error`` fails the job, ``warn`` is said."""

    ERROR = "error"
    WARN = "warn"


class Outcome(StrEnum):
    """The whole report in one word."""

    FAILED = "failed"
    WARNED = "warned"
    NOT_JUDGED = "not_judged"
    PASSED = "passed"
    NEW = "new"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two states. ``rev`` is a commit or a file, None: there is none. ``dirty``: uncommitted changes."""

    rev: str | None
    inputs_sha256: str | None
    dirty: bool = False


@dataclass(frozen=True, slots=True)
class MetricDiff:
    """One number on both sides, in ``unit``. ``interval`` is the central 90 % of the head's; an end None: open.

    None: not known, or not applicable to the plan.
    """

    unit: str
    base: float | None
    head: float | None
    change_frac: float | None
    interval: tuple[float | None, float | None] | None = None
    evidence: str | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """What one changed input did alone to the number that `WorkloadDiff.cause_metric` names.

    ``change_frac`` None: it makes no plan alone; ``reason`` says why.
    """

    input: InputKind
    field: str
    base: str
    head: str
    change_frac: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fix:
    """The cheapest single input to leave as it was so that no guardrail of level error fails."""

    input: InputKind
    field: str
    keep: str
    cost_usd_per_mtok_out: float
    change_frac: float | None
    passes: bool


@dataclass(frozen=True, slots=True)
class PlanSide:
    """The recommended plan of one side in words: its name, what is rented, whether the price is stale, whose kernels
    it rests on."""

    name: str
    rental: str
    stale: bool
    evidence_shares: Mapping[str, float]
    basis: str = ""


@dataclass(frozen=True, slots=True)
class WorkloadDiff:
    """One workload on both sides. Without ``metrics`` nothing was planned: the inputs are the same bytes."""

    name: str
    verdict: Verdict
    reason: str = ""
    renamed_from: str | None = None
    metrics: Mapping[str, MetricDiff] = field(default_factory=dict)
    cause_metric: str | None = None
    causes: tuple[Cause, ...] = ()
    fix: Fix | None = None
    base_plan: PlanSide | None = None
    head_plan: PlanSide | None = None


@dataclass(frozen=True, slots=True)
class GuardrailResult:
    """One guardrail on one workload. ``found`` and ``limit`` are in the metric's unit, or fractions for
    ``max_increase`` and ``max_decrease``."""

    workload: str
    metric: str
    level: Level
    rule: str
    limit: float | None
    found: float | None
    status: Status
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """A measured profile that the change replaced. ``ratio`` is head time over base time, the geometric mean of the
    ``cases`` in both; ``slower`` and ``faster`` count those that are so by themselves."""

    name: str
    verdict: Verdict
    reason: str
    cases: int = 0
    slower: int = 0
    faster: int = 0
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a reader must know before believing the numbers."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a comment, a page or a job needs. ``post`` says whether the settings ask for a comment."""

    schema: str
    tool: Tool
    base: Side
    head: Side
    verdict: Outcome
    post: bool
    min_change: float
    seed: int
    workloads: tuple[WorkloadDiff, ...]
    guardrails: tuple[GuardrailResult, ...] = ()
    profiles: tuple[ProfileChange, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def changed(self) -> tuple[WorkloadDiff, ...]:
        """Workloads whose inputs are not the same on both sides, worst first."""
        order = [Verdict.WORSE, Verdict.UNCLEAR, Verdict.NOT_JUDGED, Verdict.NEW, Verdict.BETTER, Verdict.REMOVED]
        found = [w for w in self.workloads if w.metrics or w.verdict is not Verdict.SAME]
        broken = {g.workload for g in self.guardrails if g.status is Status.FAIL}

        def key(w: WorkloadDiff) -> tuple[bool, int, float, str]:
            cost = w.metrics.get("cost_usd_per_mtok_out")
            moved = cost.change_frac if cost is not None and cost.change_frac is not None else 0.0
            return (w.name not in broken, order.index(w.verdict) if w.verdict in order else len(order), -moved, w.name)

        return tuple(sorted(found, key=key))
