"""The best that was ever measured: beyond it a claim is implausible. Values and evidence lie in ``data/best.json``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def table() -> dict[str, Any]:
    """Limits by name, each with what it means and which measurement sets it."""
    with (Path(__file__).parent / "data" / "best.json").open(encoding="utf-8") as f:
        loaded: dict[str, Any] = json.load(f)
    return loaded


def best(name: str) -> float:
    """The limit called ``name``."""
    return float(table()[name]["limit"])
