"""The search: bounds skip, a closed form orders, the simulation of the user's own requests decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from costplan.catalog.gpus import gpu as find_gpu
from costplan.core.errors import CostplanError, InputError, OutOfRangeError
from costplan.plan.bench import Bench
from costplan.plan.bounds import Floor, roofline_floor, table_floor
from costplan.plan.demand import Demand
from costplan.plan.emit import emit
from costplan.plan.estimate import estimated_requests_per_s
from costplan.plan.evaluate import Simulated
from costplan.plan.fleet import Draft, Market, Sizer
from costplan.plan.question import Question
from costplan.plan.space import Candidate, Leftovers, Space, System

RUN_SLACK = 0.1
"""A finite run ends before every backlog shows: a bound must leave room for what is still in flight."""

Progress = Callable[[int, int, str], None]


@dataclass(slots=True)
class Found:
    """What a search settled. ``drafts`` holds the best fleet of each system that was decided by simulation."""

    drafts: dict[System, Draft] = field(default_factory=dict)
    pruned: int = 0
    ranked_out: int = 0
    simulated: int = 0
    notes: Leftovers = field(default_factory=Leftovers)

    @property
    def ranked(self) -> list[Draft]:
        return sorted(self.drafts.values(), key=lambda d: d.score)


@dataclass(slots=True, eq=False)
class Search:
    """One search. ``systems_limit`` None: exhaustive, only bounds skip candidates."""

    question: Question
    space: Space
    bench: Bench
    evaluator: Simulated
    market: Market
    need: Demand
    systems_limit: int | None = None
    progress: Progress | None = None
    found: Found = field(default_factory=Found)

    def __post_init__(self) -> None:
        for candidates in self.space.by_system.values():
            self.bench.cover(candidates)

    @property
    def sizer(self) -> Sizer:
        return Sizer(self.question, self.evaluator, self.market, self.question.targets)

    def run(self) -> Found:
        """Settle every candidate: by bound, by simulation, or (with a limit) by rank.

        A limited search goes on until it has found something: only all candidates together are infeasible.
        """
        order = self._order()
        limit = len(order) if self.systems_limit is None else min(self.systems_limit, len(order))
        done = 0
        while done < limit or (done < len(order) and not self.found.drafts):
            if self.progress:
                self.progress(done, max(limit, done + 1), order[done].label)
            self.settle(order[done])
            done += 1
        rest = order[done:]
        self.found.ranked_out += sum(len(self.space.by_system[s]) for s in rest)
        for system in self._neighbours(rest):
            self.found.ranked_out -= len(self.space.by_system[system])
            self.settle(system)
        return self.found

    # -- order ------------------------------------------------------------------------------------------------

    def _order(self) -> list[System]:
        """Cheapest first by the closed form; the best of each GPU, and of each GPU at full precision, lead."""
        cost = {s: self._estimated_usd_per_h(c) for s, c in self.space.by_system.items()}
        ranked = sorted(self.space.by_system, key=lambda s: (cost[s], s.label))
        own = (self.question.spec.weight_dtype, self.question.spec.kv_dtype or self.question.spec.base_dtype)
        lead = [*_firsts(ranked, lambda s: s.gpu),
                *_firsts([s for s in ranked if (s.weight_dtype, s.kv_dtype) == own], lambda s: s.gpu)]
        return list(dict.fromkeys([*lead, *ranked]))

    def _estimated_usd_per_h(self, candidates: Sequence[Candidate]) -> float:
        c = candidates[len(candidates) // 2]
        gpu = find_gpu(c.config.gpu)
        rate = estimated_requests_per_s(self.question.spec, gpu, c, self.need, self.question.targets)
        if self.question.closed:
            return c.config.num_gpus / rate * min(
                (p.price_usd_per_gpu_h for p in self.market.prices if p.gpu == c.config.gpu), default=math.inf)
        active = max(1, math.ceil(self.sizer.needed_rate() / rate))
        rental = self.market.rent(c, min(active, 4096))
        return math.inf if rental is None else rental.usd_per_h * (1 + 1e-3 * min(1.0, 1 / rate))

    def _neighbours(self, rest: Sequence[System]) -> Iterator[System]:
        """The best system of each GPU under the other engines, and the best of all in other formats or drafts."""
        ranked = [d.candidate.system for d in self.found.ranked]
        for s in rest:
            for best in _firsts(ranked, lambda x: x.gpu):
                if (s.gpu, s.layout) != (best.gpu, best.layout):
                    continue
                formats = ((s.kv_dtype != best.kv_dtype) + (s.weight_dtype != best.weight_dtype)
                           + (s.drafting != best.drafting))
                if (formats == 0) if s.engine != best.engine else (formats == 1 and best == ranked[0]):
                    yield s

    # -- one system -------------------------------------------------------------------------------------------

    def settle(self, system: System) -> Draft | None:
        """The best fleet of one system, unless bounds show that it cannot beat the best one of its GPU and kind."""
        candidates = self.space.by_system[system]
        gpu = find_gpu(system.gpu)
        floors = [roofline_floor(self.question.spec, gpu, c, self.need) for c in candidates]
        open_ = [c for c, f in zip(candidates, floors, strict=True) if self._may_win(c, f)]
        self.found.pruned += len(candidates) - len(open_)
        open_ = [c for c in open_ if self._starts(c)]
        if not open_:
            return None
        try:
            tables = [(c, table_floor(self.bench.table(c), c, self.need)) for c in open_]
        except OutOfRangeError as e:
            self.found.notes.add("too far outside what was measured", f"{system.label}: {e.message}", len(open_))
            return None
        best = self.found.drafts.get(system)
        for c, floor in tables:
            if not self._may_win(c, floor):
                self.found.pruned += 1
                continue
            self.found.simulated += 1
            try:
                draft = self.sizer.draft(c, at_most_usd_per_mtok=self._to_beat(c, best), bound=self._most(c, floor),
                                         rival=best)
            except InputError as e:  # pages that do not line up with the blocks of a trace
                self.found.notes.add(e.message, system.label)
                continue
            if draft is not None and (best is None or draft.score < best.score):
                best = self.found.drafts[system] = draft
        return best

    def _starts(self, c: Candidate) -> bool:
        """Whether the engine would start like this; what it refuses is left out with its reason.

        A CPU is not asked: costplan writes no command for one.
        """
        if find_gpu(c.config.gpu).is_cpu:
            return True
        try:
            emit(c.config, c.config.engine, spec=self.question.spec)
        except CostplanError as e:
            self.found.notes.add(f"would not start: {e.message}", c.system.label)
            return False
        return True

    def _most(self, c: Candidate, floor: Floor) -> float:
        """Requests/s that no simulated replica can seem to serve."""
        in_flight = c.config.max_num_seqs / self.evaluator.n
        return floor.requests_per_s(c.config.layout.dp) * (1 + RUN_SLACK + in_flight)

    def _to_beat(self, c: Candidate, best: Draft | None = None) -> float:
        """Cost of the best fleet so far that this candidate competes with: of its GPU and kind of precision."""
        rivals = [d.usd_per_mtok_out for s, d in self.found.drafts.items() if s.gpu == c.config.gpu
                  and (s.weight_dtype, s.kv_dtype) == (c.config.weight_dtype, c.config.kv_dtype)]
        if best is not None:
            rivals.append(best.usd_per_mtok_out)
        return min(rivals, default=math.inf)

    def _may_win(self, c: Candidate, floor: Floor) -> bool:
        """Whether the least fleet that the bound allows costs no more than the one to beat."""
        if floor.broken(self.question.targets, self.need) is not None:
            return False
        bound, limit = self._most(c, floor), self._to_beat(c)
        if self.question.closed:
            # the cheapest GPU-second times the least seconds that a request takes
            least = min((p.price_usd_per_gpu_h for p in self.market.prices if p.gpu == c.config.gpu), default=math.inf)
            usd = 1e6 * least * c.config.num_gpus / (bound * self.question.shape.mean_osl * 3600)
            return usd <= limit
        replicas = max(1, math.ceil(self.sizer.needed_rate() / bound)) + self.market.limits.spare_replicas
        rental = self.market.rent(c, replicas)
        return rental is not None and self.sizer.usd_per_mtok(rental.usd_per_h) <= limit


def _firsts(systems: Sequence[System], key: Callable[[System], str]) -> list[System]:
    """The first system of each key."""
    seen: dict[str, System] = {}
    for s in systems:
        seen.setdefault(key(s), s)
    return list(seen.values())
