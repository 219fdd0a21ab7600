"""What prompts share with each other, as parameters, and the block ids that follow from them."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_SEARCH = 24  # conversations looked at around the wanted age
_HISTORY = 20_000  # requests that can still be continued
_GAP_LOG_SD = 0.95  # of the time between turns; Mooncake conversation trace: 0.92-1.03


@dataclass(frozen=True, slots=True)
class Groups:
    """``count`` prefixes of ``tokens`` each after the system prompt; popularity of rank k ~ k^-zipf."""

    count: int
    tokens: int
    zipf: float = 1.0


@dataclass(frozen=True, slots=True)
class MultiTurn:
    """``share`` of requests continue an earlier one, a median of ``gap_s`` seconds later."""

    share: float
    gap_s: float


@dataclass(frozen=True, slots=True)
class HitRate:
    """Measured part of input tokens found in an LRU cache of ``cache_tokens`` (None: without limit)."""

    cache_tokens: int | None
    hit_rate: float


@dataclass(frozen=True, slots=True)
class PrefixModel:
    """Shared-prefix structure of a workload. ``block_tokens`` is the granularity of the ids drawn."""

    block_tokens: int = 16
    system_prompt_tokens: int = 0
    groups: Groups | None = None
    multi_turn: MultiTurn | None = None
    measured: tuple[HitRate, ...] = ()

    @property
    def shared_tokens(self) -> int:
        """Tokens that a prompt begins with whatever is asked: system prompt and group prefix."""
        return self.system_prompt_tokens + (self.groups.tokens if self.groups else 0)

    def draw(self, arrival_s: NDArray[np.float64], isl: Ints, osl: Ints,
             rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Block ids of all requests, flat, and offsets [n + 1]; equal ids are equal prefixes."""
        n = len(isl)
        blocks = -(-isl // self.block_tokens)
        offsets = np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)
        ids = np.arange(offsets[-1], dtype=np.int64)  # unique unless shared
        fresh = int(offsets[-1])
        head = self._heads(n, rng, fresh)
        follow = rng.random(n) < (self.multi_turn.share if self.multi_turn else 0.0)
        ages = self._ages(n, rng)
        times, lengths, answers = arrival_s.tolist(), isl.tolist(), osl.tolist()
        starts, follows = offsets.tolist(), follow.tolist()
        for i in range(n):
            start, own = starts[i], lengths[i] // self.block_tokens
            if i and follows[i]:
                parent = _parent(times, lengths, answers, i, ages[i])
                k = min(lengths[parent] // self.block_tokens, own)
                ids[start:start + k] = ids[starts[parent]:starts[parent] + k]
            else:
                k = min(len(head[i]), own)
                ids[start:start + k] = head[i][:k]
        return ids, offsets

    def _heads(self, n: int, rng: np.random.Generator, fresh: int) -> list[Ints]:
        """Ids of the blocks that each request begins with: full blocks of system prompt and group prefix."""
        system = self.system_prompt_tokens // self.block_tokens
        whole = self.shared_tokens // self.block_tokens
        common = np.arange(fresh, fresh + system)
        if self.groups is None:
            return [common] * n
        weights = np.arange(1, self.groups.count + 1, dtype=np.float64) ** -self.groups.zipf
        group = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(n), side="right")
        own = whole - system
        heads = {g: np.concatenate([common, fresh + system + g * own + np.arange(own)])
                 for g in np.unique(group).tolist()}
        return [heads[g] for g in group.tolist()]

    def _ages(self, n: int, rng: np.random.Generator) -> list[float]:
        """Seconds between a request and the one it continues: log-normal."""
        median = self.multi_turn.gap_s if self.multi_turn else 1.0
        return [median * math.exp(_GAP_LOG_SD * z) for z in rng.standard_normal(n).tolist()]


def _parent(times: list[float], isl: list[int], osl: list[int], i: int, age_s: float) -> int:
    """Earlier request about ``age_s`` before ``i`` whose prompt and answer fill most of prompt ``i``."""
    oldest = max(0, i - _HISTORY)
    at = bisect_left(times, times[i] - age_s, oldest, i)
    first = max(oldest, min(at - _SEARCH // 2, i - _SEARCH))
    near = range(first, min(first + _SEARCH, i))
    fitting = [j for j in near if isl[j] + osl[j] <= isl[i]]
    if fitting:
        return max(fitting, key=lambda j: isl[j] + osl[j])
    return min(near, key=lambda j: isl[j] + osl[j])
