"""The requests of one run as the engines take them: whole ticks, block ids, classes, arrivals of three kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import InputError
from costplan.core.rng import stream
from costplan.workload.requests import Requests

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SimRequests:
    """``n`` requests in order of arrival.

    ``arrival_s isl osl`` [n]; prefix block ids of request i are ``hash_ids[hash_offsets[i]:hash_offsets[i + 1]]``,
    each of ``block_tokens`` tokens. ``tenant`` and ``priority`` (lower goes first) are [n] or None. With
    ``concurrency`` the loop is closed: each of so many clients sends its next request ``think_s`` after the answer.
    ``answer_tokens`` [n] are the tokens that clients get where ``osl`` counts decode steps instead (None: the same).
    """

    arrival_s: Floats
    isl: Ints
    osl: Ints
    hash_ids: Ints | None = None
    hash_offsets: Ints | None = None
    block_tokens: int | None = None
    tenant: Ints | None = None
    priority: Ints | None = None
    concurrency: int | None = None
    think_s: float = 0.0
    answer_tokens: Ints | None = None

    def __post_init__(self) -> None:
        n = len(self.isl)
        if n == 0:
            raise InputError("no requests to simulate", hint="give at least one")
        for name in ("arrival_s", "osl", "tenant", "priority", "answer_tokens"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise InputError(f"{name} has {len(column)} values for {n} requests", where=name)
        if int(self.isl.min()) < 1 or int(self.osl.min()) < 1:
            raise InputError("isl and osl must be at least 1", hint="drop requests without prompt or answer")
        if int(max(self.isl.max(), self.osl.max())) > 2**40:
            raise InputError("isl and osl must stay below 2^40 tokens")
        if not np.isfinite(self.arrival_s).all() or float(self.arrival_s.min()) < 0:
            raise InputError("arrival_s must be finite and not negative", where="arrival_s")
        if self.concurrency is None and bool((np.diff(self.arrival_s) < 0).any()):
            raise InputError("arrival_s must not decrease", hint="sort the requests by time", where="arrival_s")
        if self.concurrency is not None and self.concurrency < 1:
            raise InputError(f"concurrency must be at least 1, got {self.concurrency}", where="concurrency")
        if not (np.isfinite(self.think_s) and self.think_s >= 0):
            raise InputError(f"think_s must be finite and not negative, got {self.think_s}", where="think_s")

    def __len__(self) -> int:
        return len(self.isl)

    @property
    def max_tokens(self) -> int:
        """Longest sequence of the run, in cached tokens."""
        return int((self.isl + self.osl).max()) - 1


def from_workload(requests: Requests, priorities: Sequence[int] = ()) -> SimRequests:
    """Requests drawn from a workload; ``priorities`` of its tenants, in their order."""
    priority = None
    if requests.tenant is not None and len(priorities):
        priority = np.asarray(priorities, dtype=np.int64)[requests.tenant]
    return SimRequests(requests.arrival_s, requests.isl, requests.osl, requests.hash_ids, requests.hash_offsets,
                       requests.block_tokens, requests.tenant, priority, requests.concurrency)


def _lengths(n: int, value: int | tuple[int, int], rng: np.random.Generator) -> Ints:
    """``n`` equal lengths, or uniform ones in a closed range."""
    if isinstance(value, tuple):
        return rng.integers(value[0], value[1] + 1, n).astype(np.int64)
    return np.full(n, value, dtype=np.int64)


def all_at_once(n: int, isl: int | tuple[int, int], osl: int | tuple[int, int], *, seed: int = 0) -> SimRequests:
    """``n`` requests that all wait at 0. Lengths are fixed or uniform in a range."""
    return SimRequests(np.zeros(n), _lengths(n, isl, stream(seed, "simulate.isl")),
                       _lengths(n, osl, stream(seed, "simulate.osl")))


def closed_loop(n: int, concurrency: int, isl: int | tuple[int, int], osl: int | tuple[int, int], *,
                think_s: float = 0.0, seed: int = 0) -> SimRequests:
    """``n`` requests from ``concurrency`` clients that all start at 0."""
    return replace(all_at_once(n, isl, osl, seed=seed), concurrency=concurrency, think_s=think_s)


def open_loop(n: int, requests_per_s: float, isl: int | tuple[int, int], osl: int | tuple[int, int], *,
              seed: int = 0) -> SimRequests:
    """``n`` requests of a Poisson stream; the same seed gives the same lengths at any rate."""
    if not (np.isfinite(requests_per_s) and requests_per_s > 0):
        raise InputError(f"requests_per_s must be above 0, got {requests_per_s}", where="requests_per_s")
    gaps = stream(seed, "simulate.arrivals").exponential(1.0, n)
    return replace(all_at_once(n, isl, osl, seed=seed), arrival_s=np.cumsum(gaps) / requests_per_s)
