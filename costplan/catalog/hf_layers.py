"""The layers of a config, one by one, then grouped by shape."""

from __future__ import annotations

from collections.abc import Callable

from costplan.catalog.hf_attention import attention, head_dim, num_heads
from costplan.catalog.hf_families import Family
from costplan.catalog.hf_fields import Fields
from costplan.catalog.hf_linear import linear_mixer
from costplan.catalog.hf_mlp import dense, is_moe_layer, mlp, moe
from costplan.catalog.hf_windows import FULL, spans
from costplan.catalog.model_spec import Attention, DenseMlp, Layer, LayerGroup, Mixer, MoeMlp


def layer_groups(f: Fields, family: Family) -> tuple[LayerGroup, ...]:
    """All layers of the model, equal ones together, in order of first appearance."""
    counts: dict[Layer, int] = {}
    for layer in _LAYOUTS[family.layout](f, family):
        counts[layer] = counts.get(layer, 0) + 1
    copies = f.integer_or(1, "num_mem_blocks") if family.layout == "zamba2" else None
    return tuple(LayerGroup(layer, n, min(copies, n) if copies and layer.mlp is not None else None)
                 for layer, n in counts.items())


def norm_width(f: Fields, family: Family) -> int:
    """Weights of one norm over the hidden size."""
    return f.hidden_size * (2 if family.norm_bias else 1) if family.norms or family.layout != "decoder" else 0


def _decoder(f: Fields, family: Family) -> list[Layer]:
    """Mixer and feed-forward in every layer."""
    n = f.num_layers
    norms = _norms_per_block(f, family) * norm_width(f, family)
    out = []
    for i, span in enumerate(spans(f, family, n)):
        if span.kind == "linear":
            if not family.linear:
                raise f.fail("layer_types", "has linear layers, which this model_type does not define",
                             "check model_type")
            mixer: Mixer = linear_mixer(f, family.linear)
        else:
            mixer = attention(f, family, span, i, n)
        block = mlp(f, family, i, n)
        out.append(Layer((mixer,), block, norm_params=norms, extra_params=_extra(f, block)))
    return out


def _norms_per_block(f: Fields, family: Family) -> int:
    if f.text("model_type") == "falcon":
        new = f.flag("new_decoder_architecture", default=False)
        one = f.flag("parallel_attn", default=True) and not new
        return f.integer_or(1 if one else 2, "num_ln_in_parallel_attn")
    return family.norms


def _extra(f: Fields, block: DenseMlp | MoeMlp | None) -> int:
    """Small per-layer matrices: per-layer embeddings and expert norms (Gemma 4), hyper-connections."""
    hidden = f.hidden_size
    extra = 0
    ple = f.integer_or(0, "hidden_size_per_layer_input", low=0)
    if ple:
        extra += 2 * hidden * ple + hidden
    if f.text("model_type").startswith("gemma4"):
        extra += 1  # layer scalar
        if isinstance(block, MoeMlp):
            extra += 4 * hidden + block.num_experts  # three more norms, router scale, expert scales
    hc = f.integer_or(0, "hc_mult", low=0, high=64)
    if hc:
        mix = (2 + hc) * hc
        extra += 2 * (mix * hc * hidden + mix + 3)
    return extra


def _hybrid(f: Fields, family: Family) -> list[Layer]:
    """Mamba and attention layers by turns, each with a feed-forward part (Jamba, Bamba, Granite 4)."""
    n = f.num_layers
    listed = f.array("layer_types", at_least=n) or f.array("layers_block_type", at_least=n)
    chosen = f.array("attn_layer_indices") or []
    period, offset = f.integer_or(None, "attn_layer_period"), f.integer_or(0, "attn_layer_offset", low=0)
    mamba = linear_mixer(f, family.linear)
    out = []
    for i in range(n):
        if listed is not None:
            attends = listed[i] in ("attention", "full_attention")
        else:
            attends = i in chosen or (period is not None and i % period == offset % period)
        mixer = attention(f, family, FULL, i, n) if attends else mamba
        out.append(Layer((mixer,), _hybrid_mlp(f, family, i, n), norm_params=2 * f.hidden_size))
    return out


def _hybrid_mlp(f: Fields, family: Family, i: int, n: int) -> DenseMlp | MoeMlp:
    if f.text("model_type") == "granitemoehybrid" and not is_moe_layer(f, i, n):
        return DenseMlp(f.integer("shared_intermediate_size"))
    return mlp(f, family, i, n)


