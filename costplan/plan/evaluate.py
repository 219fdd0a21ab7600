"""One candidate under one load: the simulator's answer, with the same requests for every candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

from costplan.plan.bench import Bench
from costplan.plan.outcome import Outcome, outcome
from costplan.plan.question import Question
from costplan.plan.space import Candidate
from costplan.simulate.policy import EnginePolicy, limits_of, policy
from costplan.simulate.quota import Quota
from costplan.simulate.requests import SimRequests
from costplan.simulate.run import quotas_of, simulate

MOST_SPAN_S = 1e7
"""A replica so idle that its requests span more than 100 days is played at that pace: they no longer meet anyway."""

QUOTA_BURST_S = 60.0
MOST_BURST_TOKENS = 3.9e7
"""A tenant may save up a minute of its quota, and never more than the simulator counts."""

KEPT = 64
"""Outcomes kept for the next question about the same run; each holds a few numbers per request."""


class Evaluator(Protocol):
    """Anything that can tell how one replica of a candidate does."""

    def at_rate(self, c: Candidate, requests_per_s: float, replicas: int) -> Outcome:
        """One of ``replicas`` that receives ``requests_per_s``."""
        ...

    def at_concurrency(self, c: Candidate, in_flight: int) -> Outcome:
        """One replica of a closed loop."""
        ...


@dataclass(slots=True, eq=False)
class Simulated:
    """Simulates ``n`` requests per question and keeps the last outcomes; ``runs`` counts simulations."""

    question: Question
    bench: Bench
    n: int
    runs: int = 0
    _kept: dict[tuple[object, ...], Outcome] = field(default_factory=dict)

    def at_rate(self, c: Candidate, requests_per_s: float, replicas: int) -> Outcome:
        lane = requests_per_s / c.config.layout.dp
        lanes = replicas * c.config.layout.dp
        drawn = self.question.requests(lanes, self.n)
        factor = min(self.question.rate_of(lanes) / lane, MOST_SPAN_S / max(1e-9, float(drawn.arrival_s[-1])))
        return self._run(c, replace(drawn, arrival_s=drawn.arrival_s * factor), lane, drawn)

    def at_concurrency(self, c: Candidate, in_flight: int) -> Outcome:
        lane = max(1, math.ceil(in_flight / c.config.layout.dp))
        parts = max(1, round((self.question.concurrency or lane) / lane))
        drawn = self.question.requests(parts, max(self.n, 8 * lane))
        return self._run(c, replace(drawn, concurrency=lane), None, drawn)

    def replay(self, c: Candidate, requests: SimRequests, lane_rate: float | None,
               window: slice | None = None) -> Outcome:
        """Requests of the caller's own on one lane, read within ``window``, for shocks."""
        return self._run(c, requests, lane_rate, None, window)

    def _run(self, c: Candidate, requests: SimRequests, lane_rate: float | None, drawn: SimRequests | None,
             window: slice | None = None) -> Outcome:
        key = (c.system, c.config, lane_rate, requests.concurrency, id(drawn), len(requests))
        if drawn is not None and key in self._kept:
            return self._kept[key]
        table = self.bench.table(c)
        limits = limits_of(c.budget, max(1, round(self.question.shape.mean_isl + self.question.shape.mean_osl)))
        rules = _policy(c)
        units = self.bench.units(drawn, limits.block_size) if drawn is not None and rules.prefix_caching else None
        self.runs += 1
        result = simulate(self.bench.played(requests, c.system), table, limits, rules,
                          quotas=self._quotas(lane_rate), units=units)
        found = _whole(outcome(result, self.question.targets, lane_rate, window), c.config.layout.dp)
        if drawn is not None:
            self._kept[key] = found
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return found

    def _quotas(self, lane_rate: float | None) -> tuple[Quota | None, ...]:
        """Token buckets of the tenants, each lane with its part."""
        total, tenants = self.question.rate, self.question.workload.tenants
        share = lane_rate / total if lane_rate is not None and total is not None else 1.0
        scaled = [replace(t, max_tokens_per_s=t.max_tokens_per_s * share) if t.max_tokens_per_s else t for t in tenants]
        largest = max((t.max_tokens_per_s or 0.0 for t in scaled), default=0.0)
        return quotas_of(scaled, min(QUOTA_BURST_S, MOST_BURST_TOKENS / largest if largest else QUOTA_BURST_S))


def _whole(o: Outcome, lanes: int) -> Outcome:
    """Rates of all lanes of a replica together."""
    if lanes == 1:
        return o
    offered = None if o.offered_per_s is None else o.offered_per_s * lanes
    return replace(o, offered_per_s=offered, requests_per_s=o.requests_per_s * lanes,
                   output_tok_s=o.output_tok_s * lanes)


def _policy(c: Candidate) -> EnginePolicy:
    return replace(policy(c.config.engine), chunked_prefill=c.config.chunked_prefill,
                   prefix_caching=c.config.prefix_caching)
