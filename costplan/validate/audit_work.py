"""The least that a claim's model must read and compute, as arithmetic a reader can repeat."""

from __future__ import annotations

from costplan.catalog.model_spec import Attention, MlaAttention, ModelSpec, MoeMlp
from costplan.catalog.params import count
from costplan.core.dtypes import dtype
from costplan.perf.formats import matmul_format
from costplan.perf.kv import LayerCache, layer_caches
from costplan.perf.roofline import distinct_experts
from costplan.perf.weights import weight_bytes_per_rank
from costplan.validate.audit_claim import Claim
from costplan.validate.audit_finding import Amount, Line

NOT_READ = frozenset({"embedding", "ple", "vision", "rope", "absorbed"})
"""Parts that a decode step looks up or skips: not streamed from memory."""


def weight_bytes(c: Claim) -> float | None:
    """All weights once, in bytes."""
    if c.spec is not None:
        parts = weight_bytes_per_rank(c.spec, 1, 1, 1, c.weights).parts
        return sum(b for name, b in parts if name not in ("rope", "absorbed"))
    return None if c.params is None else c.params * dtype(c.stored_weights).bytes


def weight_line(c: Claim) -> Line:
    """Weights in memory."""
    total = weight_bytes(c) or 0.0
    params = float(count(c.spec).total) if c.spec is not None else c.params or 0.0
    return Line("weights", "{0} x {1}", (Amount(params, "parameters"), Amount(total / params, "bytes each")),
                Amount(total, "bytes"))


def step_weight_bytes(c: Claim, tokens: float, *, spread_experts: bool) -> float:
    """Weights that one decode step over ``tokens`` sequences streams from memory.

    Of routed experts at least those of one token; with ``spread_experts`` as many different ones as uniform routing
    picks on average.
    """
    if c.spec is None:
        return weight_bytes(c) or 0.0
    read = 0.0
    for name, size in weight_bytes_per_rank(c.spec, 1, 1, 1, c.weights).parts:
        if name == "embedding" and c.spec.tie_embeddings:
            read += size
        elif name == "experts":
            read += size * _expert_share(c.spec, tokens, spread_experts)
        elif name not in NOT_READ:
            read += size
    return read


def _expert_share(spec: ModelSpec, tokens: float, spread: bool) -> float:
    kinds = {(m.top_k, m.num_experts) for g in spec.layers if isinstance(m := g.layer.mlp, MoeMlp)}
    shares = [(distinct_experts(max(1.0, tokens), k, n) if spread else k) / n for k, n in kinds]
    return min(1.0, min(shares, default=1.0))


def reads_whole_cache(spec: ModelSpec) -> bool:
    """Whether attention reads all that is cached: sparse attention picks, shared layers and states differ."""
    mixers = [m for g in spec.layers for m in g.layer.mixers]
    return not any(isinstance(m, Attention | MlaAttention) and m.index is not None for m in mixers)


def kv_bytes(c: Claim, tokens: float) -> float | None:
    """KV cache of one sequence of ``tokens`` over all layers; None for a model known by its size only."""
    if c.spec is None:
        return None
    return sum(x.count * (x.state_bytes + x.bytes_per_token * _kept(x, tokens))
               for x in layer_caches(c.spec, c.kv_dtype, 1))


def _kept(cache: LayerCache, tokens: float) -> float:
    return tokens if cache.window is None else min(tokens, float(cache.window))


def kv_line(c: Claim, tokens: float) -> Line:
    """KV cache of one sequence: what each layer keeps for each token."""
    assert c.spec is not None
    total = kv_bytes(c, tokens) or 0.0
    caches = layer_caches(c.spec, c.kv_dtype, 1)
    name = f"KV of one sequence ({c.kv_dtype})"
    one = caches[0]
    if len(caches) == 1 and one.window is None and not one.state_bytes:
        return Line(name, "{0} x {1} x {2}", (Amount(tokens, "tokens"), Amount(one.count, "layers"),
                                              Amount(one.bytes_per_token, "bytes each")), Amount(total, "bytes"))
    return Line(name, "{0} x {1} on average over layers, windows and states", (
        Amount(tokens, "tokens"), Amount(total / tokens, "bytes each")), Amount(total, "bytes"))


def token_flops(c: Claim, *, prompt: bool = False) -> float | None:
    """Least FLOPs of one token: two per weight it meets; a prompt token does not meet the output head."""
    if c.spec is None:
        return None if c.params is None else 2.0 * c.params
    n = count(c.spec)
    active = n.active_no_embedding
    if prompt:
        active -= n.parts["embedding"] if n.tied else n.parts["lm_head"]
    return 2.0 * active


def request_flops(c: Claim) -> float | None:
    """Least FLOPs of one request; attention scores are left out in its favour."""
    out, inp = token_flops(c), token_flops(c, prompt=True)
    if out is None or inp is None or c.osl is None:
        return None
    return out * c.osl + inp * max(0.0, (c.isl or 0.0) - 1)


def peak_flops(c: Claim) -> float | None:
    """Dense peak of one GPU at the format that multiplies: the fastest that the claim allows."""
    if c.gpu is None:
        return None
    base = max(c.gpu.peak("bf16") or 0.0, c.gpu.peak("fp16") or 0.0)
    if c.weight_only:
        return base or None
    best = max(base, matmul_format(c.gpu, c.stored_weights).peak_flops)
    if c.stored_weights == "mxfp4":
        best = max(best, c.gpu.peak("fp4") or 0.0)
    return best or None
