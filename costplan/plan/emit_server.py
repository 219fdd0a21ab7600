"""One engine instance, ready to be written down: checked, and every value in the engine's own words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import InputError
from costplan.plan.config import EngineConfig
from costplan.plan.emit_checks import check_chunks, check_hardware, check_layout, check_limits
from costplan.plan.emit_drafts import draft_notes
from costplan.plan.emit_dtypes import WeightChoice, kv_word, weight_choice
from costplan.plan.emit_facts import EngineFacts, engine_facts
from costplan.plan.emit_memory import check_capacity, converted_config
from costplan.plan.emit_names import model_ref
from costplan.plan.emit_pages import checked_page, nearest_page, page_rule

MODEL_VARIABLE = "MODEL"


@dataclass(frozen=True, slots=True)
class Server:
    """``config`` is that of ``facts.name``. ``model`` is what the engine loads; None where only a checkpoint that the
    user must name has the planned weights. ``block_size`` None: the engine must choose."""

    facts: EngineFacts
    config: EngineConfig
    spec: ModelSpec
    gpu: GpuSpec
    model: str | None
    weights: WeightChoice
    kv_dtype: str
    block_size: int | None
    port: int
    notes: tuple[str, ...]


def server(config: EngineConfig, engine: str, spec: ModelSpec, gpu: GpuSpec, *, checkpoint: str | None = None,
           port: int | None = None, gpus_per_machine: int | None = None) -> Server:
    """``config`` as an instance of ``engine``. Raises CostplanError for anything that would not start."""
    facts = engine_facts(engine)
    check_hardware(facts, gpu)
    check_limits(config, spec)
    notes: tuple[str, ...] = ()
    if config.engine != engine:
        engine_facts(config.engine)
        config, notes = _translated(config, engine, spec, gpu)
    check_layout(facts, config, spec, gpus_per_machine or gpu.gpus_per_node)
    block_size = checked_page(engine, config.block_size, spec, gpu)
    check_chunks(facts, config, spec, gpu)
    if block_size is None:
        notes = (*notes, f"no page size is given: {facts.title} chooses it for this model ({spec.name})")
    weights = weight_choice(facts, config.weight_dtype, spec, gpu, given=checkpoint is not None)
    model = model_ref(checkpoint, where="checkpoint") if checkpoint is not None else model_ref(config.model)
    return Server(facts, config, spec, gpu, None if weights.needs else model, weights,
                  kv_word(facts, config.kv_dtype, config.weight_dtype, spec, gpu), block_size, _port(port, facts),
                  (*notes, *weights.notes, *check_capacity(config, spec, gpu), *_layout_notes(facts, config),
                   *draft_notes(config)))


def _port(port: int | None, facts: EngineFacts) -> int:
    if port is None:
        return facts.port
    if isinstance(port, bool) or not 1 <= port <= 65535:
        raise InputError(f"not a port: {port!r}", where="port", hint=f"use 1 to 65535, for example {facts.port}")
    return port


def _translated(config: EngineConfig, engine: str, spec: ModelSpec,
                gpu: GpuSpec) -> tuple[EngineConfig, tuple[str, ...]]:
    """``config`` for another engine: KV bytes kept, page and chunk moved to the nearest that start."""
    page = nearest_page(engine, config.block_size, spec, gpu)
    fraction, notes = converted_config(replace(config, block_size=page), spec, gpu, engine)
    tokens = config.max_num_batched_tokens
    if engine == "sglang" and config.chunked_prefill and page_rule(engine, spec, gpu).rule != "unset":
        tokens = max(tokens // page, -(-config.max_num_seqs // page)) * page
    if page != config.block_size:
        notes = (*notes, f"page size {config.block_size} of {config.engine} became {page}")
    if tokens != config.max_num_batched_tokens:
        notes = (*notes, f"{config.max_num_batched_tokens} tokens per step became {tokens}: whole pages")
    notes = (f"planned for {config.engine}, written for {engine}: its speed was not simulated", *notes)
    return replace(config, engine=engine, block_size=page, max_num_batched_tokens=tokens,
                   memory_fraction=fraction), notes


def _layout_notes(facts: EngineFacts, config: EngineConfig) -> tuple[str, ...]:
    if config.layout.dp == 1:
        return ()
    return (f"max_num_seqs {config.max_num_seqs} and max_num_batched_tokens {config.max_num_batched_tokens} are per "
            f"attention rank ({config.layout.dp} of them); {facts.title} "
            + ("is given their sum" if facts.name == "sglang" else "counts the same way"),)
