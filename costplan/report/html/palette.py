"""Colours of reports, on light and on dark: told apart by colour-blind eyes too, and never alone in saying a thing.

The hues are those of Okabe and Ito (Color Universal Design, 2008), made darker where white behind them left less than
3:1. A plot is drawn in the light ones; style rules put the dark ones in their place.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ink:
    """One colour by its role, as ``#rrggbb`` on light and on dark."""

    name: str
    light: str
    dark: str


PAPER = Ink("paper", "#ffffff", "#14181d")
CARD = Ink("card", "#f5f7f9", "#1c2229")
TEXT = Ink("ink", "#1a1d21", "#e8eaed")
MUTED = Ink("muted", "#55606b", "#a9b4be")
LINE = Ink("line", "#d4dae0", "#3a434d")
BLUE = Ink("blue", "#0072b2", "#56b4e9")
ORANGE = Ink("orange", "#b8510a", "#f0a04b")
GREEN = Ink("green", "#007a5e", "#2fc79a")
PURPLE = Ink("purple", "#a3437f", "#e29cc5")
GREY = Ink("grey", "#767f88", "#8f9aa5")
PALE = Ink("pale", "#a8cce4", "#27506b")

ALL = (PAPER, CARD, TEXT, MUTED, LINE, BLUE, ORANGE, GREEN, PURPLE, GREY, PALE)
READ = (TEXT, MUTED)
"""Colours of text: 4.5:1 at least."""
DRAWN = (BLUE, ORANGE, GREEN, PURPLE, GREY)
"""Colours of marks: 3:1 at least. LINE (grids) and PALE (areas that repeat what a line says) only decorate."""


def variables(dark: bool) -> str:
    """The colours as CSS variables."""
    return ";".join(f"--{i.name}:{i.dark if dark else i.light}" for i in ALL)


def redrawn() -> str:
    """Rules that give a plot drawn on light its colours on dark."""
    return "".join(f'.plot [{kind}="{i.light}"]{{{kind}:{i.dark}}}' for i in ALL for kind in ("fill", "stroke"))
