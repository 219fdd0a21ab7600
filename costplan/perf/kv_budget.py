"""How many KV blocks one GPU holds, under each engine's own meaning of its memory fraction.

vLLM: fraction x total pays for weights, activations, runtime and KV (CUDA graphs too since 0.21).
SGLang: fraction x memory that was free at start pays for weights and KV only.
TensorRT-LLM: fraction x what is still free after weights and activations is KV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import DoesNotFitError, InputError, UnknownNameError
from costplan.core.evidence import Estimate, Evidence
from costplan.core.units import GIB
from costplan.perf.kv import checkpoint_kv_dtype
from costplan.perf.kv_pool import KvPool, kv_pool
from costplan.perf.memory import (
    ENGINES,
    BatchLimits,
    activation_bytes,
    constants,
    graph_bytes,
    runtime_bytes,
    sglang_chunked_prefill,
    sglang_memory_fraction,
    vllm_batch_limits,
    vllm_era,
)
from costplan.perf.weights import WeightBytes, weight_bytes_per_rank

SGLANG_RUNNING_REQUESTS = 2048
"""Default ``max_running_requests`` (0.4 and later): 512 per context that fits, but at least 2048."""
OVERHEAD_SD_BYTES = 0.25 * GIB
OVERHEAD_SD_SHARE = 0.01
"""Spread of what is left for KV around logged values: bytes, and a share of the GPU's memory (docs/accuracy.md)."""


VLLM_CPU_BLOCK_SIZE = 128
"""vLLM platforms/cpu.py (read 2026-11-21): the default there, and a warning unless it is a multiple of 32."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a user tells an engine about memory; None is the engine's default."""

    engine: str = "vllm"
    version: str | None = None
    tp: int = 1
    pp: int = 1
    ep: int = 1
    dcp: int = 1
    weight_dtype: str | None = None
    kv_dtype: str | None = None
    memory_fraction: float | None = None
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    block_size: int | None = None
    enforce_eager: bool = False
    recv_interval: int | None = None


@dataclass(frozen=True, slots=True)
class KvBudget:
    """Memory of one GPU by part, in bytes, and the KV blocks that remain.

    ``reserved_bytes`` is what the engine's fraction leaves alone. ``tokens`` counts one replica (all its
    ranks hold shards of the same tokens).
    """

    engine: str
    memory_fraction: float
    total_bytes: int
    weights: WeightBytes
    activation_bytes: int
    graph_bytes: int
    runtime_bytes: int
    reserved_bytes: int
    kv_bytes: int
    limits: BatchLimits
    pool: KvPool
    num_blocks: int

    @property
    def block_size(self) -> int:
        return self.pool.block_size

    @property
    def tokens(self) -> int:
        """Tokens of KV cache as the engine logs them."""
        return self.pool.tokens(self.num_blocks)

    def concurrency(self, tokens: int) -> float:
        """Decoding sequences of ``tokens`` that fit at once (windowed layers hold their window, no prefill chunk)."""
        return self.pool.concurrency(self.num_blocks, tokens)

    @property
    def kv_tokens(self) -> Estimate:
        """``tokens`` with its uncertainty: a fixed spread in bytes weighs more on a small cache."""
        log_sd = math.log1p((OVERHEAD_SD_BYTES + OVERHEAD_SD_SHARE * self.total_bytes) / self.kv_bytes)
        return Estimate(float(self.tokens), log_sd, Evidence.ANALYTIC,
                        "memory arithmetic; overheads fitted to start-up logs")


def kv_budget(spec: ModelSpec, gpu: GpuSpec, settings: EngineSettings | None = None) -> KvBudget:
    """Memory by part and KV blocks of ``spec`` on ``gpu``. Raises DoesNotFitError with the arithmetic."""
    s = settings or EngineSettings()
    if s.engine not in ENGINES:
        raise UnknownNameError("engine", s.engine, ENGINES)
    if s.memory_fraction is not None and not 0 < s.memory_fraction <= 1:
        raise InputError(f"the memory fraction must lie in (0, 1], got {s.memory_fraction}",
                         hint="0.9 means 90 %", where="memory_fraction")
    weights = weight_bytes_per_rank(spec, s.tp, s.pp, s.ep, s.weight_dtype, marlin=uses_marlin(gpu))
    pool = kv_pool(spec, checkpoint_kv_dtype(spec, s.weight_dtype, s.kv_dtype),
                   s.block_size or default_block_size(s.engine, gpu), s.tp, s.pp, s.dcp)
    split = {"vllm": _vllm, "sglang": _sglang, "trtllm": _trtllm}[s.engine](spec, gpu, s, weights)
    num_blocks = pool.num_blocks(split.kv_bytes) if split.kv_bytes > 0 else 0
    if num_blocks < len(pool.groups):
        raise DoesNotFitError(_does_not_fit(spec, gpu, s, weights, split),
                              hint="use more or larger GPUs, a higher tp, smaller weights, or a higher memory fraction")
    return KvBudget(s.engine, split.fraction, gpu.mem_bytes, weights, split.activation, split.graphs, split.runtime,
                    gpu.mem_bytes - weights.total - split.activation - split.graphs - split.runtime - split.kv_bytes,
                    split.kv_bytes, split.limits, pool, num_blocks)


