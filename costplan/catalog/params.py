"""Parameter counts of a model, exact where its config is: by part, in total, and per generated token.

Conventions: ``total`` is everything in the checkpoint except multi-token-prediction layers, a tied embedding
counted once. ``active`` is what one text token touches: all but the routed experts that it skips, the vision
tower and the per-layer embedding tables. ``active_no_embedding`` leaves the input embedding out too (a tied
one stays, it serves as head): the convention of the gpt-oss card; DeepSeek's and Mixtral's count it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from costplan.catalog.model_spec import (
    Attention,
    DenseMlp,
    Layer,
    LinearMixer,
    Mixer,
    MlaAttention,
    ModelSpec,
    MoeMlp,
    SparseIndex,
)

PARTS = ("embedding", "lm_head", "attention", "linear", "mlp", "experts", "shared_expert", "router", "norm",
         "other", "ple", "vision")


@dataclass(frozen=True, slots=True)
class LayerParams:
    """Weights of one layer by part; ``active_experts`` are those of ``experts`` that one token visits."""

    attention: int = 0
    linear: int = 0
    mlp: int = 0
    experts: int = 0
    shared_expert: int = 0
    router: int = 0
    norm: int = 0
    other: int = 0
    active_experts: int = 0

    @property
    def total(self) -> int:
        return (self.attention + self.linear + self.mlp + self.experts + self.shared_expert + self.router
                + self.norm + self.other)


@dataclass(frozen=True, slots=True)
class ParamCount:
    """Weights of a model by part. ``parts`` maps the names of `PARTS` to counts that sum to ``total``."""

    parts: Mapping[str, int]
    active_experts: int
    mtp: int
    tied: bool

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def active(self) -> int:
        p = self.parts
        return self.total - p["experts"] + self.active_experts - p["vision"] - p["ple"]

    @property
    def active_no_embedding(self) -> int:
        return self.active if self.tied else self.active - self.parts["embedding"]


def count(spec: ModelSpec) -> ParamCount:
    """Parameters of ``spec`` by part, in total and per token."""
    parts = dict.fromkeys(PARTS, 0)
    active_experts = 0
    for group in spec.layers:
        one = layer_params(group.layer, spec.hidden_size)
        stored = group.count if group.copies is None else group.copies
        for part in ("experts", "shared_expert", "router", "linear", "norm", "other"):
            parts[part] += getattr(one, part) * group.count
        parts["attention"] += one.attention * stored
        parts["mlp"] += one.mlp * stored
        active_experts += one.active_experts * group.count
    parts["embedding"] = (spec.vocab_size + spec.learned_positions) * spec.hidden_size
    parts["lm_head"] = 0 if spec.tie_embeddings else spec.vocab_size * spec.hidden_size
    parts["other"] += spec.other_params
    parts["ple"] = spec.ple_params
    parts["vision"] = spec.extra_params
    return ParamCount(parts, active_experts, spec.mtp_params, spec.tie_embeddings)


@lru_cache(maxsize=4096)
def layer_params(layer: Layer, hidden_size: int) -> LayerParams:
    """Weights of one layer by part."""
    attention = sum(mixer_params(m, hidden_size) for m in layer.mixers if not isinstance(m, LinearMixer))
    linear = sum(m.params for m in layer.mixers if isinstance(m, LinearMixer))
    mlp = experts = shared = router = active = 0
    match layer.mlp:
        case DenseMlp() as d:
            mlp = _mlp(hidden_size, d.intermediate_size, gated=d.gated, bias=d.bias)
        case MoeMlp() as m:
            width = m.latent_size or hidden_size
            one = _mlp(width, m.intermediate_size, gated=m.gated, bias=m.bias)
            experts, active = m.num_experts * one, m.top_k * one
            shared = _mlp(hidden_size, m.shared_intermediate_size, gated=m.gated, bias=False) if (
                m.shared_intermediate_size) else 0
            shared += hidden_size if m.shared_gate else 0
            mlp = 2 * hidden_size * width if m.latent_size else 0
            router = m.num_experts * (hidden_size + m.router_bias)
        case None:
            pass
    return LayerParams(attention=attention, linear=linear, mlp=mlp, experts=experts, shared_expert=shared,
                       router=router, norm=layer.norm_params, other=layer.extra_params, active_experts=active)


def mixer_params(mixer: Mixer, hidden_size: int) -> int:
    """Weights of one mixer: projections, biases, norms, indexer, gates."""
    match mixer:
        case Attention():
            return _attention(mixer, mixer.in_size or hidden_size, hidden_size)
        case MlaAttention():
            return _mla(mixer, hidden_size)
        case LinearMixer():
            return mixer.params


def _attention(a: Attention, width: int, hidden_size: int) -> int:
    q = a.num_heads * a.head_dim
    o = a.num_heads * a.v_head_dim
    kv = a.num_kv_heads * (a.head_dim + (0 if a.k_eq_v or a.v_from_k else a.v_head_dim)) if a.owns_kv else 0
    q_out = 2 * q if a.output_gate else q
    weights = a.extra_params + width * kv
    weights += q_out * width if a.q_lora_rank is None else a.q_lora_rank * (width + q_out)
    if a.o_lora_rank is None:
        weights += o * hidden_size
    else:
        weights += o * a.o_lora_rank + a.o_groups * a.o_lora_rank * hidden_size
    if a.qkv_bias:
        weights += q_out + kv
    if a.o_bias:
        weights += hidden_size
    return weights + _index(a.index, a.q_lora_rank or width, width, own_key=a.q_lora_rank is None)


def _mla(a: MlaAttention, hidden_size: int) -> int:
    q_out = a.num_heads * (a.qk_nope_head_dim + a.qk_rope_head_dim)
    rank = a.q_lora_rank
    q = hidden_size * q_out if rank is None else rank * (hidden_size + 1 + q_out)
    kv_a = hidden_size * (a.kv_lora_rank + a.qk_rope_head_dim) + a.kv_lora_rank
    kv_b = a.kv_lora_rank * a.num_heads * (a.qk_nope_head_dim + a.v_head_dim)
    o = a.num_heads * a.v_head_dim * hidden_size
    return q + kv_a + kv_b + o + a.extra_params + _index(a.index, rank or hidden_size, hidden_size, own_key=True)


def _index(index: SparseIndex | None, query_in: int, hidden_size: int, *, own_key: bool) -> int:
    """Indexer: queries from the query latent, head weights, and a key projection with its norm."""
    if index is None or not index.owns_cache:
        return 0
    heads = index.num_heads
    key = hidden_size * index.head_dim + 2 * index.head_dim if own_key else 0
    return query_in * heads * index.head_dim + hidden_size * heads + key


def _mlp(width: int, intermediate_size: int, *, gated: bool, bias: bool) -> int:
    ups = 2 if gated else 1
    weights = (ups + 1) * width * intermediate_size
    return weights + (ups * intermediate_size + width if bias else 0)
