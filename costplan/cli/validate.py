"""`costplan validate`: predictions against published measurements or logged KV capacities."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def validate(
    file: Annotated[Path | None, typer.Argument(help="CSV of measurements (columns: docs/accuracy.md).")] = None,
    kv: Annotated[Path | None, typer.Option("--kv", help="CSV of logged KV capacities instead.")] = None,
    by: Annotated[str, typer.Option(help="Groups, separated by commas: gpu engine model weight_dtype load_kind "
                                         "family evidence moe.")] = "gpu,engine,load_kind",
    as_json: Annotated[bool, typer.Option("--json", help="JSON: fractions, not percent.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV: one line per row and metric.")] = None,
) -> None:
    """Error per metric (median, mean, p90, bias, interval coverage), by group, with the rows it refuses."""
    from costplan.core.errors import InputError

    if (file is None) == (kv is None):
        raise InputError("give either a CSV of measurements or --kv FILE.csv",
                         hint="costplan validate measured.csv, or costplan validate --kv capacities.csv")
    if output is not None and not output.parent.is_dir():
        raise InputError(f"cannot write {output}: there is no folder {output.parent}", where="--output")
    if kv is not None:
        _kv(kv, as_json, output)
    elif file is not None:
        _measured(file, _labels(by), as_json, output)


def _measured(file: Path, labels: Sequence[str], as_json: bool, output: Path | None) -> None:
    from costplan.cli.output import emit, emit_json, style
    from costplan.report.validate_text import scored_rows, validate_text
    from costplan.validate.run import validate_file

    found = validate_file(file, _progress if sys.stderr.isatty() else None)
    if output is not None:
        _write_csv(output, scored_rows(found))
    if as_json:
        emit_json(found.as_dict(labels), None)
    else:
        emit(validate_text(found, labels, style()), None)


def _kv(file: Path, as_json: bool, output: Path | None) -> None:
    from costplan.catalog.gpus import gpu
    from costplan.catalog.models import model
    from costplan.cli.output import emit, emit_json
    from costplan.report.kv_text import render_kv_errors
    from costplan.validate.kv_rows import report, result_rows, validate_kv

    results = validate_kv(file, model, gpu)
    if output is not None:
        _write_csv(output, result_rows(results))
    found = report(results)
    if as_json:
        emit_json(found, None)
    else:
        emit(render_kv_errors(found), None)


def _labels(by: str) -> list[str]:
    from costplan.core.errors import UnknownNameError
    from costplan.validate.run import LABELS

    wanted = [w.strip() for w in by.split(",") if w.strip()]
    for name in wanted:
        if name not in LABELS:
            raise UnknownNameError("group", name, LABELS, where="--by")
    return list(dict.fromkeys(wanted))


def _write_csv(output: Path, rows: Sequence[dict[str, object]]) -> None:
    import csv
    import io

    from costplan.cli.output import emit

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _safe(v) for k, v in row.items()} for row in rows)
    emit(text.getvalue(), output)


def _safe(value: object) -> object:
    """A text that a spreadsheet would run as a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _progress(done: int, total: int) -> None:
    if done == total:
        sys.stderr.write("\r\x1b[K")
    elif done % 20 == 0:
        sys.stderr.write(f"\r{done:,} of {total:,} rows")
    sys.stderr.flush()
