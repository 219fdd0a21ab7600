"""Weights of one rank in bytes, by part, sharded as vLLM shards them.

Column/row-parallel matrices are divided by ``tp`` (KV heads replicated where ``tp`` exceeds them), embeddings
and head by vocabulary, experts by ``tp`` or ``ep``; norms, routers and MLA down-projections are replicated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costplan.catalog.model_spec import (
    QUANTIZABLE,
    Attention,
    Layer,
    LinearMixer,
    Mixer,
    MlaAttention,
    ModelSpec,
    MoeMlp,
    SparseIndex,
)
from costplan.catalog.params import layer_params, mixer_params
from costplan.core.dtypes import dtype
from costplan.core.errors import InputError
from costplan.perf.kv import kv_heads_per_rank, stage_share

VOCAB_PAD = 64
MXFP4_HIDDEN_PAD = 256
MXFP4_INTER_PAD = 64
MXFP4_MARLIN_INTER_PAD = 128
KEPT_BY_ONLINE_QUANTISATION = frozenset({"lm_head", "router", "mtp"})


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes of weights on the fullest rank, by part (names of `catalog.params.PARTS`; ``absorbed``: copies for
    MLA decode; ``rope``: rotary tables)."""

    parts: tuple[tuple[str, float], ...]

    @property
    def total(self) -> int:
        return round(sum(b for _, b in self.parts))


@dataclass(frozen=True, slots=True)
class Piece:
    """``elems`` weights of ``part`` that one rank holds. ``base``: stays in the base dtype."""

    part: str
    elems: float
    base: bool = False


def weight_bytes_per_rank(spec: ModelSpec, tp: int = 1, pp: int = 1, ep: int = 1, weight_dtype: str | None = None,
                          *, marlin: bool = False) -> WeightBytes:
    """Weights on the fullest rank. ``weight_dtype`` None keeps the checkpoint's formats.

    ``marlin`` pads MXFP4 experts as the Marlin kernel does (GPUs before compute capability 9.0).
    """
    for label, value in (("tp", tp), ("ep", ep)):
        if value < 1:
            raise InputError(f"{label} must be at least 1, got {value}", where=label)
    share = stage_share(spec, pp)
    parts: dict[str, float] = {}
    for group in spec.layers:
        stored = group.count if group.copies is None else group.copies
        for p in layer_pieces(group.layer, spec, tp, ep):
            copies = stored if p.part in ("attention", "mlp") else group.count
            grown = _mxfp4_growth(p, group.layer, spec, weight_dtype, marlin)
            size = copies * share * p.elems * grown * _bytes(spec, p, weight_dtype)
            parts[p.part] = parts.get(p.part, 0.0) + size
    for p in outer_pieces(spec, tp, pp):
        parts[p.part] = parts.get(p.part, 0.0) + p.elems * _bytes(spec, p, weight_dtype)
    return WeightBytes(tuple((k, v) for k, v in parts.items() if v))


def part_dtype(spec: ModelSpec, part: str, weight_dtype: str | None = None) -> str:
    """Format in which ``part`` lies in memory under an optional override of the checkpoint's formats."""
    name = spec.weight_dtype if weight_dtype is None else dtype(weight_dtype, kind="weight dtype").name
    if spec.weight_dtype == name or spec.weight_dtype.startswith(f"{name}_g"):  # int4 checkpoints know their groups
        return spec.part_dtype(part)
    if part not in QUANTIZABLE or part in KEPT_BY_ONLINE_QUANTISATION:
        return spec.base_dtype
    if name == "mxfp4" and spec.is_moe and part != "experts":
        return spec.base_dtype
    if name == "nvfp4" and part in ("attention", "linear") and (spec.is_moe or _has_linear(spec)):
        # published NVFP4 exports of MoE and hybrid models keep them in FP8 (ModelOpt model cards; logged weights)
        return "fp8" if spec.weight_dtype == spec.base_dtype else spec.part_dtype(part)
    if spec.weight_dtype != spec.base_dtype and part in spec.unquantized and dtype(name).bits < 16:
        return spec.base_dtype
    return name


def _has_linear(spec: ModelSpec) -> bool:
    return any(isinstance(m, LinearMixer) for g in spec.layers for m in g.layer.mixers)


def _bytes(spec: ModelSpec, piece: Piece, weight_dtype: str | None) -> float:
    name = spec.base_dtype if piece.base else part_dtype(spec, piece.part, weight_dtype)
    return dtype(name).bytes


