"""Attention over a KV cache: per-head keys and values (MHA, GQA, MQA) and latent (MLA)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from costplan.core.dtypes import dtype
from costplan.core.evidence import Evidence
from costplan.perf import roofline
from costplan.perf.attention_rows import at_page, without_spare_splits
from costplan.perf.engine_kernels import engine_rows
from costplan.perf.kernel_source import OWN, KernelSource, Trust, WorkAt, baseline, measured, nearest, peak
from costplan.perf.prompt_grid import PromptGrid, prompt_grid
from costplan.perf.timed import TimedKernel, grid_from
from costplan.profile.table import Table

PREFILL_EFFICIENCY = 0.55
DECODE_EFFICIENCY = 0.65
MLA_EFFICIENCY = 0.5
"""Typical shares of the roofline where nothing was measured (medians over the imported H200 tables)."""
SD_PER_OCTAVE = 0.05
"""Relative error for each doubling between the head shape asked for and the one measured."""


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Attention of one layer on one rank; ``window`` 0 is full attention, ``page_size`` 0 any page of the KV cache."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    kv_dtype: str
    window: int = 0
    page_size: int = 0


@dataclass(frozen=True, slots=True)
class MlaShape:
    """Latent attention of one layer on one rank."""

    num_heads: int
    kv_lora_rank: int
    rope_dim: int
    nope_dim: int
    v_dim: int
    kv_dtype: str


def attention(src: KernelSource, shape: AttentionShape, *, prefill: bool) -> TimedKernel:
    """Free coordinates: ``(batch, kv_len)`` in decode, or ``(batch, q_len)`` of prompts without cached context, and
    ``(batch, q_len, kv_len)`` too where `reads_context`.

    Of rows that `costplan profile` measured those of the engine's kernel and page size answer (`attention_rows`).
    """
    family = "attn_prefill" if prefill else "attn_decode"
    kernel = src.kernel(family, work_of(shape, prefill=prefill), peak(src.target, "bf16"),
                        PREFILL_EFFICIENCY if prefill else DECODE_EFFICIENCY)
    found = _rows(src, shape, family)
    if found is None:
        return kernel
    rows, near, trust, own = found
    base = baseline(work_of(near, prefill=prefill), src.measured_on, peak(src.measured_on, "bf16"))
    if prefill and own:
        return kernel.with_grid(prompt_grid(rows, base), trust.log_sd, trust.evidence)
    return measured(kernel, rows, ("batch", "q_len" if prefill else "kv_len"), base, trust)


def reads_context(kernel: TimedKernel) -> bool:
    """Whether prompts after a cached context were measured. Where not, `ops.equal_square` maps such a chunk to a fresh
    prompt with as many query-key pairs."""
    return isinstance(kernel.grid, PromptGrid) and kernel.grid.chunks is not None


def work_of(s: AttentionShape, *, prefill: bool) -> WorkAt:
    """FLOPs and bytes at the coordinates of `attention`."""
    kv_bytes = dtype(s.kv_dtype).bytes
    if prefill:
        return lambda p: roofline.attn_prefill(p[0], p[1], p[2] if len(p) > 2 else p[1], s.num_heads, s.num_kv_heads,
                                               s.head_dim, kv_bytes, s.window)
    return lambda p: roofline.attn_decode(p[0], p[1], s.num_heads, s.num_kv_heads, s.head_dim, kv_bytes, s.window)


def _rows(src: KernelSource, shape: AttentionShape, family: str) -> tuple[Table, AttentionShape, Trust, bool] | None:
    """Rows that answer for ``shape``, the head shape they were measured with, how far they can be trusted, and
    whether `costplan profile` measured them."""
    prefill = family == "attn_prefill"
    picked = src.select(family, "kv_dtype", dict.fromkeys((shape.kv_dtype, "bf16")))  # type: ignore[arg-type]
    if picked is None:
        return None
    rows, near, octaves = nearest_heads(picked.rows, shape)
    evidence = Evidence.INTERPOLATED if octaves <= 1 else Evidence.EXTRAPOLATED
    trust = picked.trust.weakened(SD_PER_OCTAVE * octaves, evidence)
    if picked.source.engine != OWN:
        return rows, near, trust, False
    base = baseline(work_of(near, prefill=prefill), src.measured_on, peak(src.measured_on, "bf16"))

    def seconds_of(part: Table) -> Callable[[Sequence[float]], float]:
        grid = prompt_grid(part, base) if prefill else grid_from(part, ("batch", "kv_len"), base)
        return lambda p: base(p) * math.exp(grid.value(p)[0])

    paged = at_page(without_spare_splits(engine_rows(rows, src.prefixes)), shape.page_size, seconds_of)
    return paged.rows, near, trust.weakened(paged.log_sd), True


def mla(src: KernelSource, shape: MlaShape, *, prefill: bool) -> TimedKernel:
    """Free coordinates as in `attention`; decode is in absorbed form, prefill expanded per head."""
    family = "mla_prefill" if prefill else "mla_decode"

    def work_of(heads: int) -> WorkAt:
        if prefill:
            return lambda p: roofline.mla_prefill(p[0], p[1], p[1], heads, shape.nope_dim + shape.rope_dim, shape.v_dim)
        kv_bytes = dtype(shape.kv_dtype).bytes
        return lambda p: roofline.mla_decode(p[0], p[1], heads, shape.kv_lora_rank, shape.rope_dim, kv_bytes)

    kernel = src.kernel(family, work_of(shape.num_heads), peak(src.target, "bf16"), MLA_EFFICIENCY)
    picked = src.select(family, "kv_dtype", dict.fromkeys((shape.kv_dtype, "bf16")))  # type: ignore[arg-type]
    if picked is None:
        return kernel
    heads = nearest(np.unique(picked.rows.columns["num_heads"]), shape.num_heads)
    octaves = abs(float(np.log2(heads / shape.num_heads)))
    base = baseline(work_of(heads), src.measured_on, peak(src.measured_on, "bf16"))
    return measured(kernel, picked.rows.take(picked.rows.mask(num_heads=heads)),
                    ("batch", "q_len" if prefill else "kv_len"), base, picked.trust.weakened(SD_PER_OCTAVE * octaves))


def nearest_heads(rows: Table, s: AttentionShape) -> tuple[Table, AttentionShape, float]:
    """Rows of the measured head shape closest to ``s``, that shape, and the distance in doublings.

    Queries per KV head and head_dim decide which kernel runs; a windowed kernel never stands for a full one
    while another full one was measured.
    """
    keys = np.stack([np.asarray(rows.columns[c]) for c in ("num_heads", "num_kv_heads", "head_dim", "window")])
    shapes = np.unique(keys, axis=1)
    heads, kv_heads, dim, window = np.log2(np.maximum(shapes, 1).astype(float))
    wanted = np.log2([s.num_heads, s.num_kv_heads, s.head_dim, max(1, s.window)])
    both_windowed = (shapes[3] > 0) & (s.window > 0)
    distance = (np.abs((heads - kv_heads) - (wanted[0] - wanted[1])) + 0.7 * np.abs(kv_heads - wanted[1])
                + 2.0 * np.abs(dim - wanted[2]) + 0.5 * np.where(both_windowed, np.abs(window - wanted[3]), 0.0)
                + 4.0 * ((shapes[3] > 0) != (s.window > 0)))
    best = int(np.argmin(distance))
    num_heads, num_kv_heads, head_dim, kept = (int(v) for v in shapes[:, best])
    found = AttentionShape(num_heads, num_kv_heads, head_dim, s.kv_dtype, kept, s.page_size)
    return rows.take((keys == shapes[:, [best]]).all(axis=0)), found, float(distance[best])
