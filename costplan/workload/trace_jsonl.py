"""Traces with one JSON object per line: Mooncake (times in ms), Bailian (times in s), and any with named keys."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from costplan.core.errors import InputError
from costplan.workload.trace import Trace
from costplan.workload.trace_csv import find_layout
from costplan.workload.trace_lines import lines
from costplan.workload.trace_rows import ReadOptions, Rows, clock_for, pick

_HEAD = 64  # rows that a format is recognised by
_BLOCKS = {"mooncake": 512, "bailian": 16}
_UNITS = {"mooncake": "ms", "bailian": "s"}
_HASHES = ("hash_ids", "hash_id", "prefix_hashes", "block_hashes")


@dataclass(frozen=True, slots=True)
class _Keys:
    format: str
    timestamp: str | None
    isl: str
    osl: str
    hash_ids: str | None
    time_unit: str | None
    block_tokens: int | None


def read_jsonl(path: Path, options: ReadOptions) -> Trace:
    """Requests of a file of JSON lines."""
    where = str(path)
    with closing(_objects(path)) as objects:
        head = list(islice(objects, _HEAD))
        if not head:
            raise InputError("is empty", where=where)
        keys = _keys(head, options, where)
        clock = None if keys.time_unit is None else clock_for(keys.time_unit, where)
        rows = Rows(where, clock, options, with_hashes=keys.hash_ids is not None)
        for line, item in chain(head, objects):
            _add(rows, line, item, keys)
    return rows.trace(keys.format, keys.block_tokens)


def _add(rows: Rows, line: int, item: dict[str, Any], keys: _Keys) -> None:
    for key in (keys.isl, keys.osl, *((keys.timestamp,) if keys.timestamp else ())):
        if key not in item:
            raise rows.bad(line, f"key {key!r} is missing")
    ids = item.get(keys.hash_ids, []) if keys.hash_ids else None
    rows.add(line, item[keys.timestamp] if keys.timestamp else None, item[keys.isl], item[keys.osl], ids)


def _objects(path: Path) -> Generator[tuple[int, dict[str, Any]], None, None]:
    number = 0
    with lines(path) as found:
        for text in found:
            number += 1
            if not text.strip():
                continue
            where = f"{path}:{number}"
            try:
                item = json.loads(text, object_pairs_hook=_unique)
            except (ValueError, RecursionError) as e:
                if isinstance(e, _DuplicateKey):
                    raise InputError(f"key {e.key!r} is there twice", where=where) from None
                cut = not text.endswith("\n")
                raise InputError("not a whole JSON object" if cut else "not valid JSON", where=where,
                                 hint="is the file cut off?" if cut else "one JSON object per line") from None
            if not isinstance(item, dict):
                raise InputError("not a JSON object", where=where, hint="one JSON object per line")
            yield number, item


class _DuplicateKey(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key[:60]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        raise _DuplicateKey(next(k for k, _ in pairs if k in seen or seen.add(k)))  # type: ignore[func-returns-value]
    return out


def _keys(head: list[tuple[int, dict[str, Any]]], options: ReadOptions, where: str) -> _Keys:
    first = head[0][1]
    names = list(first)
    place = f"{where}:{head[0][0]}"
    fmt = _format(first, options)
    if fmt in _UNITS:
        missing = [k for k in ("timestamp", "input_length", "output_length") if k not in first]
        if missing:
            raise InputError(f"is not in the format {fmt}: {', '.join(missing)} missing", where=place,
                             hint="leave --format out, or name the keys with --column")
        hashes = "hash_ids" if "hash_ids" in first else None
        block = _block(head, "input_length", hashes, options.block_tokens or _BLOCKS[fmt], where, fmt)
        return _Keys(fmt, "timestamp", "input_length", "output_length", hashes, options.time_unit or _UNITS[fmt], block)
    layout = find_layout(names, first, ReadOptions("jsonl", options.time_unit, options.columns), where)
    hashes = pick(names, "hash_ids", _HASHES, options, place)
    if hashes is not None and options.block_tokens is None:
        raise InputError(f"the block size of {hashes!r} is not known", where=place,
                         hint="say --block-tokens 512 (block_tokens: 512)")
    block = _block(head, layout.isl, hashes, options.block_tokens or 1, where, "jsonl")
    return _Keys("jsonl", layout.timestamp, layout.isl, layout.osl, hashes, layout.time_unit, block)


def _format(first: dict[str, Any], options: ReadOptions) -> str:
    if options.format != "auto":
        return options.format
    if options.columns:
        return "jsonl"
    if {"chat_id", "parent_chat_id", "timestamp", "input_length"} <= set(first):
        return "bailian"
    if {"timestamp", "input_length", "output_length", "hash_ids"} <= set(first):
        return "mooncake"
    return "jsonl"


def _block(head: list[tuple[int, dict[str, Any]]], isl: str, hashes: str | None, block: int, where: str,
           fmt: str) -> int | None:
    """Check the block size by counting: a prompt of isl tokens has ceil(isl / block) blocks."""
    if hashes is None:
        return None
    counts = [(int(item[isl]), len(item[hashes])) for _, item in head
              if isinstance(item.get(isl), int) and isinstance(item.get(hashes), list) and item[hashes]]
    agree = sum(abs(-(-tokens // block) - n) <= 1 for tokens, n in counts)
    if counts and agree < len(counts) / 2:
        tokens, n = counts[0]
        hint = f"say --block-tokens {max(round(tokens / n), 1)}, if that is right"
        if fmt == "mooncake" and 14 <= tokens / n <= 18:
            hint = "Bailian traces have 16-token blocks and times in s (Mooncake: 512 and ms): say --format bailian"
        raise InputError(f"{n} hash ids for {tokens} input tokens are not blocks of {block} tokens",
                         where=f"{where}:{head[0][0]}", hint=hint)
    return block