def _mxfp4_growth(p: Piece, layer: Layer, spec: ModelSpec, weight_dtype: str | None, marlin: bool) -> float:
    """Padding of MXFP4 expert kernels (vLLM ``mxfp4.py``) as a factor: gpt-oss has 2880 x 2880."""
    m = layer.mlp
    if p.part != "experts" or not isinstance(m, MoeMlp) or part_dtype(spec, "experts", weight_dtype) != "mxfp4":
        return 1.0
    hidden = m.latent_size or spec.hidden_size
    inter_pad = MXFP4_MARLIN_INTER_PAD if marlin else MXFP4_INTER_PAD
    return _up(hidden, MXFP4_HIDDEN_PAD) * _up(m.intermediate_size, inter_pad) / (hidden * m.intermediate_size)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def layer_pieces(layer: Layer, spec: ModelSpec, tp: int, ep: int = 1) -> Iterator[Piece]:
    """Weights of one block on one rank."""
    one = layer_params(layer, spec.hidden_size)
    for mixer in layer.mixers:
        yield from _mixer(mixer, spec, tp)
    m = layer.mlp
    if isinstance(m, MoeMlp):
        experts = one.experts / m.num_experts * -(-m.num_experts // ep) if ep > 1 else one.experts / tp
        yield Piece("experts", experts)
        yield Piece("mlp", one.mlp)  # projections to a latent width, on every rank
    else:
        yield Piece("mlp", one.mlp / tp)
    yield Piece("shared_expert", one.shared_expert / tp)
    yield Piece("router", one.router)
    yield Piece("norm", one.norm, base=True)
    yield Piece("other", one.other, base=True)


def _mixer(mixer: Mixer, spec: ModelSpec, tp: int) -> Iterator[Piece]:
    """A mixer on one rank: what is replicated in full, KV heads as they fall, the rest divided."""
    total = mixer_params(mixer, spec.hidden_size)
    match mixer:
        case LinearMixer():
            yield Piece("linear", total / tp)
        case MlaAttention():
            h = spec.hidden_size
            down = h * (mixer.q_lora_rank or 0) + h * (mixer.kv_lora_rank + mixer.qk_rope_head_dim)
            kept = down + mixer.extra_params + _index_params(mixer.index, mixer.q_lora_rank or h, h)
            yield Piece("attention", kept + (total - kept) / tp)
            # vLLM keeps 16-bit copies of kv_b for absorbed decode beside the projection itself
            kv_b = mixer.kv_lora_rank * mixer.num_heads * (mixer.qk_nope_head_dim + mixer.v_head_dim)
            yield Piece("absorbed", kv_b / tp, base=True)
        case Attention():
            width = mixer.in_size or spec.hidden_size
            kept = width * (mixer.q_lora_rank or 0) + mixer.extra_params
            kept += _index_params(mixer.index, mixer.q_lora_rank or width, width)
            per_head = 0
            if mixer.owns_kv:
                vectors = mixer.head_dim if mixer.k_eq_v or mixer.v_from_k else mixer.head_dim + mixer.v_head_dim
                per_head = (width + (1 if mixer.qkv_bias else 0)) * vectors
            kv = per_head * kv_heads_per_rank(mixer.num_kv_heads, tp)
            yield Piece("attention", kept + kv + (total - kept - per_head * mixer.num_kv_heads) / tp)


def _index_params(index: SparseIndex | None, q_width: int, width: int) -> int:
    """Weights of a sparse indexer (on every rank): queries, one key, head weights."""
    if index is None or not index.owns_cache:
        return 0
    return q_width * index.num_heads * index.head_dim + width * (index.head_dim + index.num_heads)


def outer_pieces(spec: ModelSpec, tp: int, pp: int = 1) -> Iterator[Piece]:
    """Weights outside the layers on the fullest stage (with ``pp`` > 1 a stage holds embedding or head)."""
    rank_table = _up(spec.vocab_size, VOCAB_PAD * tp) / tp * spec.hidden_size
    yield Piece("embedding", rank_table + spec.learned_positions * spec.hidden_size, base=True)
    if not spec.tie_embeddings and pp == 1:
        yield Piece("lm_head", rank_table)
    yield Piece("ple", spec.ple_params / tp, base=True)
    yield Piece("vision", spec.extra_params / tp, base=True)
    yield Piece("other", spec.other_params, base=True)
    yield Piece("rope", (spec.max_position or 0) * sum(_rope_dims(spec)), base=True)


def _rope_dims(spec: ModelSpec) -> set[int]:
    """Widths of the cosine/sine tables that every rank keeps, one row per position and one table per width.

    Llama-3.1-8B: 131072 x 128 x 2 bytes = 0.031 GiB, the gap between its parameters and the logged 14.9888 GiB.
    """
    mixers = (m for g in spec.layers for m in g.layer.mixers)
    return {m.qk_rope_head_dim if isinstance(m, MlaAttention) else m.head_dim
            for m in mixers if not isinstance(m, LinearMixer)}
