"""What a model is to an inference engine: its layers, their attention and MLP shapes, its precision.

A spec is made from a Hugging Face ``config.json`` (`catalog.hf_config`) or taken from the built-in table
(`catalog.models`). Layers of one shape are grouped: ``LayerGroup(layer, count)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SparseIndex:
    """The indexer of sparse attention: picks ``top_k`` tokens per query, keeps a key cache of its own.

    ``head_dim`` elements are cached per token (or per ``compress_ratio`` tokens). Picks are made in blocks
    of ``block_size`` tokens (MiniMax-M3: 128). ``owns_cache`` is False for a layer that reuses the picks of
    an earlier one (GLM-5.2): such a layer has neither indexer weights nor an index cache.
    """

    num_heads: int
    head_dim: int
    top_k: int
    block_size: int = 1
    owns_cache: bool = True


@dataclass(frozen=True, slots=True)
class Attention:
    """Softmax attention with a KV cache: MHA, GQA or MQA, full or windowed.

    ``window`` is the number of most recent tokens that stay visible (None: all). ``owns_kv`` is False for
    a layer that reads the cache of an earlier one (Gemma 3n/4 KV sharing, cross-layer attention).
    ``k_eq_v`` means that one stored vector serves as key and value (DeepSeek V4: cache is halved).
    ``v_from_k`` means that values are computed by the key projection, yet both are stored (Gemma 4).
    ``output_gate`` doubles the query projection (Qwen3-Next/3.5). ``compress_ratio`` > 1 stores one KV entry
    per so many tokens (DeepSeek V4) beside the window. ``chunked`` marks a window that restarts every
    ``window`` tokens instead of sliding (Llama 4). ``sinks`` adds one learned logit per head (gpt-oss).
    ``in_size`` is the width of the input where it is not the hidden size (Zamba2). ``extra_params`` counts
    weights beside the projections: query/key norms, sinks, compressors.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    v_head_dim: int
    window: int | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: bool = False
    output_gate: bool = False
    owns_kv: bool = True
    k_eq_v: bool = False
    compress_ratio: int = 1
    o_lora_rank: int | None = None
    q_lora_rank: int | None = None
    o_groups: int = 1
    v_from_k: bool = False
    chunked: bool = False
    sinks: bool = False
    in_size: int | None = None
    index: SparseIndex | None = None
    extra_params: int = 0


@dataclass(frozen=True, slots=True)
class MlaAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one latent of
    ``kv_lora_rank + qk_rope_head_dim`` per token and layer, the same for all heads."""

    num_heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None
    index: SparseIndex | None = None
    output_gate: bool = False
    extra_params: int = 0


@dataclass(frozen=True, slots=True)
class LinearMixer:
    """A layer whose state per sequence is constant: Mamba 1/2, gated delta net, Kimi delta attention, RG-LRU.

    ``state_elems`` is the recurrent state and ``conv_elems`` the convolution state, in elements per
    sequence before tensor parallelism; ``params`` counts all weights of the mixer. The head numbers
    describe the kernel (None where the kind has none). ``state_dtype`` is the dtype of the recurrent state
    where the config sets one (None: the engine's choice, usually that of the activations).
    """

    kind: str  # mamba1 | mamba2 | gdn | kda | lightning | rglru
    state_elems: int
    conv_elems: int
    params: int
    num_k_heads: int | None = None
    head_k_dim: int | None = None
    num_v_heads: int | None = None
    head_v_dim: int | None = None
    conv_kernel: int | None = None
    n_groups: int | None = None
    state_dtype: str | None = None


@dataclass(frozen=True, slots=True)
class DenseMlp:
    """Feed-forward block: gated (SwiGLU, three matrices) or plain (two)."""

    intermediate_size: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoeMlp:
    """Mixture of experts: ``top_k`` of ``num_experts`` routed experts per token plus a shared one.

    ``intermediate_size`` is of one routed expert; ``shared_intermediate_size`` the sum over all shared
    experts (0: none). ``latent_size`` is the width that experts work in where it is not the hidden size.
    """

    num_experts: int
    top_k: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    gated: bool = True
    bias: bool = False
    router_bias: bool = False
    shared_gate: bool = False
    latent_size: int | None = None


QUANTIZABLE = frozenset(
    {"attention", "linear", "mlp", "experts", "shared_expert", "router", "lm_head", "mtp"})
"""Parts that a checkpoint's quantisation may reach; everything else stays in the base dtype."""

Mixer = Attention | MlaAttention | LinearMixer
Mlp = DenseMlp | MoeMlp


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer block; a block of a hybrid model may lack mixers or an MLP.

    ``mixers`` holds one mixer, or several that run on the same input (Falcon-H1 runs attention beside
    Mamba). ``norm_params`` counts the block's own norms; ``extra_params`` small matrices outside mixer and
    MLP (per-layer-embedding gates, hyper-connections), which every token passes through.
    """

    mixers: tuple[Mixer, ...]
    mlp: Mlp | None
    norm_params: int = 0
    extra_params: int = 0


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """``count`` layers of one shape.

    ``copies`` says how often the attention and MLP weights of the group are stored where that is not
    ``count`` (Zamba2 runs one shared block at several depths).
    """

    layer: Layer
    count: int
    copies: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model. ``weight_dtype`` is that of the checkpoint's linear layers; ``base_dtype`` that of
    everything which its quantisation leaves alone (embeddings, norms, ignored modules) and of activations.

    ``unquantized`` names the parts that the checkpoint keeps in ``base_dtype``:
    any of `QUANTIZABLE`.
    ``part_dtypes`` names parts that are stored in a third format (NVFP4 experts beside FP8 attention).
    ``extra_params`` counts weights outside the decoder (vision tower, projector); ``mtp_params`` those of
    multi-token-prediction layers, which published totals may or may not include. ``other_params`` are the
    decoder's weights outside layers, embeddings and head (final norm, head bias, per-layer-embedding
    projection).
    """

    name: str
    model_type: str
    hidden_size: int
    vocab_size: int
    layers: tuple[LayerGroup, ...]
    tie_embeddings: bool
    base_dtype: str
    weight_dtype: str
    kv_dtype: str | None = None
    unquantized: frozenset[str] = frozenset({"lm_head", "router"})
    max_position: int | None = None
    extra_params: int = 0
    mtp_params: int = 0
    ple_params: int = 0  # per-layer embeddings (Gemma 3n/4): looked up, not multiplied
    learned_positions: int = 0
    other_params: int = 0
    part_dtypes: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())
    source: str = ""

    @property
    def num_layers(self) -> int:
        return sum(g.count for g in self.layers)

    def part_dtype(self, part: str) -> str:
        """Storage format of ``part``, a name of `ParamCount.parts` (``attention``, ``experts`` ...)."""
        if part in (own := dict(self.part_dtypes)):
            return own[part]
        if part in self.unquantized or part not in QUANTIZABLE:
            return self.base_dtype
        return self.weight_dtype

    @property
    def is_moe(self) -> bool:
        return any(isinstance(g.layer.mlp, MoeMlp) for g in self.layers)
