"""KV cache and recurrent state of one model on one rank: bytes per token, per sequence, per block.

Layouts follow vLLM: K and V of every owned layer, KV heads sharded over ``tp`` and replicated where ``tp``
exceeds them, MLA latents replicated on every rank, windows bounded, linear layers with a constant state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costplan.catalog.model_spec import Attention, LinearMixer, MlaAttention, ModelSpec, SparseIndex
from costplan.core.dtypes import dtype
from costplan.core.errors import InputError

INDEX_SCALE_BYTES = 4
"""The sparse indexer keeps FP8 keys and one fp32 scale per 128 of them (DeepSeek-V3.2)."""

SCALED_PER_HEAD = {"int8_per_token_head": 8, "fp8_per_token_head": 8, "int4_per_token_head": 4}
"""KV formats with one fp32 scale per token and head; value: bits per element."""

MLA_FORMATS = {"fp8_ds_mla": "fp8", "nvfp4_ds_mla": "nvfp4"}


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What ``count`` layers of one kind store on one rank.

    ``bytes_per_token`` is of one layer and one cached token; ``window`` bounds how many stay (None: all);
    ``state_bytes`` is stored once per sequence and layer.
    """

    count: int
    bytes_per_token: float
    window: int | None = None
    chunked: bool = False
    state_bytes: float = 0.0

    @property
    def is_state(self) -> bool:
        return self.state_bytes > 0


def resolve_kv_dtype(spec: ModelSpec, kv_dtype: str | None) -> str:
    """Storage format of the cache; ``auto`` and None mean the checkpoint's own, else the base dtype."""
    if kv_dtype in (None, "auto", "unknown"):
        return spec.kv_dtype or spec.base_dtype
    if kv_dtype in SCALED_PER_HEAD or kv_dtype in MLA_FORMATS:
        return str(kv_dtype)
    return dtype(str(kv_dtype), kind="KV dtype").name


def checkpoint_kv_dtype(spec: ModelSpec, weight_dtype: str | None, kv_dtype: str | None) -> str:
    """`resolve_kv_dtype`, where an NVFP4 checkpoint of a 16-bit model brings FP8 KV scales (ModelOpt exports)."""
    if kv_dtype in (None, "auto", "unknown") and spec.kv_dtype is None and weight_dtype == "nvfp4":
        return "fp8"
    return resolve_kv_dtype(spec, kv_dtype)


