"""KV page sizes that an engine starts with, by kind of attention and GPU."""

from __future__ import annotations

import math

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import Attention, LinearMixer, MlaAttention, ModelSpec
from costplan.core.errors import InputError
from costplan.plan.emit_facts import PageRule, engine_facts, page_rules

CANDIDATES = (1, 16, 32, 64, 128, 256)


def capability(gpu: GpuSpec) -> float | None:
    """CUDA compute capability as a number; None for devices that have none."""
    try:
        return float(gpu.compute_capability)
    except ValueError:
        return None


def attention_kind(spec: ModelSpec) -> str:
    """The kind of attention that decides page sizes; see ``pages_about`` in the table."""
    mixers = [m for g in spec.layers for m in g.layer.mixers]
    gqa = [m for m in mixers if isinstance(m, Attention)]
    mla = [m for m in mixers if isinstance(m, MlaAttention)]
    if any(isinstance(m, LinearMixer) for m in mixers):
        return "hybrid"
    if any(m.compress_ratio > 1 for m in gqa):
        return "compressed"
    if mla:
        return "sparse_mla" if any(m.index is not None for m in mla) else "mla"
    if any(m.index is not None for m in gqa):
        return "sparse"
    if any(m.head_dim != m.v_head_dim for m in gqa):
        return "asymmetric"
    return "gqa" if all(m.num_kv_heads < m.num_heads for m in gqa) else "mha"


def page_rule(engine: str, spec: ModelSpec, gpu: GpuSpec) -> PageRule:
    """The rule for ``spec`` on ``gpu``."""
    kind, cap = attention_kind(spec), capability(gpu)
    for rule in page_rules():
        if (rule.engine == engine and rule.attention in (kind, "any")
                and rule.vendor in (None, gpu.vendor)
                and (rule.major is None or (cap is not None and int(cap) in rule.major))):
            return rule
    raise AssertionError("the rules of each engine end with a row for every model")


def checked_page(engine: str, block_size: int, spec: ModelSpec, gpu: GpuSpec) -> int | None:
    """``block_size`` as it is written for ``engine``; None where the engine must choose. Raises InputError."""
    rule = page_rule(engine, spec, gpu)
    if rule.rule == "unset":
        return None
    if not rule.allows(block_size):
        raise InputError(
            f"{engine_facts(engine).label} cannot page the KV cache of {spec.name} on {gpu.name} by {block_size} "
            f"tokens: it needs {rule.wording}", where="block_size",
            hint=f"plan with block_size {nearest_page(engine, block_size, spec, gpu)}")
    return block_size


def nearest_page(engine: str, block_size: int, spec: ModelSpec, gpu: GpuSpec) -> int:
    """The page size that starts and lies nearest to ``block_size`` (by ratio; the smaller of two)."""
    rule = page_rule(engine, spec, gpu)
    if rule.allows(block_size):
        return block_size
    allowed = [c for c in CANDIDATES if rule.allows(c)]
    return min(allowed, key=lambda c: (abs(math.log(c / block_size)), c))
