"""Recorded requests: when they came, how long they were, which prefix blocks they held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in order of arrival.

    ``arrival_s`` [n] seconds from the first request (None: the source has no times); ``isl osl`` [n] tokens.
    Prefix block ids of request i are ``hash_ids[hash_offsets[i]:hash_offsets[i + 1]]``, each of
    ``block_tokens`` tokens, the last one perhaps partly filled; None where the source has none.
    ``dropped`` counts rows left out, by reason.
    """

    arrival_s: NDArray[np.float64] | None
    isl: NDArray[np.int64]
    osl: NDArray[np.int64]
    source: str
    format: str
    hash_ids: NDArray[np.int64] | None = None
    hash_offsets: NDArray[np.int64] | None = None
    block_tokens: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.isl)

    @property
    def span_s(self) -> float | None:
        """Seconds from the first to the last arrival."""
        return None if self.arrival_s is None else float(self.arrival_s[-1] - self.arrival_s[0])
