"""`costplan calibrate`: runs beside their predictions, and what the calibration is worth."""

from __future__ import annotations

import math

from costplan.perf.calibration import METRICS
from costplan.report.columns import Column, facts, heading, table
from costplan.report.numbers import seconds, significant
from costplan.report.style import Style
from costplan.validate.calibrate import Calibrated, Compared

_LABELS = {"tpot": "TPOT", "ttft": "TTFT", "output_tok_s": "output tok/s"}


def calibrate_text(c: Calibrated, path: str, style: Style) -> str:
    """A line per run, a table of errors before and after, and how to use the file."""
    d = c.deployment
    n = len(c.runs)
    head = heading(f"{n} run{'s' if n > 1 else ''} of {d.spec.name} on {d.num_gpus} x {d.gpu.title}, {d.engine}", style)
    columns = [Column("load"), Column("lengths")]
    for m in METRICS:
        columns += [Column(_LABELS[m], right=True), Column("predicted", right=True), Column("off", right=True)]
    rows = [_row(x) for x in c.runs]
    errors = [[_LABELS[m], str(k), _percent(before), "-" if after is None else _percent(after)]
              for m, (k, before, after) in c.errors.items()]
    errors_table = table([Column("median error"), Column("runs", right=True), Column("as predicted", right=True),
                          Column("each corrected by the others", right=True)], errors, style)
    use = facts([("written", path), ("use", f"costplan predict ... --calibration {path}; or calibration: {path} in "
                                            "workload.yaml")], style)
    return "\n".join([*head, "", *table(columns, rows, style), "", *errors_table, "", *use]) + "\n"


def _row(x: Compared) -> list[str]:
    out = [f"{x.load.kind} {x.load.value:g}", f"{x.load.isl:,.0f} in, {x.load.osl:,.0f} out"]
    for m in METRICS:
        if m not in x.observed.log_error:
            out += ["-", "-", ""]
            continue
        write = significant if m == "output_tok_s" else seconds
        measured, predicted = x.pair(m)
        out += [write(measured), write(predicted), f"{math.expm1(-x.observed.log_error[m]) * 100:+.0f}%"]
    return out


def _percent(x: float) -> str:
    return f"{x * 100:.1f}%"
