"""Linear mixers with a constant state: gated delta net, Kimi delta attention, Mamba."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costplan.perf.kernel_source import KernelSource, baseline, measured, nearest, peak
from costplan.perf.roofline import Work
from costplan.perf.timed import TimedKernel

EFFICIENCY = 0.3
"""Typical share of the roofline where nothing was measured (chunked scans, H200 tables)."""
STATE_BYTES = 4.0
"""The recurrent state is kept in fp32 while it is updated."""


@dataclass(frozen=True, slots=True)
class LinearShape:
    """Heads of one layer on one rank; ``kind`` names the recurrence (gdn, kda, mamba2 ...)."""

    kind: str
    num_k_heads: int
    head_k_dim: int
    num_v_heads: int
    head_v_dim: int
    hidden_size: int


def linear_attention(src: KernelSource, s: LinearShape, *, prefill: bool) -> list[TimedKernel]:
    """All kernels of the mixer; coordinates ``(batch, seq_len)``, in decode ``(batch,)``."""
    def work(p: Sequence[float]) -> Work:
        tokens = p[0] * (p[1] if prefill else 1.0)
        state = p[0] * s.num_v_heads * s.head_k_dim * s.head_v_dim * STATE_BYTES
        flops = 8.0 * tokens * s.num_v_heads * s.head_k_dim * s.head_v_dim
        values = 2 * s.num_k_heads * s.head_k_dim + 3 * s.num_v_heads * s.head_v_dim
        return Work(flops, 2 * state + tokens * 2.0 * values)

    flops = peak(src.target, "bf16")
    kernel = src.kernel(s.kind, work, flops, EFFICIENCY)
    picked = src.select("linear_attention", "kind", (s.kind,))
    if picked is None:
        return [kernel]
    rows = picked.rows.take(picked.rows.mask(phase="prefill" if prefill else "decode"))
    for column, wanted in (("num_v_heads", s.num_v_heads), ("hidden_size", s.hidden_size)):
        if len(rows):
            rows = rows.take(rows.mask(**{column: nearest(np.unique(rows.columns[column]), wanted)}))
    base = baseline(work, src.measured_on, peak(src.measured_on, "bf16"))
    coords = ("batch", "seq_len") if prefill else ("batch",)
    found = []
    for name in sorted(set(rows.text("kernel"))):
        part = rows.take(rows.mask(kernel=name))
        found.append(measured(src.kernel(name, work, flops, EFFICIENCY), part, coords, base, picked.trust))
    return found or [kernel]
