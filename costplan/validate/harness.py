"""What published rows do not say but their harness does: engine settings, requests per client, shape of lengths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Harness:
    """Facts about one row; None where nothing is known. The values lie in ``data/harness.json`` with their sources."""

    facts: Mapping[str, Any]

    @property
    def kv_dtype(self) -> str | None:
        return self._text("kv_dtype")

    @property
    def memory_fraction(self) -> float | None:
        value = self.facts.get("memory_fraction")
        return None if value is None else float(value)

    @property
    def prompts_per_slot(self) -> float | None:
        value = self.facts.get("prompts_per_slot")
        return None if value is None else float(value)

    @property
    def spread(self) -> float:
        """Half width of uniform lengths, as a share of their mean."""
        return float(self.facts.get("shape", {}).get("spread", 0.0))

    @property
    def log_sd(self) -> float:
        """Standard deviation of ln(length) of lognormal lengths; 0: not lognormal."""
        return float(self.facts.get("shape", {}).get("log_sd", 0.0))

    def max_num_batched_tokens(self, isl: float, osl: float) -> int | None:
        """Token budget of a step for mean lengths ``isl`` and ``osl``."""
        rule: dict[str, float] | None = self.facts.get("max_num_batched_tokens")
        if rule is None:
            return None
        if "tokens" in rule:
            return int(rule["tokens"])
        return round(rule["per_isl"] * isl) if "per_isl" in rule else round((isl + osl) / 0.9 + rule["beside"])

    def max_num_seqs(self, concurrency: float | None) -> int | None:
        """Most sequences of a step; some harnesses set it to the ``concurrency`` of the load."""
        value = self.facts.get("max_num_seqs")
        if value == 0:
            return None if concurrency is None else max(1, round(concurrency))
        return None if value is None else int(value)

    def recv_interval(self, concurrency: float | None) -> int | None:
        """Decode steps between two looks for new requests at ``concurrency``."""
        steps = [s for since, s in self.facts.get("recv_interval", ()) if since <= (concurrency or 1)]
        return int(steps[-1]) if steps else None

    def _text(self, name: str) -> str | None:
        value = self.facts.get(name)
        return None if value is None else str(value)


@cache
def _rules() -> list[dict[str, Any]]:
    with (Path(__file__).parent / "data" / "harness.json").open(encoding="utf-8") as f:
        loaded: list[dict[str, Any]] = json.load(f)["rules"]
    return loaded


def harness_of(row: Mapping[str, str]) -> Harness:
    """Everything that the rules say about ``row``; the first rule that knows a setting gives it."""
    facts: dict[str, Any] = {}
    for rule in _rules():
        if all(re.search(pattern, row.get(column) or "") for column, pattern in rule["match"].items()):
            facts = {**{k: v for k, v in rule.items() if k not in ("match", "source")}, **facts}
    return Harness(facts)
