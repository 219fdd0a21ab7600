"""Which expert gets how many tokens: balanced, or skewed by a power law; and what the busiest rank runs of it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

_POWER_LAW = re.compile(r"power_law_(\d+(?:\.\d+)?)\Z")


@dataclass(frozen=True, slots=True)
class Routing:
    """``rows[e]`` are the tokens of local expert ``e``; an expert sees a token at most once."""

    rows: tuple[tuple[int, ...], ...]

    @property
    def assignments(self) -> int:
        return sum(map(len, self.rows))


def known(distribution: str) -> bool:
    """Whether it names a way to route: ``balanced`` or ``power_law_<exponent>``."""
    return distribution == "balanced" or _POWER_LAW.match(distribution) is not None


def route(tokens: int, top_k: int, num_experts: int, ep: int, distribution: str, seed: int) -> Routing:
    """Tokens of the experts of the busiest of ``ep`` ranks. ``top_k <= num_experts``, and ``ep`` divides them."""
    stream = random.Random(seed)
    counts = _counts(tokens, top_k, num_experts, distribution, stream)
    each = num_experts // ep
    ranks = [counts[i:i + each] for i in range(0, num_experts, each)]
    busiest = max(range(ep), key=lambda r: sum(ranks[r]))
    chosen = _choose(counts, tokens)
    return Routing(tuple(tuple(chosen[e]) for e in range(busiest * each, (busiest + 1) * each)))


def _counts(tokens: int, top_k: int, num_experts: int, distribution: str, stream: random.Random) -> list[int]:
    """Tokens of each expert, at most ``tokens``, ``tokens * top_k`` in all."""
    total = tokens * top_k
    if distribution == "balanced":
        return [total // num_experts + (e < total % num_experts) for e in range(num_experts)]
    found = _POWER_LAW.match(distribution)
    if found is None:
        raise ValueError(f"unknown expert routing {distribution!r}")
    most = tokens * 0.8 if total > num_experts else 2.0
    shares = [_power_law(float(found[1]), 1.0 if total > num_experts else 0.01, max(most, 1.01), stream.random())
              for _ in range(num_experts)]
    scale = total / sum(shares)
    counts = [min(tokens, int(s * scale)) for s in shares]
    order = sorted(range(num_experts), key=lambda e: -shares[e])
    missing = total - sum(counts)
    while missing:
        for e in order:
            if missing and counts[e] < tokens:
                counts[e] += 1
                missing -= 1
    stream.shuffle(counts)
    return counts


def _power_law(exponent: float, low: float, high: float, u: float) -> float:
    """A draw between ``low`` and ``high`` whose density falls as x to the minus ``exponent``."""
    if abs(exponent - 1.0) < 1e-9:
        return float(low * (high / low) ** u)
    power = 1.0 - exponent
    return float(((high ** power - low ** power) * u + low ** power) ** (1.0 / power))


def _choose(counts: list[int], tokens: int) -> list[list[int]]:
    """Tokens of each expert: dealt in turn, so that no expert sees one twice and all tokens see equally many."""
    out, at = [], 0
    for n in counts:
        out.append(sorted((at + i) % tokens for i in range(n)))
        at = (at + n) % tokens
    return out
