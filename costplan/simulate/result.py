"""What a run gave: times of every request in seconds, and the engine's own sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.perf.batch import BatchState
from costplan.simulate.clock import TICKS_PER_S
from costplan.simulate.setup import REASONS, Refusal, Setup
from costplan.simulate.tally import Tally
from costplan.workload.workload import Slo

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SimulationResult:
    """Arrays are [n] over the requests that ran, in their order; ``setup.kept`` gives their places in the input."""

    setup: Setup
    tally: Tally
    slo: Slo | None = None

    def __len__(self) -> int:
        return self.setup.n

    @property
    def sent_s(self) -> Floats:
        """When clients sent their requests."""
        return _seconds(self.tally.arrival - self.setup.request_ticks)

    @property
    def finish_s(self) -> Floats:
        """When the last token was there."""
        return _seconds(self.tally.finish)

    @property
    def queue_s(self) -> Floats:
        """From the engine's door to the first step with this request."""
        return _seconds(self.tally.admitted - self.tally.arrival)

    @property
    def ttft_s(self) -> Floats:
        """From sending to the first token."""
        return _seconds(self.tally.first - self.tally.arrival + self.setup.request_ticks)

    @property
    def e2e_s(self) -> Floats:
        """From sending to the last token."""
        return _seconds(self.tally.finish - self.tally.arrival + self.setup.request_ticks)

    @property
    def tpot_s(self) -> Floats:
        """(e2e - ttft) / (osl - 1); 0 for answers of one token, which have none."""
        return _seconds(self.tally.finish - self.tally.first) / np.maximum(1, self.setup.answer_tokens - 1)

    @property
    def max_itl_s(self) -> Floats:
        """Longest gap between two tokens of a request; 0 for answers of one token."""
        return _seconds(self.tally.max_gap)

    @property
    def has_tpot(self) -> NDArray[np.bool_]:
        return self.setup.answer_tokens > 1

    @property
    def duration_s(self) -> float:
        """From 0 to the last token of all."""
        return self.tally.counters["end_ticks"] / TICKS_PER_S

    @property
    def refusals(self) -> dict[str, int]:
        """Requests that were refused, by reason."""
        counts = Counter(self.setup.refused[self.setup.refused != Refusal.NONE].tolist())
        return {REASONS[Refusal(code)]: count for code, count in sorted(counts.items())}

    @property
    def decode_step(self) -> BatchState | None:
        """The mean decode batch, to ask a latency model for its evidence; None if nothing decoded."""
        c = self.tally.counters
        steps = c["decode_steps"]
        if not steps:
            return None
        seqs = max(1, round(c["decode_tokens"] / steps))
        return BatchState(decode_seqs=seqs, decode_kv_tokens=round(c["decode_kv_tokens"] / c["decode_tokens"] * seqs))

    @property
    def prefill_step(self) -> BatchState | None:
        """The prompt part of the mean step with prompts; None if there was none."""
        c = self.tally.counters
        steps = c["prefill_steps"]
        if not steps:
            return None
        return BatchState(prefill_tokens=max(1, round(c["prefill_tokens"] / steps)),
                          prefill_context_tokens=round(c["prefill_context_tokens"] / steps),
                          prefill_seqs=max(1, round(c["prefill_seqs"] / steps)))


def _seconds(ticks: NDArray[np.int64]) -> Floats:
    return np.asarray(ticks / TICKS_PER_S, dtype=np.float64)
