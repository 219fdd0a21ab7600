"""When nothing fits: the smallest loosening of one constraint that would."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from costplan.catalog.gpus import gpu as find_gpu
from costplan.core.errors import OutOfRangeError
from costplan.core.units import HOURS_PER_MONTH
from costplan.plan.capacity import highest
from costplan.plan.demand import Demand
from costplan.plan.estimate import estimated_requests_per_s
from costplan.plan.evaluate import Simulated
from costplan.plan.fleet import Draft, Market, Sizer
from costplan.plan.question import Question
from costplan.plan.space import Candidate, Space
from costplan.plan.types import Relaxation

TRIED = 6
MOST_LOOSER = 64.0


@dataclass(frozen=True, slots=True, eq=False)
class Relaxer:
    """Loosens one constraint at a time for the most promising candidates."""

    question: Question
    market: Market
    evaluator: Simulated
    space: Space
    need: Demand

    def all(self) -> tuple[Relaxation, ...]:
        """Every single loosening that makes the workload feasible."""
        if not self.space.by_system:
            return tuple(self._choices())
        likely = self._likely()
        return (*self._slo(likely), *self._size(likely))

    def _choices(self) -> Iterator[Relaxation]:
        """Not one candidate is left: why, and where more would come from."""
        memory = next((e for e in self.space.excluded if e.reason == "does not fit in memory"), None)
        if memory is not None:
            yield Relaxation("candidates", f"{memory.reason} ({memory.example})",
                             "larger GPUs, more GPUs per replica, or fewer bits per weight", None)
        for e in [e for e in self.space.excluded if e is not memory][:2]:
            yield Relaxation("candidates", f"{e.reason} ({e.example})", "wider choices under candidates", None)
        if not self.space.excluded:
            yield Relaxation("constraints", "no GPU within the constraints has a price",
                             "other providers, regions or ways to buy", None)

    def _likely(self) -> list[Candidate]:
        """Most requests/s per GPU by the closed form, one of each system."""
        picked = [c[len(c) // 2] for c in self.space.by_system.values()]
        q = self.question
        rate = {id(c): estimated_requests_per_s(q.spec, find_gpu(c.config.gpu), c, self.need, q.targets)
                for c in picked}
        fast = sorted(picked, key=lambda c: -rate[id(c)])[:TRIED // 2]
        frugal = sorted(picked, key=lambda c: -rate[id(c)] / c.config.num_gpus)[:TRIED // 2]
        return list(dict.fromkeys([*fast, *frugal]))

    def _slo(self, likely: Sequence[Candidate]) -> Iterator[Relaxation]:
        """All latency limits by one factor."""
        if not self.question.targets:
            return
        best: tuple[float, Draft] | None = None
        for c in likely:
            factor = self._looser(c, best[0] if best else MOST_LOOSER)
            if factor is None:
                continue
            draft = self._draft(c, factor, self.market)
            if draft is not None and (best is None or factor < best[0]):
                best = (factor, draft)
        if best is not None:
            yield Relaxation("slo", ", ".join(_limit(t.metric, t.percentile, t.limit_s) for t in self.question.targets),
                             ", ".join(_limit(t.metric, t.percentile, t.limit_s * best[0])
                                       for t in self.question.targets) + f" (x {best[0]:.2f}) on "
                             f"{best[1].replicas} x {best[1].candidate.system.label}", None)

    def _looser(self, c: Candidate, most: float) -> float | None:
        """Smallest factor on every limit with which some fleet of ``c`` holds, to 2 %."""
        if self._draft(c, most, self.market) is None:
            return None
        tight = highest(lambda tightness: self._draft(c, 1 / tightness, self.market) is not None, 1 / most,
                        floor=1 / most, ceiling=1.0, tolerance=0.02)
        return 1 / tight.value if tight.value > 0 else None

    def _size(self, likely: Sequence[Candidate]) -> Iterator[Relaxation]:
        """GPUs and budget: what the cheapest fleet without these limits would take."""
        limits = self.market.limits
        if limits.max_gpus is None and limits.budget_usd_per_month is None:
            return
        free = replace(self.market, limits=replace(limits, max_gpus=None, budget_usd_per_month=None))
        drafts = [d for c in likely if (d := self._draft(c, 1.0, free)) is not None]
        if limits.max_gpus is not None and drafts:
            least = min(drafts, key=lambda d: (d.replicas * d.candidate.config.num_gpus, d.score))
            need = least.replicas * least.candidate.config.num_gpus
            if need > limits.max_gpus:
                yield Relaxation("max_gpus", str(limits.max_gpus), f"{need} ({least.candidate.system.label})", None)
        if limits.budget_usd_per_month is not None and drafts:
            cheap = min(drafts, key=lambda d: d.rental.usd_per_h)
            month = cheap.rental.usd_per_h * HOURS_PER_MONTH
            if month > limits.budget_usd_per_month:
                yield Relaxation("budget_usd_per_month", f"{limits.budget_usd_per_month:.0f}",
                                 f"{math.ceil(month)} ({cheap.replicas} x {cheap.candidate.system.label})", None)

    def _draft(self, c: Candidate, looser: float, market: Market) -> Draft | None:
        targets = tuple(replace(t, limit_s=t.limit_s * looser) for t in self.question.targets)
        try:
            return Sizer(self.question, self.evaluator, market, targets).draft(c)
        except OutOfRangeError:
            return None


def _limit(metric: str, fraction: float, seconds: float) -> str:
    shown = f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.3g} s"
    return f"{metric} p{100 * fraction:g} <= {shown}"
