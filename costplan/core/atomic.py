"""Write a file or a folder completely or not at all: temporary name first, rename last."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from costplan.core.errors import InputError


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` atomically; an interrupted write leaves the old file as it was."""
    try:
        fd, tmp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as e:
        raise InputError(f"cannot write {path}: {e.strerror}", hint="give an existing, writable folder") from e
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(tmp, 0o644)  # noqa: PTH101 - mkstemp makes 0600
        os.replace(tmp, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(tmp)  # noqa: PTH108
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling that becomes ``path`` when the block ends without an error.

    Raises InputError if ``path`` exists already: nothing is ever overwritten.
    """
    if path.exists():
        raise InputError(f"{path} exists already", hint="choose another name, or delete it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield tmp
        tmp.chmod(0o755)
        tmp.rename(path)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
