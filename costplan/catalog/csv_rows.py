"""A user's CSV file as checked rows: size, encoding, header and row lengths are right, or it says where not."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from costplan.core.errors import InputError, UnknownNameError

MAX_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row: cell texts by column, and where it stands (``file:line``)."""

    cells: Mapping[str, str]
    where: str

    def text(self, column: str) -> str:
        """Cell of ``column``; empty where the column is absent."""
        return self.cells.get(column, "")

    def need(self, column: str) -> str:
        """Cell of ``column``. Raises InputError if it is empty."""
        value = self.text(column)
        if not value:
            raise InputError(f"{column} is empty", where=self.where)
        return value

    def number(self, column: str, *, low: float = 0.0) -> float:
        """Cell of ``column`` as a finite number above ``low``."""
        text = self.need(column)
        try:
            value = float("" if "_" in text else text)
        except ValueError:
            raise InputError(f"{column}: {text!r} is not a number", where=self.where,
                             hint="write a plain number such as 2.49, without currency sign or unit") from None
        if not math.isfinite(value) or value <= low:
            raise InputError(f"{column}: {text!r} must be a finite number above {low:g}", where=self.where)
        return value


def read_csv_rows(path: Path, *, required: Iterable[str], allowed: Iterable[str] | None = None) -> Iterator[CsvRow]:
    """Rows of the CSV file ``path``; empty lines are passed over.

    Raises InputError for a file over 50 MB, another encoding than UTF-8, missing, duplicate or (where
    ``allowed`` is given) unknown columns, a row of another length than the header, or no row at all.
    """
    _check_size(path)
    count = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as f:
            reader = csv.reader(f, strict=True)
            header = [c.strip() for c in next(reader, [])]
            _check_header(header, set(required), None if allowed is None else set(allowed), f"{path}:1")
            for cells in reader:
                if not any(c.strip() for c in cells):
                    continue
                where = f"{path}:{reader.line_num}"
                if len(cells) != len(header):
                    raise InputError(f"{len(cells)} cells, the header has {len(header)}", where=where,
                                     hint="quote cells that hold a comma; is the file cut off?")
                count += 1
                yield CsvRow({h: c.strip() for h, c in zip(header, cells, strict=True)}, where)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}", hint="give the path of a CSV file") from e
    except UnicodeDecodeError as e:
        raise InputError("not UTF-8 text", where=str(path), hint="save the file as CSV in UTF-8") from e
    except csv.Error as e:
        raise InputError(f"not a readable CSV: {e}", where=f"{path}:{reader.line_num}") from e
    if count == 0:
        raise InputError("no rows below the header", where=str(path))


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}", hint="give the path of a CSV file") from e
    if not path.is_file():
        raise InputError(f"{path} is not a file", hint="give the path of a CSV file")
    if size > MAX_BYTES:
        raise InputError(f"{size / 1e6:.0f} MB is more than the {MAX_BYTES / 1e6:.0f} MB that are read",
                         where=str(path), hint="keep only the rows of the regions in question")


def _check_header(header: list[str], required: set[str], allowed: set[str] | None, where: str) -> None:
    if not header:
        raise InputError("the file is empty", where=where)
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise InputError(f"duplicate column {', '.join(repr(c) for c in twice)}", where=where,
                         hint="keep one of each")
    if allowed is not None:
        for column in header:
            if column not in allowed:
                raise UnknownNameError("column", column, allowed, where=where)
    missing = sorted(required - set(header))
    if missing:
        raise InputError(f"missing column {', '.join(missing)}", where=where,
                         hint=f"the header has: {', '.join(header[:20])}")
