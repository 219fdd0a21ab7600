"""Which expert gets how many tokens, for the routing distributions that profiles name."""

from __future__ import annotations

import re

_POWER = re.compile(r"power_law_(\d+(?:\.\d+)?)\Z")


def tokens_per_expert(tokens: int, top_k: int, num_experts: int, distribution: str) -> list[int] | None:
    """Tokens of each expert, summing to ``tokens * top_k``; None for a distribution that is not known.

    ``balanced`` spreads evenly; ``power_law_A`` gives expert ``i`` a share proportional to ``i^-A``.
    """
    picks = tokens * top_k
    found = _POWER.match(distribution)
    if distribution != "balanced" and not found:
        return None
    exponent = float(found[1]) if found else 0.0
    weights = [(i + 1) ** -exponent for i in range(num_experts)]
    total, out, given, seen = sum(weights), [], 0, 0.0
    for w in weights:
        seen += w
        upto = round(picks * seen / total)
        out.append(upto - given)
        given = upto
    return out
