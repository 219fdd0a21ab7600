"""Untrusted result files: text of bounded size, JSON with bare Infinity, and fields that say where they are wrong."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costplan.core.errors import InputError

MAX_BYTES = 256 << 20


def read_result(path: Path) -> bytes:
    """The file, unpacked if it is gzip. Raises InputError."""
    where = str(path)
    try:
        if not path.is_file():
            raise InputError("no such file", where=where)
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"larger than {MAX_BYTES >> 20} MiB", where=where, hint="is this the right file?")
        raw = path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read: {e.strerror}", where=where) from e
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        unpacked = zlib.decompressobj(16 + zlib.MAX_WBITS)
        raw = unpacked.decompress(raw, MAX_BYTES)
    except (zlib.error, gzip.BadGzipFile) as e:
        raise InputError("not a gzip file", where=where) from e
    if unpacked.unconsumed_tail:
        raise InputError(f"unpacks to more than {MAX_BYTES >> 20} MiB", where=where)
    return raw


def text_of(raw: bytes, where: str) -> str:
    """UTF-8 text."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError("not UTF-8 text", where=where, hint="a benchmark writes JSON, JSONL or CSV") from e


def documents(text: str, where: str) -> list[tuple[str, Any]]:
    """Every JSON value of ``text`` with its place: one value, or several after each other (append files, JSONL)."""
    decoder = json.JSONDecoder()
    found: list[tuple[str, Any]] = []
    at, end = 0, len(text)
    while True:
        while at < end and text[at] in " \t\r\n,":
            at += 1
        if at >= end:
            break
        line = text.count("\n", 0, at) + 1
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError:
            raise InputError("nested too deeply", where=f"{where}:{line}") from None
        except ValueError as e:
            line = text.count("\n", 0, getattr(e, "pos", at)) + 1
            raise InputError(f"not JSON: {getattr(e, 'msg', e)}", where=f"{where}:{line}") from None
        found.append((f"{where}:{line}", value))
    if not found:
        raise InputError("is empty", where=where)
    return found


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping from a file, read with errors that name file, line and key."""

    data: Mapping[str, Any]
    where: str
    path: str = ""

    def at(self, name: str) -> Fields:
        """The mapping under ``name``; an empty one where it is missing."""
        value = self.data.get(name)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise InputError(f"{self.path}{name}: must hold keys and values", where=self.where)
        return Fields(value, self.where, f"{self.path}{name}.")

    def number(self, *names: str, scale: float = 1.0) -> float | None:
        """The first of ``names`` that is there, times ``scale``: positive and finite, or None for null and zero."""
        for name in names:
            value = self.data.get(name)
            if value is None or value == "":
                continue
            if isinstance(value, str):
                value = self._parsed(name, value)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{self.path}{name}: must be a number", where=self.where)
            try:
                number = float(value) * scale
            except OverflowError:
                number = math.inf
            if math.isnan(number) or number < 0:
                raise InputError(f"{self.path}{name}: must not be negative or NaN, got {value}", where=self.where)
            if number and math.isfinite(number):
                if not 1e-12 < number < 1e18:
                    raise InputError(f"{self.path}{name}: {number:g} is out of range", where=self.where)
                return number
        return None

    def _parsed(self, name: str, value: str) -> float:
        try:
            return float(value)
        except ValueError:
            raise InputError(f"{self.path}{name}: must be a number, got {value[:40]!r}", where=self.where) from None

    def count(self, *names: str) -> int | None:
        value = self.number(*names)
        return None if value is None else max(1, round(value))

    def text(self, *names: str) -> str | None:
        """The first of ``names`` that is a text."""
        for name in names:
            value = self.data.get(name)
            if isinstance(value, str) and value.strip():
                return value.strip()[:200]
        return None
