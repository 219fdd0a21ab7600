"""The element-wise kernels of one step: what runs, how wide, how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costplan.catalog.model_spec import Attention, DenseMlp, MlaAttention, Mlp, ModelSpec, MoeMlp
from costplan.perf.layout import Layout


@dataclass(frozen=True, slots=True)
class ElementwiseCall:
    """``count`` calls per step of ``op`` over ``k`` elements for each token, or each sequence with ``per_seq``."""

    op: str
    k: int
    count: float
    per_seq: bool = False


def elementwise_calls(spec: ModelSpec, layout: Layout, *, quant: str | None) -> list[ElementwiseCall]:
    """Calls of one rank, equal ones added up. ``quant``: the op that turns activations into 8 bits before each matrix
    product, None in 16 bits.

    Widths: normalised, activated and written elements of one token; rope counts queries and keys, kv_write keys
    and values, sampling the vocabulary.
    """
    found: dict[tuple[str, int, bool], float] = {}
    for c in _calls(spec, layout, quant):
        if c.k >= 1:
            key = c.op, c.k, c.per_seq
            found[key] = found.get(key, 0.0) + c.count
    return [ElementwiseCall(op, k, count, per_seq) for (op, k, per_seq), count in found.items()]


def _calls(spec: ModelSpec, layout: Layout, quant: str | None) -> Iterator[ElementwiseCall]:
    hidden = spec.hidden_size
    for group in spec.layers:
        count = group.count / layout.pp
        for mixer in group.layer.mixers:
            yield ElementwiseCall("add_rms_norm", hidden, count)
            if isinstance(mixer, Attention):
                heads, kv = max(1, mixer.num_heads // layout.tp), max(1, mixer.num_kv_heads // layout.tp)
                yield ElementwiseCall("rope", (heads + kv) * mixer.head_dim, count)
                yield ElementwiseCall("kv_write", 2 * kv * mixer.head_dim, count)
                if quant:
                    yield ElementwiseCall(quant, hidden, count)
                    yield ElementwiseCall(quant, heads * mixer.v_head_dim, count)
            elif isinstance(mixer, MlaAttention):
                yield ElementwiseCall("rope", (mixer.num_heads // layout.tp + 1) * mixer.qk_rope_head_dim, count)
        if group.layer.mlp is not None:
            yield ElementwiseCall("add_rms_norm", hidden, count)
            yield from _mlp(group.layer.mlp, hidden, layout, count, quant)
    yield ElementwiseCall("rms_norm", hidden, 1.0)
    yield ElementwiseCall("sampling", -(-spec.vocab_size // layout.tp) * layout.tp, 1.0, per_seq=True)


def _mlp(mlp: Mlp, hidden: int, layout: Layout, count: float, quant: str | None) -> Iterator[ElementwiseCall]:
    width = mlp.intermediate_size if isinstance(mlp, DenseMlp) else 0
    if isinstance(mlp, MoeMlp):
        width = mlp.shared_intermediate_size or 0
    inter = width // layout.tp
    yield ElementwiseCall("silu_mul", inter, count)
    if quant and inter:
        yield ElementwiseCall(quant, hidden, count)
        yield ElementwiseCall(quant, inter, count)
