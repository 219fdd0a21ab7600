"""Trace -> workload.yaml: the facts of a trace as a small file that needs the trace no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costplan.workload.sharing import SharingCurve
from costplan.workload.summary import LoadSummary, TraceSummary, curve_of, summarise
from costplan.workload.trace import Trace

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
CURVE_BLOCKS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
_MIN_SHARE = 0.5  # of requests that begin alike, to call it a system prompt


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Parameters of `PrefixModel` measured on a trace; ``gap_s`` None where nothing is continued."""

    system_prompt_tokens: int
    continued: float
    gap_s: float | None


def quantile_keys(tokens: NDArray[np.int64]) -> dict[str, int]:
    """``min p1 ... p99.9 max`` of ``tokens`` [n]: observed values, not between two."""
    values = np.quantile(tokens, FRACTIONS, method="inverted_cdf")
    middle = {f"p{100 * f:g}": int(v) for f, v in zip(FRACTIONS, values, strict=True)}
    return {"min": int(tokens.min()), **middle, "max": int(tokens.max())}


def shared_prefix(trace: Trace) -> SharedPrefix | None:
    """How prompts share: leading blocks common to most, and the part that continues an earlier prompt."""
    if trace.hash_ids is None or trace.hash_offsets is None or not trace.block_tokens:
        return None
    ids, offsets = trace.hash_ids.tolist(), trace.hash_offsets.tolist()
    common = _common_blocks(trace)
    last: dict[int, int] = {}
    gaps: list[float] = []
    followers = 0
    for i in range(len(trace)):
        own = ids[offsets[i]:offsets[i + 1]]
        hit = next((k for k, b in enumerate(own) if b not in last), len(own))
        if hit > common:
            followers += 1
            if trace.arrival_s is not None:
                gaps.append(float(trace.arrival_s[i] - trace.arrival_s[last[own[hit - 1]]]))
        for b in own:
            last[b] = i
    gap = float(np.median(gaps)) if gaps else 0.0
    return SharedPrefix(common * trace.block_tokens, followers / len(trace), gap or None)


def _common_blocks(trace: Trace) -> int:
    """Number of leading blocks that more than half of the requests have in common."""
    assert trace.hash_ids is not None and trace.hash_offsets is not None
    starts, counts = trace.hash_offsets[:-1], np.diff(trace.hash_offsets)
    depth, alive = 0, np.ones(len(trace), dtype=bool)
    while True:
        alive &= counts > depth
        if alive.sum() < _MIN_SHARE * len(trace):
            return depth
        values, times = np.unique(trace.hash_ids[starts[alive] + depth], return_counts=True)
        if times.max() < _MIN_SHARE * len(trace):
            return depth
        alive[alive] = trace.hash_ids[starts[alive] + depth] == values[times.argmax()]
        depth += 1


def fit_yaml(trace: Trace, *, name: str, model: str | None, today: date) -> str:
    """Text of a workload file with the quantiles, correlation, load and sharing of ``trace``."""
    s = summarise(trace)
    lines = [
        "# yaml-language-server: $schema=workload.schema.json",
        f"# Fitted on {today.isoformat()} by `costplan workload fit` from {_comment(Path(trace.source).name)}: "
        f"{s.requests:,} requests.",
        *_load_comment(s), f"name: {_quoted(name)}",
        f"model: {_quoted(model)}" if model else "# model: Qwen/Qwen3-32B  # a name of costplan catalog models",
        *_load(s.load), "lengths:", *_length("isl", trace.isl), *_length("osl", trace.osl),
        *([] if s.rank_correlation is None else [f"  rank_correlation: {s.rank_correlation:.4g}"]),
        *_prefix(trace), *_ending()]
    return "\n".join(lines) + "\n"


def _load_comment(s: TraceSummary) -> list[str]:
    out = [f"# {n:,} rows left out: {_comment(reason)}." for reason, n in s.dropped.items()]
    if s.load is None:
        return [*out, "# The trace has no times: the load below is a closed loop, to be replaced by your own."]
    cv = "" if s.load.interarrival_cv is None else f"CV of gaps {s.load.interarrival_cv:.3g}"
    peak = "" if s.load.peak_1min_over_mean is None else f", busiest minute {s.load.peak_1min_over_mean:.3g} x the mean"
    return [*out, f"# Over {s.load.span_s:,.0f} s: {cv}{peak}."]


def _load(load: LoadSummary | None) -> list[str]:
    if load is None:
        return ["load:", "  concurrency: {n: 64}"]
    shape = "" if load.burstiness is None else f", burstiness: {load.burstiness:.3g}"
    return ["load:", f"  rate: {{requests_per_s: {load.requests_per_s:.4g}{shape}}}"]


def _length(side: str, tokens: NDArray[np.int64]) -> list[str]:
    keys = quantile_keys(tokens)
    if keys["min"] == keys["max"]:
        return [f"  {side}: {{fixed: {keys['max']}}}"]
    table = ", ".join(f"{k}: {v}" for k, v in keys.items())
    return [f"  {side}:", f"    mean: {_mean_text(keys, float(tokens.mean()))}", f"    quantiles: {{{table}}}"]


def _mean_text(keys: dict[str, int], mean: float) -> str:
    """``mean``, moved inside what the table allows where few requests put it on the edge."""
    from costplan.workload.lengths_file import quantile_table

    low, rise = quantile_table(keys, None).corners()
    margin = 1e-4 * rise
    inside = min(max(mean, low + margin), low + rise - margin)
    short = f"{inside:.6g}"
    return short if low + margin / 2 <= float(short) <= low + rise - margin / 2 else f"{inside:.12g}"


def _prefix(trace: Trace) -> list[str]:
    shared, curve = shared_prefix(trace), curve_of(trace)
    if shared is None or curve is None:
        return []
    lines = ["prefix:", f"  block_tokens: {curve.block_tokens}",
             f"  system_prompt_tokens: {shared.system_prompt_tokens}"]
    if shared.gap_s is not None:
        lines.append(f"  multi_turn: {{share: {shared.continued:.4g}, gap: {_seconds(shared.gap_s)}}}")
    return [*lines, "  measured:  # part of input tokens that an LRU cache of so many tokens finds", *_measured(curve)]


def _seconds(seconds: float) -> str:
    return f"{seconds:.4f}".rstrip("0").rstrip(".") + "s" if seconds >= 1e-3 else "1ms"


def _measured(curve: SharingCurve) -> list[str]:
    sizes = [b for b in CURVE_BLOCKS if b < curve.unique_blocks]
    points = [(b * curve.block_tokens, rate) for b, rate in curve.curve(sizes)]
    return [f"    - {{cache_tokens: {'null' if size is None else size}, hit_rate: {rate:.4f}}}"
            for size, rate in [*points, (None, curve.hit_rate())]]


def _ending() -> list[str]:
    return ["# slo: {ttft: {p95: 800ms}, tpot: {p95: 50ms}}", "# candidates: {gpus: [h100_sxm, h200_sxm]}"]


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)


def _comment(text: str) -> str:
    """``text`` safe inside a comment line."""
    return "".join(c if c.isprintable() else "?" for c in text)
