"""Everything measured so far, one JSON line each, on disk before the next case starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from costplan.core.errors import InputError

FILE_NAME = "journal.jsonl"
_RESTART = "delete that folder to start over, or choose another --out"


class Journal:
    """An append-only file. The first line tells what is measured; a line that a crash cut short is dropped."""

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        if path.exists():
            self._reopen(head)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            self._write({"head": dict(head)})
            _sync_folder(path.parent)
        self.head = self._head

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one entry; it is on disk when this returns."""
        self._write(entry)
        self.entries.append(dict(entry))

    def _write(self, entry: Mapping[str, Any]) -> None:
        if "head" in entry:
            self._head = dict(entry["head"])
        try:
            self._file.write(json.dumps(entry, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            raise InputError(f"cannot write {self.path}: {e.strerror}",
                             hint="what was measured before is safe; make room and go on with --resume") from e

    def _reopen(self, head: Mapping[str, Any]) -> None:
        whole = self._read()
        if not whole:
            self.path.unlink()
            self._file = self.path.open("ab")
            self._write({"head": dict(head)})
            return
        if "head" not in whole[0]:
            raise InputError(f"{self.path} is no journal of measurements", hint=_RESTART)
        self._head = dict(whole[0]["head"])
        changed = sorted(k for k in {*self._head, *head} if self._head.get(k) != head.get(k))
        if changed:
            raise InputError(
                f"{self.path.parent} holds a run of something else: {changed[0]} was "
                f"{_short(self._head.get(changed[0]))}, now {_short(head.get(changed[0]))}", hint=_RESTART)
        self.entries = whole[1:]
        self._file = self.path.open("ab")

    def _read(self) -> list[dict[str, Any]]:
        """All whole lines; the file is cut behind the last one."""
        try:
            data = self.path.read_bytes()
        except OSError as e:
            raise InputError(f"cannot read {self.path}: {e.strerror}") from e
        kept = data.rfind(b"\n") + 1
        out: list[dict[str, Any]] = []
        for number, line in enumerate(data[:kept].split(b"\n")[:-1], 1):
            try:
                out.append(json.loads(line))
            except ValueError as e:
                raise InputError("damaged in the middle: this line is no JSON", where=f"{self.path}:{number}",
                                 hint=_RESTART) from e
        if kept < len(data):
            with self.path.open("r+b") as f:
                f.truncate(kept)
                os.fsync(f.fileno())
        return out


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _sync_folder(folder: Path) -> None:
    """Make the new file's name durable as well."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
