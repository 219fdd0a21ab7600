"""Softmax attention of a config: GQA with its per-layer variants, MLA, and DeepSeek-V4's compressed kind."""

from __future__ import annotations

from costplan.catalog.hf_families import Family
from costplan.catalog.hf_fields import Fields
from costplan.catalog.hf_windows import Span
from costplan.catalog.model_spec import Attention, MlaAttention, SparseIndex

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "multi_query_group_num",
             "num_attention_groups", "num_query_groups")


def attention(f: Fields, family: Family, span: Span, i: int, num_layers: int) -> Attention | MlaAttention:
    """The attention of layer ``i``."""
    if f.has("kv_lora_rank"):
        return _mla(f, i)
    if f.has("compress_ratios"):
        return _compressed(f, i, num_layers)
    return _gqa(f, family, span, i, num_layers)


def num_heads(f: Fields) -> int:
    return f.integer(*_HEADS, high=1 << 16)


def num_kv_heads(f: Fields, heads: int) -> int:
    """KV heads; absent means one per query head, except where a multi-query flag says one."""
    if f.flag("multi_query", default=False) and not f.flag("new_decoder_architecture", default=False):
        return 1
    nested = f.sub("attn_config")
    if nested is not None and nested.has("kv_n_heads"):
        return nested.integer("kv_n_heads", high=1 << 16)
    kv = f.integer_or(heads, *_KV_HEADS, high=1 << 16)
    if heads % kv:
        raise f.fail("num_key_value_heads", f"is {kv}, which does not divide {heads} query heads",
                     "check the config file for a typing error")
    return kv


def head_dim(f: Fields, heads: int) -> int:
    """The explicit head_dim where the file has one, else hidden size over heads."""
    explicit = f.integer_or(None, "head_dim", "attention_head_dim", "kv_channels", high=1 << 16)
    if explicit is not None:
        return explicit
    hidden = f.hidden_size
    if hidden % heads:
        raise f.fail("head_dim", f"is missing and hidden_size {hidden} is no multiple of {heads} heads",
                     "add head_dim to the config")
    return hidden // heads


def _gqa(f: Fields, family: Family, span: Span, i: int, num_layers: int) -> Attention:
    heads = num_heads(f)
    kv = num_kv_heads(f, heads)
    dim = head_dim(f, heads)
    v_dim = f.integer_or(dim, "v_head_dim", high=1 << 16)
    k_is_v = False
    if span.kind == "sliding":
        heads, kv, dim, v_dim = _sliding_shape(f, heads, kv, dim, v_dim)
    elif f.has("global_head_dim"):
        dim = v_dim = f.integer("global_head_dim", high=1 << 16)
        k_is_v = f.flag("attention_k_eq_v", default=False)
        if k_is_v:
            kv = f.integer_or(kv, "num_global_key_value_heads", high=1 << 16)
    bias = f.flag("attention_bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias",
                  default=f.flag("use_bias", "bias", default=family.qkv_bias))
    o_bias = f.flag("o_bias", default=family.o_bias or (
        f.flag("attention_bias", default=False) and _bias_covers_o(f)) or f.flag("use_bias", "bias", default=False))
    owns = i < num_layers - f.integer_or(0, "num_kv_shared_layers", low=0, high=num_layers)
    sinks = _sinks(f, span)
    norm = _norm_params(f, family, heads, kv, dim)
    gate = f.flag("attn_output_gate", "attention_output_gate", default=family.output_gate)
    head_gate = f.hidden_size * heads if f.flag("use_head_wise_attn_gate", default=family.head_gate) else 0
    if not owns and norm:
        norm -= dim
    return Attention(
        num_heads=heads, num_kv_heads=kv, head_dim=dim, v_head_dim=v_dim, window=span.window, qkv_bias=bias,
        o_bias=o_bias, qk_norm=bool(norm) or f.flag("use_qk_norm", default=False), output_gate=gate, owns_kv=owns,
        v_from_k=k_is_v, chunked=span.kind == "chunked", sinks=sinks, index=_block_index(f, i),
        extra_params=norm + head_gate + (heads if sinks else 0))


def _sliding_shape(f: Fields, heads: int, kv: int, dim: int, v_dim: int) -> tuple[int, int, int, int]:
    """Heads of a windowed layer where they differ from a full one (MiMo-V2, Step-3.5)."""
    other = f.sub("attention_other_setting")
    if other is not None:
        heads = other.integer_or(heads, "num_attention_heads", high=1 << 16)
        kv = other.integer_or(kv, "num_attention_groups", high=1 << 16)
        dim = v_dim = other.integer_or(dim, "head_dim", high=1 << 16)
    heads = f.integer_or(heads, "swa_num_attention_heads", high=1 << 16)
    kv = f.integer_or(kv, "swa_num_key_value_heads", high=1 << 16)
    dim = f.integer_or(dim, "swa_head_dim", high=1 << 16)
    return heads, kv, dim, f.integer_or(v_dim, "swa_v_head_dim", high=1 << 16)


