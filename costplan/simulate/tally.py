"""What an engine hands back: ticks per request and sums over the run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costplan.simulate.clock import HISTOGRAM_BINS

Ints = NDArray[np.int64]

COUNTERS = (
    "steps", "decode_steps", "prefill_steps", "decode_tokens", "decode_kv_tokens", "prefill_tokens",
    "prefill_context_tokens", "prefill_seqs", "prompt_tokens", "hit_tokens", "preemptions", "swapped_blocks",
    "peak_blocks", "peak_running", "busy_ticks", "end_ticks",
)
"""Whole numbers over the run. ``decode_kv_tokens`` sums the cached tokens read by decode steps; ``prompt_tokens``
and ``hit_tokens`` count first admissions only; ``prefill_tokens`` counts recomputation too."""


@dataclass(slots=True, eq=False)
class Tally:
    """Result of one engine run, in the order of `Setup`.

    ``arrival`` as it came about (closed loops), ``admitted`` the start of the first step with this request,
    ``first`` and ``finish`` the ends of the steps with its first and last token, ``max_gap`` between two tokens.
    ``running_area held_area`` integrate sequences and cached tokens over ticks; ``gaps`` is a histogram.
    """

    arrival: Ints
    admitted: Ints
    first: Ints
    finish: Ints
    max_gap: Ints
    preempted: Ints
    counters: dict[str, int]
    running_area: float = 0.0
    held_area: float = 0.0
    gaps: Ints = field(default_factory=lambda: np.zeros(HISTOGRAM_BINS, dtype=np.int64))


def empty_tally(arrival: Ints) -> Tally:
    """Nothing has happened yet to ``len(arrival)`` requests."""
    none = [np.zeros(len(arrival), dtype=np.int64) for _ in range(4)]
    return Tally(arrival.copy(), np.full(len(arrival), -1, dtype=np.int64), none[0], none[1], none[2], none[3],
                 dict.fromkeys(COUNTERS, 0))
