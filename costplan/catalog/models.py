"""Models built in by name: trimmed configs in ``data/models.json``, read by the same parser as a user's file.

A row has its ``source``, the ``aliases`` that mean the same shapes, and either a ``config`` or ``like`` (another
row) with the keys that differ. ``estimated`` names config keys that no source states exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from costplan.catalog.hf_config import parse_config, read_model
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import InputError, UnknownNameError

_TABLE = Path(__file__).parent / "data" / "models.json"
_SAME_SHAPES = ("-instruct", "-it", "-chat", "-hf", "-base", "-pt", "-bf16", "-2507", "-instruct-2507",
                "-thinking-2507", "-thinking")


def model(name_or_path: str | Path, *, where: str | None = None) -> ModelSpec:
    """The model of a built-in name (Hugging Face id, alias, any case) or of a local config file or folder.

    Raises UnknownNameError with near misses; ``where`` is the place that named the model, for the message.
    """
    text = str(name_or_path).strip()
    known = None if isinstance(name_or_path, Path) else canonical_name(text)
    if known is not None:
        return _builtin(known)
    if not text:
        raise InputError("the model name is empty", where=where, hint="give a name of `costplan catalog models`")
    path = _as_path(text)
    if path is not None:
        return read_model(path)
    error = UnknownNameError("model", text, _short_names(), where=where)
    raise UnknownNameError("model", text, _short_names(), where=where,
                           hint=f"{error.hint} Or give the path of a config.json.")


def _as_path(text: str) -> Path | None:
    """The local file or folder that ``text`` means, or None where it reads like a name."""
    try:
        path = Path(text).expanduser()
        meant = path.exists() or path.suffix == ".json" or text.startswith((".", "/", "~"))
    except (OSError, RuntimeError, ValueError):  # no such home folder, name too long, a NUL in it
        return None
    return path if meant else None


def canonical_name(name: str) -> str | None:
    """The Hugging Face id under which ``name`` is built in, or None."""
    index = _index()
    key = name.strip().lower().replace("_config.json", "")
    found = index.get(key)
    if found is not None:
        return found
    for suffix in _SAME_SHAPES:
        if key.endswith(suffix) and key.removesuffix(suffix) in index:
            return index[key.removesuffix(suffix)]
    for suffix in _SAME_SHAPES:
        if key + suffix in index:
            return index[key + suffix]
    return None


def builtin_models() -> Mapping[str, ModelSpec]:
    """All built-in models by Hugging Face id; each is parsed when it is asked for."""
    return _Builtin()


def aliases(name: str) -> tuple[str, ...]:
    """Other names of built-in model ``name`` (a canonical id)."""
    return tuple(_rows()[name].get("aliases", ()))


class _Builtin(Mapping[str, ModelSpec]):
    """Lazy view on the table."""

    def __getitem__(self, name: str) -> ModelSpec:
        if name not in _rows():
            raise KeyError(name)
        return _builtin(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_rows())

    def __len__(self) -> int:
        return len(_rows())


@lru_cache(maxsize=1)
def _rows() -> Mapping[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return rows


@lru_cache(maxsize=1)
def _index() -> Mapping[str, str]:
    """Every accepted spelling in lower case: ids, aliases, and both without the organisation."""
    index: dict[str, str] = {}
    for name, row in _rows().items():
        for spelling in (name, *row.get("aliases", ())):
            index[spelling.lower()] = name
    for full, name in list(index.items()):
        index.setdefault(full.rsplit("/", 1)[-1], name)
    return index


def _short_names() -> list[str]:
    return sorted({spelling.rsplit("/", 1)[-1] for name in _rows() for spelling in (name, *aliases(name))})


@lru_cache(maxsize=256)
def _builtin(name: str) -> ModelSpec:
    row = _rows()[name]
    config = row["config"]
    if "like" in row:
        config = _rows()[row["like"]]["config"] | config
    spec = parse_config(config, name=name, where=f"models.json: {name}", source=row["source"])
    if row.get("estimated"):
        note = f"estimated, no source states them: {', '.join(row['estimated'])}"
        spec = replace(spec, notes=(*spec.notes, note))
    return spec
