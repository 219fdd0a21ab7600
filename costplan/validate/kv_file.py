"""Reader of logged KV capacities: a CSV in the columns of ``kv_tune.csv``."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from costplan.core.errors import InputError, UnknownNameError

MAX_BYTES = 64 * 1024**2
REQUIRED = ("model", "gpu", "tp", "kv_tokens")
COLUMNS = ("id", "vllm_version", "model", "gpu", "n_gpu", "tp", "weight_dtype", "kv_dtype", "gpu_memory_utilization",
           "max_model_len", "enforce_eager", "weights_gib_per_gpu", "available_kv_gib_per_gpu", "kv_tokens",
           "max_concurrency_x", "semantics", "source", "notes")


@dataclass(frozen=True, slots=True)
class KvRow:
    """One logged capacity and the settings it was logged under; None is not stated."""

    id: str
    model: str
    gpu: str | None = None
    tp: int | None = None
    version: str | None = None
    weight_dtype: str | None = None
    kv_dtype: str | None = None
    memory_fraction: float | None = None
    max_model_len: int | None = None
    enforce_eager: bool = False
    weights_gib: float | None = None
    available_kv_gib: float | None = None
    kv_tokens: float | None = None
    semantics: str = ""
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    gpu_memory_gib: float | None = None
    source_date: date | None = None
    dcp: int = 1
    expert_parallel: bool = False

    @property
    def derived(self) -> bool:
        """The logged tokens are concurrency x max_model_len (vLLM issue 51041), not slots."""
        return "DERIVED" in self.semantics


def read_kv_rows(path: Path) -> list[KvRow]:
    """Rows of a CSV; unknown columns are refused with the nearest known name."""
    text = _text(path)
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        header = [h.strip() for h in next(lines, [])]
        _check_header(header, path)
        rows = []
        for fields in lines:
            if not any(f.strip() for f in fields):
                continue
            where = f"{path}:{lines.line_num}"
            if len(fields) != len(header):
                raise InputError(f"{len(fields)} fields, but the header has {len(header)}", where=where)
            named = dict(zip(header, fields, strict=True))
            rows.append(_row(named, where, named.get("id") or f"line {lines.line_num}"))
    except csv.Error as e:
        raise InputError(f"not a CSV: {e}", where=f"{path}:{lines.line_num}") from e
    if not rows:
        raise InputError("the table has no rows", hint="give a CSV with the columns of kv_tune.csv", where=str(path))
    return rows


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"larger than {MAX_BYTES // 1024**2} MiB", hint="is this the right file?", where=str(path))
        return path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise InputError(f"cannot read: {e.strerror}", where=str(path)) from e
    except UnicodeDecodeError as e:
        raise InputError("not UTF-8 text", hint="save the table as UTF-8 CSV", where=str(path)) from e


def _check_header(header: list[str], path: Path) -> None:
    where = f"{path}:1"
    twice = sorted({h for h in header if header.count(h) > 1})
    if twice:
        raise InputError(f"column {twice[0]!r} appears twice", where=where)
    for name in header:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, COLUMNS, where=where)
    missing = [c for c in REQUIRED if c not in header]
    if missing:
        raise InputError(f"missing column {missing[0]!r}", hint=f"expected: {', '.join(COLUMNS[1:])}", where=where)


def _row(f: dict[str, str], where: str, row_id: str) -> KvRow:
    notes = f.get("notes", "")
    model = f["model"].strip()
    if not model:
        raise InputError("no model", where=where)
    fraction = _number(f, "gpu_memory_utilization", where)
    if fraction is not None and fraction > 1:
        raise InputError(f"gpu_memory_utilization must lie in (0, 1], got {fraction:g}",
                         hint="0.9 means 90 %", where=where)
    return KvRow(
        id=row_id, model=model, gpu=_word(f, "gpu"), tp=_whole(f, "tp", where), version=_word(f, "vllm_version"),
        weight_dtype=_word(f, "weight_dtype"), kv_dtype=_word(f, "kv_dtype"), memory_fraction=fraction,
        max_model_len=_whole(f, "max_model_len", where), enforce_eager=_flag(f, "enforce_eager", where),
        weights_gib=_number(f, "weights_gib_per_gpu", where),
        available_kv_gib=_number(f, "available_kv_gib_per_gpu", where), kv_tokens=_number(f, "kv_tokens", where),
        semantics=f.get("semantics", "").strip(),
        max_num_batched_tokens=_noted(notes, r"max_num_batched_tokens[= ](\d+)"),
        max_num_seqs=_noted(notes, r"max_num_seqs[= ](\d+)"),
        gpu_memory_gib=_noted_float(notes, r"GPU memory GiB=([\d.]*\d)"),
        source_date=_day(f.get("source", "")),
        dcp=_noted(notes, r"\bDCP(\d+)") or 1, expert_parallel=bool(re.search(r"parallel: EP\b", notes)))


def _word(f: dict[str, str], name: str) -> str | None:
    value = f.get(name, "").strip()
    return None if value.lower() in ("", "nan", "unknown") else value


def _number(f: dict[str, str], name: str, where: str) -> float | None:
    text = _word(f, name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError as e:
        raise InputError(f"{name} is not a number: {text!r}", where=where) from e
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"{name} must be a positive number, got {text}", where=where)
    return value


def _whole(f: dict[str, str], name: str, where: str) -> int | None:
    value = _number(f, name, where)
    if value is not None and value != int(value):
        raise InputError(f"{name} must be a whole number, got {value:g}", where=where)
    return None if value is None else int(value)


def _flag(f: dict[str, str], name: str, where: str) -> bool:
    text = (_word(f, name) or "0").lower()
    if text in ("1", "1.0", "true"):
        return True
    if text in ("0", "0.0", "false"):
        return False
    raise InputError(f"{name} must be 0 or 1, got {text!r}", where=where)


def _noted(notes: str, pattern: str) -> int | None:
    found = re.search(pattern, notes)
    return int(found.group(1)) if found and int(found.group(1)) > 0 else None


def _noted_float(notes: str, pattern: str) -> float | None:
    found = re.search(pattern, notes)
    return float(found.group(1)) if found else None


def _day(text: str) -> date | None:
    """The first ISO date in a citation."""
    found = re.search(r"\b(\d{4}-\d{2}-\d{2})\b", text)
    try:
        return date.fromisoformat(found.group(1)) if found else None
    except ValueError:
        return None
