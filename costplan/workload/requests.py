"""Requests drawn from a workload: what the simulator replays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import InputError
from costplan.core.rng import stream
from costplan.workload.trace import Trace
from costplan.workload.workload import Workload

Ints = NDArray[np.int64]
MAX_REQUESTS = 50_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """``n`` requests in order of arrival.

    ``arrival_s`` [n] seconds; ``isl osl`` [n] tokens. Prefix block ids of request i are
    ``hash_ids[hash_offsets[i]:hash_offsets[i + 1]]``, each of ``block_tokens`` tokens; None without sharing.
    ``tenant`` [n] indexes the workload's tenants, None without. ``concurrency`` of a closed loop: requests
    are all ready at 0 and enter as others leave.
    """

    arrival_s: NDArray[np.float64]
    isl: Ints
    osl: Ints
    hash_ids: Ints | None = None
    hash_offsets: Ints | None = None
    block_tokens: int | None = None
    tenant: Ints | None = None
    concurrency: int | None = None

    def __len__(self) -> int:
        return len(self.isl)

    def as_trace(self, source: str) -> Trace:
        """The same requests as a trace, to summarise; a closed loop has no times."""
        times = None if self.concurrency else self.arrival_s - self.arrival_s[0]
        return Trace(times, self.isl, self.osl, source, "workload", self.hash_ids, self.hash_offsets, self.block_tokens)


def sample_requests(workload: Workload, n: int, seed: int) -> Requests:
    """``n`` requests of ``workload``; the same seed gives the same requests.

    Arrivals, lengths, prefixes and tenants each have a random stream of their own, so that another rate
    keeps the lengths (common random numbers). A replayed trace is taken in its order and repeated, with
    new prefix ids, when more requests are asked for than it holds.
    """
    if not 1 <= n <= MAX_REQUESTS:
        raise InputError(f"cannot draw {n} requests", hint=f"between 1 and {MAX_REQUESTS:,}")
    arrival = workload.arrivals.times_s(n, stream(seed, "workload.arrivals"))
    tenant = _tenants(workload, n, seed)
    concurrency = workload.arrivals.concurrency
    if workload.lengths is not None:
        isl, osl = workload.lengths.sample(n, stream(seed, "workload.lengths"))
    elif workload.trace is not None:
        isl, osl, ids, offsets = _replay(workload.trace, n)
        if ids is not None or workload.prefix is None:
            return Requests(arrival, isl, osl, ids, offsets, workload.trace.block_tokens, tenant, concurrency)
    else:
        raise InputError(f"workload {workload.name} has neither lengths nor a trace")
    if workload.prefix is None:
        return Requests(arrival, isl, osl, tenant=tenant, concurrency=concurrency)
    clock = arrival if concurrency is None else np.arange(n, dtype=np.float64)
    ids, offsets = workload.prefix.draw(clock, isl, osl, stream(seed, "workload.prefix"))
    return Requests(arrival, isl, osl, ids, offsets, workload.prefix.block_tokens, tenant, concurrency)


def _replay(trace: Trace, n: int) -> tuple[Ints, Ints, Ints | None, Ints | None]:
    """First ``n`` requests of the trace, from its start again after its end."""
    m = len(trace)
    which = np.arange(n) % m
    isl, osl = trace.isl[which], trace.osl[which]
    if trace.hash_ids is None or trace.hash_offsets is None:
        return isl, osl, None, None
    counts = np.diff(trace.hash_offsets)[which]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    request = np.repeat(np.arange(n), counts)
    place = np.arange(offsets[-1]) - offsets[request]
    _, dense = np.unique(trace.hash_ids, return_inverse=True)
    ids = dense[trace.hash_offsets[which[request]] + place] + (request // m) * (int(dense.max(initial=0)) + 1)
    return isl, osl, ids.astype(np.int64), offsets


def _tenants(workload: Workload, n: int, seed: int) -> Ints | None:
    if not workload.tenants:
        return None
    edges = np.cumsum([t.share for t in workload.tenants])
    draws = stream(seed, "workload.tenants").random(n)
    return np.minimum(np.searchsorted(edges, draws, side="right"), len(edges) - 1).astype(np.int64)
