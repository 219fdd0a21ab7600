"""What uneven lengths cost: attention over a real batch against the same tokens in equal sequences.

The grids are measured on batches of equal sequences; an engine's batch is not one. Rows of ``attn_ragged`` give

    slowdown = time(ragged batch) / time(equal batch with the same sums)

with the time below the line from the same profile's grids, the same kernel and page. Decode attention of ``batch``
sequences is multiplied by the median slowdown of the measured batches of that size (log-linear between sizes,
constant beyond), prompts by the median of what mixed batches take beyond their decoding sequences:

    (time(mixed batch) - decode slowdown * time(equal decoding)) / time(equal prompts)

Neither falls below 1: the sums bound the work, so less is noise. The spread of the rows joins the error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from costplan.core.errors import OutOfRangeError
from costplan.perf.attention_kernel import AttentionShape, attention, nearest_heads, reads_context
from costplan.perf.attention_rows import nearest_page, without_spare_splits
from costplan.perf.engine_kernels import engine_rows
from costplan.perf.grid import Reading
from costplan.perf.kernel_source import KernelSource, Source
from costplan.perf.prompt_grid import PromptGrid
from costplan.perf.timed import Reader, TimedKernel
from costplan.profile.lengths import read
from costplan.profile.table import Table

LEAST_SD = 0.02
"""Relative error of a slowdown that one batch told."""
LEAST_PROMPT_SHARE = 0.25
"""Mixed batches whose prompts take a smaller part of the time say nothing about prompts."""


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Log slowdown and its error at increasing log batch sizes."""

    log_batch: tuple[float, ...]
    logs: tuple[float, ...]
    sds: tuple[float, ...]

    def at(self, batch: float) -> float:
        return float(np.interp(math.log(batch), self.log_batch, self.logs))

    def sd_at(self, batch: float) -> float:
        return float(np.interp(math.log(batch), self.log_batch, self.sds))


@dataclass(frozen=True, slots=True)
class Slower:
    """A reader whose times are multiplied by a slowdown; the first coordinate is the batch size."""

    even: Reader
    slowdown: Slowdown

    def read(self, point: Sequence[float]) -> Reading:
        r = self.even.read(point)
        return replace(r, log_ratio=r.log_ratio + self.slowdown.at(point[0]),
                       log_sd=math.hypot(r.log_sd, self.slowdown.sd_at(point[0])))

    def value(self, point: Sequence[float]) -> tuple[float, float]:
        log_ratio, octaves = self.even.value(point)
        return log_ratio + self.slowdown.at(point[0]), octaves


def uneven(src: KernelSource, shape: AttentionShape, kernel: TimedKernel, *, prefill: bool) -> TimedKernel:
    """``kernel`` as real batches meet it; unchanged where nobody measured ragged ones."""
    if kernel.grid is None:
        return kernel
    for source in src.own():
        decode, prompts = slowdowns(src, source, shape)
        slowdown = prompts if prefill else decode
        if slowdown is not None and isinstance(kernel.grid, PromptGrid):
            return replace(kernel, grid=replace(kernel.grid, log_slowdown=slowdown.logs[0],
                                                slowdown_sd=slowdown.sds[0]))
        if slowdown is not None:
            return replace(kernel, grid=Slower(kernel.grid, slowdown))
    return kernel


def slowdowns(src: KernelSource, source: Source, shape: AttentionShape) -> tuple[Slowdown | None, Slowdown | None]:
    """Of decoding sequences and of prompts, from one profile; None where it cannot tell."""
    table = source.table("attn_ragged")
    if table is None or not len(table):
        return None, None
    rows = next((table.take(m) for d in (shape.kv_dtype, "bf16") if (m := table.mask(kv_dtype=d)).any()), table)
    rows, near, _ = nearest_heads(rows, shape)
    rows = without_spare_splits(engine_rows(rows, src.prefixes))
    page = nearest_page(rows, shape.page_size)
    rows = rows.take(rows.mask(page_size=page))
    alone = KernelSource((source,), src.measured_on, src.measured_on, src.prefixes)
    timed = _batches(rows, alone, replace(near, page_size=page))
    decode = _of_decoding([b for b in timed if not b.prompts_s])
    return decode, _of_prompts([b for b in timed if b.prompts_s], decode)


@dataclass(frozen=True, slots=True)
class _Batch:
    """One measured ragged batch, and what its decoding sequences and prompts take as equal ones."""

    batch: int
    decoding: int
    seconds: float
    decode_s: float
    prompts_s: float


def _batches(rows: Table, alone: KernelSource, shape: AttentionShape) -> list[_Batch]:
    """The fastest kernel of each batch; those far outside the equal ones that were measured are left out."""
    decode, prompts = attention(alone, shape, prefill=False), attention(alone, shape, prefill=True)
    fastest: dict[str, float] = {}
    for word, s in zip(rows.text("lengths"), np.asarray(rows.columns["latency_s"]).tolist(), strict=True):
        fastest[word] = min(s, fastest.get(word, math.inf))
    out = []
    for word, seconds in fastest.items():
        pairs = read(word)
        one = [kv for q, kv in pairs if q == 1]
        more = [(q, kv) for q, kv in pairs if q > 1]
        if (one and decode.grid is None) or (more and prompts.grid is None):
            continue
        if any(kv > q for q, kv in more) and not reads_context(prompts):
            continue
        try:
            decode_s = decode.seconds((len(one), sum(one) / len(one))) if one else 0.0
            prompts_s = prompts.seconds((len(more), sum(q for q, _ in more) / len(more),
                                         sum(kv for _, kv in more) / len(more))) if more else 0.0
        except OutOfRangeError:
            continue
        out.append(_Batch(len(pairs), len(one), seconds, decode_s, prompts_s))
    return out


def _of_decoding(batches: Sequence[_Batch]) -> Slowdown | None:
    """Median by batch size."""
    by_size: dict[int, list[float]] = {}
    for b in batches:
        by_size.setdefault(b.batch, []).append(math.log(b.seconds / b.decode_s))
    if not by_size:
        return None
    sizes = sorted(by_size)
    return Slowdown(tuple(math.log(n) for n in sizes), tuple(max(0.0, float(np.median(by_size[n]))) for n in sizes),
                    tuple(max(LEAST_SD, float(np.std(by_size[n]))) for n in sizes))


def _of_prompts(batches: Sequence[_Batch], decode: Slowdown | None) -> Slowdown | None:
    """One median for all sizes: a mixed batch holds few prompts."""
    logs = []
    for b in batches:
        if b.prompts_s < LEAST_PROMPT_SHARE * (b.prompts_s + b.decode_s):
            continue
        slower = math.exp(decode.at(b.decoding)) if decode is not None and b.decoding else 1.0
        rest = b.seconds - slower * b.decode_s
        logs.append(math.log(max(rest / b.prompts_s, 0.1)))
    if not logs:
        return None
    return Slowdown((0.0,), (max(0.0, float(np.median(logs))),), (max(LEAST_SD, float(np.std(logs))),))
