"""A KV budget, and errors against logged capacities, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costplan.core.evidence import Estimate
from costplan.core.units import GIB
from costplan.perf.concurrency import Concurrency
from costplan.perf.kv_budget import KvBudget

FRACTION_WORDS = {
    "vllm": "of total memory, for everything",
    "sglang": "of memory free at start, for weights and KV",
    "trtllm": "of memory free after load, for KV",
}
METRIC_WORDS = {
    "kv_tokens": "capacity from scratch, tokens", "kv_tokens_from_gib": "tokens from the logged GiB",
    "available_kv_gib": "KV memory, GiB", "weights_gib": "weights per GPU, GiB",
}


@dataclass(frozen=True, slots=True)
class KvView:
    """What ``costplan kv`` prints: a question in words, a budget, and what fits of which length."""

    title: str
    kv_bytes_per_token: float
    state_bytes: float
    tokens_per_sequence: int | None
    bytes_per_sequence: int | None
    fits: int | None
    spread: Concurrency | None


def render_kv(view: KvView, budget: KvBudget | None) -> str:
    """Memory by part, blocks, tokens and concurrency with their evidence."""
    lines = [view.title, ""]
    lines.append(_row("KV per token", f"{view.kv_bytes_per_token:,.0f} B per GPU", "derived"))
    if view.state_bytes:
        lines.append(_row("state per sequence", f"{view.state_bytes / 2**20:,.1f} MiB per GPU", "derived"))
    if budget is not None:
        lines += ["", *_memory(budget), "", *_capacity(budget)]
    if view.bytes_per_sequence is not None:
        lines += ["", _row(f"one sequence of {view.tokens_per_sequence:,}",
                           f"{view.bytes_per_sequence / GIB:.3f} GiB per GPU ({view.bytes_per_sequence / 1e9:.3f} GB)",
                           "derived")]
        lines.append(_row("sequences that fit", f"{view.fits:,}", "analytic" if budget else "derived"))
    if view.spread is not None:
        lines.append(_row("running requests, mean", f"{view.spread.mean:,.1f}", "analytic"))
        lines.append(_row("without preemption, p99", f"{view.spread.p99:,}", "analytic"))
    return "\n".join(lines) + "\n"


def _memory(b: KvBudget) -> list[str]:
    out = [f"memory of one GPU   {b.engine}, fraction {b.memory_fraction:g} {FRACTION_WORDS[b.engine]}"]
    parts = (("total", b.total_bytes, "catalogue"), ("weights", b.weights.total, "derived"),
             ("activations", b.activation_bytes, "analytic"), ("CUDA graphs", b.graph_bytes, "analytic"),
             ("runtime", b.runtime_bytes, "analytic"), ("left alone", b.reserved_bytes, "by the fraction"),
             ("KV cache", b.kv_bytes, "analytic"))
    return out + [_row(f"  {name}", f"{size / GIB:9.2f} GiB", words) for name, size, words in parts if size]


def _capacity(b: KvBudget) -> list[str]:
    e = b.kv_tokens
    return [_row("KV blocks", f"{b.num_blocks:,} of {b.block_size} tokens", "analytic"),
            _row("KV tokens", f"{b.tokens:,} ({interval(e)})", str(e.evidence))]


def interval(e: Estimate) -> str:
    """The central 90 % interval in whole tokens."""
    low, high = e.i90
    return f"90 %: {low:,.0f} to {high:,.0f}"


def _row(name: str, value: str, words: str) -> str:
    return f"{name:<26}{value:<44}{words}".rstrip()


def kv_json(view: KvView, budget: KvBudget | None) -> dict[str, Any]:
    """The same as a JSON object: bytes, tokens, fractions."""
    out: dict[str, Any] = {
        "kv_bytes_per_token": view.kv_bytes_per_token, "state_bytes_per_sequence": view.state_bytes,
        "tokens_per_sequence": view.tokens_per_sequence, "bytes_per_sequence": view.bytes_per_sequence,
        "sequences": view.fits,
    }
    if view.spread is not None:
        out["concurrency"] = {"mean": view.spread.mean, "p99": view.spread.p99,
                              "at_full_length": view.spread.at_full_length}
    if budget is not None:
        out["budget"] = budget_json(budget)
    return out


def budget_json(b: KvBudget) -> dict[str, Any]:
    """Memory by part in bytes, blocks and tokens of one GPU."""
    e = b.kv_tokens
    return {
        "engine": b.engine, "memory_fraction": b.memory_fraction, "total_bytes": b.total_bytes,
        "weights_bytes": b.weights.total, "weights_by_part_bytes": {k: round(v) for k, v in b.weights.parts},
        "activation_bytes": b.activation_bytes, "graph_bytes": b.graph_bytes, "runtime_bytes": b.runtime_bytes,
        "reserved_bytes": b.reserved_bytes, "kv_bytes": b.kv_bytes, "num_blocks": b.num_blocks,
        "block_size": b.block_size, "tokens": b.tokens, "evidence": str(e.evidence),
        "tokens_i50": list(e.i50), "tokens_i90": list(e.i90),
        "max_num_batched_tokens": b.limits.max_num_batched_tokens, "max_num_seqs": b.limits.max_num_seqs,
    }


def render_kv_errors(report: Mapping[str, Any]) -> str:
    """Errors of ``costplan validate --kv`` as a small table; percent."""
    lines = [f"{report['rows']} rows, {len(report['refused'])} refused", "",
             f"{'':<34}{'n':>4}{'median':>9}{'p90':>9}{'mean':>9}{'bias':>9}"]
    for name, m in report["metrics"].items():
        lines.append(f"{METRIC_WORDS[name]:<34}{m['n']:>4}" + "".join(
            f"{100 * m[k]:>8.2f}%" for k in ("median_ape", "p90_ape", "mape", "bias")))
    lines += _reasons("refused", report["refused"])
    lines += _reasons("not predicted from scratch", report["not_from_scratch"])
    return "\n".join(lines) + "\n"


def _reasons(title: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    return ["", f"{title}:"] + [f"  {r['id']}: {r['reason']}" for r in rows] if rows else []
