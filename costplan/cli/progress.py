"""One line of progress on a terminal's standard error; nothing where that is not a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """``shown`` says whether lines are drawn; counts are kept either way."""

    shown: bool
    done: int = 0
    of: int = 0

    @classmethod
    def of_terminal(cls) -> Progress:
        return cls(sys.stderr.isatty() and os.environ.get("TERM") != "dumb")

    def told(self, done: int, of: int, what: str) -> None:
        """``done`` of ``of`` are settled, ``what`` is tried now."""
        self.done, self.of = done, of
        if self.shown:
            width = shutil.get_terminal_size((80, 24)).columns - 1
            sys.stderr.write(f"\r\x1b[K{f'system {done + 1} of {of}: {what}'[:width]}")
            sys.stderr.flush()

    def planning(self, what: str) -> None:
        """One more plan, of ``what``, is made now."""
        self.done += 1
        if self.shown:
            width = shutil.get_terminal_size((80, 24)).columns - 1
            line = "".join(c if c.isprintable() else "?" for c in f"plan {self.done}: {what}")
            sys.stderr.write(f"\r\x1b[K{line[:width]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    @property
    def where(self) -> str:
        return f"after {self.done} of {self.of} systems" if self.of else "before the first system"
