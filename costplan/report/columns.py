"""Aligned columns of plain text that fit a width: expendable columns leave first, then the longest text wraps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from costplan.report.style import Style, plain

_GAP = "  "
_LEAST_WIDTH = 12


@dataclass(frozen=True, slots=True)
class Column:
    """``expendable`` columns are left out where room is short, the highest number first; 0 always stays.
    Text beyond ``widest`` characters wraps even where there is room (0: no limit)."""

    title: str
    right: bool = False
    expendable: int = 0
    widest: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style, *, indent: str = "") -> list[str]:
    """Header and rows as lines no wider than ``style.width`` (unless single words are)."""
    cells = [[plain(c) for c in row] for row in rows]
    room = style.width - len(indent)
    kept = _kept(columns, cells, room)
    widths = _widths(columns, cells, kept)
    _shrink(columns, kept, widths, room)
    head = [columns[i].title for i in kept]
    lines = [indent + style.bold(line) for line in _line(head, kept, columns, widths)] if any(head) else []
    for row in cells:
        lines += [indent + style.flag(line) for line in _line([row[i] for i in kept], kept, columns, widths)]
    return lines


def dropped(columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style) -> list[str]:
    """Titles of the columns that `table` leaves out."""
    kept = _kept(columns, rows, style.width)
    return [c.title for i, c in enumerate(columns) if i not in kept]


def _kept(columns: Sequence[Column], cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Indices of the columns that are shown in ``room``."""
    kept = list(range(len(columns)))
    while _total(_widths(columns, cells, kept)) > room:
        spare = [i for i in kept if columns[i].expendable]
        if not spare:
            break
        kept.remove(max(spare, key=lambda i: (columns[i].expendable, i)))
    return kept


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]], kept: Sequence[int]) -> dict[int, int]:
    wide = {i: max([len(columns[i].title), *(len(r[i]) for r in cells)]) for i in kept}
    return {i: min(w, columns[i].widest or w) for i, w in wide.items()}


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _shrink(columns: Sequence[Column], kept: Sequence[int], widths: dict[int, int], room: int) -> None:
    """Narrow the widest text columns until the line fits; their cells will wrap."""
    while _total(widths) > room:
        texts = [i for i in kept if not columns[i].right]
        widest = max(texts, key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= _LEAST_WIDTH:
            return
        widths[widest] -= 1


def _line(cells: Sequence[str], kept: Sequence[int], columns: Sequence[Column], widths: dict[int, int]) -> list[str]:
    """One row, wrapped where its text is longer than its column."""
    wrapped = [textwrap.wrap(c, widths[i]) or [""] for c, i in zip(cells, kept, strict=True)]
    out = []
    for n in range(max(len(w) for w in wrapped)):
        parts = []
        for w, i in zip(wrapped, kept, strict=True):
            text = w[n] if n < len(w) else ""
            parts.append(text.rjust(widths[i]) if columns[i].right else text.ljust(widths[i]))
        out.append(_GAP.join(parts).rstrip())
    return out


def heading(text: str, style: Style) -> list[str]:
    """``text`` in bold, wrapped."""
    return [style.bold(line) for line in textwrap.wrap(plain(text), style.width, break_on_hyphens=False)]


def facts(pairs: Sequence[tuple[str, str]], style: Style, *, indent: str = "") -> list[str]:
    """Name and value per line; long values wrap under themselves."""
    longest = max((len(k) for k, _ in pairs), default=0)
    width = longest + len(_GAP) if longest else 0
    lines = []
    for name, value in pairs:
        room = max(style.width - len(indent) - width, 20)
        for n, part in enumerate(textwrap.wrap(plain(value), room, break_on_hyphens=False) or [""]):
            lines.append((indent + (plain(name) if n == 0 else "").ljust(width) + style.flag(part)).rstrip())
    return lines
