"""How alike the errors of two predictions are: what a measured run says about another run.

A prediction errs because of its engine, its engine on this GPU, this model there, this deployment, and this load. Two
runs share the parts that they have in common, so a correction fades out with distance. The shares were estimated on
the tuning measurements and lie in ``data/kinship.json``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ANY_LOAD = "any"
TYPICAL = 1.0
LEVELS = ("engine", "gpu", "model", "deployment")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run has in common with others. ``deployment`` names formats, layout and engine version;
    ``load`` its place among loads: (kind, ln value, ln isl, ln osl)."""

    engine: str
    gpu: str
    model: str
    deployment: str
    load: tuple[str, float, float, float]


@cache
def table() -> dict[str, Any]:
    """Shares of the error's variance by metric."""
    with (Path(__file__).parent / "data" / "kinship.json").open(encoding="utf-8") as f:
        loaded: dict[str, Any] = json.load(f)
    return loaded


def depth(a: Setting, b: Setting) -> int:
    """How many of `LEVELS` two settings share, from the engine down."""
    same = (a.engine == b.engine, a.gpu == b.gpu, a.model == b.model, a.deployment == b.deployment)
    return next((i for i, s in enumerate(same) if not s), len(same))


def correlation(a: Setting, b: Setting, shares: dict[str, float]) -> float:
    """Correlation of the errors of two runs, from 0 (strangers) to below 1 (the same run again)."""
    n = depth(a, b)
    total = sum(shares[level] for level in LEVELS[:n])
    if n == len(LEVELS):
        total += shares["load"] * math.exp(-distance(a.load, b.load) / shares["load_range"])
    return min(total, 0.999)


def distance(a: tuple[str, float, float, float], b: tuple[str, float, float, float]) -> float:
    """How far two loads are apart, in e-folds of size and lengths; no load in particular is neither near nor far."""
    if ANY_LOAD in (a[0], b[0]):
        return 0.0 if a == b else TYPICAL
    if a[0] != b[0]:
        return math.inf
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a[1:], b[1:], strict=True)))
