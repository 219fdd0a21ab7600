"""What an engine adds to its kernels: scheduling, input preparation, sampling on the host, launch gaps.

The values lie in ``data/engines.json`` with their meaning and how they were fitted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from costplan.core.evidence import Evidence
from costplan.perf.batch import BatchState


@dataclass(frozen=True, slots=True)
class Overhead:
    """Time per step beside the kernels.

    ``kernel_factor`` multiplies kernel time (gaps and contention that grow with the work); ``step_s0`` is added
    to each step, ``seq_s`` for each sequence in it. ``request_s`` is added once per request before its first
    token (tokenisation, HTTP, admission).
    """

    kernel_factor: float = 1.0
    step_s0: float = 0.0
    seq_s: float = 0.0
    request_s: float = 0.0
    log_sd: float = 0.5
    name: str = "none"

    def step_s(self, kernel_s: float, batch: BatchState) -> float:
        """Seconds of a step whose kernels take ``kernel_s``."""
        return kernel_s * self.kernel_factor + self.step_s0 + self.seq_s * (batch.decode_seqs + batch.prefill_seqs)


@cache
def table() -> dict[str, Any]:
    """The fitted constants of all engines."""
    with (Path(__file__).parent / "data" / "engines.json").open(encoding="utf-8") as f:
        loaded: dict[str, Any] = json.load(f)
    return loaded


def version_key(text: str | None) -> tuple[int, ...]:
    """The first dotted number in a version text, for comparison; empty where there is none (= newest)."""
    found = re.search(r"\d+(?:\.\d+)*", text or "")
    return tuple(int(p) for p in found.group().split(".")) if found else ()


def overhead(engine: str, version: str | None = None) -> Overhead:
    """Overhead of ``engine``; the newest known where the version is not stated."""
    name = {"nim": "trtllm", "lmdeploy": "vllm", "other": "vllm"}.get(engine, engine)
    rows = [r for r in table()["engines"] if r["engine"] == name]
    wanted = version_key(version)
    known = [r for r in rows if not wanted or version_key(r["since"]) <= wanted] or rows[:1]
    row = max(known, key=lambda r: version_key(r["since"]))
    return Overhead(row["kernel_factor"], row["step_s0"], row["seq_s"], row["request_s"],
                    name=f"{name} since {row['since']}")


def residual_log_sd(metric: str, evidence: Evidence) -> float:
    """Standard deviation of ln(measured / predicted) that the kernels do not explain, by ``metric`` and evidence."""
    return float(table()["residual_log_sd"][metric][evidence.value])
