"""Which layers of a config see all tokens, which a window, and which keep a constant state instead."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.catalog.hf_families import Family
from costplan.catalog.hf_fields import Fields

_KINDS = {
    "full_attention": "full", "attention": "full", "global": "full", "global_attention": "full", "full": "full",
    "deepseek_sparse_attention": "full", "sparse_attention": "full", "minimax_m3_sparse": "full",
    "sliding_attention": "sliding", "sliding_window_attention": "sliding", "local": "sliding",
    "local_attention": "sliding", "swa": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear", "mamba": "linear", "mamba2": "linear", "kda": "linear",
}


@dataclass(frozen=True, slots=True)
class Span:
    """What one layer can see: ``full``, ``sliding``, ``chunked`` or ``linear``; ``window`` in tokens."""

    kind: str
    window: int | None = None


FULL = Span("full")


def spans(f: Fields, family: Family, num_layers: int) -> list[Span]:
    """The span of every layer, from the file's own list where it has one, else by the family's rule."""
    listed = _listed(f, num_layers)
    kinds = listed if listed is not None else _by_rule(f, family, num_layers)
    size = f.integer_or(family.default_window, "sliding_window", "sliding_window_size", "window_size")
    chunk = f.integer_or(8192, "attention_chunk_size")
    limit = f.integer_or(None, "max_position_embeddings", high=1 << 40)
    out = []
    for kind in kinds:
        window = {"sliding": size, "chunked": chunk}.get(kind)
        if kind == "sliding" and window is None:
            raise f.missing("sliding_window")
        if window is not None and limit is not None and window >= limit:
            out.append(FULL)  # never reached: Phi-3.5 writes 262144 for "no window"
        else:
            out.append(Span(kind, window))
    return out


def _listed(f: Fields, num_layers: int) -> list[str] | None:
    """Kinds from a per-layer list in the file, or None."""
    names = f.array("layer_types", at_least=num_layers)
    if names is not None:
        return [_kind(f, "layer_types", n) for n in names[:num_layers]]
    for key, one, zero in (("hybrid_layer_pattern", "sliding", "full"), ("attn_type_list", "full", "linear"),
                           ("is_sliding", "sliding", "full")):
        flags = f.array(key, at_least=num_layers)
        if flags is not None:
            return [one if flag in (1, True) else zero for flag in flags[:num_layers]]
    linear = f.sub("linear_attn_config")
    if linear is not None and linear.has("full_attn_layers"):
        full = {linear.as_int("full_attn_layers", i, 0, num_layers)
                for i in linear.array("full_attn_layers") or []}
        kda = linear.array("kda_layers") or []
        base = 0 if 0 in kda or 0 in full else 1  # Kimi counts layers from 1, GLM-5.3 from 0
        return ["full" if i + base in full else "linear" for i in range(num_layers)]
    return None


def _kind(f: Fields, key: str, name: object) -> str:
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise f.fail(key, f"has a layer of type {name!r}, which costplan does not model",
                     f"known types: {', '.join(sorted(_KINDS))}")
    return kind


def _by_rule(f: Fields, family: Family, n: int) -> list[str]:
    """Kinds where the file has no list: the convention of the family's modelling code."""
    every = f.integer_or(None, "full_attention_interval")
    if every is not None or family.linear == "gdn":
        step = every or 4
        return ["full" if (i + 1) % step == 0 else "linear" for i in range(n)]
    match family.windows:
        case "alternate":
            kinds = ["sliding" if i % 2 == 0 else "full" for i in range(n)]
        case "nope4":
            kinds = _llama4(f, n)
        case "pattern":
            kinds = _pattern(f, n)
        case "qwen":
            kinds = _qwen(f, n)
        case "all":
            # the key absent: the class default; the key null: no window
            windowed = f.has("sliding_window", "sliding_window_size") or (
                family.default_window is not None and "sliding_window" not in f.data)
            kinds = ["sliding" if windowed else "full"] * n
        case _:
            kinds = ["full"] * n
    return kinds


def _qwen(f: Fields, n: int) -> list[str]:
    """Qwen 2 and 3: off unless ``use_sliding_window``; then the layers from ``max_window_layers`` on."""
    if not f.flag("use_sliding_window", default=False) or not f.has("sliding_window"):
        return ["full"] * n
    first = f.integer_or(n, "max_window_layers", low=0)
    return ["sliding" if i >= first else "full" for i in range(n)]


def _pattern(f: Fields, n: int) -> list[str]:
    """Every k-th layer is full (Gemma 3: 6, Cohere 2: 4), or a string such as ``LLLG`` (EXAONE 4)."""
    got = f.find("sliding_window_pattern")
    if got is not None and isinstance(got[1], str):
        word = got[1].upper()
        if not word or set(word) - set("LG"):
            raise f.fail("sliding_window_pattern", f"is {got[1]!r}", "use a number, or letters L and G")
        return ["sliding" if word[i % len(word)] == "L" else "full" for i in range(n)]
    if "sliding_window" in f.data and f.data["sliding_window"] is None:
        return ["full"] * n
    default = 4 if "cohere" in f.text("model_type") or "olmo" in f.text("model_type") else 6
    every = f.integer_or(default, "sliding_window_pattern", "_sliding_window_pattern")
    return ["sliding" if (i + 1) % every else "full" for i in range(n)]


def _llama4(f: Fields, n: int) -> list[str]:
    """Llama 4: layers with RoPE attend within a chunk, every fourth one (no RoPE) to all tokens."""
    rope = f.array("no_rope_layers") or []
    if len(rope) >= n:
        return ["chunked" if flag in (1, True) else "full" for flag in rope[:n]]
    step = f.integer_or(4, "no_rope_layer_interval")
    return ["chunked" if (i + 1) % step else "full" for i in range(n)]
