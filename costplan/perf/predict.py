"""One deployment under one load: TTFT, TPOT, throughput and memory, each with evidence and interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import DoesNotFitError
from costplan.core.evidence import Estimate, Evidence, worst
from costplan.perf.assemble import kernel_engine, latency_model
from costplan.perf.kv_budget import EngineSettings, KvBudget, kv_budget
from costplan.perf.latency import KernelLatencyModel, StepTime
from costplan.perf.layout import Layout
from costplan.perf.residual import residual, was_seen
from costplan.perf.steady import Limits, Load, LoadKind, Point, steady_state
from costplan.profile.store import Profile


@dataclass(frozen=True, slots=True)
class Deployment:
    """One engine instance, repeated ``replicas`` times. None means the engine's default.

    ``weight_only`` multiplies in 16 bits although the weights are smaller (GPTQ, AWQ, W8A16).
    """

    spec: ModelSpec
    gpu: GpuSpec
    layout: Layout = field(default_factory=Layout)
    replicas: int = 1
    engine: str = "vllm"
    engine_version: str | None = None
    weight_dtype: str | None = None
    kv_dtype: str | None = None
    weight_only: bool = False
    memory_fraction: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int | None = None
    recv_interval: int | None = None

    @property
    def num_gpus(self) -> int:
        return self.layout.num_gpus * self.replicas

    @property
    def stored_kv_dtype(self) -> str:
        """KV format in memory: what was asked for, else the checkpoint's, else that of the activations."""
        if self.kv_dtype not in (None, "auto"):
            return str(self.kv_dtype)
        return self.spec.kv_dtype or ("fp16" if self.spec.base_dtype == "fp16" else "bf16")


Operate = Callable[[KernelLatencyModel, Load, KvBudget], Point]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Means over requests; ``output_tok_s`` of all GPUs together. ``bound`` names what binds."""

    ttft_s: Estimate
    tpot_s: Estimate
    e2e_s: Estimate
    output_tok_s: Estimate
    output_tok_s_per_gpu: Estimate
    budget: KvBudget
    point: Point
    decode_step: StepTime
    prefill_step: StepTime
    bound: str
    moe: bool
    measured_on: str
    profiles: tuple[str, ...]


def budget_of(dep: Deployment) -> KvBudget:
    """Memory of one GPU. Raises DoesNotFitError."""
    lay = dep.layout
    return kv_budget(dep.spec, dep.gpu, EngineSettings(
        engine=kernel_engine(dep.engine), version=dep.engine_version if dep.engine == "vllm" else None,
        tp=lay.tp, pp=lay.pp, ep=lay.tp * lay.dp, weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype,
        memory_fraction=dep.memory_fraction, max_model_len=dep.max_model_len,
        max_num_batched_tokens=dep.max_num_batched_tokens, max_num_seqs=dep.max_num_seqs,
        block_size=dep.block_size, recv_interval=dep.recv_interval))


def predict(dep: Deployment, load: Load, *, profile: Profile | None = None, budget: KvBudget | None = None,
            model: KernelLatencyModel | None = None, operate: Operate | None = None) -> Prediction:
    """``load`` is that of the whole deployment and is spread evenly over its replicas.

    ``operate`` finds the operating point of one engine (`simulate.operate` runs the load request by request);
    None takes the closed form.
    """
    budget = budget or budget_of(dep)
    model = model or latency_model(dep.spec, dep.gpu, dep.layout, engine=dep.engine, engine_version=dep.engine_version,
                                   weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype,
                                   weight_only=dep.weight_only, profile=profile, block_size=dep.block_size)
    lanes = dep.replicas * dep.layout.dp
    share = share_of(load, lanes)
    point = (operate or closed_form)(model, share, budget)
    return _prediction(dep, load, model, budget, point, lanes)


def share_of(load: Load, lanes: int) -> Load:
    """The part of ``load`` that one of ``lanes`` equal engines serves."""
    if load.kind is LoadKind.BATCH1 or lanes == 1:
        return load
    requests = None if load.requests is None else max(1, round(load.requests / lanes))
    return replace(load, value=load.value / lanes, requests=requests)


def closed_form(model: KernelLatencyModel, load: Load, budget: KvBudget) -> Point:
    """Operating point by `perf.steady`."""
    limits = Limits(budget.limits.max_num_seqs, budget.limits.max_num_batched_tokens, _kv_tokens(budget, load))
    point = steady_state(model, load, limits)
    extra = model.overhead.request_s + model.overhead.prompt_token_s * load.isl
    return replace(point, ttft_s=point.ttft_s + extra, e2e_s=point.e2e_s + extra)


def _kv_tokens(budget: KvBudget, load: Load) -> float:
    """KV tokens that sequences of this length can use: windowed and compressed layers hold fewer than all."""
    tokens = max(1, math.ceil(load.isl + load.osl))
    fit = budget.concurrency(tokens)
    if fit < 1:
        raise DoesNotFitError(f"one request of {tokens} tokens does not fit into the KV cache",
                              hint="use more GPUs, a smaller KV dtype, or shorter contexts")
    return fit * tokens


def _prediction(dep: Deployment, load: Load, model: KernelLatencyModel, budget: KvBudget, point: Point,
                lanes: int) -> Prediction:
    decode, prefill = model.step(point.decode_step), model.step(point.prefill_step)
    steps = max(1.0, load.osl - 1)
    first = prefill.seconds / max(prefill.seconds + decode.seconds * steps, 1e-12)
    both = worst((decode.evidence, prefill.evidence))
    mixed = _mix(decode, prefill, first)
    basis = model.basis
    seen = was_seen(dep.gpu.name, dep.spec.name, kernel_engine(dep.engine))

    def estimate(value: float, metric: str, kernel_sd: float, evidence: Evidence,
                 shares: Mapping[Evidence, float]) -> Estimate:
        rest = residual(metric, evidence, load.kind, seen=seen)
        return Estimate(value, math.hypot(kernel_sd, rest.log_sd), evidence, basis, shares, rest.tail)

    ttft = estimate(point.ttft_s, "ttft", prefill.log_sd, prefill.evidence, prefill.shares)
    tpot = estimate(point.tpot_s, "tpot", decode.log_sd, decode.evidence, decode.shares)
    e2e = estimate(point.e2e_s, "tpot", decode.log_sd, both, mixed)
    total = estimate(point.output_tok_s * (lanes if load.kind is not LoadKind.BATCH1 else 1), "output_tok_s",
                     decode.log_sd, both, mixed)
    bound = "memory" if point.saturated and point.batch < budget.limits.max_num_seqs else decode.bound
    return Prediction(ttft, tpot, e2e, total, total.scaled(1 / dep.num_gpus), budget, point, decode, prefill, bound,
                      dep.spec.is_moe, model.measured_on, model.profiles)


def _mix(decode: StepTime, prefill: StepTime, first: float) -> dict[Evidence, float]:
    keys = {*decode.shares, *prefill.shares}
    return {e: first * prefill.shares.get(e, 0.0) + (1 - first) * decode.shares.get(e, 0.0) for e in keys}
