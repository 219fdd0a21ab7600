"""Speculative decoding in the simulator: cheaper tokens, and answers that need more or fewer of them by luck.

A simulated decode step stays one token. It costs a cycle over the tokens that a cycle yields, and a request whose
guesses are kept less often takes more such steps for the same answer. So means and the spread over requests are those
of cycles; single gaps are not, for the tokens of a cycle come together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from costplan.core.rng import stream
from costplan.perf.batch import BatchState
from costplan.perf.drafter import Drafter
from costplan.perf.drafting import Drafting
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.speculative import adaptive, cycle, tokens_per_cycle
from costplan.perf.step_parts import KernelStepParts
from costplan.simulate.requests import SimRequests

Ints = NDArray[np.int64]
_CERTAIN = (1e-300, 1 - 1e-12)
"""Acceptance as near to never and always as logarithms bear."""


@dataclass(frozen=True, slots=True, eq=False)
class Drafts:
    """Speculative decoding of one engine: what guesses, and how."""

    drafter: Drafter
    drafting: Drafting

    def parts(self, model: KernelLatencyModel, isl: float, osl: float) -> DraftedParts:
        """Step times for requests of these mean lengths."""
        return DraftedParts(model, self.drafter, self.drafting, isl + osl / 2, osl)

    def requests(self, given: SimRequests, seed: int = 0) -> SimRequests:
        """``given`` with the decode steps that its answers take instead of their tokens, which it keeps aside."""
        d = self.drafting
        after_first = given.osl - 1
        cycles = drawn_cycles(after_first, d, seed)
        steps = np.rint(cycles * tokens_per_cycle(d.acceptance, d.tokens)).astype(np.int64)
        return replace(given, osl=1 + np.where(after_first > 0, np.maximum(1, steps), 0), answer_tokens=given.osl)


def drawn_cycles(tokens: Ints, d: Drafting, seed: int = 0) -> Ints:
    """Cycles that each answer of ``tokens`` takes: of ``d.tokens`` guesses in a row those before the first wrong one
    are kept, and one token of the model's own follows."""
    rng = stream(seed, "simulate.drafts")
    kept = np.clip(d.acceptance + d.spread * rng.standard_normal(len(tokens)), *_CERTAIN)
    left, out = tokens.copy(), np.zeros(len(tokens), dtype=np.int64)
    open_ = np.flatnonzero(left > 0)
    while len(open_):
        run = np.log(1.0 - rng.random(len(open_))) / np.log(kept[open_])  # geometric
        left[open_] -= 1 + np.minimum(run, d.tokens).astype(np.int64)
        out[open_] += 1
        open_ = open_[left[open_] > 0]
    return out


class DraftedParts:
    """The parts of a step (`StepParts`) that yields one token of each decoding sequence, by cycles of drafts.

    Layers, head and host are charged per token; what a cycle takes beyond them goes to ``decode_s``, and what they take
    for prompts is made whole in ``prefill_s``, with the draft's own prefill.
    """

    def __init__(self, model: KernelLatencyModel, drafter: Drafter, d: Drafting, context: float, osl: float) -> None:
        self._model, self._plain, self._drafter, self._d = model, KernelStepParts(model), drafter, d
        self._yield = tokens_per_cycle(d.acceptance, d.tokens)
        self._length: Callable[[int], int] = cache(
            lambda seqs: adaptive(model, drafter, seqs, context, d, osl, d.tokens)[0]) if d.adaptive else (
            lambda seqs: d.tokens)

    def __getattr__(self, name: str) -> float:
        """What drafts do not change: floors and times per request."""
        value: float = getattr(self._plain, name)
        return value

    def tokens_s(self, tokens: int) -> float:
        return self._plain.tokens_s(tokens) / self._yield

    def seqs_s(self, seqs: int) -> float:
        return self._plain.seqs_s(seqs) / self._yield

    def host_s(self, seqs: int) -> float:
        return self._plain.host_s(seqs) / self._yield

    def decode_s(self, seqs: int, kv_tokens: int) -> float:
        shared = self.tokens_s(seqs) + self.seqs_s(seqs) + self.host_s(seqs)
        return max(0.0, self._token_s(seqs, kv_tokens) - shared)

    def _token_s(self, seqs: int, kv_tokens: int) -> float:
        """Seconds of one token of every sequence."""
        length = self._length(seqs)
        if not length:
            return self._model.step_s(BatchState(decode_seqs=seqs, decode_kv_tokens=kv_tokens))
        c = cycle(self._model, self._drafter, seqs, kv_tokens / seqs, length)
        return (c.draft_s + c.verify_s) / tokens_per_cycle(self._d.acceptance, length)

    def prefill_s(self, seqs: int, tokens: int, context_tokens: int) -> float:
        plain = self._plain
        rest = (plain.tokens_s(tokens) + plain.seqs_s(seqs) + plain.host_s(seqs)) * (1 - 1 / self._yield)
        own = self._drafter.step_s(BatchState(0, 0, tokens, context_tokens, seqs))
        return plain.prefill_s(seqs, tokens, context_tokens) + rest + own
