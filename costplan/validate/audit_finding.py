"""What one check of a claim found, with arithmetic that a reader can repeat by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Worst first. Impossible: beyond what the hardware can do. Inconsistent: the claim's own numbers disagree, or
    disagree with the definition of what they measure. Implausible: beyond the best that was ever measured."""

    IMPOSSIBLE = "impossible"
    INCONSISTENT = "inconsistent"
    IMPLAUSIBLE = "implausible"
    PLAUSIBLE = "plausible"
    CANNOT_TELL = "cannot tell"


_RANK = {v: i for i, v in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Amount:
    """A number with its unit (`bytes`, `s`, `tok/s`, `FLOP/s`, `usd/h`, ... ; empty: a plain number)."""

    value: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """``name = formula = result``; ``{0}``, ``{1}`` ... in the formula stand for ``amounts``."""

    name: str
    formula: str
    amounts: tuple[Amount, ...]
    result: Amount


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its verdict, a sentence, and the lines that lead to it. ``says`` may name amounts of the last line
    as ``{0}`` (the claimed) and ``{1}`` (the bound)."""

    check: str
    verdict: Verdict
    says: str
    lines: tuple[Line, ...] = ()
    amounts: tuple[Amount, ...] = ()


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim from those of its checks; one plausible check is enough to tell something."""
    return min(verdicts, key=_RANK.__getitem__, default=Verdict.CANNOT_TELL)
