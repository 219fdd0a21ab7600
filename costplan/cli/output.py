"""Where a command's data goes: standard output, or a file that is written whole or not at all. The rest: stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from costplan.report.style import Style


def emit(text: str, output: Path | None) -> None:
    """Print ``text``, or write it to ``output`` and say so on standard error."""
    if output is None:
        _tolerant(sys.stdout)
        sys.stdout.write(text)
        return
    from costplan.core.atomic import write_text

    write_text(output, text)
    say(f"wrote {output}")


def emit_json(value: object, output: Path | None) -> None:
    """`emit` of strict JSON (no NaN, no Infinity)."""
    import json

    emit(json.dumps(value, indent=2, allow_nan=False) + "\n", output)


def say(text: str) -> None:
    """A line on standard error."""
    _tolerant(sys.stderr)
    print(text, file=sys.stderr)


def warn(lines: Iterable[str]) -> None:
    """Warnings on standard error, one per line."""
    from costplan.report.style import plain

    for line in lines:
        say(f"warning: {plain(line)}")


def style(output: Path | None = None) -> Style:
    """Width and colour of standard output: COLUMNS, else the terminal's, else 100; colour only on a terminal
    without NO_COLOR."""
    from costplan.report.style import Style

    terminal = output is None and sys.stdout.isatty()
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(min(max(shutil.get_terminal_size((100, 24)).columns, 60), 200), color)


def _tolerant(stream: Any) -> None:
    """A terminal that cannot show a character gets a question mark, not a crash."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
