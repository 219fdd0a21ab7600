"""Where a command's data goes: standard output, or a file that is written whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path


def emit(text: str, output: Path | None) -> None:
    """Print ``text``, or write it to ``output`` and say so on standard error."""
    if output is None:
        sys.stdout.write(text)
        return
    from costplan.core.atomic import write_text

    write_text(output, text)
    print(f"wrote {output}", file=sys.stderr)


def terminal_width() -> int:
    """Columns of the terminal; 100 where standard output is not one."""
    import shutil

    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
