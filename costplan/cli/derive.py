"""The parts behind a plan, computed once, where the plan is made, so that its file explains itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.gpus import gpu_key
from costplan.catalog.model_spec import Attention, ModelSpec
from costplan.catalog.models import model as find_model
from costplan.core.dtypes import dtype
from costplan.perf.assemble import latency_model
from costplan.perf.batch import BatchState
from costplan.perf.calibrated_model import calibrated_model
from costplan.perf.calibration import Observed
from costplan.perf.explain import kernel_rows
from costplan.perf.kv import kv_bytes_per_token, kv_heads_per_rank, layer_caches
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.predict import Deployment
from costplan.plan.types import Plan, PlanSet
from costplan.profile.store import Profile
from costplan.report.answer import waits
from costplan.report.derivation import Derivation, KvLayers, Step
from costplan.report.plan_json import plan_json, written
from costplan.report.roofline_text import RooflineView
from costplan.workload.workload import Metric


def derivations(s: PlanSet, profiles: Sequence[Profile],
                observed: Sequence[Observed] = ()) -> dict[str, Derivation]:
    """Of every plan, by its name."""
    if s.best is None:
        return {}
    spec = find_model(s.best.config.model)
    own = _own(profiles)
    return {p.name: _derivation(p, spec, s, own.get(p.config.gpu), observed) for p in s.plans}


def document(s: PlanSet, inputs: Mapping[str, str], profiles: Sequence[Profile],
             observed: Sequence[Observed] = ()) -> str:
    """The plan file."""
    return written(plan_json(s, inputs, derivations(s, profiles, observed)))


def mean_steps(s: PlanSet, profiles: Sequence[Profile], observed: Sequence[Observed] = ()) -> dict[str, RooflineView]:
    """The mean decode step and prefill step of the recommended plan, kernel by kernel; empty without one."""
    if s.best is None:
        return {}
    p = s.best
    c, spec = p.config, find_model(p.config.model)
    model = _model(p, spec, _own(profiles).get(c.gpu), observed)
    found = {}
    for phase, batch in (("decode", _decode(p, s)), ("prefill", _prefill(p, s))):
        step = model.step(batch)
        found[phase] = RooflineView(f"{phase} step of {p.name}", find_gpu(c.gpu), batch, kernel_rows(model.ops, batch),
                                    step.seconds, step.parts.get("engine", 0.0), model.basis)
    return found


def _own(profiles: Sequence[Profile]) -> dict[str, Profile]:
    return {gpu_key(p.gpu) or p.gpu: p for p in profiles}


def _model(p: Plan, spec: ModelSpec, own: Profile | None, observed: Sequence[Observed]) -> KernelLatencyModel:
    c, gpu = p.config, find_gpu(p.config.gpu)
    model = latency_model(spec, gpu, c.layout, engine=c.engine, weight_dtype=c.weight_dtype, kv_dtype=c.kv_dtype,
                          profile=own, block_size=c.block_size)
    dep = Deployment(spec, gpu, c.layout, engine=c.engine, weight_dtype=c.weight_dtype, kv_dtype=c.kv_dtype)
    return calibrated_model(model, dep, observed)


def _decode(p: Plan, s: PlanSet) -> BatchState:
    seqs = decoding(p)
    return BatchState(decode_seqs=seqs, decode_kv_tokens=round(seqs * (s.mean_isl + s.mean_osl / 2)))


def _prefill(p: Plan, s: PlanSet) -> BatchState:
    return BatchState(prefill_tokens=max(1, min(round(s.mean_isl), p.config.max_num_batched_tokens)), prefill_seqs=1)


def _derivation(p: Plan, spec: ModelSpec, s: PlanSet, own: Profile | None,
                observed: Sequence[Observed]) -> Derivation:
    c, model = p.config, _model(p, spec, own, observed)
    return Derivation(tuple(_layers(spec, p)), kv_bytes_per_token(spec, c.kv_dtype, c.layout.tp, c.layout.pp),
                      _step(model, _decode(p, s)), _step(model, _prefill(p, s)), model.measured_on, model.profiles)


def decoding(p: Plan) -> int:
    """Sequences that decode at once in one engine by Little's law: requests/s times the time between first and
    last token."""
    e2e, ttft = p.latency(Metric.E2E), p.latency(Metric.TTFT)
    seconds = e2e.mean.value - ttft.mean.value if e2e is not None and ttft is not None else 0.0
    lanes = max(1, p.replicas - p.spare_replicas) * p.config.layout.dp
    return max(1, min(p.config.max_num_seqs, round(p.requests_per_s / lanes * seconds)))


def _step(model: KernelLatencyModel, batch: BatchState) -> Step:
    found = model.step(batch)
    return Step(batch.decode_seqs, batch.decode_kv_tokens, batch.prefill_tokens, found.estimate(model.basis),
                dict(found.parts), waits(found), found.bound)


def _layers(spec: ModelSpec, p: Plan) -> Iterable[KvLayers]:
    """Caches by kind of layer; the product is spelled out where all layers hold plain K and V."""
    c = p.config
    mixers = [m for g in spec.layers for m in g.layer.mixers]
    a = mixers[0]
    same = isinstance(a, Attention) and all(m == a for m in mixers)
    for cache in layer_caches(spec, c.kv_dtype, c.layout.tp):
        how = ""
        if same and isinstance(a, Attention) and not a.k_eq_v and a.head_dim == a.v_head_dim and a.compress_ratio <= 1:
            heads, size = kv_heads_per_rank(a.num_kv_heads, c.layout.tp), dtype(c.kv_dtype).bytes
            if heads * 2 * a.head_dim * size == cache.bytes_per_token:
                how = f"2 (K, V) x {heads} KV heads x {a.head_dim} x {size:g} byte{'s' if size != 1 else ''}"
        yield KvLayers(cache.count, cache.bytes_per_token, cache.window, cache.state_bytes, how)
