"""What the mean request asks of an engine at the least, in tokens: the input of every bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costplan.plan.question import Question


@dataclass(frozen=True, slots=True)
class Demand:
    """Per request, averaged over the requests that are simulated.

    ``new_tokens`` are prompt tokens that no cache however large would find; ``reads`` the cached tokens that its
    decode steps read in all; ``own_reads`` those of them that no other request shares. ``ttft_tokens`` maps
    each TTFT limit to the new prompt tokens that a request at its percentile has at least.
    """

    new_tokens: float
    output_tokens: float
    decode_steps: float
    reads: float
    own_reads: float
    ttft_tokens: tuple[tuple[float, float], ...]


def demand(question: Question, n: int) -> Demand:
    """Demand of the ``n`` requests that candidates are simulated with."""
    drawn = question.requests(1, n)
    isl, osl = drawn.isl.astype(np.float64), drawn.osl.astype(np.float64)
    found = question.sharing.hit_rate() if question.sharing is not None else 0.0
    steps = osl - 1
    reads = steps * isl + steps * osl / 2
    limits = [(t.limit_s, 0.0 if found else float(np.quantile(isl, t.percentile)))
              for t in question.targets if t.metric.value == "ttft"]
    return Demand(float(isl.mean()) * (1 - found), float(osl.mean()), float(steps.mean()), float(reads.mean()),
                  float((reads - found * steps * isl).mean()) if found else float(reads.mean()), tuple(limits))
