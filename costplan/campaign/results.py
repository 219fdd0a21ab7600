"""What was measured so far: every backend's rows, and the fastest of each case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from costplan.campaign.kernel import Kernel, kernel_of
from costplan.profile.case import Case

DOMINATED = 1.5
"""A backend that is slower than the best by more than this at every size is not refined any further."""
MIN_SHARED = 3
"""Sizes at which a backend must have been compared before it is judged."""


class Row(Protocol):
    """One measured case. ``seconds`` None: this backend could not measure it."""

    @property
    def case(self) -> Case: ...

    @property
    def backend(self) -> str: ...

    @property
    def seconds(self) -> float | None: ...


class Result(NamedTuple):
    """A `Row` with its relative spread."""

    case: Case
    backend: str
    seconds: float | None
    spread: float = 0.0


def fastest(results: Iterable[Row]) -> dict[Case, float]:
    """Least seconds of each case that any backend measured."""
    out: dict[Case, float] = {}
    for r in results:
        if r.seconds is not None:
            out[r.case] = min(r.seconds, out.get(r.case, r.seconds))
    return out


@dataclass(frozen=True, slots=True)
class Measured:
    """Fastest seconds of each case, by kernel and sizes."""

    points: Mapping[Kernel, Mapping[tuple[int, ...], float]]

    @classmethod
    def of(cls, results: Iterable[Row], without: frozenset[Case] = frozenset()) -> Measured:
        """The fastest row of every case but those in ``without`` (held out)."""
        points: dict[Kernel, dict[tuple[int, ...], float]] = {}
        for case, seconds in fastest(r for r in results if r.case not in without).items():
            kernel, at = kernel_of(case)
            points.setdefault(kernel, {})[at] = seconds
        return cls(points)

    def at(self, kernel: Kernel) -> Mapping[tuple[int, ...], float]:
        """Seconds by sizes; empty where nothing was measured."""
        return self.points.get(kernel, {})

    @property
    def cases(self) -> int:
        return sum(len(p) for p in self.points.values())


def dominated(results: Sequence[Row], initial: frozenset[Case]) -> frozenset[tuple[Kernel, str]]:
    """Backends that are slower than the best by `DOMINATED` at every size of a kernel's initial grid."""
    by_case: dict[Case, dict[str, float]] = {}
    for r in results:
        if r.seconds is not None and r.case in initial:
            own = by_case.setdefault(r.case, {})
            own[r.backend] = min(r.seconds, own.get(r.backend, r.seconds))
    least: dict[tuple[Kernel, str], tuple[int, float]] = {}
    for case, own in by_case.items():
        if len(own) < 2:
            for backend in own:
                least[kernel_of(case)[0], backend] = (MIN_SHARED, 0.0)
            continue
        best = min(own.values())
        for backend, seconds in own.items():
            key = kernel_of(case)[0], backend
            n, ratio = least.get(key, (0, float("inf")))
            least[key] = n + 1, min(ratio, seconds / best)
    return frozenset(k for k, (n, ratio) in least.items() if n >= MIN_SHARED and ratio > DOMINATED)
