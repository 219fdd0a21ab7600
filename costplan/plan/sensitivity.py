"""What moves the cost most: one thing changed at a time, the fleet sized again, nothing else searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.price import Purchase
from costplan.core.dtypes import dtype
from costplan.core.errors import DoesNotFitError, InputError, OutOfRangeError
from costplan.plan.bench import Bench
from costplan.plan.emit_pages import page_rule
from costplan.plan.evaluate import Simulated
from costplan.plan.fleet import Draft, Market, Sizer
from costplan.plan.money import usd_per_mtok
from costplan.plan.offers import offers
from costplan.plan.question import Question, question
from costplan.plan.space import Candidate, System, candidate, weight_problem
from costplan.plan.types import Sensitivity
from costplan.workload.arrivals import GammaArrivals

LOOSER = (1.5, 2.0)
PAGES = (1, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True, eq=False)
class Knobs:
    """Changes to the best draft. ``others`` are the drafts of the search: GPUs are not simulated again."""

    question: Question
    market: Market
    evaluator: Simulated
    best: Draft
    others: tuple[Draft, ...]
    shown_usd_per_mtok: float

    def all(self) -> tuple[Sensitivity, ...]:
        """Every knob, the largest saving first (at the user's load, then at saturation); impossible ones last."""
        found = [*self._formats(), *self._drafts(), *self._batch(), *self._pages(), *self._gpus(), *self._slo(),
                 *self._traffic(), *self._purchase()]
        known = sorted((s for s in found if s.usd_per_mtok_out is not None),
                       key=lambda s: (s.delta_usd_per_mtok_out or 0.0, s.delta_saturated_usd_per_mtok_out or 0.0))
        return (*known, *(s for s in found if s.usd_per_mtok_out is None))

    # -- helpers ----------------------------------------------------------------------------------------------

    def _sizer(self, **changes: object) -> Sizer:
        base = Sizer(self.question, self.evaluator, self.market, self.question.targets)
        return replace(base, **changes)  # type: ignore[arg-type]

    def _result(self, knob: str, change: str, draft: Draft | None, why: str = "") -> Sensitivity:
        """``shown_usd_per_mtok`` moves by the ratio of the two drafts, which saw the same requests."""
        if draft is None:
            return Sensitivity(knob, change, None, None, None, None, why or "no fleet of this kind holds the limits")
        usd = self.shown_usd_per_mtok * draft.usd_per_mtok_out / self.best.usd_per_mtok_out
        more = draft.capacity / self.best.capacity - 1
        detail = why or f"one replica serves {more:+.0%} requests/s"
        return Sensitivity(knob, change, usd, usd - self.shown_usd_per_mtok, self._full(draft) - self._full(self.best),
                           draft.replicas, detail)

    def _full(self, draft: Draft) -> float:
        """Cost with every replica at capacity."""
        return usd_per_mtok(draft.rental.usd_per_h, draft.active * draft.capacity * self.question.shape.mean_osl)

    def _other(self, system: System, *, block_size: int | None = None, seqs: int | None = None,
               tokens: int | None = None) -> Candidate:
        own = self.best.candidate.config
        return candidate(self.question.spec, find_gpu(system.gpu), system, block_size or own.block_size,
                         seqs or own.max_num_seqs, tokens or own.max_num_batched_tokens,
                         max_tokens=self.question.shape.max_tokens, model=own.model)

    def _try(self, knob: str, change: str, system: System, **limits: int) -> Sensitivity:
        try:
            c = self._other(system, **limits)
            self.evaluator.bench.cover((c,))
            return self._result(knob, change, self._sizer().draft(c))
        except (DoesNotFitError, OutOfRangeError, InputError) as e:
            return self._result(knob, change, None, e.message)

    # -- knobs ------------------------------------------------------------------------------------------------

    def _formats(self) -> Iterator[Sensitivity]:
        spec, own = self.question.spec, self.best.candidate.system
        gpu = find_gpu(own.gpu)
        for name in dict.fromkeys((spec.weight_dtype, "fp8", "nvfp4" if gpu.peak("fp4") else "int4")):
            if name != own.weight_dtype and weight_problem(spec, gpu, name) is None:
                yield self._try("weights", f"{own.weight_dtype} -> {name}", replace(own, weight_dtype=name))
        kv = spec.kv_dtype or ("fp16" if spec.base_dtype == "fp16" else "bf16")
        for name in dict.fromkeys((kv, "fp8")):
            if dtype(name).name != own.kv_dtype and (name != "fp8" or gpu.peak("fp8")):
                yield self._try("KV cache", f"{own.kv_dtype} -> {name}", replace(own, kv_dtype=name))

    def _drafts(self) -> Iterator[Sensitivity]:
        """Speculative decoding on, off, and with guesses kept less often than stated."""
        own = self.best.candidate.system
        if own.drafting is not None:
            yield self._try("drafts", f"{own.drafting.label} -> none", replace(own, drafting=None))
            less = max(0.0, own.drafting.acceptance - 0.1)
            yield self._try("acceptance", f"{own.drafting.acceptance:.2f} -> {less:.2f}",
                            replace(own, drafting=replace(own.drafting, acceptance=less)))
        for drafting in self.question.draftings:
            if own.drafting is None:
                yield self._try("drafts", f"none -> {drafting.label}", replace(own, drafting=drafting))

    def _batch(self) -> Iterator[Sensitivity]:
        c = self.best.candidate.config
        for seqs in (c.max_num_seqs // 4, c.max_num_seqs * 4):
            if 8 <= seqs <= 1024 and seqs <= c.max_num_batched_tokens:
                yield self._try("max_num_seqs", f"{c.max_num_seqs} -> {seqs}", self.best.candidate.system, seqs=seqs)
        for tokens in (c.max_num_batched_tokens // 4, c.max_num_batched_tokens * 4):
            if 512 <= tokens <= 32768 and tokens >= c.max_num_seqs:
                yield self._try("max_num_batched_tokens", f"{c.max_num_batched_tokens} -> {tokens}",
                                self.best.candidate.system, tokens=tokens)

    def _pages(self) -> Iterator[Sensitivity]:
        c = self.best.candidate.config
        rule = page_rule(c.engine, self.question.spec, find_gpu(c.gpu))
        if rule.rule == "unset":
            return
        for size in [s for s in PAGES if s != c.block_size and rule.allows(s)][:3]:
            yield self._try("page size", f"{c.block_size} -> {size}", self.best.candidate.system, block_size=size)

    def _gpus(self) -> Iterator[Sensitivity]:
        own = self.best.candidate.config.gpu
        for d in self.others:
            gpu = d.candidate.config.gpu
            if gpu != own:
                yield self._result("GPU", f"{own} -> {gpu}", d, d.candidate.system.label)

    def _slo(self) -> Iterator[Sensitivity]:
        if not self.question.targets:
            return
        for factor in LOOSER:
            looser = tuple(replace(t, limit_s=t.limit_s * factor) for t in self.question.targets)
            yield self._result("SLO", f"every limit x {factor:g}",
                               self._sizer(targets=looser).draft(self.best.candidate))

    def _traffic(self) -> Iterator[Sensitivity]:
        """Traffic shaping: the same mean rate without bursts."""
        arrivals = self.question.workload.arrivals
        if self.question.closed or (isinstance(arrivals, GammaArrivals) and arrivals.burstiness >= 1):
            return
        smooth = replace(self.question.workload, arrivals=GammaArrivals(self.question.rate or 1.0))
        asked = question(smooth, self.question.seed, self.best.candidate.config.model)
        bench = self.evaluator.bench
        same = Bench(asked, bench.profiles, bench.models, bench.ranges, bench.tables, bench.observed)
        ev = Simulated(asked, same, self.evaluator.n)
        yield self._result("traffic", "bursts smoothed to Poisson",
                           Sizer(asked, ev, self.market, asked.targets).draft(self.best.candidate))

    def _purchase(self) -> Iterator[Sensitivity]:
        own = self.best.rental.price.purchase
        for kind in Purchase:
            if kind is own:
                continue
            limits = replace(self.market.limits, purchase=(kind.value,))
            market = replace(self.market, limits=limits, prices=offers(limits, self.market.table))
            rental = market.rent(self.best.candidate, self.best.replicas)
            if rental is None:
                yield self._result("purchase", f"{own.value} -> {kind.value}", None, "not listed for this GPU")
                continue
            factor = rental.usd_per_h / self.best.rental.usd_per_h
            changed = replace(self.best, rental=rental, usd_per_mtok_out=self.best.usd_per_mtok_out * factor)
            yield self._result("purchase", f"{own.value} -> {kind.value}", changed, rental.label)
