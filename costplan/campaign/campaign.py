"""One profiling campaign as a pure object: what to measure first, what next, when to stop, and how well it went."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from costplan.campaign.design import Wanted, initial
from costplan.campaign.device import Device
from costplan.campaign.estimate import Estimate, case_s, estimate, within
from costplan.campaign.heldout import HeldOut, draw, judge, split_ragged
from costplan.campaign.kernel import Kernel, kernel_of
from costplan.campaign.planner_view import Site
from costplan.campaign.refine import next_cases, plan_error
from costplan.campaign.results import Measured, Row, dominated
from costplan.campaign.shapes import Demand, demand_of, merged
from costplan.campaign.stand_in import affordable
from costplan.campaign.targets import targets, visits
from costplan.plan.question import Question
from costplan.profile.case import Case

TARGET = 0.03
FIRST_SHARE = 0.5
"""Part of the budget for the first grid where it does not fit whole."""
ROUND_SHARE = 0.04
"""Part of the budget between two looks at the results."""
PATIENCE, STALLED = 4, 0.97
"""Rounds after which the error must have fallen by 3 %: kernels with a jagged curve cannot be known any better."""
HELD_OUT_SHARE = 0.08
HELD_OUT = 48
MAX_CASE_S = {"cpu": 2.0, "cuda": 15.0}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a campaign reached: rows, relative error of the plan's step time, and the errors on held-out shapes."""

    cases: int
    failed: int
    plan_error: float
    held_out: HeldOut
    dominated: tuple[tuple[str, str], ...]


@dataclass
class Campaign:
    """``budget_s`` of device time (None: as much as the target needs), ``target`` relative error of a step,
    ``backends`` how many measure a case on average, ``first_pass_share`` of the budget is spent before cases are
    measured again. Keeps only what it has asked for; touches no device and no file."""

    demand: Demand
    device: Device
    budget_s: float | None = None
    target: float = TARGET
    backends: float = 1.0
    sites: tuple[Site, ...] = ()
    first_pass_share: float = 0.6
    seed: int = 1
    why: str = "nothing is measured yet"
    _asked: set[Case] = field(default_factory=set)
    _errors: list[float] = field(default_factory=list)

    @property
    def max_case_s(self) -> float:
        """No case may take longer."""
        own = MAX_CASE_S[self.device.kind]
        return own if self.budget_s is None else min(own, max(self.budget_s / 20, 0.5))

    @cached_property
    def design(self) -> list[Wanted]:
        """The whole first grid, budget or not."""
        return initial(split_ragged(self.demand)[0], self.device, self.max_case_s)

    @cached_property
    def held_out(self) -> tuple[Case, ...]:
        """Cases that are measured for judging only."""
        budget = float("inf") if self.budget_s is None else self._share_s(HELD_OUT_SHARE)
        ragged = [c for c in split_ragged(self.demand)[1] if affordable(c, self.device, self.max_case_s)]
        kept = within(ragged, 0.3 * budget, self.device)
        left = budget - sum(case_s(c, self.device) for c in kept)
        return (*draw(self.demand, self.device, n=HELD_OUT, seed=self.seed, max_case_s=self.max_case_s,
                      without={w.case for w in self.design}, budget_s=left), *kept)

    @cached_property
    def _first(self) -> list[Case]:
        budget = float("inf") if self.budget_s is None else self._share_s(FIRST_SHARE)
        return within([w.case for w in self.design], budget, self.device)

    def first(self) -> list[Case]:
        """What to measure before anything is known, most valuable first; held-out shapes are last."""
        return [*self._first, *self.held_out]

    def more(self, results: Sequence[Row], budget_left_s: float | None = None) -> list[Case]:
        """The next cases, none where enough is known; ``why`` says so in words.

        ``budget_left_s`` is what is left of the first pass (None: by estimate of what was given out).
        """
        known = self._asked | {r.case for r in results} | set(self.first())
        measured = Measured.of(results, frozenset(self.held_out))
        error = plan_error(measured, self.demand, self.device)
        if error <= self.target:
            return self._stop(f"the plan's error of {error:.1%} is below the target of {self.target:.1%}")
        self._errors.append(error)
        if len(self._errors) > PATIENCE and error > STALLED * self._errors[-1 - PATIENCE]:
            return self._stop(f"more cases no longer help: the plan's error stays at {error:.1%}")
        left = self._left_s(known, budget_left_s)
        batch = max(self._share_s(ROUND_SHARE), 2 * self.max_case_s)
        cases = next_cases(measured, self.demand, self.device, budget_left_s=left, max_case_s=self.max_case_s,
                           asked=known, pending=self.design, batch_s=batch)
        if not cases:
            what = "within the budget " if left < self._share_s(1.0) else ""
            return self._stop(f"no case {what}would tell more; the plan's error is {error:.1%}")
        self._asked.update(cases)
        self.why = f"the plan's error is {error:.1%}, the target {self.target:.1%}"
        return cases

    def _stop(self, why: str) -> list[Case]:
        self.why = why
        return []

    def _share_s(self, share: float) -> float:
        """Part of the budget as seconds of one backend; without a budget, of ten minutes."""
        return share * (600.0 if self.budget_s is None else self.budget_s) / self.backends

    def _left_s(self, known: Collection[Case], budget_left_s: float | None) -> float:
        """Seconds of one backend, over all passes, that the budget still allows."""
        if budget_left_s is not None:
            return budget_left_s / self.first_pass_share / self.backends
        if self.budget_s is None:
            return float("inf")
        return self._share_s(1.0) - sum(case_s(c, self.device) for c in known)

    def skips(self, results: Sequence[Row]) -> frozenset[tuple[Kernel, str]]:
        """Backends that need not be refined: slower than the best everywhere on a kernel's first grid."""
        return dominated(results, frozenset(w.case for w in self.design))

    def wants(self, case: Case, backend: str, skips: frozenset[tuple[Kernel, str]]) -> bool:
        """Whether ``backend`` should measure ``case``."""
        return (kernel_of(case)[0], backend) not in skips

    def dry_run(self) -> Estimate:
        """Cases and seconds of the first list, all backends included."""
        return estimate(self.first(), self.device, backends=self.backends)

    def summary(self, results: Sequence[Row]) -> Summary:
        """How well the campaign went."""
        kept = frozenset(self.held_out)
        measured = Measured.of(results, kept)
        failed = {r.case for r in results} - {r.case for r in results if r.seconds is not None}
        return Summary(len({r.case for r in results}), len(failed),
                       plan_error(measured, self.demand, self.device),
                       judge(results, self.held_out, self.device, self.sites),
                       tuple(sorted((k.label, b) for k, b in self.skips(results))))


def campaign_for(questions: Sequence[Question], device: Device, *, budget_s: float | None = None,
                 target: float = TARGET, backends: float = 1.0, engine: str = "vllm", page_size: int = 16,
                 tps: Sequence[int] | None = None, only: Sequence[str] | None = None, seed: int = 1,
                 effort: float = 1.0) -> Campaign:
    """What to measure on ``device`` for one or more questions (workload and model). Runs the simulator.

    ``tps``: tensor parallelism to consider (None: the workload's, else 1 to 8); ``only`` some families.
    """
    demands, sites = [], []
    for q in questions:
        seen = list(visits(q, device, targets(q.spec, device, q.workload.candidates, tps), engine=engine,
                           page_size=page_size, effort=effort))
        demands.append(demand_of(seen, q.spec, device, only=only))
        sites.append(Site(q.spec, tuple(v.target for v in seen), page_size))
    return Campaign(merged(demands), device, budget_s, target, backends, tuple(sites), seed=seed)
