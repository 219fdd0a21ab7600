"""Four shocks to the fleet as planned: what breaks first, and what it would cost to hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from costplan.plan.evaluate import Simulated
from costplan.plan.fleet import Draft, Market
from costplan.plan.offers import rent
from costplan.plan.outcome import Outcome
from costplan.plan.question import Question
from costplan.plan.types import Binding, RobustnessCase
from costplan.simulate.requests import SimRequests
from costplan.workload.workload import SloTarget

OUTLIER_SHARE = 0.01
OUTLIER_FACTOR = 10
STORM_S = 10.0
"""A storm is all requests of so many seconds, arriving at one instant."""
MOST_FACTOR = 64


@dataclass(frozen=True, slots=True, eq=False)
class Shocks:
    """Tries shocks on one draft, with the requests of the search."""

    question: Question
    market: Market
    evaluator: Simulated
    draft: Draft

    def cases(self) -> Iterator[RobustnessCase]:
        """All shocks that apply to this kind of load."""
        d = self.draft
        yield self._case("traffic_2x", "twice the traffic", lambda n: self._plain(2.0, n), d.active)
        lost = d.replicas - 1
        yield self._case("replica_lost", "one replica lost", lambda n: self._plain(1.0, n), lost, add=d.replicas - lost)
        yield self._case("outliers_10x", f"{OUTLIER_SHARE:.0%} of prompts {OUTLIER_FACTOR} times as long",
                         self._outliers, d.active)
        if not self.question.closed:
            yield self._case("prefill_storm", f"{STORM_S:.0f} s of traffic at one instant", self._storm, d.active)

    # -- shocks: the outcome of one replica of n ----------------------------------------------------------------

    def _plain(self, factor: float, n: int) -> Outcome:
        q, c = self.question, self.draft.candidate
        if q.closed:
            return self.evaluator.at_concurrency(c, math.ceil(factor * (q.concurrency or 1) / n))
        return self.evaluator.at_rate(c, factor * (q.peak_rate or 0.0) / n, n)

    def _drawn(self, n: int) -> tuple[SimRequests, float | None]:
        """Requests of one lane at the peak, and their rate."""
        q, lanes = self.question, n * self.draft.candidate.config.layout.dp
        drawn = q.requests(lanes, self.evaluator.n)
        if q.closed:
            return replace(drawn, concurrency=math.ceil((q.concurrency or 1) / lanes)), None
        rate = (q.peak_rate or 0.0) / lanes
        return replace(drawn, arrival_s=drawn.arrival_s * (q.rate_of(lanes) / rate)), rate

    def _outliers(self, n: int) -> Outcome:
        drawn, rate = self._drawn(n)
        isl = drawn.isl.copy()
        isl[::round(1 / OUTLIER_SHARE)] *= OUTLIER_FACTOR
        longest = self.question.spec.max_position
        if longest is not None:
            isl = np.maximum(drawn.isl, np.minimum(isl, longest - drawn.osl))
        return self.evaluator.replay(self.draft.candidate, replace(drawn, isl=isl), rate)

    def _storm(self, n: int) -> Outcome:
        drawn, rate = self._drawn(n)
        size = max(2, round(STORM_S * (rate or 0.0)))
        start = len(drawn) // 2
        end = min(len(drawn), start + size)
        arrival = drawn.arrival_s.copy()
        arrival[start:end] = arrival[start]
        window = slice(start, min(len(drawn), end + size))
        return self.evaluator.replay(self.draft.candidate, replace(drawn, arrival_s=arrival), rate, window)

    # -- verdict ----------------------------------------------------------------------------------------------

    def _case(self, name: str, title: str, shock: Callable[[int], Outcome], n: int, add: int = 0) -> RobustnessCase:
        """``n`` replicas meet the shock; ``add`` are those lost to it, which a fleet that holds must have on top."""
        if n < 1:
            needed = self._smallest(shock, 1)
            return self._verdict(name, title, Binding.THROUGHPUT, "nothing is left that could serve", None, needed, add)
        run = shock(n)
        broken = run.broken(self.question.targets)
        if broken is None:
            return RobustnessCase(name, title, True, None, "every limit holds", None, None, self.draft.replicas,
                                  self.draft.rental.usd_per_h)
        worst = max(self.question.targets, key=lambda t: run.at(t.metric, t.percentile) / t.limit_s, default=None)
        return self._verdict(name, title, broken, _detail(run, broken), (run, worst), self._smallest(shock, n), add)

    def _smallest(self, shock: Callable[[int], Outcome], n: int) -> int | None:
        """Fewest replicas that withstand the shock; None where 64 times as many do not."""
        def ok(count: int) -> bool:
            return shock(count).broken(self.question.targets) is None

        low, high = n, n
        while not ok(high):
            if high >= MOST_FACTOR * n:
                return None
            low, high = high, high * 2
        while high - low > max(1, low // 50):
            middle = (low + high) // 2
            low, high = (low, middle) if ok(middle) else (middle, high)
        return high

    def _verdict(self, name: str, title: str, broken: Binding, detail: str,
                 seen: tuple[Outcome, SloTarget | None] | None, needed: int | None, add: int) -> RobustnessCase:
        total = None if needed is None else needed + add + (0 if add else self.draft.spares)
        rental = None if total is None else rent(
            self.market.prices, self.draft.candidate.config.gpu, self.draft.candidate.config.layout, total,
            self.market.today)
        run, worst = seen if seen else (None, None)
        value = run.at(worst.metric, worst.percentile) if run is not None and worst is not None else None
        return RobustnessCase(name, title, False, broken, detail, value, worst.limit_s if worst else None, total,
                              rental.usd_per_h if rental else None)


def _detail(run: Outcome, broken: Binding) -> str:
    """What was seen, in words."""
    if broken is Binding.KV:
        return f"{run.refused} of {run.n + run.refused} requests do not fit into the KV cache of a replica"
    if broken is Binding.THROUGHPUT:
        return f"the queue grows by {run.growth:.2f} s every second"
    full = "; the KV cache is full" if run.occupancy > 0.98 else ""
    return f"{run.goodput:.0%} of requests keep every limit{full}"
