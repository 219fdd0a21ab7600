"""What an engine adds to its kernels: scheduling, input preparation, sampling on the host, launch gaps.

The values lie in ``data/engines.json`` with their meaning and how they were fitted. A term is a product of
factors, from the general to the particular: all engines, this engine, this range of versions, this architecture,
this weight format. What was never seen in the particular falls back on the general.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from costplan.perf.batch import BatchState
from costplan.perf.op_terms import KERNEL_TERMS

SMALL_TOKENS, DOUBLINGS = 128, 3.0
"""Up to 128 tokens a matrix product waits for weights; three doublings later it is bound by compute."""
SIZES = ("small", "large")
CPU = "CPU"
"""Architecture of devices where a launch is the run itself: measured kernels stand as they are, no queue runs dry."""
BOUNDS = {"gemm_small": (0.8, 1.4), "gemm_large": (0.8, 1.7), "elementwise": (0.2, 3.5)}
QUANTISED, OTHER = (0.6, 2.2), (0.5, 2.0)
"""What a kernel can take inside an engine, over its microbenchmark: weights are read at a bandwidth that was measured.
Formats other than 16 bits and FP8 may run kernels that nobody measured (`QUANTISED`)."""
_ALIASES = {"nim": "trtllm", "lmdeploy": "vllm", "other": "vllm"}


@dataclass(frozen=True, slots=True)
class Traits:
    """What decides which factors apply: the software is tuned for some chips and formats and not for others. ``gpu``
    and ``model`` name the cell of published measurements that knows more."""

    gpu: str = ""
    model: str = ""
    arch: str = ""
    weight_format: str = ""
    moe: bool = False
    hybrid: bool = False


@dataclass(frozen=True, slots=True)
class Overhead:
    """Host time around the kernels of a step.

    ``factors`` multiply kernel time by term, in the order of `KERNEL_TERMS`, for steps of few tokens and of many.
    ``step_s0`` is added to each step, ``seq_s`` for each sequence in it. A step with prompt tokens is launched
    kernel by kernel instead of as one CUDA graph: it cannot take less than ``eager_s``. ``request_s`` passes once
    per request before its first token (HTTP, admission), ``prompt_token_s`` for each of its tokens (tokenisation).
    ``mixed`` says whether prompts and decoding sequences share steps, or prompts run in steps of their own.
    """

    factors: tuple[tuple[float, float], ...] = ((1.0, 1.0),) * len(KERNEL_TERMS)
    step_s0: float = 0.0
    seq_s: float = 0.0
    eager_s: float = 0.0
    request_s: float = 0.0
    prompt_token_s: float = 0.0
    mixed: bool = True
    log_sd: float = 0.5
    name: str = "none"

    def factor(self, term: str, tokens: float) -> float:
        """What multiplies kernel time of ``term`` in a step of ``tokens``."""
        small, large = self.factors[KERNEL_TERMS.index(term)]
        if small == large:
            return small
        share = min(1.0, max(0.0, math.log2(max(tokens, 1.0) / SMALL_TOKENS) / DOUBLINGS))
        return small * math.exp(share * math.log(large / small))

    def step_s(self, kernel_s: float, batch: BatchState) -> float:
        """Seconds of a step whose kernels, scaled, take ``kernel_s``."""
        busy = max(kernel_s, self.eager_s) if batch.prefill_tokens else kernel_s
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


def version_on(engine: str, day: str) -> str | None:
    """First version of the newest rules for ``engine`` that were out on ``day`` (ISO date or year-month)."""
    name = _ALIASES.get(engine, engine)
    known = [r for r in table()["engines"] if r["engine"] == name and day and r["released"] <= day]
    return str(max(known, key=lambda r: str(r["released"]))["since"]) if known else None


def era(engine: str, version: str | None) -> dict[str, Any]:
    """The row of ``engine`` whose versions include ``version``; the newest where none is stated."""
    name = _ALIASES.get(engine, engine)
    rows: list[dict[str, Any]] = [r for r in table()["engines"] if r["engine"] == name]
    wanted = version_key({"nim": "0.17", "lmdeploy": "0.1"}.get(engine, version))
    known = [r for r in rows if not wanted or version_key(r["since"]) <= wanted] or rows[:1]
    return max(known, key=lambda r: version_key(r["since"]))


def bounds(term: str, weight_format: str) -> tuple[float, float]:
    """Least and greatest factor of ``term``, `_small` and `_large` included."""
    if term.startswith("gemm") and weight_format not in ("", "16", "fp8"):
        return QUANTISED
    return BOUNDS.get(term, OTHER)


def _product(term: str, row: dict[str, Any], traits: Traits) -> float:
    """Product of the factors of ``term`` whose scope holds."""
    holds = {"engine": row["engine"], "since": row["since"], "arch": traits.arch, "format": traits.weight_format,
             "moe": traits.moe, "hybrid": traits.hybrid}
    out = 1.0
    for entry in _by_term().get(term, ()):
        if all(holds[k] == v for k, v in entry["scope"].items()):
            out *= entry["factor"]
    return out


def cell(gpu: str, model: str, engine: str) -> tuple[float, float] | None:
    """Factors of a model's own kernels on a GPU, waiting for memory and for compute; None where nobody published."""
    found = table()["cells"].get(gpu, {}).get(model, {}).get(engine)
    return None if found is None else (float(found[0]), float(found[1]))


@cache
def _by_term() -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    for entry in table()["factors"]:
        out.setdefault(entry["term"], []).append(entry)
    return out


def overhead(engine: str, version: str | None = None, *, launches: float = 0.0, traits: Traits | None = None,
             ) -> Overhead:
    """Overhead of ``engine`` for a model whose step launches so many kernels per stage; the newest version known
    where none is stated."""
    row, traits = era(engine, version), traits or Traits()
    base = table()["base"]
    small, large = cell(traits.gpu, traits.model, row["engine"]) or (1.0, 1.0)
    own = {("gemm", "small"): small, ("gemm", "large"): large, ("experts", "small"): small, ("experts", "large"): large,
           **{("attention_decode", s): small for s in SIZES}, **{("attention_prefill", s): large for s in SIZES}}

    def host(term: str) -> float:
        return float(base[term]) * _product(term, row, traits)

    def kernel(term: str, size: str) -> float:
        if traits.arch == CPU:
            return 1.0
        name = f"{term}_{size}" if term in ("gemm", "experts") else term
        own_factor = _product(term, row, traits) * own.get((term, size), 1.0)
        if name != term:
            own_factor *= _product(name, row, traits)
        least, most = bounds(name, traits.weight_format)
        return _product("kernels", row, traits) * min(most, max(least, own_factor))

    factors = tuple((kernel("gemm", "small"),) * 2 if t == "head" else (kernel(t, "small"), kernel(t, "large"))
                    for t in KERNEL_TERMS)
    eager_s = 0.0 if traits.arch == CPU else host("launch_s") * launches
    return Overhead(factors, host("step_s0"), host("seq_s"), eager_s, host("request_s"), host("prompt_token_s"),
                    row["mixed"], name=f"{row['engine']} since {row['since']}")
