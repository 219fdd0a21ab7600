"""What the engines call things and what they refuse, by version: the table ``data/engines.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from costplan.core.errors import UnknownNameError

_TABLE = Path(__file__).parent / "data" / "engines.json"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One engine version. ``vendors`` maps a GPU vendor to the least compute capability (None: no such number).

    ``flags`` are all command-line options that costplan writes, ``keys`` all YAML keys (dotted); ``kv_names``
    maps costplan's KV format to the engine's word, ``kv_dtypes`` lists every word it accepts.
    ``online_quantization`` maps a weight format to the option that makes it from a 16-bit checkpoint at start-up
    and the least compute capability for it. ``fp8_kv_from`` is the least capability that reads an FP8 cache.
    """

    name: str
    title: str
    version: str
    source: str
    read: str
    command: tuple[str, ...]
    image: str
    port: int
    health: str
    vendors: Mapping[str, float | None]
    flags: frozenset[str]
    keys: frozenset[str]
    kv_dtypes: tuple[str, ...]
    kv_names: Mapping[str, str]
    fp8_kv_from: float
    fp8_kv_from_mla: float
    online_quantization: Mapping[str, tuple[str, float]]

    @property
    def label(self) -> str:
        return f"{self.title} {self.version}"


@dataclass(frozen=True, slots=True)
class PageRule:
    """Which KV page sizes start, for one engine, kind of attention and GPU; the first rule that matches holds."""

    engine: str
    attention: str
    rule: str  # unset | one_of | multiple_of | power_of_two
    sizes: tuple[int, ...]
    vendor: str | None
    major: tuple[int, ...] | None
    source: str

    def allows(self, block_size: int) -> bool:
        if self.rule == "one_of":
            return block_size in self.sizes
        if self.rule == "power_of_two":
            return block_size & (block_size - 1) == 0
        return self.rule == "unset" or block_size % self.sizes[0] == 0

    @property
    def wording(self) -> str:
        """The rule in words: ``a multiple of 16``."""
        if self.rule == "one_of":
            return " or ".join(map(str, self.sizes))
        return "a power of two" if self.rule == "power_of_two" else f"a multiple of {self.sizes[0]}"


def engine_facts(name: str) -> EngineFacts:
    """The facts of engine ``name``. Raises UnknownNameError."""
    table = _table()["engines"]
    if name not in table:
        raise UnknownNameError("engine", name, table, where="engine")
    row = table[name]
    return EngineFacts(
        name, row["title"], row["version"], row["source"], row["read"], tuple(row["command"]), row["image"],
        row["port"], row["health"], row["vendors"], frozenset(row["flags"]), frozenset(row.get("keys", ())),
        tuple(row["kv_dtypes"]), row["kv_names"], row["fp8_kv_from"], row["fp8_kv_from_mla"],
        {k: (v[0], v[1]) for k, v in row["online_quantization"].items()})


def engine_names() -> tuple[str, ...]:
    """Engines that start-up commands can be written for."""
    return tuple(_table()["engines"])


@cache
def page_rules() -> tuple[PageRule, ...]:
    """All page rules, in the order in which they are tried."""
    return tuple(PageRule(r["engine"], r["attention"], r["rule"], tuple(r.get("sizes", ())), r.get("vendor"),
                          tuple(r["major"]) if "major" in r else None, r["source"]) for r in _table()["pages"])


@cache
def _table() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return loaded
