"""Memory fractions between engines: the same KV bytes, said in each engine's own meaning.

vLLM: share of the whole device for weights, activations, runtime, graphs and KV. SGLang: share of what is free at
start for weights and KV. TensorRT-LLM: share of what is free after weights and activations for KV.
"""

from __future__ import annotations

import math

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import DoesNotFitError, InputError
from costplan.core.units import GIB
from costplan.perf.drafter import drafter_of, room_beside
from costplan.perf.kv_budget import EngineSettings, KvBudget, kv_budget
from costplan.perf.memory import constants
from costplan.perf.predict import Deployment
from costplan.plan.config import EngineConfig

STEP = 1000
"""Fractions are written in steps of 1/1000, rounded down: never more KV cache than planned."""


def budget_of_config(config: EngineConfig, spec: ModelSpec, gpu: GpuSpec, *, engine: str | None = None,
                     memory_fraction: float | None = None) -> KvBudget:
    """Memory of one GPU under ``config``, or under the same settings of another engine. Raises DoesNotFitError."""
    lay = config.layout
    budget = kv_budget(spec, gpu, EngineSettings(
        engine=engine or config.engine, tp=lay.tp, pp=lay.pp, ep=lay.tp * lay.dp, weight_dtype=config.weight_dtype,
        kv_dtype=config.kv_dtype, max_model_len=config.max_model_len,
        memory_fraction=config.memory_fraction if memory_fraction is None else memory_fraction,
        max_num_batched_tokens=config.max_num_batched_tokens, max_num_seqs=config.max_num_seqs,
        block_size=config.block_size))
    if config.speculative is None:
        return budget
    dep = Deployment(spec, gpu, lay, engine=budget.engine, weight_dtype=config.weight_dtype, kv_dtype=config.kv_dtype)
    return room_beside(budget, drafter_of(dep, config.speculative.draft))


def convert_memory_fraction(source: KvBudget, target: KvBudget) -> float:
    """Fraction in the meaning of ``target.engine`` that leaves the KV bytes of ``source``, rounded down to 0.001.

    ``target`` is any budget of the same deployment on that engine: only its parts beside the KV cache count.
    Bounded by `fraction_ceiling` (the KV cache is then smaller). Raises DoesNotFitError where nothing is left.
    """
    if source.total_bytes != target.total_bytes:
        raise InputError("the two memory budgets are of different GPUs", where="memory_fraction")
    room = {"vllm": target.total_bytes, "sglang": target.total_bytes - target.runtime_bytes,
            "trtllm": _free_after_load(target)}[target.engine]
    taken = {"vllm": _beside_kv(target), "sglang": target.weights.total, "trtllm": 0}[target.engine]
    wanted = min((taken + source.kv_bytes) / room, fraction_ceiling(target)) if room > 0 else 0.0
    fraction = math.floor(wanted * STEP + 1e-9) / STEP
    if fraction <= 0 or fraction * room <= taken:
        raise DoesNotFitError(f"no memory fraction of {target.engine} leaves room for a KV cache",
                              hint="use more or larger GPUs, or smaller batch limits")
    return fraction


def fraction_ceiling(parts: KvBudget) -> float:
    """Largest fraction with which the engine can start.

    vLLM refuses a budget above what is free once the CUDA context exists; SGLang needs its activations and
    graphs outside the fraction; TensorRT-LLM its CUDA context.
    """
    context = int(constants()["cuda_context_bytes"]["value"])
    if parts.engine == "vllm":
        return 1 - context / parts.total_bytes
    if parts.engine == "sglang":
        free = parts.total_bytes - parts.runtime_bytes
        return 1 - (parts.activation_bytes + parts.graph_bytes) / free
    free = _free_after_load(parts)
    return 1 - context / free if free > context else 0.0


def converted_config(config: EngineConfig, spec: ModelSpec, gpu: GpuSpec, engine: str) -> tuple[float, tuple[str, ...]]:
    """Memory fraction of ``config`` on ``engine``, and what a reader must know about it."""
    source = budget_of_config(config, spec, gpu)
    parts = budget_of_config(config, spec, gpu, engine=engine, memory_fraction=1.0)
    fraction = convert_memory_fraction(source, parts)
    after = budget_of_config(config, spec, gpu, engine=engine, memory_fraction=fraction)
    notes = [f"memory fraction {config.memory_fraction:g} of {config.engine} is {fraction:g} of {engine}: "
             f"{after.kv_bytes / GIB:.1f} GiB of KV cache per GPU, {source.kv_bytes / GIB:.1f} GiB planned"]
    if after.kv_bytes < 0.98 * source.kv_bytes:
        notes.append(f"{engine} cannot keep the planned KV cache beside its own buffers: plan for {engine} itself")
    return fraction, tuple(notes)


def check_capacity(config: EngineConfig, spec: ModelSpec, gpu: GpuSpec) -> tuple[str, ...]:
    """Notes on memory. Raises DoesNotFitError where the engine would not start or not serve one full sequence."""
    budget = budget_of_config(config, spec, gpu)
    ceiling = fraction_ceiling(budget)
    largest = math.floor(ceiling * STEP) / STEP
    if config.engine == "vllm" and config.memory_fraction > ceiling:
        raise DoesNotFitError(f"memory fraction {config.memory_fraction:g} asks for memory that the CUDA context holds",
                              where="memory_fraction", hint=f"use at most {largest:g}")
    blocks = budget.pool.blocks_per_sequence(config.max_model_len)
    if blocks > budget.num_blocks:
        raise DoesNotFitError(
            f"one sequence of max_model_len {config.max_model_len} needs {blocks} KV blocks, "
            f"{budget.num_blocks} fit on {gpu.name}", where="max_model_len",
            hint="lower max_model_len, or use more GPUs, a higher memory fraction or an FP8 KV cache")
    if config.memory_fraction > ceiling:
        return (f"memory fraction {config.memory_fraction:g} leaves less than the estimated need of activations and "
                f"CUDA graphs; if start-up runs out of memory, use {largest:g}",)
    return ()


def _beside_kv(b: KvBudget) -> int:
    return b.weights.total + b.activation_bytes + b.graph_bytes + b.runtime_bytes


def _free_after_load(b: KvBudget) -> int:
    return b.total_bytes - b.weights.total - b.activation_bytes - b.runtime_bytes
