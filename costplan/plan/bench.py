"""Latency models and step tables of the systems under search, built once each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from costplan.catalog.gpus import gpu as find_gpu
from costplan.perf.assemble import latency_model
from costplan.perf.calibrated_model import calibrated_model
from costplan.perf.calibration import Observed
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.predict import Deployment
from costplan.plan.question import Question
from costplan.plan.space import Candidate, System
from costplan.profile.store import Profile
from costplan.simulate.prefix_units import PrefixUnits, prefix_units
from costplan.simulate.requests import SimRequests
from costplan.simulate.step_table import StepTable, TableRange, step_table


@dataclass(slots=True, eq=False)
class Bench:
    """Models and tables by `System`. ``profiles`` are the user's own, by GPU; others are the shipped ones.
    ``observed`` are the user's own runs."""

    question: Question
    profiles: dict[str, Profile] = field(default_factory=dict)
    models: dict[System, KernelLatencyModel] = field(default_factory=dict)
    ranges: dict[System, TableRange] = field(default_factory=dict)
    tables: dict[System, StepTable] = field(default_factory=dict)
    observed: tuple[Observed, ...] = ()
    _units: dict[tuple[int, int], tuple[SimRequests, PrefixUnits]] = field(default_factory=dict)

    def model(self, system: System) -> KernelLatencyModel:
        """Step times of one system. Raises OutOfRangeError far outside what was measured."""
        if system not in self.models:
            gpu = find_gpu(system.gpu)
            kernels = latency_model(
                self.question.spec, gpu, system.layout, engine=system.engine,
                weight_dtype=system.weight_dtype, kv_dtype=system.kv_dtype, profile=self.profiles.get(system.gpu))
            dep = Deployment(self.question.spec, gpu, system.layout, engine=system.engine,
                             weight_dtype=system.weight_dtype, kv_dtype=system.kv_dtype)
            self.models[system] = calibrated_model(kernels, dep, self.observed)
        return self.models[system]

    def cover(self, candidates: Iterable[Candidate]) -> None:
        """Say which candidates will be asked for, so that one table per system serves them all."""
        for c in candidates:
            need, known = self._need(c), self.ranges.get(c.system)
            self.ranges[c.system] = need if known is None else TableRange(
                max(need.max_seqs, known.max_seqs), max(need.max_tokens, known.max_tokens),
                max(need.max_kv, known.max_kv), max(need.capacity_tokens, known.capacity_tokens))

    def _need(self, c: Candidate) -> TableRange:
        return TableRange(c.config.max_num_seqs, max(c.config.max_num_batched_tokens, c.config.max_num_seqs),
                          max(2, self.question.shape.max_tokens), c.budget.tokens)

    def table(self, c: Candidate) -> StepTable:
        """Step times of a candidate's system, tabulated over all that it and its peers can visit."""
        known = self.tables.get(c.system)
        if known is None or known.max_seqs < c.config.max_num_seqs or (
                known.max_tokens < c.config.max_num_batched_tokens):
            self.cover((c,))
            self.tables[c.system] = step_table(self.model(c.system), self.ranges[c.system])
        return self.tables[c.system]

    def units(self, requests: SimRequests, block_size: int) -> PrefixUnits:
        """Shared prefixes of ``requests`` in blocks of ``block_size``; ids are kept alive with their key."""
        key = (id(requests.isl), block_size)
        if key not in self._units:
            self._units[key] = (requests, prefix_units(requests, block_size))
        return self._units[key][1]
