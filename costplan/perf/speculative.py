"""Speculative decoding: a draft guesses ``k`` tokens, the model checks them in one step and keeps the right ones.

With acceptance ``a`` (the chance that a guess is kept, independent of the others) a cycle yields
``(1 - a^(k+1)) / (1 - a)`` tokens (Leviathan et al. 2023, arXiv 2211.17192, eq. 1). It costs ``k`` steps of the draft
and one step of the model over ``k + 1`` tokens per sequence. Small batches wait for weights, so the wider step is
nearly free; large ones compute, and pay for every guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from costplan.perf.batch import BatchState
from costplan.perf.drafter import Drafter
from costplan.perf.drafting import Drafting
from costplan.perf.latency import KernelLatencyModel

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LONGEST = 8
"""Draft tokens up to which the best length is looked for."""
NODES = 9
"""Equally likely acceptances at which requests are counted where acceptance differs between them."""
STEPS = 60
"""Halvings of an interval: more than a float can tell apart."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Cycle:
    """One round of ``seqs`` sequences: seconds of a plain step, of all draft steps, and of the check."""

    seqs: int
    draft_tokens: int
    plain_s: float
    draft_s: float
    verify_s: float

    @property
    def cost(self) -> float:
        """Time of a cycle over that of a plain step: as many tokens it must yield to break even."""
        return (self.draft_s + self.verify_s) / self.plain_s

    def speedup(self, acceptance: float) -> float:
        """Tokens/s over those without speculation, on average."""
        return tokens_per_cycle(acceptance, self.draft_tokens) / self.cost

    def p95_speedup(self, acceptance: float, spread: float, tokens: float) -> float:
        """Wall clock of the slowest 1 in 20 answers of ``tokens``, over that without speculation.

        Acceptances of requests have standard deviation ``spread``.
        """
        return max(1.0, tokens) / (_p95_cycles(acceptance, spread, self.draft_tokens, max(1.0, tokens)) * self.cost)

    @property
    def break_even(self) -> float | None:
        """Least acceptance that is not a loss; None where even certain guesses are."""
        if self.cost > self.draft_tokens + 1:
            return None
        return _root(lambda a: tokens_per_cycle(a, self.draft_tokens) - self.cost, 0.0, 1.0)


def tokens_per_cycle(acceptance: float, draft_tokens: int) -> float:
    """Expected tokens of a cycle: the kept guesses and one token of the model's own."""
    return math.fsum(acceptance**j for j in range(draft_tokens + 1))


def _spread_of_tokens(acceptance: float, draft_tokens: int) -> float:
    """Standard deviation of the tokens of a cycle: P(more than j) is ``acceptance ** j``."""
    square = math.fsum((2 * j + 1) * acceptance**j for j in range(draft_tokens + 1))
    return math.sqrt(max(0.0, square - tokens_per_cycle(acceptance, draft_tokens) ** 2))


def _p95_cycles(acceptance: float, spread: float, draft_tokens: int, tokens: float) -> float:
    """Cycles within which 95 % of answers are done: the central limit of a renewal process, mixed over requests."""
    parts = []
    for i in range(NODES):
        a = min(1.0, max(0.0, acceptance + spread * _NORMAL.inv_cdf((i + 0.5) / NODES)))
        mean = tokens_per_cycle(a, draft_tokens)
        parts.append((tokens / mean, math.sqrt(tokens / mean) * _spread_of_tokens(a, draft_tokens) / mean))

    def late(cycles: float) -> float:
        return sum(_done(cycles, m, sd) for m, sd in parts) / NODES - 0.95

    return min(tokens, _root(late, 0.0, max(m + 6 * sd for m, sd in parts)))  # a cycle yields a token at least


def _done(cycles: float, mean: float, sd: float) -> float:
    return float(cycles >= mean) if sd <= 0 else _NORMAL.cdf((cycles - mean) / sd)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) >= 0 else (middle, high)
    return high


def cycle(model: KernelLatencyModel, drafter: Drafter, seqs: int, context: float, draft_tokens: int) -> Cycle:
    """A cycle of ``seqs`` sequences that hold ``context`` tokens each.

    The check passes ``seqs * (k + 1)`` tokens through every layer and the head; their attention reads the cache of
    each sequence once. It is never faster than a plain step.
    """
    held = round(seqs * context)
    plain = BatchState(decode_seqs=seqs, decode_kv_tokens=held)
    check = BatchState(decode_seqs=seqs * (draft_tokens + 1), decode_kv_tokens=held)
    before = model.step_s(plain)
    return Cycle(seqs, draft_tokens, before, draft_tokens * drafter.step_s(plain), max(before, model.step_s(check)))


@dataclass(frozen=True, slots=True)
class Row:
    """One batch size: the asked draft length, and the length from 0 (off) on whose p95 wall clock is best."""

    cycle: Cycle
    speedup: float
    p95_speedup: float
    best_tokens: int
    best_p95_speedup: float

    @property
    def pays(self) -> bool:
        """Wall clock at p95 decides."""
        return self.p95_speedup > 1


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding of one deployment by batch size; ``here`` is the batch of the asked load without drafts."""

    drafting: Drafting
    drafter: str
    draft_weight_bytes: float
    tokens_per_cycle: float
    rows: tuple[Row, ...]
    here: Row


def speculation(model: KernelLatencyModel, drafter: Drafter, d: Drafting, *, context: float, osl: float, here: int,
                most: int) -> Speculation:
    """Speed-up and slow-down by batch size, up to ``most`` sequences; ``here`` decode together under the asked load."""

    def row(seqs: int) -> Row:
        asked = cycle(model, drafter, seqs, context, d.tokens)
        best, gain = adaptive(model, drafter, seqs, context, d, osl, LONGEST)
        return Row(asked, asked.speedup(d.acceptance), asked.p95_speedup(d.acceptance, d.spread, osl), best, gain)

    sizes: Sequence[int] = [b for b in BATCHES if b <= most] or [1]
    return Speculation(d, drafter.name, drafter.weight_bytes, tokens_per_cycle(d.acceptance, d.tokens),
                       tuple(row(b) for b in sizes), row(max(1, here)))


def adaptive(model: KernelLatencyModel, drafter: Drafter, seqs: int, context: float, d: Drafting, osl: float,
             longest: int) -> tuple[int, float]:
    """The draft length up to ``longest`` with the best p95 wall clock and its speed-up; (0, 1) where none pays."""
    best = (0, 1.0)
    for k in range(1, longest + 1):
        gain = cycle(model, drafter, seqs, context, k).p95_speedup(d.acceptance, d.spread, osl)
        if gain > best[1]:
            best = (k, gain)
    return best
