"""Where the shipped ``configs/`` and ``profiles/`` lie: in the wheel, or at the root of a source tree."""

from __future__ import annotations

from pathlib import Path

from costplan.core.errors import CostplanError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_dir(name: str) -> Path:
    """Folder ``configs`` or ``profiles`` of this installation. Raises CostplanError if it is missing."""
    for base in (_PACKAGE / "_shipped", _PACKAGE.parent):
        folder = base / name
        if folder.is_dir():
            return folder
    raise CostplanError(f"this installation has no {name}/ folder", hint="reinstall costplan")
