"""`costplan workload`: look at a workload or trace, fit a workload to a trace."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.report.style import Style
    from costplan.workload.trace_rows import ReadOptions

app = typer.Typer(help="Look at a workload or trace; fit a workload to a trace.", no_args_is_help=True)

Format = Annotated[str, typer.Option("--format", help="auto, azure, mooncake, bailian, burstgpt, csv, jsonl, parquet.")]
TimeUnit = Annotated[str | None, typer.Option("--time-unit", help="Unit of the times: s, ms, us, ns or iso (dates).")]
Column = Annotated[list[str] | None, typer.Option(
    "--column", help="ROLE=NAME, where ROLE is timestamp, isl, osl or hash_ids; may be given again.")]
BlockTokens = Annotated[int | None, typer.Option("--block-tokens", min=1, help="Tokens per prefix hash.")]
Sort = Annotated[bool, typer.Option("--sort", help="Put rows in order of time.")]
DropFailed = Annotated[bool, typer.Option("--drop-failed", help="Leave out (and count) rows with 0 output tokens.")]


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="workload.yaml, or a trace (CSV, jsonl, parquet; .gz too).")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON: tokens, seconds, fractions.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
    requests: Annotated[int, typer.Option("-n", min=1, max=5_000_000, help="Requests to draw of a workload.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that draw.")] = 0,
    fmt: Format = "auto", time_unit: TimeUnit = None, column: Column = None, block_tokens: BlockTokens = None,
    sort: Sort = False, drop_failed: DropFailed = False,
) -> None:
    """Counts, rates, burstiness, ISL/OSL quantiles, prefix sharing and histograms."""
    import json

    from costplan.cli.output import emit
    from costplan.report.workload_json import summary_json, workload_json
    from costplan.report.workload_text import render_summary, render_workload
    from costplan.workload.summary import summarise

    style = _style(output)
    if file.suffix.lower() in (".yaml", ".yml"):
        from costplan.workload.load import load_workload
        from costplan.workload.requests import sample_requests

        w = load_workload(file)
        own_trace = w.lengths is None and w.trace is not None and w.arrivals.requests_per_s is not None
        n = len(w.trace) if own_trace and w.trace is not None else requests
        s = summarise(sample_requests(w, n, seed).as_trace(str(file)))
        said = json.dumps(workload_json(w, s), indent=2) + "\n" if as_json else render_workload(w, s, style)
    else:
        from costplan.workload.read_trace import read_trace

        s = summarise(read_trace(file, _options(fmt, time_unit, column, block_tokens, sort, drop_failed)))
        said = json.dumps(summary_json(s), indent=2) + "\n" if as_json else render_summary(s, style)
    emit(said, output)


@app.command()
def fit(
    trace: Annotated[Path, typer.Argument(help="A trace (CSV, jsonl, parquet; .gz too).")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; default: print.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the workload; default: that of the file.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of the catalogue, or path of a config.json.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    fmt: Format = "auto", time_unit: TimeUnit = None, column: Column = None, block_tokens: BlockTokens = None,
    sort: Sort = False, drop_failed: DropFailed = False,
) -> None:
    """Write a workload with the quantiles, correlation, load and prefix sharing of a trace."""
    from datetime import date

    from costplan.cli.output import emit
    from costplan.core.errors import InputError
    from costplan.core.yaml_door import parse_yaml
    from costplan.workload.fit import fit_yaml
    from costplan.workload.load import workload_of
    from costplan.workload.read_trace import read_trace

    if output is not None and output.exists() and not force:
        raise InputError(f"{output} exists already", hint="--force overwrites it")
    requests = read_trace(trace, _options(fmt, time_unit, column, block_tokens, sort, drop_failed))
    written = fit_yaml(requests, name=name or trace.name.split(".")[0] or "trace", model=model, today=date.today())
    workload_of(parse_yaml(written, "fitted workload"), Path())
    emit(written, output)
    if output is not None:
        typer.echo(f"see it with: costplan workload show {output}", err=True)


def _options(fmt: str, time_unit: str | None, column: list[str] | None, block_tokens: int | None,
             sort: bool, drop_failed: bool) -> ReadOptions:
    from costplan.core.errors import InputError
    from costplan.workload.trace_rows import ReadOptions

    columns = {}
    for item in column or []:
        role, equals, named = item.partition("=")
        if not equals or not named:
            raise InputError(f"--column {item}: expected ROLE=NAME", hint="for example --column isl=prompt_tokens")
        columns[role.strip()] = named.strip()
    return ReadOptions(fmt, time_unit, columns, block_tokens, sort, drop_failed)


def _style(output: Path | None) -> Style:
    from costplan.report.style import Style

    out = sys.stdout
    terminal = output is None and out.isatty()
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = max(min(shutil.get_terminal_size((80, 24)).columns, 120), 60)
    unicode = output is not None or "utf" in (out.encoding or "").lower()
    return Style(width, color, unicode)
