"""What makes an engine refuse to start, checked before a command is written."""

from __future__ import annotations

import math

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import Attention, MlaAttention, ModelSpec
from costplan.core.errors import InputError
from costplan.plan.config import EngineConfig
from costplan.plan.emit_facts import EngineFacts
from costplan.plan.emit_pages import capability, page_rule


def check_hardware(facts: EngineFacts, gpu: GpuSpec) -> None:
    """Whether the engine runs on this GPU at all, and costplan knows how to start it there."""
    if gpu.is_cpu:
        raise InputError(f"emit does not support CPUs: {gpu.name} is one", where="gpu",
                         hint="vLLM on a CPU takes its KV cache from VLLM_CPU_KVCACHE_SPACE (GiB) or "
                              "--gpu-memory-utilization, depending on its version; see its installation guide")
    if gpu.vendor not in facts.vendors:
        raise InputError(f"costplan writes no {facts.title} command for {gpu.name} ({gpu.vendor})", where="gpu",
                         hint=f"{facts.title} flags are known for {', '.join(facts.vendors)}")
    least, cap = facts.vendors[gpu.vendor], capability(gpu)
    if least is not None and (cap is None or cap < least):
        raise InputError(f"{facts.label} needs compute capability {least:g}, {gpu.name} has {gpu.compute_capability}",
                         where="gpu", hint="choose another GPU or engine")


def check_limits(config: EngineConfig, spec: ModelSpec) -> None:
    """Scheduler limits: whole positive numbers that agree with each other and with the model."""
    for name in ("block_size", "max_num_seqs", "max_num_batched_tokens", "max_model_len"):
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}", where=name)
    f = config.memory_fraction
    if not (math.isfinite(f) and 0 < f <= 1):
        raise InputError(f"the memory fraction must lie in (0, 1], got {f}", where="memory_fraction")
    if config.max_num_batched_tokens < config.max_num_seqs:
        raise InputError(f"max_num_batched_tokens {config.max_num_batched_tokens} is below max_num_seqs "
                         f"{config.max_num_seqs}: a step could not give every sequence one token",
                         where="max_num_batched_tokens", hint=f"use at least {config.max_num_seqs}")
    if not config.chunked_prefill and config.max_num_batched_tokens < config.max_model_len:
        raise InputError(f"without chunked prefill a prompt must fit into one step: max_num_batched_tokens "
                         f"{config.max_num_batched_tokens} is below max_model_len {config.max_model_len}",
                         where="max_num_batched_tokens", hint="turn chunked prefill on, or raise it")
    if spec.max_position is not None and config.max_model_len > spec.max_position:
        raise InputError(f"max_model_len {config.max_model_len} exceeds the {spec.max_position} positions of "
                         f"{spec.name}", where="max_model_len", hint=f"use at most {spec.max_position}")


def check_layout(facts: EngineFacts, config: EngineConfig, spec: ModelSpec, gpus_per_machine: int) -> None:
    """Parallelism that the engine and the model allow, on one machine."""
    lay = config.layout
    if lay.num_gpus > gpus_per_machine:
        raise InputError(f"one replica takes {lay.num_gpus} GPUs, a machine has {gpus_per_machine}", where="layout",
                         hint="costplan writes commands for one machine per replica: choose a smaller tp, pp or dp")
    for m in (m for g in spec.layers for m in g.layer.mixers if isinstance(m, Attention | MlaAttention)):
        if m.num_heads % lay.tp:
            raise InputError(f"tp {lay.tp} does not divide the {m.num_heads} attention heads of {spec.name}",
                             where="layout.tp")
        kv = m.num_kv_heads if isinstance(m, Attention) else 1
        if kv % lay.tp and lay.tp % kv:
            raise InputError(f"tp {lay.tp} neither divides nor repeats the {kv} KV heads of {spec.name}",
                             where="layout.tp")
    if lay.pp > spec.num_layers:
        raise InputError(f"pp {lay.pp} exceeds the {spec.num_layers} layers of {spec.name}", where="layout.pp")
    if lay.dp > 1 and not spec.is_moe:
        raise InputError(f"attention data parallelism is for models with experts, {spec.name} has none",
                         where="layout.dp", hint="use replicas")
    if lay.ep > 1 and not spec.is_moe:
        raise InputError(f"{spec.name} has no experts to spread", where="layout.ep", hint="use ep 1")
    _check_engine_layout(facts, config)


def _check_engine_layout(facts: EngineFacts, config: EngineConfig) -> None:
    lay = config.layout
    ranks = lay.tp * lay.dp
    if facts.name == "vllm" and lay.ep not in (1, ranks):
        raise InputError(f"vLLM spreads experts over all {ranks} ranks of a stage or over none, not over {lay.ep}",
                         where="layout.ep", hint=f"use ep 1 or {ranks}")
    if facts.name == "trtllm" and lay.dp > 1 and lay.tp > 1:
        raise InputError("TensorRT-LLM's attention data parallelism uses every rank of a stage", where="layout",
                         hint=f"use tp 1, dp {ranks}")


def check_chunks(facts: EngineFacts, config: EngineConfig, spec: ModelSpec, gpu: GpuSpec) -> None:
    """SGLang asserts that a chunk is a whole number of pages."""
    if facts.name != "sglang" or not config.chunked_prefill:
        return
    page = 1 if page_rule("sglang", spec, gpu).rule == "unset" else config.block_size
    if config.max_num_batched_tokens % page:
        fitting = config.max_num_batched_tokens // page * page or page
        raise InputError(f"SGLang needs chunks of whole pages: {config.max_num_batched_tokens} tokens are no multiple "
                         f"of page size {page}", where="max_num_batched_tokens", hint=f"use {fitting}")
