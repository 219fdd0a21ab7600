"""Memory beside weights and KV cache: activations, CUDA graphs, collectives, runtime; and engine defaults.

The constants lie in ``data/memory.json`` with their meaning and source.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import Attention, DenseMlp, Layer, LinearMixer, MlaAttention, ModelSpec, MoeMlp
from costplan.core.dtypes import dtype
from costplan.core.errors import InputError
from costplan.core.units import GB, GIB
from costplan.perf.kv import kv_heads_per_rank

ENGINES = ("vllm", "sglang", "trtllm")
CURRENT_VERSION = (0, 33)
"""vLLM version where none is stated: the one whose defaults were read last (2026-11-02)."""


@dataclass(frozen=True, slots=True)
class Era:
    """How a range of vLLM versions accounts for memory."""

    memory_fraction: float
    sampler: str
    context_counted: bool
    collective: str
    graphs_in_budget: bool
    graph: str
    chunked_prefill: bool
    large_gpu_seqs: int


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Scheduler limits that size the profiling run, in tokens and sequences per step.

    ``recv_interval`` is the number of decode steps between two looks for new requests (SGLang's
    ``--scheduler-recv-interval``).
    """

    max_num_batched_tokens: int
    max_num_seqs: int
    recv_interval: int = 1


@cache
def constants() -> dict[str, Any]:
    """The table of constants."""
    with (Path(__file__).parent / "data" / "memory.json").open(encoding="utf-8") as f:
        loaded: dict[str, Any] = json.load(f)
    return loaded


@cache
def parse_version(text: str | None) -> tuple[int, ...] | None:
    """``0.10.2``, ``~0.6.4 (V0)``, ``0.8.4/0.8.5``, ``v0.26.1rc1.dev608`` as numbers; None where absent or nightly."""
    if text is None or not text.strip() or text.strip().lower().startswith(("nightly", "main", "latest")):
        return None
    found = re.search(r"\d+(?:\.\d+)+", text)
    if found is None:
        raise InputError(f"not a version: {text!r}", hint="write it as 0.21.0", where="engine_version")
    return tuple(int(p) for p in found.group().split("."))[:3]


def vllm_era(version: str | None) -> Era:
    """Accounting rules of a vLLM version (None: `CURRENT_VERSION`)."""
    wanted = parse_version(version) or CURRENT_VERSION
    row = [r for r in constants()["vllm"] if (parse_version(r["since"]) or ()) <= wanted][-1]
    return Era(**{k: v for k, v in row.items() if k not in ("since", "released")})


def vllm_version_at(day: date) -> str:
    """Version whose accounting rules held on ``day``, for logs that state a date only."""
    released = [r["since"] for r in constants()["vllm"] if date.fromisoformat(r["released"]) <= day]
    return str(released[-1] if released else constants()["vllm"][0]["since"])


def vllm_batch_limits(gpu: GpuSpec, version: str | None, max_model_len: int | None) -> BatchLimits:
    """What ``vllm serve`` uses where the user sets nothing: by memory size, A100 counted as small."""
    era, wanted = vllm_era(version), parse_version(version) or CURRENT_VERSION
    gib = gpu.mem_bytes / GIB
    small = "a100" in gpu.name.lower() or "a800" in gpu.name.lower()
    for row in constants()["vllm_batch_defaults"]:
        since = parse_version(row["since"]) or ()
        if gib < row["mem_from_gib"] or wanted < since or (small and row["mem_from_gib"]):
            continue
        tokens = int(row["max_num_batched_tokens"])
        if not era.chunked_prefill and max_model_len is not None and max_model_len <= 32768:
            tokens = max(tokens, max_model_len)
        seqs = min(int(row["max_num_seqs"]), era.large_gpu_seqs if row["mem_from_gib"] else 256)
        return BatchLimits(tokens, seqs)
    raise AssertionError("the defaults end with a row for every GPU")


def sglang_chunked_prefill(gpu: GpuSpec) -> int:
    """SGLang's default ``chunked_prefill_size`` by memory, in tokens."""
    return _by_gb(constants()["sglang"]["chunked_prefill_by_gb"], gpu)


def sglang_memory_fraction(gpu: GpuSpec, tp: int, pp: int) -> float:
    """SGLang's automatic ``mem_fraction_static``: what a reserve for activations and graphs leaves."""
    c = constants()["sglang"]
    reserve = (c["reserve_bytes"] + max(sglang_chunked_prefill(gpu), 2048) * c["reserve_bytes_per_prefill_token"]
               + _by_gb(c["graph_max_bs_by_gb"], gpu) * c["reserve_bytes_per_graph_bs"]
               + tp * pp * c["reserve_bytes_per_rank"])
    return round(1 - float(reserve) / gpu.mem_bytes, 3)


