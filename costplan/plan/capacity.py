"""The highest load of one replica that keeps every limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

RELATIVE_TOLERANCE = 0.01
_MAX_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class Capacity:
    """``value`` in the unit of the load (requests/s, or requests in flight); 0 where no load passes.

    ``failed_at`` is the lowest load that was seen to fail (None: none was).
    """

    value: float
    failed_at: float | None


def highest(holds: Callable[[float], bool], guess: float, *, floor: float, ceiling: float = math.inf,
            tolerance: float = RELATIVE_TOLERANCE) -> Capacity:
    """Largest load in ``[floor, ceiling]`` that ``holds``, by doubling and bisection on a log scale.

    Every load is played with the same requests, so that ``holds`` hardly ever flickers; where it does, the
    answer stays below the lowest load that was seen to fail.
    """
    seen: dict[float, bool] = {}

    def ask(load: float) -> bool:
        if load not in seen:
            seen[load] = holds(load)
        return seen[load]

    low, high = _bracket(ask, min(max(guess, floor), ceiling), floor, ceiling)
    while low > 0 and high is not None and high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        if ask(middle):
            low = middle
        else:
            high = middle
    failed = min((load for load, ok in seen.items() if not ok), default=None)
    value = max((load for load, ok in seen.items() if ok and (failed is None or load < failed)), default=0.0)
    return Capacity(value, failed)


def _bracket(ask: Callable[[float], bool], start: float, floor: float, ceiling: float) -> tuple[float, float | None]:
    """A load that holds (0: none) and one that fails (None: none up to the ceiling)."""
    low, high = 0.0, None
    load = start
    for _ in range(_MAX_DOUBLINGS):
        if ask(load):
            low = load
            if high is not None or load >= ceiling:
                break
            load = min(load * 2, ceiling)
        else:
            high = load
            if low > 0 or load <= floor:
                break
            load = max(load / 2, floor)
    return low, high
