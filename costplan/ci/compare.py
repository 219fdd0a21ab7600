"""Two states in, a `Report` out. Equal inputs are not planned: their change is exactly 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from costplan import __version__
from costplan.ci import guardrails
from costplan.ci.causes import by_version, causes, cheapest_fix
from costplan.ci.config_file import CiEntry
from costplan.ci.inputs import PlanInputs
from costplan.ci.metrics import differences
from costplan.ci.plans import Plans, first
from costplan.ci.profile_change import profile_change
from costplan.ci.state import Entry, State, pairs
from costplan.ci.types import (
    SCHEMA,
    Cause,
    Fix,
    GuardrailResult,
    MetricDiff,
    Note,
    Outcome,
    PlanSide,
    ProfileChange,
    Report,
    Side,
    Status,
    Verdict,
    WorkloadDiff,
)
from costplan.ci.verdict import explained, moved, outcome_of, posts
from costplan.core.errors import CostplanError
from costplan.plan.types import Plan
from costplan.report.plan_file import PlanFile, Tool

CompareProfiles = Callable[[str, Path, Path], ProfileChange]
_PROVEN = (Verdict.WORSE, Verdict.BETTER)
"""Verdicts on a profile that runs bear out; what any other one moves fails nothing."""


@dataclass(slots=True)
class Comparison:
    """One comparison under way. ``today`` decides which exceptions still hold."""

    base: State | None
    head: State
    plans: Plans
    today: date
    compare_profiles: CompareProfiles = profile_change
    profiles: dict[str, ProfileChange] = field(default_factory=dict)
    guardrails: list[GuardrailResult] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def ci(self) -> CiEntry:
        return self.head.ci

    def report(self, notes: tuple[Note, ...] = ()) -> Report:
        """Compare everything."""
        rules_changed = self._settings_changed()
        found = [self._pair(old, new, rules_changed) for old, new in pairs(self.base, self.head)]
        found.sort(key=lambda w: w.name)
        none = self.base.side if self.base else Side(None, None)
        seed = self.head.config.seed if self.head.config else 0
        draft = Report(SCHEMA, Tool("costplan", __version__), none, self.head.side, Outcome.UNCHANGED, False,
                       self.ci.min_change, seed, tuple(found), tuple(self.guardrails),
                       tuple(sorted(self.profiles.values(), key=lambda p: p.name)), (*notes, *self.notes))
        outcome = outcome_of(draft)
        return replace(draft, verdict=outcome, post=posts(self.ci, outcome))

    def _settings_changed(self) -> bool:
        """Whether the change edits the rules that it is judged by: a reviewer must see that."""
        if self.base is None or self.base.config is None or self.head.config is None:
            return False
        old, new = self.base.config.ci, self.head.config.ci
        if (old.guardrails, old.accept, old.min_change) == (new.guardrails, new.accept, new.min_change):
            return False
        self.notes.append(Note("guardrails_changed", "this change edits the guardrails, exceptions or min_change that "
                                                     "it is judged by; they hold as they are after the change"))
        return True

    def _pair(self, old: Entry | None, new: Entry | None, rules_changed: bool) -> WorkloadDiff:
        if new is None:
            assert old is not None
            return WorkloadDiff(old.name, Verdict.REMOVED, "no longer in costplan.yaml")
        renamed = old.name if old and old.name != new.name else None
        same = old is not None and old.inputs is not None and new.inputs is not None \
            and old.inputs.digest == new.inputs.digest
        if same and not rules_changed:
            return WorkloadDiff(new.name, Verdict.SAME, "the same inputs", renamed)
        if old is None:
            return self._new(new, Verdict.NEW, "")
        try:
            before = self._plan(old)
        except CostplanError as e:
            self.notes.append(Note("base_unreadable", f"{old.name}: {e}"))
            return self._new(new, Verdict.NOT_JUDGED, "the base cannot be planned")
        return self._moved(old, new, before, self._plan(new), renamed)

    def _plan(self, e: Entry) -> PlanFile:
        if e.plan is not None:
            return e.plan
        if e.inputs is None:
            assert e.error is not None
            raise e.error
        return self.plans.of(e.inputs, full=True)

    def _new(self, e: Entry, verdict: Verdict, reason: str) -> WorkloadDiff:
        plan = first(self._plan(e))
        if plan is None:
            return self._without_plan(e.name, False, "no plan holds the limits")
        metrics = differences(None, plan)
        self.guardrails += guardrails.judged(self.ci, e.name, metrics, self.today)
        return WorkloadDiff(e.name, verdict, reason, None, metrics, head_plan=_side(plan))

    def _moved(self, old: Entry, new: Entry, before: PlanFile, after: PlanFile, renamed: str | None) -> WorkloadDiff:
        a, b = first(before), first(after)
        if a is None or b is None:
            return self._infeasible(old, new, a, b, renamed)
        metrics = differences(a, b)
        verdict, reason, results = self._verdict(old, new, a, b, metrics)
        self.guardrails += results
        broken = [r for r in results if r.status is Status.FAIL]
        metric = explained(metrics, broken, self.ci.min_change)
        found: tuple[Cause, ...] = ()
        fix: Fix | None = None
        if old.inputs is not None and new.inputs is not None:
            if metrics[metric].change_frac:
                found = causes(old.inputs, new.inputs, metric, a, b, self.plans.best)
            if broken:
                fix = cheapest_fix(old.inputs, new.inputs, a, self.plans.best, self._passing(new.name, a))
        elif metrics[metric].change_frac:
            found = by_version(before.inputs, after.inputs, (before.tool.version, after.tool.version),
                               metrics[metric].change_frac)
        return WorkloadDiff(new.name, verdict, reason, renamed, metrics, metric, found, fix, _side(a), _side(b))

    def _infeasible(self, old: Entry, new: Entry, a: Plan | None, b: Plan | None, renamed: str | None) -> WorkloadDiff:
        metrics = differences(a, b) if a or b else {}
        if b is not None:
            self.guardrails += guardrails.judged(self.ci, new.name, metrics, self.today)
            return WorkloadDiff(new.name, Verdict.BETTER, "no plan held the limits before", renamed, metrics,
                                head_plan=_side(b))
        if a is None:
            return self._without_plan(new.name, False, "no plan holds the limits, before the change either", renamed)
        fix = None
        if old.inputs is not None and new.inputs is not None:
            fix = cheapest_fix(old.inputs, new.inputs, a, self.plans.best, self._passing(new.name, a))
        found = self._without_plan(new.name, True, "no plan holds the limits any more", renamed)
        return replace(found, metrics=metrics, fix=fix, base_plan=_side(a))

    def _without_plan(self, name: str, was: bool, reason: str, renamed: str | None = None) -> WorkloadDiff:
        """A workload that nothing can serve; ``was``: something could."""
        self.guardrails.append(guardrails.infeasible(name, was, reason))
        return WorkloadDiff(name, Verdict.WORSE if was else Verdict.NOT_JUDGED, reason, renamed)

    def _verdict(self, old: Entry, new: Entry, a: Plan, b: Plan, metrics: dict[str, MetricDiff],
                 ) -> tuple[Verdict, str, list[GuardrailResult]]:
        """How the workload moved, why it may be unsure, and its guardrails."""
        whole = guardrails.judged(self.ci, new.name, metrics, self.today)
        soft = self._replaced(old, new)
        if not soft or old.inputs is None or new.inputs is None:
            return moved(metrics, whole, self.ci.min_change), "", whole
        changed = old.inputs.changed(new.inputs)
        keys = [k for k in changed if k in soft]
        kept = a if keys == changed else self.plans.best(new.inputs.having(old.inputs, keys))
        comparable = all(self.profiles[k].verdict is not Verdict.NOT_JUDGED for k in keys)
        reason = "; ".join(f"profile {self.profiles[k].name}: {self.profiles[k].reason}" for k in keys)
        if kept is None:
            return Verdict.NOT_JUDGED, reason, whole
        certain = differences(a, kept)
        gate = guardrails.judged(self.ci, new.name, certain, self.today)
        results = guardrails.unsure(gate, whole, reason, comparable)
        verdict = moved(certain, gate, self.ci.min_change)
        if verdict is not Verdict.SAME:
            return verdict, reason, results
        if not comparable:
            return Verdict.NOT_JUDGED, reason, results
        if moved(metrics, whole, self.ci.min_change) is Verdict.SAME:
            return Verdict.SAME, "", results
        return Verdict.UNCLEAR, reason, results

    def _replaced(self, old: Entry, new: Entry) -> list[str]:
        """Keys of changed profiles that no runs show to be better or worse. Every changed profile is compared once."""
        if old.inputs is None or new.inputs is None:
            return []
        keys = [k for k in old.inputs.changed(new.inputs) if k.startswith("profile:")]
        for key in keys:
            if key not in self.profiles:
                self.profiles[key] = self._profile(key, old.inputs, new.inputs)
        return [k for k in keys if self.profiles[k].verdict not in _PROVEN]

    def _profile(self, key: str, old: PlanInputs, new: PlanInputs) -> ProfileChange:
        a, b = old.profiles.get(key), new.profiles.get(key)
        name = key.removeprefix("profile:")
        if a is not None and b is not None:
            return self.compare_profiles(name, a, b)
        what = "new: other measurements answered before" if b else "removed: other measurements answer now"
        return ProfileChange(name, Verdict.NOT_JUDGED, what)

    def _passing(self, name: str, base: Plan) -> Callable[[Plan], bool]:
        def passes(p: Plan) -> bool:
            found = guardrails.judged(self.ci, name, differences(base, p), self.today)
            return all(r.status is not Status.FAIL for r in found)

        return passes


def _side(p: Plan) -> PlanSide:
    return PlanSide(p.name, p.money.rental.label, p.money.rental.stale,
                    {str(k): v for k, v in p.evidence_shares.items()}, p.basis)
