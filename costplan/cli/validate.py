"""`costplan validate`: predictions against published measurements, logged KV capacities, or a model run here."""

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
    live: Annotated[bool, typer.Option("--live", help="Run a real model with random weights on this machine instead, "
                                       "against the profile of this machine; the options below are for it.")] = False,
    model: Annotated[str | None, typer.Option(help="Dense model: built-in name or config.json.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of this machine (name or folder).")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Run only so many layers; the whole model's step then "
                                               "follows by layers.")] = None,
    batch: Annotated[str, typer.Option(help="Sequences per step, separated by commas.")] = "1,4,16",
    context: Annotated[str, typer.Option(help="Tokens per sequence, separated by commas.")] = "128,512,2048",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    attention: Annotated[str, typer.Option(help="sdpa, sdpa-packed; on cuda also fa2, fa3.")] = "sdpa",
    page_size: Annotated[int, typer.Option(min=0, max=1024, help="KV page in tokens; 0: contiguous cache.")] = 0,
    mode: Annotated[str | None, typer.Option(help="eager, compile; on cuda also graph (its default).")] = None,
    dtype: Annotated[str, typer.Option(help="bf16, fp16 or fp32.")] = "bf16",
    sample_s: Annotated[float, typer.Option(min=0.01, max=60, help="Seconds of samples per step and pass.")] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Compare with the profile of another machine.")] = False,
) -> None:
    """Error per metric (median, mean, p90, bias, interval coverage), by group, with the rows it refuses; with --live,
    the error of single steps of a real model on this machine."""
    from costplan.core.errors import InputError

    if live:
        from costplan.cli.validate_live import LiveFlags, validate_live

        if file is not None or kv is not None or output is not None:
            raise InputError("--live takes no file of measurements and writes none", hint="use --json > live.json")
        validate_live(LiveFlags(model, profile, layers, batch, context, device, attention, page_size, mode, dtype,
                                sample_s, force, as_json))
        return
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
