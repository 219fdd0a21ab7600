"""Latency models and step tables of the systems under search, built once each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from costplan.catalog.gpus import gpu as find_gpu
from costplan.perf.assemble import Sources, kernel_page, latency_model, sources_for
from costplan.perf.calibrated_model import calibrated_model
from costplan.perf.calibration import Observed
from costplan.perf.drafter import drafter_of
from costplan.perf.drafting import Drafting
from costplan.perf.latency import KernelLatencyModel
from costplan.plan.question import Question
from costplan.plan.space import Candidate, System, deployment_of
from costplan.profile.store import Profile
from costplan.simulate.drafts import Drafts
from costplan.simulate.prefix_units import PrefixUnits, prefix_units
from costplan.simulate.requests import SimRequests
from costplan.simulate.step_table import StepTable, TableRange, step_table


@dataclass(slots=True, eq=False)
class Bench:
    """Models and tables by `System` and the KV page size that its kernels depend on (0: on none).

    ``profiles`` are the user's own, by GPU; others are the shipped ones. ``observed`` are the user's own runs.
    """

    question: Question
    profiles: dict[str, Profile] = field(default_factory=dict)
    models: dict[tuple[System, int], KernelLatencyModel] = field(default_factory=dict)
    ranges: dict[System, TableRange] = field(default_factory=dict)
    tables: dict[tuple[System, int], StepTable] = field(default_factory=dict)
    observed: tuple[Observed, ...] = ()
    _sources: dict[tuple[str, str], Sources] = field(default_factory=dict)
    _units: dict[tuple[int, int], tuple[SimRequests, PrefixUnits]] = field(default_factory=dict)
    _drafts: dict[System, Drafts] = field(default_factory=dict)
    _played: dict[tuple[int, Drafting], SimRequests] = field(default_factory=dict)

    def page(self, c: Candidate) -> int:
        """KV page size that the kernel times of ``c`` depend on; 0 where no profile of its GPU records pages."""
        gpu, key = find_gpu(c.system.gpu), (c.system.gpu, c.system.engine)
        if key not in self._sources:
            self._sources[key] = sources_for(gpu, c.system.engine, self.profiles.get(c.system.gpu))
        return kernel_page(self._sources[key], gpu, c.system.engine, c.config.block_size)

    def model(self, c: Candidate) -> KernelLatencyModel:
        """Step times of a candidate's system. Raises OutOfRangeError far outside what was measured."""
        s, key = c.system, (c.system, self.page(c))
        if key not in self.models:
            gpu = find_gpu(s.gpu)
            kernels = latency_model(
                self.question.spec, gpu, s.layout, engine=s.engine, weight_dtype=s.weight_dtype,
                kv_dtype=s.kv_dtype, profile=self.profiles.get(s.gpu), block_size=key[1] or None)
            self.models[key] = calibrated_model(kernels, deployment_of(self.question.spec, s), self.observed)
        return self.models[key]

    def drafts(self, system: System) -> Drafts | None:
        """What drafts in a system; None where nothing does."""
        if system.drafting is None:
            return None
        if system not in self._drafts:
            drafter = drafter_of(deployment_of(self.question.spec, system), system.drafting.draft,
                                 self.profiles.get(system.gpu))
            self._drafts[system] = Drafts(drafter, system.drafting)
        return self._drafts[system]

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
        key = (c.system, self.page(c))
        known = self.tables.get(key)
        if known is None or known.max_seqs < c.config.max_num_seqs or (
                known.max_tokens < c.config.max_num_batched_tokens):
            self.cover((c,))
            model, drafts, shape = self.model(c), self.drafts(c.system), self.question.shape
            parts = model if drafts is None else drafts.parts(model, shape.mean_isl, shape.mean_osl)
            self.tables[key] = step_table(parts, self.ranges[c.system])
        return self.tables[key]

    def played(self, requests: SimRequests, system: System) -> SimRequests:
        """``requests`` as the simulator plays them: with drafts their answers take more or fewer steps by luck."""
        drafts = self.drafts(system)
        if drafts is None:
            return requests
        key = (id(requests.osl), drafts.drafting)
        if key not in self._played:
            self._played[key] = drafts.requests(requests, self.question.seed)  # keeps what its key is the id of
        found = self._played[key]
        return replace(requests, osl=found.osl, answer_tokens=found.answer_tokens)

    def units(self, requests: SimRequests, block_size: int) -> PrefixUnits:
        """Shared prefixes of ``requests`` in blocks of ``block_size``; ids are kept alive with their key."""
        key = (id(requests.isl), block_size)
        if key not in self._units:
            self._units[key] = (requests, prefix_units(requests, block_size))
        return self._units[key][1]
