"""What the planner itself would answer from measured rows: the same book, the same list of operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costplan.campaign.device import Device
from costplan.campaign.kernel import SWEEPS, Kernel, kernel_of
from costplan.campaign.recording_book import RecordingBook
from costplan.campaign.results import Row
from costplan.campaign.targets import Target
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import OutOfRangeError
from costplan.perf.attention_kernel import reads_context
from costplan.perf.ops import StepBuilder, equal_square
from costplan.perf.timed import TimedKernel
from costplan.profile.case import Case
from costplan.profile.families import FAMILIES
from costplan.profile.lengths import pairs_of
from costplan.profile.table import Table


@dataclass(frozen=True, slots=True)
class Site:
    """A model and the ways to run it that a campaign measures for; decode reads pages of ``page_size`` tokens."""

    spec: ModelSpec
    targets: tuple[Target, ...]
    page_size: int


class RowSource:
    """Rows as a profile's tables, in memory."""

    name = "campaign"
    engine = "costplan"

    def __init__(self, rows: Iterable[Row]) -> None:
        by_family: dict[str, list[Row]] = {}
        for r in rows:
            if r.seconds is not None:
                by_family.setdefault(r.case.family, []).append(r)
        self._tables = {family: _table(family, own) for family, own in by_family.items()}

    def table(self, family: str) -> Table | None:
        """Rows of one family; None where there are none."""
        return self._tables.get(family)


def _table(family: str, rows: Sequence[Row]) -> Table:
    f = FAMILIES[family]
    columns: dict[str, np.ndarray] = {n: np.array([r.case.size(n) for r in rows]) for n in f.ints}
    columns["latency_s"] = np.array([r.seconds for r in rows], dtype=float)
    codes, vocab = {}, {}
    for name in f.texts:
        words = [r.backend if name == "kernel" else r.case.text(name) for r in rows]
        vocab[name] = tuple(sorted(set(words)))
        codes[name] = np.array([vocab[name].index(w) for w in words])
    return Table(family, columns, codes, vocab)


def predicted_s(case: Case, kernels: Mapping[Kernel, TimedKernel]) -> float | None:
    """Seconds of ``case`` by the planner's ``kernels``; None where it has none for it, or none within reach.

    A ragged batch is its decoding sequences plus its prompts, each with equal lengths of the same sum.
    """
    try:
        return _ragged_s(case, kernels) if case.family == "attn_ragged" else _even_s(case, kernels)
    except OutOfRangeError:
        return None


def _even_s(case: Case, kernels: Mapping[Kernel, TimedKernel]) -> float | None:
    kernel, at = kernel_of(case)
    if not kernel.chunked:
        timed = kernels.get(kernel)
        return None if timed is None else timed.seconds(at)
    return _prompts_s(case, [(at[0], sum(at))] * max(1, kernel.number("batch")), kernels)


def _ragged_s(case: Case, kernels: Mapping[Kernel, TimedKernel]) -> float | None:
    decode = [kv for q, kv in pairs_of(case) if q == 1]
    prompts = [(q, kv) for q, kv in pairs_of(case) if q > 1]
    timed = kernels.get(_same_heads(case, "attn_decode"))
    parts = [timed.seconds((len(decode), sum(decode) / len(decode))) if timed else None] if decode else []
    parts += [_prompts_s(case, prompts, kernels)] if prompts else []
    known = [x for x in parts if x is not None]
    return sum(known) if len(known) == len(parts) else None


def _prompts_s(case: Case, prompts: Sequence[tuple[int, int]], kernels: Mapping[Kernel, TimedKernel]) -> float | None:
    timed = kernels.get(_same_heads(case, "attn_prefill"))
    if timed is None:
        return None
    n = len(prompts)
    q, kv = sum(q for q, _ in prompts) / n, sum(kv for _, kv in prompts) / n
    window = case.size("window")
    return timed.seconds((n, q, kv) if reads_context(timed) else (n, equal_square(q, kv, window)))


def _same_heads(case: Case, family: str) -> Kernel:
    """The kernel of ``family`` that a step of the planner would run for ``case``."""
    names = ("num_heads", "num_kv_heads", "head_dim", "window") + (("page_size",) if family == "attn_decode" else ())
    fixed: dict[str, int | str] = {n: case.size(n) for n in names if case.size(n)}
    return Kernel.of(family, SWEEPS[family], dtype=case.text("dtype"), kv_dtype=case.text("kv_dtype"), **fixed)


def planner_kernels(sites: Sequence[Site], rows: Iterable[Row], device: Device) -> Mapping[Kernel, TimedKernel]:
    """The planner's kernels after ``rows``, by what each stands for; without rows of its own a kernel is left out."""
    source = RowSource(rows)
    out: dict[Kernel, TimedKernel] = {}
    for site in sites:
        book = RecordingBook((source,), device.gpu, device.gpu, page_size=site.page_size)
        for t in site.targets:
            for op in StepBuilder(book, site.spec, t.layout, t.weight_dtype, t.kv_dtype,
                                  page_size=site.page_size).build():
                kernel = book.kernels.get(id(op.kernel))
                if kernel is not None and op.kernel.grid is not None:
                    out[kernel] = op.kernel
    return out