@dataclass(frozen=True, slots=True)
class _Split:
    """One engine's division of a GPU, in bytes."""

    fraction: float
    activation: int
    graphs: int
    runtime: int
    kv_bytes: int
    limits: BatchLimits


def _vllm(spec: ModelSpec, gpu: GpuSpec, s: EngineSettings, weights: WeightBytes) -> _Split:
    era = vllm_era(s.version)
    default = vllm_batch_limits(gpu, s.version, s.max_model_len or spec.max_position)
    limits = _limits(s, default)
    fraction = s.memory_fraction if s.memory_fraction is not None else era.memory_fraction
    activation = activation_bytes(spec, s.tp, limits, era.sampler)
    runtime = runtime_bytes(gpu, s.tp * s.pp, era)
    graphs = 0
    if era.graphs_in_budget and not s.enforce_eager and not gpu.is_cpu:
        graphs = graph_bytes(limits.max_num_seqs, s.version)
    kv = int(fraction * gpu.mem_bytes) - weights.total - activation - runtime - graphs
    return _Split(fraction, activation, graphs, runtime, kv, limits)


def _sglang(spec: ModelSpec, gpu: GpuSpec, s: EngineSettings, weights: WeightBytes) -> _Split:
    limits = _limits(s, BatchLimits(sglang_chunked_prefill(gpu), SGLANG_RUNNING_REQUESTS))
    fraction = s.memory_fraction if s.memory_fraction is not None else sglang_memory_fraction(gpu, s.tp, s.pp)
    runtime = runtime_bytes(gpu, s.tp * s.pp, vllm_era("0.9"))
    kv = int(fraction * (gpu.mem_bytes - runtime)) - weights.total
    activation = activation_bytes(spec, s.tp, replace(limits, max_num_seqs=min(256, limits.max_num_seqs)), "select")
    return _Split(fraction, activation, 0 if s.enforce_eager else graph_bytes(256, "0.21"), runtime, kv, limits)


def _trtllm(spec: ModelSpec, gpu: GpuSpec, s: EngineSettings, weights: WeightBytes) -> _Split:
    c = constants()["trtllm"]
    limits = _limits(s, BatchLimits(int(c["max_num_batched_tokens"]), int(c["max_num_seqs"])))
    fraction = s.memory_fraction if s.memory_fraction is not None else float(c["free_gpu_memory_fraction"])
    activation = activation_bytes(spec, s.tp, limits, "select")
    runtime = runtime_bytes(gpu, s.tp * s.pp, vllm_era("0.9"))
    kv = int(fraction * (gpu.mem_bytes - weights.total - activation - runtime))
    return _Split(fraction, activation, 0, runtime, kv, limits)


def _limits(s: EngineSettings, default: BatchLimits) -> BatchLimits:
    tokens = s.max_num_batched_tokens or default.max_num_batched_tokens
    seqs = s.max_num_seqs or default.max_num_seqs
    for label, value in (("max_num_batched_tokens", tokens), ("max_num_seqs", seqs)):
        if value < 1:
            raise InputError(f"{label} must be at least 1, got {value}", where=label)
    return BatchLimits(tokens, min(seqs, tokens), s.recv_interval or 1)


def default_block_size(engine: str, gpu: GpuSpec) -> int:
    """KV page in tokens where nothing is set: ``--block-size``, ``--page-size``, ``tokens_per_block``."""
    if engine == "vllm" and gpu.is_cpu:
        return VLLM_CPU_BLOCK_SIZE
    return {"vllm": 16, "sglang": 1, "trtllm": int(constants()["trtllm"]["tokens_per_block"])}[engine]


def uses_marlin(gpu: GpuSpec) -> bool:
    """NVIDIA GPUs before Hopper unpack 4-bit experts with the Marlin kernel, which pads more."""
    try:
        return gpu.vendor == "NVIDIA" and float(gpu.compute_capability) < 9.0
    except ValueError:
        return False


def _does_not_fit(spec: ModelSpec, gpu: GpuSpec, s: EngineSettings, weights: WeightBytes, split: _Split) -> str:
    """The sum that comes out negative, in GiB."""
    g = [x / GIB for x in (gpu.mem_bytes, weights.total, split.activation, split.runtime + split.graphs,
                           split.kv_bytes)]
    return (f"{spec.name} does not fit on {gpu.name} at tp {s.tp}, pp {s.pp}: of {g[0]:.2f} GiB x {split.fraction:g} "
            f"({s.engine}), weights take {g[1]:.2f}, activations {g[2]:.2f}, runtime and graphs {g[3]:.2f} GiB, "
            f"which leaves {g[4]:.2f} GiB for the KV cache")
