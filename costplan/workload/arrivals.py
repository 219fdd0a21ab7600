"""When requests arrive: at a rate, as in a trace, or in a closed loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Arrivals(Protocol):
    """A stream of arrival times."""

    @property
    def requests_per_s(self) -> float | None:
        """Mean offered rate; None where the service sets the pace (closed loop)."""
        ...

    @property
    def concurrency(self) -> int | None:
        """Requests held in flight by a closed loop; None for open loops."""
        ...

    def times_s(self, n: int, rng: np.random.Generator) -> Floats:
        """First ``n`` arrival times in seconds, ascending from about 0."""
        ...


@dataclass(frozen=True, slots=True)
class GammaArrivals:
    """Gaps from a gamma distribution of mean ``1/requests_per_s``; ``burstiness`` is its shape (1: Poisson)."""

    requests_per_s: float
    burstiness: float = 1.0

    @property
    def concurrency(self) -> int | None:
        return None

    def times_s(self, n: int, rng: np.random.Generator) -> Floats:
        gaps = rng.gamma(self.burstiness, 1 / (self.burstiness * self.requests_per_s), n)
        return np.asarray(np.cumsum(gaps), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """``n`` users who ask again at once: all requests are ready at 0 and wait for one of ``n`` places."""

    n: int

    @property
    def requests_per_s(self) -> float | None:
        return None

    @property
    def concurrency(self) -> int | None:
        return self.n

    def times_s(self, n: int, rng: np.random.Generator) -> Floats:
        return np.zeros(n)


@dataclass(frozen=True, slots=True, eq=False)
class TraceArrivals:
    """Recorded times [m] in seconds from 0, replayed ``speedup`` times as fast; repeated when more are asked for."""

    arrival_s: Floats
    speedup: float = 1.0

    @property
    def _period_s(self) -> float:
        """Span of one replay, the gap to the next included."""
        m = len(self.arrival_s)
        span = float(self.arrival_s[-1] - self.arrival_s[0])
        return (span * m / (m - 1) if m > 1 and span > 0 else 1.0) / self.speedup

    @property
    def requests_per_s(self) -> float | None:
        return len(self.arrival_s) / self._period_s

    @property
    def concurrency(self) -> int | None:
        return None

    def times_s(self, n: int, rng: np.random.Generator) -> Floats:
        m = len(self.arrival_s)
        i = np.arange(n)
        once = (self.arrival_s - self.arrival_s[0]) / self.speedup
        return np.asarray(once[i % m] + (i // m) * self._period_s, dtype=np.float64)
