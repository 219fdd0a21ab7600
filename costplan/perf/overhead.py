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
    """Host time around the kernels of a step.

    ``kernel_factor`` multiplies kernel time (software that lags the measured kernels). ``step_s0`` is added to each
    step, ``seq_s`` for each sequence in it. A step with prompt tokens is launched kernel by kernel instead of as
    one CUDA graph: it cannot take less than ``eager_s``, which grows with the number of layers. ``request_s`` is
    added once per request before its first token (tokenisation, HTTP, admission). ``mixed`` says whether prompts
    and decoding sequences share steps, or prompts run in steps of their own while the others wait.
    """

    kernel_factor: float = 1.0
    step_s0: float = 0.0
    seq_s: float = 0.0
    eager_s: float = 0.0
    request_s: float = 0.0
    mixed: bool = True
    log_sd: float = 0.5
    name: str = "none"

    def step_s(self, kernel_s: float, batch: BatchState) -> float:
        """Seconds of a step whose kernels take ``kernel_s``."""
        busy = kernel_s * self.kernel_factor
        if batch.prefill_tokens:
            busy = max(busy, self.eager_s)
        return busy + self.step_s0 + self.seq_s * (batch.decode_seqs + batch.prefill_seqs)


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


def overhead(engine: str, version: str | None = None, *, num_layers: float = 0.0, vendor: str = "NVIDIA",
             ) -> Overhead:
    """Overhead of ``engine`` for a model with ``num_layers`` layers per stage; the newest version known where none
    is stated."""
    name = {"nim": "trtllm", "lmdeploy": "vllm", "other": "vllm"}.get(engine, engine)
    rows = [r for r in table()["engines"] if r["engine"] == name]
    wanted = version_key(version)
    known = [r for r in rows if not wanted or version_key(r["since"]) <= wanted] or rows[:1]
    row = max(known, key=lambda r: version_key(r["since"]))
    slower = float(table()["vendor_kernel_factor"].get(vendor, table()["vendor_kernel_factor"]["other"]))
    # on a CPU the launch of a kernel is its run: no queue can run dry
    eager_s = 0.0 if vendor == "CPU" else row["eager_layer_s"] * num_layers
    return Overhead(row["kernel_factor"] * slower, row["step_s0"], row["seq_s"], eager_s, row["request_s"],
                    row["mixed"], name=f"{name} since {row['since']}")


def residual_log_sd(metric: str, evidence: Evidence) -> float:
    """Standard deviation of ln(measured / predicted) that the kernels do not explain, by ``metric`` and evidence."""
    return float(table()["residual_log_sd"][metric][evidence.value])
