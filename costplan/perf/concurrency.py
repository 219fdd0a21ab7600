"""How many requests fit into a KV cache at once, for fixed lengths and for a distribution of them.

A running request is somewhere between its prompt and its last token, and long outputs stay longer: its
blocks are averaged over its decode and weighted by its output length. The mean length says too much or too
little about either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from costplan.core.errors import InputError
from costplan.perf.kv_pool import KvPool

Z99 = 2.3263478740408408
PROGRESS_POINTS = 16


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Requests that fit: on average, and so many that 99 % of the time nothing is preempted.

    ``at_full_length`` counts requests that all stand at their last token. ``mean_blocks`` and ``sd_blocks``
    describe one running request.
    """

    mean: float
    p99: int
    at_full_length: float
    mean_blocks: float
    sd_blocks: float


def fixed_concurrency(pool: KvPool, num_blocks: int, tokens: int) -> int:
    """Whole sequences of ``tokens`` cached tokens that fit into ``num_blocks``."""
    if tokens < 1:
        raise InputError(f"tokens must be at least 1, got {tokens}", where="tokens")
    return num_blocks // pool.blocks_per_sequence(tokens)


def concurrency(pool: KvPool, num_blocks: int, lengths: Sequence[tuple[int, int]]) -> Concurrency:
    """Requests that fit for ``(isl, osl)`` pairs of equal weight, in ``num_blocks`` of ``pool``.

    p99 solves ``n * mean + z * sd * sqrt(n) = num_blocks`` (sum of independent requests, normal).
    """
    if not lengths:
        raise InputError("no lengths given", hint="give at least one pair of isl and osl", where="lengths")
    weight = total = square = full = 0.0
    for isl, osl in lengths:
        if isl < 0 or osl < 1 or isl + osl < 1:
            raise InputError(f"isl must be >= 0 and osl >= 1, got {isl} and {osl}", where="lengths")
        points = min(osl, PROGRESS_POINTS)
        for i in range(points):
            held = pool.blocks_per_sequence(max(1, isl + math.ceil((i + 0.5) * osl / points)))
            share = osl / points
            weight += share
            total += share * held
            square += share * held * held
        full += osl * pool.blocks_per_sequence(isl + osl)
    mean = total / weight
    sd = math.sqrt(max(0.0, square / weight - mean * mean))
    return Concurrency(num_blocks / mean, _safe_count(num_blocks, mean, sd), num_blocks / (full / weight), mean, sd)


def _safe_count(num_blocks: int, mean: float, sd: float) -> int:
    """Largest n whose 99th percentile of blocks stays within ``num_blocks``."""
    spread = Z99 * sd
    root = (-spread + math.sqrt(spread * spread + 4 * mean * num_blocks)) / (2 * mean)
    n = int(root * root)
    while n > 0 and n * mean + spread * math.sqrt(n) > num_blocks:
        n -= 1
    while (n + 1) * mean + spread * math.sqrt(n + 1) <= num_blocks:
        n += 1
    return n