def _by_gb(table: list[list[int]], gpu: GpuSpec) -> int:
    return next(int(value) for limit, value in table if gpu.mem_bytes / GB < limit)


def activation_bytes(spec: ModelSpec, tp: int, limits: BatchLimits, sampler: str) -> int:
    """Peak of the profiling run on one rank: a full forward step, or the sampler on its logits."""
    logits = limits.max_num_seqs * spec.vocab_size
    sampling = logits * float(constants()["sampler_bytes_per_logit"][sampler]["value"])
    widest = max(_layer_activation_elems(g.layer, spec, tp) for g in spec.layers)
    residual = 2 * spec.hidden_size
    forward = limits.max_num_batched_tokens * (widest + residual) * dtype(spec.base_dtype).bytes
    return round(max(sampling, forward))


def _layer_activation_elems(layer: Layer, spec: ModelSpec, tp: int) -> float:
    """Elements per token that are alive at the widest point of a block on one rank."""
    mixers = max((_mixer_elems(m, tp) for m in layer.mixers), default=0.0)
    m = layer.mlp
    mlp = 0.0
    if isinstance(m, DenseMlp):
        mlp = (3 if m.gated else 2) * m.intermediate_size / tp
    elif isinstance(m, MoeMlp):
        inter = m.intermediate_size / tp
        mlp = m.top_k * (max((2 if m.gated else 1) * inter, m.latent_size or spec.hidden_size) + inter)
    return max(mixers, mlp)


def _mixer_elems(m: Attention | MlaAttention | LinearMixer, tp: int) -> float:
    if isinstance(m, Attention):
        qkv = m.num_heads / tp * m.head_dim + kv_heads_per_rank(m.num_kv_heads, tp) * (m.head_dim + m.v_head_dim)
        return qkv + m.num_heads / tp * m.v_head_dim
    if isinstance(m, MlaAttention):
        qk = m.qk_nope_head_dim + m.qk_rope_head_dim
        return m.num_heads / tp * (2 * qk + 2 * m.v_head_dim) + m.kv_lora_rank + m.qk_rope_head_dim
    heads = (m.num_v_heads or 0) * (m.head_v_dim or 0) + 2 * (m.num_k_heads or 0) * (m.head_k_dim or 0)
    return 2 * heads / tp


def graph_bytes(max_num_seqs: int, version: str | None = None) -> int:
    """CUDA graphs that vLLM captures for up to ``max_num_seqs`` sequences: one piecewise and one full each."""
    largest = min(2 * max_num_seqs, 512)
    piecewise, full = _capture_count(largest), _capture_count(min(max_num_seqs, largest))
    if (parse_version(version) or CURRENT_VERSION) < (0, 11):
        full = 0
    return (piecewise + full) * int(constants()["graph_bytes_per_capture"][vllm_era(version).graph]["value"])


def _capture_count(largest: int) -> int:
    """Sizes 1, 2, 4, then every 8 up to 256, then every 16."""
    return sum(s <= largest for s in (1, 2, 4)) + min(largest, 256) // 8 + max(0, largest - 256) // 16


def runtime_bytes(gpu: GpuSpec, ranks: int, era: Era) -> int:
    """Memory outside the tensor allocator that an engine counts: libraries, collectives, old versions' context.

    None of it on a CPU, where the engine's libraries live in the part that its fraction leaves alone.
    """
    if gpu.is_cpu:
        return 0
    c = constants()
    total = int(c["non_torch_bytes"]["value"])
    if era.context_counted:
        total += int(c["cuda_context_bytes"]["value"])
    if ranks > 1:
        kind = "nvlink" if _fast_link(gpu) else "pcie"
        slow = int(c["collective_bytes"]["pcie"]["value"])
        total += int(c["collective_bytes"][kind]["value"]) if era.collective == "link" else (
            min(slow, int(c["collective_bytes"]["snapshot_after_nccl"]["value"])) if kind == "pcie"
            else int(c["collective_bytes"]["snapshot_after_nccl"]["value"]))
    return total


def _fast_link(gpu: GpuSpec) -> bool:
    return bool(gpu.link) and "PCIe" not in str(gpu.link) and (gpu.link_bytes_per_s or 0) > 100 * GB
