"""Which measurements other work on the machine disturbed. It only ever adds time, so a calm pass speaks alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

SLOWER = 0.10
"""A sentinel this much slower than the quieter quarter of all says that something else ran."""

T = TypeVar("T")


def disturbed(sentinel_s: Sequence[float | None]) -> list[bool]:
    """For each line in the order of measuring (the sentinel's median in seconds, None for anything else): whether the
    sentinel before it or after it was slow. Without sentinels nothing is known to be disturbed."""
    known = sorted(x for x in sentinel_s if x is not None)
    limit = known[len(known) // 4] * (1.0 + SLOWER) if known else 0.0
    slow = [x is not None and x > limit for x in sentinel_s]
    before = _last(sentinel_s, slow)
    after = _last(sentinel_s[::-1], slow[::-1])[::-1]
    return [a or b for a, b in zip(before, after, strict=True)]


def _last(sentinel_s: Sequence[float | None], slow: Sequence[bool]) -> list[bool]:
    """Whether the sentinel at or before each line was slow."""
    out, state = [], False
    for seconds, is_slow in zip(sentinel_s, slow, strict=True):
        state = is_slow if seconds is not None else state
        out.append(state)
    return out


def calm(passes: Sequence[T], is_disturbed: Callable[[T], bool]) -> list[T]:
    """The passes over one case that nothing disturbed; all of them where there is no such pass."""
    return [p for p in passes if not is_disturbed(p)] or list(passes)
