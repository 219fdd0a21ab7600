"""How far off predictions were on rows that the engine terms were not fitted on, by class of prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from costplan.core.evidence import Evidence
from costplan.perf.overhead import cell, table

LOADS = {"concurrency": "closed", "rate": "open", "all_at_once": "at_once", "static_batch": "static",
         "batch1": "static"}
"""Loads that err alike."""
_STRONG = (Evidence.MEASURED, Evidence.INTERPOLATED)


@dataclass(frozen=True, slots=True)
class Residual:
    """Scale of ln(measured / predicted) beside the kernels' own, and how much longer its tail is than Student's t."""

    log_sd: float
    tail: float = 1.0


def residual(metric: str, evidence: Evidence, load: str | None = None, *, seen: bool = False) -> Residual:
    """Residual of ``metric`` (tpot, ttft, output_tok_s) under ``load``. ``seen``: this model ran on this GPU with
    this engine in the rows that the terms were fitted on."""
    asked = {"load": LOADS.get(load or ""), "seen": seen, "evidence": "strong" if evidence in _STRONG else "weak"}
    known = [r for r in _rows(metric) if all(k not in asked or asked[k] == v for k, v in _scope(r).items())]
    best = max(known, key=lambda r: len(_scope(r)))
    scale = float(table()["analytic_scale"]) if evidence is Evidence.ANALYTIC else 1.0
    return Residual(float(best["log_sd"]) * scale, float(best["tail"]))


def was_seen(gpu: str, model: str, engine: str) -> bool:
    """Whether rows of ``model`` on ``gpu`` with ``engine`` were fitted on."""
    return cell(gpu, model, engine) is not None


def _scope(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: row[k] for k in ("load", "seen", "evidence") if k in row}


@cache
def _rows(metric: str) -> tuple[dict[str, Any], ...]:
    return tuple(r for r in table()["residuals"] if r["metric"] == metric)
