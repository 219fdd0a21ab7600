"""The steps that an engine takes under a workload, with the lengths of every sequence in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from costplan.core.rng import stream
from costplan.perf.batch import BatchState
from costplan.plan.question import Question
from costplan.simulate.clock import TICKS_PER_S
from costplan.simulate.policy import EnginePolicy, SchedulerLimits
from costplan.simulate.reference import ReferenceEngine, Seq
from costplan.simulate.requests import SimRequests
from costplan.simulate.run import simulate
from costplan.simulate.setup import Setup, setup
from costplan.simulate.step_table import StepTable

LOADS = ((0.3, 120), (0.7, 250), (0.95, 700), (1.3, 500))
"""Offered load as shares of the highest throughput (quiet, busy, where a plan with an SLO ends up, too much), and
how many requests to run: a crowded engine needs more until its batch is full."""
SETTLED = 0.25
"""Part of a run that is left out: the engine starts empty."""


@dataclass(frozen=True, slots=True)
class Step:
    """One engine step: cached tokens that each decoding sequence sees, (new, cached) tokens of each prompt."""

    seconds: float
    decode: tuple[int, ...]
    prompts: tuple[tuple[int, int], ...]

    @property
    def batch(self) -> BatchState:
        """The same as sums."""
        return BatchState(len(self.decode), sum(self.decode), sum(q for q, _ in self.prompts),
                          sum(c for _, c in self.prompts), len(self.prompts))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """``(q_len, kv_len)`` of every sequence, prompts first."""
        return (*((q, q + c) for q, c in self.prompts), *((1, kv) for kv in self.decode))


class _Recorder(ReferenceEngine):
    """The reference engine, writing down its steps."""

    def __init__(self, ready: Setup) -> None:
        super().__init__(ready)
        self.steps: list[Step] = []

    def _pass_time(self, decode: list[Seq]) -> None:
        before = self.now
        lengths = tuple(q.cached + 1 for q in decode)
        prompts = tuple((new, cached) for _, new, cached in self.prefills)
        super()._pass_time(decode)
        self.steps.append(Step((self.now - before) / TICKS_PER_S, lengths, prompts))


def steps_of(question: Question, table: StepTable, limits: Sequence[SchedulerLimits], policy: EnginePolicy,
             effort: float = 1.0) -> list[Step]:
    """Steps of runs at each of `LOADS`, with one of the ``limits`` after the other; the seconds of every run add up
    to 1. ``effort`` scales the requests."""
    out: list[Step] = []
    most_per_s: float | None = None
    for (load, count), lim in zip(LOADS, cycle(limits), strict=False):
        drawn = question.requests(1, max(16, round(count * effort)))
        if most_per_s is None:
            crowd = replace(drawn, arrival_s=drawn.arrival_s * 0.0, concurrency=None)
            most = simulate(crowd, table, lim, policy)
            if not len(most):
                return []
            most_per_s = len(most) / most.duration_s
        paced = _paced(drawn, load * most_per_s, question)
        engine = _Recorder(setup(paced, table, lim, policy))
        engine.run()
        kept = _settled(engine.steps, float(paced.arrival_s[-1]))
        total = sum(s.seconds for s in kept)
        out += [replace(s, seconds=s.seconds / total) for s in kept]
    return out


def _settled(steps: Sequence[Step], last_arrival_s: float) -> list[Step]:
    """Steps after the start and before requests stop coming; all of them where that leaves too few."""
    now, kept = 0.0, []
    for s in steps:
        now += s.seconds
        if SETTLED * last_arrival_s <= now <= last_arrival_s:
            kept.append(s)
    return kept if len(kept) >= len(steps) // 4 else list(steps)


def _paced(drawn: SimRequests, per_s: float, question: Question) -> SimRequests:
    """The same requests at another mean rate; clients of a closed loop become a Poisson stream."""
    if drawn.concurrency is None and float(drawn.arrival_s[-1]) > 0:
        return replace(drawn, arrival_s=drawn.arrival_s * (len(drawn) / per_s / float(drawn.arrival_s[-1])))
    gaps = stream(question.seed, "campaign.arrivals").exponential(1.0, len(drawn))
    return replace(drawn, arrival_s=gaps.cumsum() / per_s, concurrency=None)


def sample(steps: Sequence[Step], n: int, seed: int, purpose: str) -> list[Step]:
    """``n`` steps, drawn with replacement as often as they take time."""
    if not steps:
        return []
    weights = [s.seconds for s in steps]
    total = sum(weights)
    draws = stream(seed, purpose).choice(len(steps), size=n, p=[w / total for w in weights])
    return [steps[int(i)] for i in draws]
