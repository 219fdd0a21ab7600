"""What the planner itself would answer from measured rows: the same book, the same list of operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costplan.campaign.device import Device
from costplan.campaign.kernel import Kernel
from costplan.campaign.recording_book import RecordingBook
from costplan.campaign.results import Row
from costplan.campaign.targets import Target
from costplan.catalog.model_spec import ModelSpec
from costplan.perf.ops import StepBuilder
from costplan.perf.timed import TimedKernel
from costplan.profile.families import FAMILIES
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


def planner_kernels(sites: Sequence[Site], rows: Iterable[Row], device: Device) -> Mapping[Kernel, TimedKernel]:
    """The planner's kernels after ``rows``, by what each stands for; without rows of its own a kernel is left out."""
    source = RowSource(rows)
    out: dict[Kernel, TimedKernel] = {}
    for site in sites:
        book = RecordingBook((source,), device.gpu, device.gpu, page_size=site.page_size)
        for t in site.targets:
            for op in StepBuilder(book, site.spec, t.layout, t.weight_dtype, t.kv_dtype).build():
                kernel = book.kernels.get(id(op.kernel))
                if kernel is not None and op.kernel.grid is not None:
                    out[kernel] = op.kernel
    return out
