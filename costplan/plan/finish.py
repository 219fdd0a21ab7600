"""From a draft to a plan: the whole trace verifies it, every number gets its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from costplan.core.evidence import Estimate
from costplan.perf.assemble import kernel_engine
from costplan.perf.concurrency import concurrency
from costplan.perf.residual import was_seen
from costplan.perf.steady import LoadKind
from costplan.plan.evaluate import Simulated
from costplan.plan.fleet import Draft, Market, Sizer, holds
from costplan.plan.money import money
from costplan.plan.outcome import Outcome
from costplan.plan.question import Question
from costplan.plan.types import Binding, Latencies, Memory, Plan, SloMargin
from costplan.plan.uncertainty import Errors, capacity_at, chances, errors
from costplan.workload.workload import Metric

MOST_EXTRA_REPLICAS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Finisher:
    """Verifies drafts on ``verifier``'s requests and measures intervals on the search's own, which are fewer."""

    question: Question
    market: Market
    search: Simulated
    verifier: Simulated

    @property
    def sizer(self) -> Sizer:
        return Sizer(self.question, self.search, self.market, self.question.targets)

    def plan(self, draft: Draft, rank: int) -> Plan | None:
        """The finished plan; None where no affordable fleet of this kind passes on all requests."""
        verified = self._verified(draft)
        if verified is None:
            return None
        draft, run = verified
        model = self.search.bench.model(draft.candidate)
        c = draft.candidate.config
        err = errors(model, run, LoadKind.CONCURRENCY if self.question.closed else LoadKind.RATE,
                     seen=was_seen(c.gpu, c.model, kernel_engine(c.engine)))
        return self._plan(draft, rank, run, err)

    def load(self, draft: Draft) -> float:
        """Peak load of one active replica: requests/s, or requests in flight."""
        q = self.question
        if q.closed:
            return math.ceil((q.concurrency or 1) / draft.active)
        return (q.peak_rate or 0.0) / draft.active

    def outcome(self, draft: Draft, evaluator: Simulated | None = None) -> Outcome:
        """The draft at its peak load."""
        ev = evaluator or self.verifier
        if self.question.closed:
            return ev.at_concurrency(draft.candidate, int(self.load(draft)))
        return ev.at_rate(draft.candidate, self.load(draft), draft.active)

    def _verified(self, draft: Draft) -> tuple[Draft, Outcome] | None:
        """The smallest fleet from the draft's on that holds with all requests, headroom included."""
        for _ in range(MOST_EXTRA_REPLICAS):
            if self._holds_with_headroom(draft):
                return draft, self.outcome(draft)
            if self.question.closed:
                return None
            active = draft.active + 1
            rental = self.market.rent(draft.candidate, active + draft.spares)
            if rental is None:
                return None
            draft = replace(draft, active=active, rental=rental, capacity=self.sizer.needed_rate() / active,
                            usd_per_mtok_out=self.sizer.usd_per_mtok(rental.usd_per_h))
        return None

    def _holds_with_headroom(self, draft: Draft) -> bool:
        if self.question.closed:
            return holds(self.outcome(draft), self.question.targets)
        rate = self.sizer.needed_rate() / draft.active
        return holds(self.verifier.at_rate(draft.candidate, rate, draft.active), self.question.targets)

    def _plan(self, draft: Draft, rank: int, run: Outcome, err: Errors) -> Plan:
        q, c = self.question, draft.candidate
        spread = capacity_at(self.sizer, draft, err.step)
        model = self.search.bench.model(c)
        basis = model.basis

        def est(value: float, log_sd: float) -> Estimate:
            return Estimate(value, log_sd, err.evidence, basis, err.shares)

        capacity = est(draft.capacity, spread.log_sd(draft.capacity, err.step))
        mean = q.rate if q.rate is not None else run.requests_per_s * draft.active
        served = est(mean * q.shape.mean_osl, 0.0 if not q.closed else err.step)
        priced = est(served.value, capacity.log_sd)
        full = capacity.scaled(draft.active * q.shape.mean_osl)
        odds = chances(self.sizer, draft, q.targets, self.load(draft), err)
        can = draft.capacity * draft.active
        return Plan(
            rank=rank, config=c.config, replicas=draft.replicas, spare_replicas=draft.spares, requests_per_s=mean,
            peak_requests_per_s=q.peak_rate if q.peak_rate is not None else mean, capacity_requests_per_s=capacity,
            output_tok_s=served, utilisation=min(1.0, mean / can),
            peak_utilisation=min(1.0, (q.peak_rate or mean) / can), busy=min(1.0, run.busy),
            latencies=self._latencies(run, err, basis),
            slo=tuple(SloMargin(t, est(run.at(t.metric, t.percentile), err.of(t.metric)), p)
                      for t, p in zip(q.targets, odds.each, strict=True)),
            p_meets_slo=odds.all, goodput=run.goodput, prefix_hit_rate=run.hit_rate,
            preemptions_per_request=run.preemptions_per_request,
            money=money(q, self.market, draft, run, model, spread, priced, full), memory=memory(q, draft, run),
            binding=self._binding(draft), step_bound=err.decode.bound, evidence=err.evidence,
            evidence_shares=err.shares, basis=basis, below_checkpoint=draft.below_checkpoint)

    def _latencies(self, run: Outcome, err: Errors, basis: str) -> tuple[Latencies, ...]:
        def est(value: float, metric: Metric) -> Estimate:
            return Estimate(value, err.of(metric), err.evidence, basis, err.shares)

        return tuple(Latencies(m, est(run.mean(m), m), tuple((f, est(run.at(m, f), m))
                                                             for f in self.question.fractions(m))) for m in Metric)

    def _binding(self, draft: Draft) -> Binding:
        """What fails first just above capacity."""
        if self.question.closed:
            return self.outcome(draft).broken(self.question.targets) or Binding.CONCURRENCY
        for step in (1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0):
            run = self.search.at_rate(draft.candidate, draft.capacity * step, draft.active)
            broken = run.broken(self.question.targets)
            if broken is not None:
                full = run.occupancy > 0.98 and run.preemptions_per_request > 0.01
                return Binding.KV if full else broken
        return Binding.NONE


def memory(question: Question, draft: Draft, run: Outcome) -> Memory:
    """Bytes of one GPU and what its KV cache holds of this workload."""
    b = draft.candidate.budget
    fits = concurrency(b.pool, b.num_blocks, question.shape.lengths)
    return Memory(b.total_bytes, b.weights.total, b.activation_bytes, b.graph_bytes, b.runtime_bytes,
                  b.reserved_bytes, b.kv_bytes, b.num_blocks, b.kv_tokens, fits.mean, min(1.0, run.occupancy))
