"""Lines of a trace file, .gz or not: decoded one by one, so that every error knows its line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, cast

from costplan.core.errors import InputError

MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_TOTAL_BYTES = 4 * 1024**3


def magic(path: Path) -> bytes:
    """First bytes of the file. Raises InputError if there is no readable file."""
    where = str(path)
    try:
        if path.is_dir():
            raise InputError("is a folder, not a trace", where=where)
        if path.exists() and not path.is_file():
            raise InputError("is not a regular file", where=where)
        with path.open("rb") as f:
            return f.read(4)
    except FileNotFoundError as e:
        raise InputError("no such file", where=where, hint="a path in a workload file is relative to that file") from e
    except (OSError, ValueError) as e:
        raise InputError(f"cannot be read: {getattr(e, 'strerror', None) or e}", where=where) from e


@contextmanager
def lines(path: Path) -> Iterator[Iterator[str]]:
    """UTF-8 lines, with their ends; a gzip file is unpacked. The file is closed when the block ends."""
    with closing(_lines(path)) as found:
        yield found


def _lines(path: Path) -> Generator[str, None, None]:
    packed = magic(path)[:2] == b"\x1f\x8b"
    number = 0
    try:
        with (gzip.open(path, "rb") if packed else path.open("rb")) as f:
            for raw in _raw_lines(cast(IO[bytes], f), path):
                number += 1
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"byte 0x{e.object[e.start]:02x} is not UTF-8", where=f"{path}:{number}",
                         hint="is this a text file? Save it as UTF-8") from e
    except EOFError as e:
        raise InputError("the gzip file is cut off", where=f"{path}:{number + 1}",
                         hint="copy or download it again") from e
    except (gzip.BadGzipFile, zlib.error) as e:
        raise InputError(f"the gzip file is damaged: {e}", where=f"{path}:{number + 1}",
                         hint="copy or download it again") from e
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror or e}", where=str(path)) from e


def _raw_lines(f: IO[bytes], path: Path) -> Iterator[bytes]:
    total = number = 0
    while raw := f.readline(MAX_LINE_BYTES + 1):
        number += 1
        total += len(raw)
        if len(raw) > MAX_LINE_BYTES:
            raise InputError(f"line longer than {MAX_LINE_BYTES:,} bytes", where=f"{path}:{number}",
                             hint="is this a trace with one request per line?")
        if total > MAX_TOTAL_BYTES:
            raise InputError(f"more than {MAX_TOTAL_BYTES:,} bytes when unpacked", where=f"{path}:{number}",
                             hint="give a part of the trace")
        yield raw
