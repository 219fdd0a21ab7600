"""How text may look where it goes: columns, colour, and words that must catch the eye."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FLAGGED = re.compile(r"\b(extrapolated|analytic|stale|saturated|refused)\b")


@dataclass(frozen=True, slots=True)
class Style:
    """Width in columns; ``color`` allows bold and one ANSI colour, both readable on dark and on light; without
    ``unicode`` only ASCII is written."""

    width: int = 80
    color: bool = False
    unicode: bool = True

    def bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.color and text else text

    def flag(self, text: str) -> str:
        """``text`` with the words coloured that lower one's trust."""
        return _FLAGGED.sub("\x1b[35m\\1\x1b[0m", text) if self.color else text


def plain(text: str) -> str:
    """``text`` without anything that could steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