def _nemotron_h(f: Fields, family: Family) -> list[Layer]:
    """One mixer *or* one feed-forward part per layer, by the letters M * - E (or their names)."""
    names = f.array("layers_block_type")
    pattern = f.text("hybrid_override_pattern") if names is None else "".join(
        {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}.get(str(name), "?") for name in names)
    if not pattern:
        raise f.missing("hybrid_override_pattern", "layers_block_type")
    n = f.integer_or(len(pattern), "num_hidden_layers")
    if len(pattern) != n:
        raise f.fail("hybrid_override_pattern", f"has {len(pattern)} letters for {n} layers", "one letter per layer")
    norm = f.hidden_size
    made: dict[str, Callable[[], Layer]] = {
        "M": lambda: Layer((linear_mixer(f, family.linear),), None, norm),
        "*": lambda: Layer((attention(f, family, FULL, 0, n),), None, norm),
        "-": lambda: Layer((), dense(f, family), norm),
        "E": lambda: Layer((), moe(f, family), norm),
    }
    unknown = sorted(set(pattern) - set(made))
    if unknown:
        raise f.fail("hybrid_override_pattern", f"has the letter {unknown[0]!r}", "known letters: M * - E")
    layers = {letter: made[letter]() for letter in set(pattern)}
    return [layers[letter] for letter in pattern]


def _deci(f: Fields, family: Family) -> list[Layer]:
    """DeciLM: each layer says how many query heads share a KV head, and how wide its MLP is, or skips either."""
    n = f.num_layers
    blocks = f.array("block_configs", at_least=n)
    if blocks is None:
        return _decoder(f, family)
    hidden, heads = f.hidden_size, num_heads(f)
    dim = head_dim(f, heads)
    out = []
    for i, raw in enumerate(blocks[:n]):
        block = Fields(raw, f.where, f"block_configs[{i}].") if isinstance(raw, dict) else None
        at = block.sub("attention") if block else None
        ffn = block.sub("ffn") if block else None
        if at is None or ffn is None:
            raise f.fail(f"block_configs[{i}]", "has no attention or ffn object", "check the config file")
        mixers: tuple[Mixer, ...] = ()
        extra = norms = 0
        if not at.flag("no_op", default=False):
            norms += hidden
            if at.flag("replace_with_linear", default=False):
                extra += hidden * hidden
            else:
                shared = at.integer("n_heads_in_group", high=heads)
                mixers = (Attention(heads, max(1, heads // shared), dim, dim,
                                    window=at.integer_or(None, "window_length")),)
        part = None
        if not ffn.flag("no_op", default=False):
            norms += hidden
            if ffn.flag("replace_with_linear", default=False):
                extra += hidden * hidden
            else:
                part = DenseMlp(_deci_width(ffn, hidden))
        out.append(Layer(mixers, part, norm_params=norms, extra_params=extra))
    return out


def _deci_width(ffn: Fields, hidden: int) -> int:
    """2/3 of ``ffn_mult`` x hidden, rounded up to a multiple of 256 (DeciLM's own rule)."""
    explicit = ffn.integer_or(None, "intermediate_size")
    if explicit is not None:
        return explicit
    mult = ffn.number_or(0.0, "ffn_mult", high=1000)
    if not mult:
        raise ffn.missing("ffn_mult", "intermediate_size")
    return -(-int(2 * mult * hidden / 3) // 256) * 256


def _falcon_h1(f: Fields, family: Family) -> list[Layer]:
    """Attention and Mamba on the same input in every layer."""
    n = f.num_layers
    mamba = linear_mixer(f, family.linear)
    one = Layer((attention(f, family, FULL, 0, n), mamba), dense(f, family), norm_params=2 * f.hidden_size)
    return [one] * n


def _zamba2(f: Fields, family: Family) -> list[Layer]:
    """Mamba in every layer; some also run one shared block of attention over [hidden, embedding] and MLP."""
    n, hidden = f.num_layers, f.hidden_size
    kinds = f.array("layers_block_type", at_least=n)
    if kinds is None:
        kinds = ["mamba", *(["mamba"] * 5 + ["hybrid"]) * 7, *["mamba"] * 4, "hybrid", *["mamba"] * 3, "hybrid",
                 "mamba", "mamba"]
        if len(kinds) != n:
            raise f.missing("layers_block_type")
    mamba = linear_mixer(f, family.linear)
    heads = num_heads(f)
    dim = f.integer_or(2 * hidden // heads, "attention_head_dim", high=1 << 16)
    attn = Attention(heads, f.integer_or(heads, "num_key_value_heads"), dim, dim, in_size=2 * hidden)
    size = f.integer_or(4 * hidden, "intermediate_size")
    rank = f.integer_or(128, "adapter_rank")
    plain = Layer((mamba,), None, norm_params=hidden)
    # own weights of a hybrid layer: the linear back to hidden size and a low-rank adapter on the MLP
    hybrid = Layer((attn, mamba), DenseMlp(size), norm_params=4 * hidden,
                   extra_params=hidden * hidden + rank * (hidden + 2 * size))
    return [hybrid if kind == "hybrid" else plain for kind in kinds[:n]]


def _mamba(f: Fields, family: Family) -> list[Layer]:
    """Mamba alone."""
    return [Layer((linear_mixer(f, family.linear),), None, norm_params=f.hidden_size)] * f.num_layers


_LAYOUTS: dict[str, Callable[[Fields, Family], list[Layer]]] = {
    "decoder": _decoder, "hybrid": _hybrid, "nemotron_h": _nemotron_h, "deci": _deci,
    "falcon_h1": _falcon_h1, "zamba2": _zamba2, "mamba": _mamba,
}