def kv_heads_per_rank(num_kv_heads: int, tp: int) -> int:
    """KV heads that one rank holds; replicated where ``tp`` exceeds them."""
    return max(1, -(-num_kv_heads // tp))


def layer_caches(spec: ModelSpec, kv_dtype: str | None = None, tp: int = 1) -> list[LayerCache]:
    """Caches of every layer kind of ``spec`` on one of ``tp`` ranks, before pipeline splitting."""
    if tp < 1:
        raise InputError(f"tp must be at least 1, got {tp}", where="tp")
    name = resolve_kv_dtype(spec, kv_dtype)
    found: dict[tuple[float, int | None, bool, float], int] = {}
    for group in spec.layers:
        for mixer in group.layer.mixers:
            for c in _mixer_caches(mixer, spec, name, tp):
                key = (c.bytes_per_token, c.window, c.chunked, c.state_bytes)
                found[key] = found.get(key, 0) + group.count
    return [LayerCache(n, *key) for key, n in found.items()]


def _mixer_caches(mixer: Attention | MlaAttention | LinearMixer, spec: ModelSpec, kv: str,
                  tp: int) -> Iterator[LayerCache]:
    if isinstance(mixer, LinearMixer):
        yield LayerCache(1, 0.0, state_bytes=_state_bytes(mixer, spec, tp))
        return
    if isinstance(mixer, MlaAttention):
        index = _index_bytes(mixer.index) if mixer.index else 0.0
        yield LayerCache(1, _mla_bytes(mixer, kv) + index)
        return
    if not mixer.owns_kv:
        return
    entry = _entry_bytes(mixer, kv, tp)
    if mixer.compress_ratio > 1:
        index = _index_bytes(mixer.index) if mixer.index else 0.0
        yield LayerCache(1, (entry + index) / mixer.compress_ratio)
        if mixer.window:
            yield LayerCache(1, entry, mixer.window)
        return
    index = _index_bytes(mixer.index) if mixer.index else 0.0
    yield LayerCache(1, entry + index, mixer.window, mixer.chunked)


def _entry_bytes(a: Attention, kv: str, tp: int) -> float:
    """Bytes of one token in one layer: K and V of the heads on this rank."""
    heads = kv_heads_per_rank(a.num_kv_heads, tp)
    vectors = (a.head_dim,) if a.k_eq_v else (a.head_dim, a.v_head_dim)
    if kv in SCALED_PER_HEAD:
        return sum(heads * (d * SCALED_PER_HEAD[kv] / 8 + 4) for d in vectors)
    return heads * sum(vectors) * dtype(MLA_FORMATS.get(kv, kv)).bytes


def _mla_bytes(m: MlaAttention, kv: str) -> float:
    """Bytes of one latent; the same on every rank. FP8 with sparse attention uses ``fp8_ds_mla``."""
    if kv == "fp8_ds_mla" or (kv == "fp8" and m.index is not None):
        rope_bytes = 2 * m.qk_rope_head_dim
        return m.kv_lora_rank + 4 * (m.kv_lora_rank / 128) + rope_bytes
    kv = MLA_FORMATS.get(kv, kv)
    elems = m.kv_lora_rank + m.qk_rope_head_dim
    return elems * (SCALED_PER_HEAD[kv] / 8 if kv in SCALED_PER_HEAD else dtype(kv).bytes)


def _index_bytes(index: SparseIndex) -> float:
    """FP8 keys and their scales of the sparse indexer, per cached entry."""
    if not index.owns_cache:
        return 0.0
    return index.head_dim + INDEX_SCALE_BYTES * max(1, index.head_dim / 128)


def _state_bytes(m: LinearMixer, spec: ModelSpec, tp: int) -> float:
    """Recurrent and convolution state of one sequence in one layer on one rank (heads are sharded)."""
    state = m.state_elems * dtype(m.state_dtype or spec.base_dtype).bytes
    return (state + m.conv_elems * dtype(spec.base_dtype).bytes) / tp


def stage_share(spec: ModelSpec, pp: int) -> float:
    """Share of the layers on the fullest of ``pp`` pipeline stages."""
    if pp < 1 or pp > spec.num_layers:
        raise InputError(f"pp must lie between 1 and the number of layers ({spec.num_layers}), got {pp}", where="pp")
    return -(-spec.num_layers // pp) / spec.num_layers


def kv_bytes_per_token(spec: ModelSpec, kv_dtype: str | None = None, tp: int = 1, pp: int = 1) -> float:
    """Marginal bytes per rank of one more token of a long sequence: the layers that keep every token."""
    full = (c.count * c.bytes_per_token for c in layer_caches(spec, kv_dtype, tp) if c.window is None)
    return sum(full) * stage_share(spec, pp)


def state_bytes_per_sequence(spec: ModelSpec, tp: int = 1, pp: int = 1) -> float:
    """Bytes per rank that a sequence holds whatever its length: recurrent and convolution states."""
    return sum(c.count * c.state_bytes for c in layer_caches(spec, None, tp)) * stage_share(spec, pp)


def kv_bytes_per_sequence(spec: ModelSpec, tokens: int, kv_dtype: str | None = None, block_size: int = 16,
                          tp: int = 1, pp: int = 1) -> int:
    """Bytes per rank of one sequence of ``tokens`` cached tokens, in whole blocks, states included."""
    if tokens < 0 or block_size < 1:
        raise InputError(f"tokens must be >= 0 and block_size >= 1, got {tokens} and {block_size}")
    total = 0.0
    for c in layer_caches(spec, kv_dtype, tp):
        blocks = blocks_held(tokens, block_size, c.window, c.chunked)
        total += c.count * ((c.state_bytes if tokens else 0.0) + blocks * block_size * c.bytes_per_token)
    return round(total * stage_share(spec, pp))


def blocks_held(tokens: int, block_size: int, window: int | None, chunked: bool = False,
                slack_tokens: int = 0) -> int:
    """Blocks of a sequence at ``tokens``; a window keeps its last tokens, which may straddle one more block.

    ``slack_tokens`` are those of one prefill chunk, which a windowed layer holds until the step ends.
    """
    blocks = -(-tokens // block_size)
    if window is None:
        return blocks
    kept = window + slack_tokens if chunked else window - 1 + slack_tokens
    return min(blocks, -(-kept // block_size) + (0 if chunked else 1))
