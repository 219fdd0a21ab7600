"""What each KV page size costs and saves: kernel time where it was measured, waste at the end, lost sharing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.model_spec import Attention, ModelSpec
from costplan.core.errors import DoesNotFitError
from costplan.perf.assemble import kernel_engine, sources_for
from costplan.perf.attention_kernel import AttentionShape, attention
from costplan.perf.engine_kernels import kernel_prefixes
from costplan.perf.kernel_source import OWN, KernelSource
from costplan.plan.emit_facts import engine_facts
from costplan.plan.emit_pages import CANDIDATES, page_rule
from costplan.plan.question import Question
from costplan.plan.space import Candidate, candidate, default_page
from costplan.plan.types import PageChoice
from costplan.profile.store import Profile


def page_choices(question: Question, c: Candidate, sizes: Sequence[int] = CANDIDATES,
                 profile: Profile | None = None) -> tuple[PageChoice, ...]:
    """Every page size in question for one candidate, smallest first."""
    gpu = find_gpu(c.config.gpu)
    rule = page_rule(c.config.engine, question.spec, gpu)
    label = engine_facts(c.config.engine).label
    base = default_page(c.config.engine, question.spec, gpu)
    measured = measured_efficiency(question.spec, c, base, profile)
    found = []
    for size in sorted({*sizes, c.config.block_size}):
        allowed = rule.allows(size)
        reason = f"{label} takes {rule.wording}" if rule.rule != "unset" else f"{label} chooses its page itself"
        waste = fragmentation_tokens([isl + osl for isl, osl in question.shape.lengths], size)
        held = sum(isl + osl for isl, osl in question.shape.lengths) / len(question.shape.lengths)
        found.append(PageChoice(
            size, allowed, reason, measured.get(size), "measured" if size in measured else "not measured", waste,
            waste / held, lost_sharing_tokens(question, size), _fits(question, c, size) if allowed else 0.0))
    return tuple(found)


def fragmentation_tokens(lengths: Sequence[int], block_size: int) -> float:
    """Mean of ``ceil(len / block_size) * block_size - len``: token slots of the last page that stay empty."""
    return sum(-n % block_size for n in lengths) / len(lengths)


def lost_sharing_tokens(question: Question, block_size: int) -> float | None:
    """Mean shared tokens per request that no whole page covers, so that they are computed and stored again.

    Exact for system prompts and group prefixes; a conversation's earlier turns end anywhere in a page, which loses
    (block_size - 1) / 2 on average. None where nothing is shared.
    """
    prefix, curve = question.workload.prefix, question.sharing
    if prefix is None:
        if curve is None or not curve.requests_hit:
            return None
        return (block_size - 1) / 2 * curve.requests_hit / max(1, len(question.shape.lengths))
    head = float(prefix.shared_tokens % block_size) if prefix.shared_tokens else 0.0
    follow = prefix.multi_turn.share if prefix.multi_turn else 0.0
    return (1 - follow) * head + follow * (block_size - 1) / 2


def _fits(question: Question, c: Candidate, block_size: int) -> float:
    """Mean-length requests that the KV cache holds in pages of this size."""
    try:
        other = candidate(question.spec, find_gpu(c.config.gpu), c.system, block_size, c.config.max_num_seqs,
                          c.config.max_num_batched_tokens, max_tokens=question.shape.max_tokens, model=c.config.model,
                          memory_fraction=c.config.memory_fraction)
    except DoesNotFitError:
        return 0.0
    pool = other.budget.pool
    lengths = question.shape.lengths
    held = sum(pool.blocks_per_sequence(isl + max(1, osl // 2)) for isl, osl in lengths) / len(lengths)
    return other.budget.num_blocks / held


def measured_efficiency(spec: ModelSpec, c: Candidate, base: int, profile: Profile | None = None) -> dict[int, float]:
    """Speed of decode attention by page size over that of ``base``: the same kernel, as it is charged in a plan.

    Geometric mean over the sizes that were measured, of page sizes that were. Empty where the profiles hold one page
    size, or none.
    """
    gpu = find_gpu(c.config.gpu)
    prefixes = kernel_prefixes(kernel_engine(c.config.engine), gpu)
    mixer = next((m for g in spec.layers for m in g.layer.mixers if isinstance(m, Attention)), None)
    found = sources_for(gpu, c.config.engine, profile)
    for source in (p for p in found.profiles if p.engine == OWN):
        table = source.table("attn_decode")
        if mixer is None or table is None or found.measured_on is None:
            continue
        pages = sorted({int(p) for p in np.asarray(table.columns["page_size"])} - {0})
        if len(pages) < 2:
            continue
        tp = c.config.layout.tp
        shape = AttentionShape(max(1, mixer.num_heads // tp), max(1, mixer.num_kv_heads // tp), mixer.head_dim,
                               c.config.kv_dtype, mixer.window or 0, base)
        alone = KernelSource((source,), found.measured_on, found.measured_on, prefixes)
        points = sorted(set(zip(*(np.asarray(table.columns[n]).tolist() for n in ("batch", "kv_len")), strict=True)))
        return {p: _speed(alone, replace(shape, page_size=p), shape, points) for p in pages}
    return {}


def _speed(src: KernelSource, shape: AttentionShape, other: AttentionShape, points: Sequence[Sequence[int]]) -> float:
    """Geometric mean of time(other) / time(shape)."""
    one, two = (attention(src, s, prefill=False) for s in (shape, other))
    return math.exp(sum(math.log(two.seconds(p) / one.seconds(p)) for p in points) / len(points))
