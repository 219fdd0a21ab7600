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
from costplan.perf.kv import kv_bytes_per_token, kv_heads_per_rank, layer_caches
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.predict import Deployment
from costplan.plan.types import Plan, PlanSet
from costplan.profile.store import Profile
from costplan.report.answer import waits
from costplan.report.derivation import Derivation, KvLayers, Step
from costplan.report.plan_json import plan_json, written
from costplan.workload.workload import Metric


def derivations(s: PlanSet, profiles: Sequence[Profile],
                observed: Sequence[Observed] = ()) -> dict[str, Derivation]:
    """Of every plan, by its name."""
    if s.best is None:
        return {}
    spec = find_model(s.best.config.model)
    own = {gpu_key(p.gpu) or p.gpu: p for p in profiles}
    return {p.name: _derivation(p, spec, s, own.get(p.config.gpu), observed) for p in s.plans}


def document(s: PlanSet, inputs: Mapping[str, str], profiles: Sequence[Profile],
             observed: Sequence[Observed] = ()) -> str:
    """The plan file."""
    return written(plan_json(s, inputs, derivations(s, profiles, observed)))


def _derivation(p: Plan, spec: ModelSpec, s: PlanSet, own: Profile | None,
                observed: Sequence[Observed]) -> Derivation:
    c = p.config
    model = latency_model(spec, find_gpu(c.gpu), c.layout, engine=c.engine, weight_dtype=c.weight_dtype,
                          kv_dtype=c.kv_dtype, profile=own, block_size=c.block_size)
    dep = Deployment(spec, find_gpu(c.gpu), c.layout, engine=c.engine, weight_dtype=c.weight_dtype, kv_dtype=c.kv_dtype)
    model = calibrated_model(model, dep, observed)
    seqs = decoding(p)
    decode = BatchState(decode_seqs=seqs, decode_kv_tokens=round(seqs * (s.mean_isl + s.mean_osl / 2)))
    prefill = BatchState(prefill_tokens=max(1, min(round(s.mean_isl), c.max_num_batched_tokens)), prefill_seqs=1)
    return Derivation(tuple(_layers(spec, p)), kv_bytes_per_token(spec, c.kv_dtype, c.layout.tp, c.layout.pp),
                      _step(model, decode), _step(model, prefill), model.measured_on, model.profiles)


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
