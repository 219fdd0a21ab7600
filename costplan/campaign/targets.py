"""The systems that a plan would compare on one device, and what each would do under the workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from costplan.campaign.device import Device
from costplan.campaign.recording_book import RecordingBook
from costplan.campaign.states import Step, sample, steps_of
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import DoesNotFitError
from costplan.perf.assemble import sources_for, traits_of
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.ops import Op, StepBuilder
from costplan.perf.overhead import overhead
from costplan.plan.question import Question
from costplan.plan.space import TP, Leftovers, System, candidate, kv_formats, tp_problem, weight_formats
from costplan.simulate.policy import SchedulerLimits, limits_of, policy
from costplan.simulate.step_table import StepTable, TableRange, step_table
from costplan.workload.workload import Candidates

NODE = 8
"""Ranks that are considered although fewer devices are present: one device runs the kernels of one rank."""
MAX_NUM_SEQS = 256
MAX_NUM_BATCHED_TOKENS = (8192, 2048)
STEPS = 300
"""Steps drawn per system: shares of time then lie within about 5 % of their values."""
CRAMPED_SEQS = 8
"""Longest requests at once where no system fits: kernels are measured for the size that they would have."""


@dataclass(frozen=True, slots=True)
class Target:
    """One way to run the model on devices of this kind."""

    layout: Layout
    weight_dtype: str
    kv_dtype: str

    @property
    def label(self) -> str:
        return f"tp{self.layout.tp}{f' ep{self.layout.ep}' if self.layout.ep > 1 else ''} {self.weight_dtype} " \
               f"kv {self.kv_dtype}"


@dataclass(frozen=True, slots=True)
class Visits:
    """Kernels of one target, and a sample of the steps that it takes under the workload."""

    target: Target
    book: RecordingBook
    ops: tuple[Op, ...]
    steps: tuple[Step, ...]


def targets(spec: ModelSpec, device: Device, choices: Candidates, tps: Sequence[int] | None = None) -> list[Target]:
    """Layout x weights x KV formats that the planner would consider, whether they fit or not."""
    node = replace(device.gpu, gpus_per_node=max(NODE, device.gpu.gpus_per_node))
    out = Leftovers()
    layouts: list[Layout] = []
    for tp in tps or choices.tp or TP:
        if tp_problem(spec, node, tp) is None:
            layouts.append(Layout(tp))
            if spec.is_moe and tp > 1:
                layouts.append(Layout(tp, 1, 1, tp))
    return [Target(lay, weight, kv) for lay in layouts for weight in weight_formats(spec, device.gpu, choices, out)
            for kv in kv_formats(spec, device.gpu, choices, out)]


def visits(question: Question, device: Device, found: Sequence[Target], *, engine: str, page_size: int,
           effort: float = 1.0) -> Iterator[Visits]:
    """What every target that fits would do; all of them, cramped, where none fits.

    KV formats share the steps of the first one: what runs beside what hardly depends on them.
    """
    limits = [_limits(question, device, t, engine, page_size) for t in found]
    none_fits = all(x is None for x in limits)
    known: dict[tuple[Layout, str], list[Step]] = {}
    for target, own in zip(found, limits, strict=True):
        if own is None and not none_fits:
            continue
        book, ops, model = prior(question.spec, device, target, engine, page_size)
        key = target.layout, target.weight_dtype
        if key not in known:
            lims = own or (_cramped(question, page_size),)
            known[key] = steps_of(question, _table(question, model, lims), lims, policy(engine), effort)
        chosen = sample(known[key], STEPS, question.seed, f"campaign.steps {target.label}")
        yield Visits(target, book, ops, tuple(chosen))


def _table(question: Question, model: KernelLatencyModel, limits: Sequence[SchedulerLimits]) -> StepTable:
    """Step times within all ``limits``."""
    most = max(lim.capacity_tokens for lim in limits)
    return step_table(model, TableRange(
        max(lim.max_num_seqs for lim in limits), max(lim.max_num_batched_tokens for lim in limits),
        min(question.shape.max_tokens, most), most))


def prior(spec: ModelSpec, device: Device, target: Target, engine: str, page_size: int,
          ) -> tuple[RecordingBook, tuple[Op, ...], KernelLatencyModel]:
    """Kernels and step times before anything was measured: this GPU's or a similar one's tables, else rooflines."""
    found = sources_for(device.gpu, engine) if device.kind == "cuda" else None
    book = RecordingBook(found.profiles if found else (), found.measured_on if found else None, device.gpu,
                         page_size=page_size)
    ops = tuple(StepBuilder(book, spec, target.layout, target.weight_dtype, target.kv_dtype).build())
    extra = overhead(engine, launches=sum(op.count for op in ops),
                     traits=traits_of(spec, device.gpu, target.weight_dtype, weight_only=False))
    return book, ops, KernelLatencyModel(ops, extra, target.layout.pp)


def _limits(question: Question, device: Device, t: Target, engine: str, page_size: int,
            ) -> tuple[SchedulerLimits, ...] | None:
    """Scheduler limits at both usual token budgets; None where the model does not fit."""
    shape = question.shape
    system = System(device.gpu.name, engine, t.layout, t.weight_dtype, t.kv_dtype)
    out = []
    for tokens in MAX_NUM_BATCHED_TOKENS:
        try:
            c = candidate(question.spec, device.gpu, system, page_size, MAX_NUM_SEQS, tokens,
                          max_tokens=shape.max_tokens, model=question.spec.name)
        except DoesNotFitError:
            continue
        out.append(limits_of(c.budget, max(1, round(shape.mean_isl + shape.mean_osl))))
    return tuple(out) or None


def _cramped(question: Question, page_size: int) -> SchedulerLimits:
    blocks = -(-question.shape.max_tokens // page_size) * CRAMPED_SEQS
    return SchedulerLimits(4 * CRAMPED_SEQS, MAX_NUM_BATCHED_TOKENS[1], blocks, page_size)
