"""CSV traces: Azure LLM inference, BurstGPT, and any file with named columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costplan.core.errors import InputError
from costplan.workload.trace import Trace
from costplan.workload.trace_lines import lines
from costplan.workload.trace_rows import Clock, ReadOptions, Rows, clock_for, is_iso, pick

_SUFFIX_UNITS = {"_s": "s", "_ms": "ms", "_us": "us", "_ns": "ns"}
TIMES = tuple(name + suffix for suffix in ("", *_SUFFIX_UNITS)
              for name in ("timestamp", "arrival", "arrival_time", "arrived_at", "time", "t"))
ISL = ("isl", "input_length", "input_tokens", "prompt_tokens", "contexttokens", "request_tokens", "num_prefill_tokens",
       "input_len", "prompt_len", "context_tokens", "prefill_tokens")
OSL = ("osl", "output_length", "output_tokens", "completion_tokens", "generatedtokens", "response_tokens",
       "num_decode_tokens", "output_len", "generated_tokens", "decode_tokens")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns hold what, and in which unit the time is (None where there is none)."""

    format: str
    timestamp: str | None
    isl: str
    osl: str
    time_unit: str | None
    drop_failed: bool = False


def read_csv(path: Path, options: ReadOptions) -> Trace:
    """Requests of a CSV file with a header line."""
    where = str(path)
    with lines(path) as text:
        reader = csv.reader(text, strict=True)
        try:
            header = _header(reader, where)
            first = next(reader, None)
            if first is None:
                raise InputError("the trace holds no requests", where=where, hint="only a header line was found")
            layout = find_layout(header, dict(zip(header, first, strict=False)), options, where)
            rows = Rows(where, _clock(layout, where), _with_drop(options, layout), with_hashes=False)
            _read(reader, first, header, layout, rows)
        except csv.Error as e:
            raise InputError(f"not valid CSV: {e}", where=f"{where}:{reader.line_num}") from e
    return rows.trace(layout.format)


def _header(reader: Iterator[list[str]], where: str) -> list[str]:
    header = [c.strip() for c in next(reader, [])]
    if not any(header):
        raise InputError("is empty" if not header else "has an empty header line", where=f"{where}:1")
    for name in header:
        if name and header.count(name) > 1:
            raise InputError(f"column {name!r} is there twice", where=f"{where}:1", hint="rename or remove one of them")
    return header


def find_layout(header: list[str], first: dict[str, str], options: ReadOptions, where: str) -> Layout:
    """Layout of a table from its header and first row, as told by ``options`` or known from its format."""
    known = None if options.columns else _known(header, options.format)
    if known is not None:
        return Layout(known.format, known.timestamp, known.isl, known.osl, options.time_unit or known.time_unit,
                      known.drop_failed)
    if options.format in ("azure", "burstgpt") and not options.columns:
        raise InputError(f"is not in the format {options.format}: its columns are {', '.join(header[:12])}",
                         where=f"{where}:1", hint="leave --format out, or name the columns with --column")
    isl, osl = (pick(header, role, names, options, f"{where}:1") for role, names in (("isl", ISL), ("osl", OSL)))
    if isl is None or osl is None:
        role = "isl" if isl is None else "osl"
        raise InputError(f"no column is known as {'input' if isl is None else 'output'} length; "
                         f"there are {', '.join(c for c in header[:12])}",
                         where=f"{where}:1", hint=f"name it: --column {role}=NAME (columns: {{{role}: NAME}})")
    timestamp = pick(header, "timestamp", TIMES, options, f"{where}:1")
    unit = None if timestamp is None else _unit(timestamp, first.get(timestamp), options, f"{where}:1")
    return Layout("csv", timestamp, isl, osl, unit)


def _known(header: list[str], wanted: str) -> Layout | None:
    names = set(header)
    if wanted in ("auto", "azure") and {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= names:
        return Layout("azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", "iso")
    if wanted in ("auto", "burstgpt") and {"Timestamp", "Request tokens", "Response tokens"} <= names:
        return Layout("burstgpt", "Timestamp", "Request tokens", "Response tokens", "s", drop_failed=True)
    return None


def _unit(column: str, first: str | None, options: ReadOptions, where: str) -> str:
    """Unit of a time column: as told, as its name ends, or evident from a date; never guessed."""
    if options.time_unit is not None:
        return options.time_unit
    suffix = next((u for s, u in _SUFFIX_UNITS.items() if column.lower().endswith(s)), None)
    if suffix is not None:
        return suffix
    if is_iso(first):
        return "iso"
    raise InputError(f"the unit of the times in {column!r} is not known", where=where,
                     hint="say --time-unit s or --time-unit ms (time_unit: s)")


def _clock(layout: Layout, where: str) -> Clock | None:
    return None if layout.time_unit is None else clock_for(layout.time_unit, where)


def _with_drop(options: ReadOptions, layout: Layout) -> ReadOptions:
    drop = options.drop_failed or layout.drop_failed
    return ReadOptions(sort=options.sort, drop_failed=drop)


def _read(reader: Any, first: list[str], header: list[str], layout: Layout, rows: Rows) -> None:
    width = len(header)
    t = header.index(layout.timestamp) if layout.timestamp else -1
    i, o = header.index(layout.isl), header.index(layout.osl)
    row: list[str] | None = first
    while row is not None:
        if len(row) == width:
            rows.add(reader.line_num, row[t] if t >= 0 else None, row[i], row[o])
        elif row:
            raise rows.bad(reader.line_num, f"{len(row)} values in a table of {width} columns",
                           "is the file cut off?" if len(row) < width else None)
        row = next(reader, None)
