"""From one replica to a fleet: how many replicas hold the peak, what is rented for them, and which is cheapest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from costplan.catalog.price import Price
from costplan.plan.capacity import highest
from costplan.plan.evaluate import Evaluator
from costplan.plan.offers import rent
from costplan.plan.outcome import Outcome
from costplan.plan.question import Question
from costplan.plan.space import Candidate
from costplan.plan.types import Rental
from costplan.workload.workload import Constraints, SloTarget

MAX_REPLICAS = 65536
MOST_TIMES_BOUND = 256
"""A fleet so many times larger than the bound demands does not hold limits that a smaller one breaks."""
SEARCH_TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate with its fleet. ``active`` replicas carry the load, ``spares`` may fail.

    ``capacity`` is requests/s of one replica; ``usd_per_mtok_out`` at the user's mean load.
    """

    candidate: Candidate
    active: int
    spares: int
    capacity: float
    rental: Rental
    usd_per_mtok_out: float
    below_checkpoint: bool

    @property
    def replicas(self) -> int:
        return self.active + self.spares

    @property
    def score(self) -> tuple[float, bool, float, str]:
        """Lower is better: cost, then the checkpoint's own precision, then room to grow."""
        return (round(self.usd_per_mtok_out, 9), self.below_checkpoint,
                -round(self.capacity * self.active, 3), repr(self.candidate.config))


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What can be rented, on which day, within which limits. ``table`` also holds what the limits exclude."""

    prices: tuple[Price, ...]
    limits: Constraints
    today: date
    table: tuple[Price, ...]

    def rent(self, c: Candidate, replicas: int) -> Rental | None:
        """The cheapest fleet of so many replicas; None where limits or list forbid it."""
        most = self.limits.max_gpus
        if most is not None and replicas * c.config.num_gpus > most:
            return None
        found = rent(self.prices, c.config.gpu, c.config.layout, replicas, self.today)
        budget = self.limits.budget_usd_per_month
        if found is None or (budget is not None and found.usd_per_month > budget):
            return None
        return found

    def most_replicas(self, c: Candidate, usd_per_h: float) -> int:
        """Largest fleet, spares included, that costs at most ``usd_per_h``; 0 where one replica costs more."""
        def affordable(n: int) -> bool:
            found = self.rent(c, n)
            return found is not None and found.usd_per_h <= usd_per_h * (1 + 1e-12)

        if not affordable(1):
            return 0
        low, high = 1, 2
        while high <= MAX_REPLICAS and affordable(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if affordable(middle) else (low, middle)
        return low


def holds(outcome: Outcome, targets: Iterable[SloTarget], slower: float = 1.0) -> bool:
    """Whether a run keeps every limit when all steps take ``slower`` times as long."""
    return outcome.broken(tuple(targets), slower) is None


@dataclass(frozen=True, slots=True, eq=False)
class Sizer:
    """Finds the smallest fleet of a candidate. ``targets`` default to the question's."""

    question: Question
    evaluator: Evaluator
    market: Market
    targets: tuple[SloTarget, ...]
    tolerance: float = SEARCH_TOLERANCE

    def draft(self, c: Candidate, *, at_most_usd_per_mtok: float = math.inf, bound: float = math.inf,
              rival: Draft | None = None) -> Draft | None:
        """The cheapest fleet, or None if there is none at this price. ``bound``: no replica serves more requests/s.

        ``rival`` is a fleet of replicas of the same shape, so that only a higher capacity can beat it.
        """
        if self.question.closed:
            return self._closed(c, at_most_usd_per_mtok, bound)
        if rival is not None and not self._outdoes(c, rival):
            return None
        return self._open(c, at_most_usd_per_mtok, bound)

    def _outdoes(self, c: Candidate, rival: Draft) -> bool:
        """Whether one replica takes 2 % more than one of the rival."""
        rate = rival.capacity * 1.02
        return holds(self.evaluator.at_rate(c, rate, rival.active), self.targets)

    # -- open loop --------------------------------------------------------------------------------------------

    def needed_rate(self) -> float:
        """Requests/s that the active replicas must be able to take: the peak and its headroom."""
        return (self.question.peak_rate or 0.0) / (1 - self.market.limits.headroom)

    def usd_per_mtok(self, usd_per_h: float) -> float:
        """Cost per 1M output tokens at the mean load."""
        return 1e6 * usd_per_h / ((self.question.rate or 0.0) * self.question.shape.mean_osl * 3600)

    def _open(self, c: Candidate, limit: float, bound: float) -> Draft | None:
        """One run decides whether a fleet that costs ``limit`` would do; only then is its smallest size sought."""
        need = self.needed_rate()
        usd_per_h = limit * (self.question.rate or 0.0) * self.question.shape.mean_osl * 3600 / 1e6
        most = self.market.most_replicas(c, usd_per_h) - self.market.limits.spare_replicas
        least = max(1, math.ceil(need / bound - 1e-9))
        if most < least or (math.isfinite(limit) and not self.carries(c, need, most)):
            return None
        active = self._smallest(c, need, least, most)
        if active is None:
            return None
        return self._priced(c, active, max(self.capacity(c, need / active, active), need / active))

    def _smallest(self, c: Candidate, need: float, least: int, most: int) -> int | None:
        """Fewest replicas in ``least`` ... ``most`` that carry ``need``: by doubling, then bisection.

        More replicas help twice: each gets less, and a smoother stream.
        """
        low, high = least - 1, least
        while not self.carries(c, need, high):
            if high >= min(most, least * MOST_TIMES_BOUND):
                return None
            low, high = high, min(high * 2, most)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.carries(c, need, middle) else (middle, high)
        return high

    def carries(self, c: Candidate, requests_per_s: float, replicas: int) -> bool:
        """Whether ``replicas`` share this load within all limits."""
        return holds(self.evaluator.at_rate(c, requests_per_s / replicas, replicas), self.targets)

    def capacity(self, c: Candidate, known: float, replicas: int, slower: float = 1.0) -> float:
        """Highest requests/s of one replica, from a rate that is ``known`` to hold (or a first guess)."""
        def at(rate: float) -> bool:
            return holds(self.evaluator.at_rate(c, rate * slower, replicas), self.targets, slower)

        return highest(at, known, floor=known / 256, ceiling=known * 2**20,
                       tolerance=self.tolerance).value

    def _priced(self, c: Candidate, active: int, capacity: float) -> Draft | None:
        spares = self.market.limits.spare_replicas
        rental = self.market.rent(c, active + spares)
        if rental is None:
            return None
        return Draft(c, active, spares, capacity, rental, self.usd_per_mtok(rental.usd_per_h),
                     below_checkpoint(self.question, c))

    # -- closed loop ------------------------------------------------------------------------------------------

    def _closed(self, c: Candidate, limit: float, bound: float) -> Draft | None:
        """Fewer replicas share their batches better, more may fill a rented instance: both ends are tried."""
        users = self.question.concurrency or 1
        best: Draft | None = None
        for active in self._counts(c, users):
            rental = self.market.rent(c, active + self.market.limits.spare_replicas)
            if rental is None:
                continue
            least = self._per_mtok(rental.usd_per_h, active * bound)
            if least > min(limit, best.usd_per_mtok_out if best else math.inf):
                continue
            run = self.evaluator.at_concurrency(c, math.ceil(users / active))
            if not holds(run, self.targets) or run.requests_per_s <= 0:
                continue
            draft = Draft(c, active, self.market.limits.spare_replicas, run.requests_per_s, rental,
                          self._per_mtok(rental.usd_per_h, active * run.requests_per_s),
                          below_checkpoint(self.question, c))
            if draft.usd_per_mtok_out <= limit and (best is None or draft.score < best.score):
                best = draft
        return best

    def _per_mtok(self, usd_per_h: float, requests_per_s: float) -> float:
        return 1e6 * usd_per_h / (requests_per_s * self.question.shape.mean_osl * 3600)

    def _counts(self, c: Candidate, users: int) -> list[int]:
        """Powers of two up to one replica per user, and those that fill a node."""
        fills = {max(1, p.gpu_count // c.config.num_gpus) for p in self.market.prices if p.gpu == c.config.gpu}
        powers = {2**k for k in range(users.bit_length())}
        return sorted(n for n in powers | fills if n <= users)


def below_checkpoint(question: Question, c: Candidate) -> bool:
    """Whether weights or KV are stored in fewer bits than the checkpoint has."""
    from costplan.core.dtypes import dtype

    spec = question.spec
    own_kv = spec.kv_dtype or spec.base_dtype
    return (dtype(c.config.weight_dtype).bits < dtype(spec.weight_dtype).bits
            or dtype(c.config.kv_dtype).bits < dtype(own_kv).bits)


