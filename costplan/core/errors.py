"""One tree of errors. The library raises them at its doors; only the command line prints them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CostplanError(Exception):
    """Something the user can act on: what is wrong, where, and what to try."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InputError(CostplanError):
    """A file, flag or value that a user gave cannot be used."""


class UnknownNameError(InputError):
    """A name that is in no catalogue; carries the nearest valid ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str | None = None,
                 hint: str | None = None) -> None:
        names = sorted(known)
        lower = {n.lower(): n for n in names}
        self.nearest = [lower[m] for m in get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
        if hint is None:
            hint = f"did you mean {' or '.join(self.nearest)}?" if self.nearest else (
                f"known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}")
        super().__init__(f"unknown {kind} {name!r}", hint=hint, where=where)


class ProfileError(CostplanError):
    """A profile on disk is damaged, incomplete, or of a version that this costplan cannot read."""


class OutOfRangeError(CostplanError):
    """A question so far from what was measured that an answer would be a guess."""


class DoesNotFitError(CostplanError):
    """A configuration that cannot run: the weights or one sequence do not fit in memory."""


class UnavailableError(CostplanError):
    """Something around costplan is missing or refuses: a program, a folder, a server."""

    exit_code = 4
