"""Parquet traces with named columns; needs the extra ``costplan[import]`` (pyarrow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from costplan.core.errors import InputError
from costplan.workload.trace import Trace
from costplan.workload.trace_csv import find_layout
from costplan.workload.trace_rows import ReadOptions, Rows, clock_for, pick

MAX_ROWS = 50_000_000


def read_parquet(path: Path, options: ReadOptions) -> Trace:
    """Requests of a parquet file; errors count rows from 1."""
    where = str(path)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise InputError("reading parquet needs pyarrow", where=where, hint="pip install 'costplan[import]'") from e
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            _check_table(names, file.metadata.num_rows, where)
            first = _first_row(file, names)
            layout = find_layout(names, first, _generic(options), where)
            hashes = pick(names, "hash_ids", ("hash_ids",), options, where)
            wanted = [c for c in (layout.timestamp, layout.isl, layout.osl, hashes) if c]
            table: dict[str, list[Any]] = {c: _texts(file.read(columns=[c]).column(c)) for c in wanted}
    except (pa.ArrowException, OSError) as e:
        raise InputError(f"not a readable parquet file: {str(e).splitlines()[0][:200]}", where=where,
                         hint="is the file cut off?") from e
    if hashes is not None and options.block_tokens is None:
        raise InputError(f"the block size of {hashes!r} is not known", where=where,
                         hint="say --block-tokens 512 (block_tokens: 512)")
    clock = None if layout.time_unit is None else clock_for(layout.time_unit, where)
    rows = Rows(where, clock, options, with_hashes=hashes is not None)
    for i in range(len(table[layout.isl])):
        rows.add(i + 1, table[layout.timestamp][i] if layout.timestamp else None, table[layout.isl][i],
                 table[layout.osl][i], (table[hashes][i] or []) if hashes else None)
    return rows.trace("parquet", options.block_tokens)


def _generic(options: ReadOptions) -> ReadOptions:
    return ReadOptions("parquet", options.time_unit, options.columns)


def _check_table(names: list[str], rows: int, where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"column {name!r} is there twice", where=where)
    if rows == 0:
        raise InputError("the trace holds no requests", where=where)
    if rows > MAX_ROWS:
        raise InputError(f"{rows:,} rows; at most {MAX_ROWS:,} can be read", where=where,
                         hint="give a part of the trace")


def _first_row(file: Any, names: list[str]) -> dict[str, Any]:
    batch = next(file.iter_batches(batch_size=1))
    return {name: _texts(batch.column(i))[0] for i, name in enumerate(names)}


def _texts(column: Any) -> list[Any]:
    """Values of a column; timestamps as ISO text."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return [None if v is None else str(v) for v in column.to_pandas().tolist()]
    return list(column.to_pylist())