def _bias_covers_o(f: Fields) -> bool:
    """In Llama and its kin ``attention_bias`` also gives the output projection a bias; in others not."""
    return f.text("model_type").removesuffix("_text") in {"llama", "granite", "smollm3", "qwen3", "qwen3_moe", "gemma3"}


def _sinks(f: Fields, span: Span) -> bool:
    if f.text("model_type") == "gpt_oss":
        return True
    key = "add_swa_attention_sink_bias" if span.kind == "sliding" else "add_full_attention_sink_bias"
    return f.flag(key, default=False)


def _norm_params(f: Fields, family: Family, heads: int, kv: int, dim: int) -> int:
    """Weights of query and key norms."""
    kind = family.qk_norm
    if f.text("model_type").startswith(("glm4_moe", "cohere")):  # off unless the file asks for it
        asked = f.flag("use_qk_norm", default=False)
        kind = ("full" if f.text("model_type").startswith("cohere") else "head") if asked else ""
    if f.flag("use_qk_norm", default=True) is False and kind:
        return 0
    if kind == "full":
        return (heads + kv) * dim
    return 2 * dim if kind == "head" else 0


def _block_index(f: Fields, i: int) -> SparseIndex | None:
    """The block indexer of MiniMax-M3, None for its dense-attention layers and all other models."""
    sparse = f.sub("sparse_attention_config")
    if sparse is None or not sparse.flag("use_sparse_attention", default=True):
        return None
    layers = sparse.array("sparse_attention_freq")
    if layers is not None and i < len(layers) and layers[i] in (0, False):
        return None
    block = sparse.integer_or(128, "sparse_block_size")
    return SparseIndex(num_heads=sparse.integer("sparse_num_index_heads", high=1 << 16),
                       head_dim=sparse.integer("sparse_index_dim", high=1 << 16),
                       top_k=sparse.integer("sparse_topk_blocks") * block, block_size=block)


def _mla(f: Fields, i: int) -> MlaAttention:
    """Multi-head latent attention; with ``index_*`` keys DeepSeek sparse attention on top."""
    index = None
    if f.has("index_topk"):
        index = _token_index(f, owns=_owns_index(f, i))
    heads = num_heads(f)
    v_dim = f.integer("v_head_dim", high=1 << 16)
    gate = f.hidden_size * heads * v_dim if f.flag("mla_use_output_gate", default=False) else 0
    return MlaAttention(
        num_heads=heads, kv_lora_rank=f.integer("kv_lora_rank"),
        qk_nope_head_dim=f.integer("qk_nope_head_dim", high=1 << 16),
        qk_rope_head_dim=f.integer("qk_rope_head_dim", low=0, high=1 << 16), v_head_dim=v_dim,
        q_lora_rank=f.integer_or(None, "q_lora_rank"), index=index, output_gate=bool(gate), extra_params=gate)


def _owns_index(f: Fields, i: int) -> bool:
    kinds = f.array("indexer_types", at_least=i + 1)
    return kinds is None or kinds[i] != "shared"


def _token_index(f: Fields, *, owns: bool = True) -> SparseIndex:
    return SparseIndex(num_heads=f.integer("index_n_heads", high=1 << 16),
                       head_dim=f.integer("index_head_dim", high=1 << 16), top_k=f.integer("index_topk"),
                       owns_cache=owns)


def _compressed(f: Fields, i: int, num_layers: int) -> Attention:
    """DeepSeek-V4 attention: one shared KV head, a window, and beside it one entry per ``ratio`` tokens.

    Ratio 0 keeps the window alone; 4 adds an indexer (CSA), 128 attends to all entries (HCA).
    """
    ratios = f.array("compress_ratios", at_least=num_layers) or []
    ratio = f.as_int("compress_ratios", ratios[i], 0, 1 << 16)
    heads, dim = num_heads(f), f.integer("head_dim", high=1 << 16)
    q_rank = f.integer("q_lora_rank")
    index = _token_index(f) if ratio and ratio <= 16 else None
    overlap = 2 if index is not None else 1
    hidden = f.hidden_size
    # compressor: value and gate projections, position table, norm; the indexer has one of its own
    compressor = 2 * overlap * hidden * dim + ratio * overlap * dim + dim if ratio else 0
    if index is not None:
        compressor += 2 * overlap * hidden * index.head_dim + ratio * overlap * index.head_dim + index.head_dim
    return Attention(
        num_heads=heads, num_kv_heads=f.integer_or(1, "num_key_value_heads"), head_dim=dim, v_head_dim=dim,
        window=f.integer("sliding_window"), k_eq_v=True, compress_ratio=max(ratio, 1), sinks=True,
        q_lora_rank=q_rank, o_lora_rank=f.integer("o_lora_rank"), o_groups=f.integer_or(1, "o_groups"),
        index=index, extra_params=compressor + heads + q_rank + dim)
