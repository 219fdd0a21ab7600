"""Predict every row of a table of measurements and collect the errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from costplan.core.errors import CostplanError, DoesNotFitError
from costplan.core.evidence import Estimate
from costplan.perf.kv_budget import KvBudget
from costplan.perf.predict import Deployment, Prediction, budget_of, predict
from costplan.perf.steady import Load
from costplan.simulate.operate import operate
from costplan.validate.errors_report import ErrorReport, Refused, Scored
from costplan.validate.rows import Measured, deployment, load, read_rows

LABELS = ("gpu", "engine", "model", "weight_dtype", "load_kind", "family", "evidence", "moe")
HIGHEST_MEMORY_FRACTION = 0.98
Progress = Callable[[int, int], None]


def validate_file(path: Path, progress: Progress | None = None) -> ErrorReport:
    """Predictions for all rows of ``path`` against what was measured."""
    rows = read_rows(path)
    scored: list[Scored] = []
    refused: list[Refused] = []
    for i, row in enumerate(rows):
        try:
            scored += _score(row, predict_row(row, str(path)))
        except CostplanError as e:
            refused.append(Refused(row.id, e.message))
        if progress is not None:
            progress(i + 1, len(rows))
    return ErrorReport(len(rows), scored, refused)


def predict_row(row: Measured, path: str) -> Prediction:
    """The prediction for one row. A run that took place had room: where the default memory fraction leaves none,
    the operator must have raised it."""
    dep, asked = deployment(row, path), load(row, path)
    return predict(dep, asked, budget=room_for(dep, asked), operate=operate)


def room_for(dep: Deployment, asked: Load) -> KvBudget:
    """Memory as configured; where that leaves no room, with a small batch, then with nearly all memory."""
    small = replace(dep, max_num_batched_tokens=2048, max_num_seqs=16)
    for attempt in (dep, small, replace(small, memory_fraction=HIGHEST_MEMORY_FRACTION)):
        try:
            budget = budget_of(attempt)
        except DoesNotFitError:
            continue
        if budget.concurrency(math.ceil(asked.isl + asked.osl)) >= 1:
            return budget
    return budget_of(replace(small, memory_fraction=HIGHEST_MEMORY_FRACTION))


def _score(row: Measured, p: Prediction) -> list[Scored]:
    labels = _labels(row, p)
    out: list[Scored] = []

    def add(metric: str, measured: float | None, predicted: Estimate) -> None:
        if measured is not None:
            out.append(Scored(row.id, metric, measured, predicted, labels))

    add("ttft", row.ttft_s, p.ttft_s)
    add("tpot", row.tpot_s, p.tpot_s)
    add("output_tok_s", row.output_tok_s, p.output_tok_s)
    if row.output_tok_s is not None:
        # at any price per hour the relative error of $/1M tokens is that of 1 / throughput
        add("usd_per_mtok_out", 1e6 / (row.output_tok_s * 3600), p.output_tok_s.inverse(1e6 / 3600))
    return out


def _labels(row: Measured, p: Prediction) -> Mapping[str, str]:
    t = row.text
    return {"gpu": t["gpu"], "engine": t["engine"], "model": t["model"], "weight_dtype": t.get("weight_dtype", ""),
            "load_kind": t["load_kind"], "family": t.get("family", ""), "evidence": p.decode_step.evidence.value,
            "moe": "moe" if p.moe else "dense"}
