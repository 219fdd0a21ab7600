"""Any trace file into a Trace: the format is seen from the content, never from the file's name."""

from __future__ import annotations

from pathlib import Path

from costplan.core.errors import InputError
from costplan.workload.trace import Trace
from costplan.workload.trace_lines import lines, magic
from costplan.workload.trace_rows import ReadOptions

_CSV = ("azure", "burstgpt", "csv")
_JSONL = ("mooncake", "bailian", "jsonl")
FORMATS = ("auto", *_CSV, *_JSONL, "parquet")
_ROLES = ("timestamp", "isl", "osl", "hash_ids")


def read_trace(path: Path, options: ReadOptions | None = None) -> Trace:
    """Requests of the file at ``path``, times in seconds from the first.

    Raises InputError with file and line for whatever is wrong: an unknown time unit, rows out of order,
    failed requests, cut-off files.
    """
    options = options or ReadOptions()
    if options.format not in FORMATS:
        raise InputError(f"unknown trace format {options.format!r}", hint=f"formats are {', '.join(FORMATS)}")
    for role in options.columns:
        if role not in _ROLES:
            raise InputError(f"unknown column role {role!r}", hint=f"roles are {', '.join(_ROLES)}")
    if options.format == "parquet" or (options.format == "auto" and magic(path) == b"PAR1"):
        from costplan.workload.trace_parquet import read_parquet

        magic(path)
        return read_parquet(path, options)
    if options.format in _JSONL or (options.format == "auto" and _looks_like_json(path)):
        from costplan.workload.trace_jsonl import read_jsonl

        return read_jsonl(path, options)
    from costplan.workload.trace_csv import read_csv

    return read_csv(path, options)


def _looks_like_json(path: Path) -> bool:
    with lines(path) as found:
        for line in found:
            if line.strip():
                return line.lstrip()[0] in "{["
    raise InputError("is empty", where=str(path))
