"""Steps of a real model on this machine against what the profile of this machine predicts for the same batch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import InputError
from costplan.core.evidence import Evidence
from costplan.perf.batch import BatchState
from costplan.perf.book import KernelBook
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.ops import StepBuilder
from costplan.perf.overhead import Overhead
from costplan.profile.manifest import Manifest
from costplan.profile.steps import LiveRun, StepCase, StepTimes, StepTrace
from costplan.profile.store import Profile
from costplan.validate.live_model import cut
from costplan.validate.live_rows import RowsOf

PARTS = ("gemm", "attention", "elementwise", "head", "dispatch")


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One step: measured and predicted seconds, of the layers that ran; ``parts_s`` add up to the prediction;
    ``launched`` operators make up its dispatch.
    ``whole_*``: the same for all layers of the model, by the time per layer."""

    case: StepCase
    measured_s: float
    spread: float
    predicted_s: float
    parts_s: Mapping[str, float]
    evidence: Evidence
    launched: int
    whole_measured_s: float
    whole_predicted_s: float

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return self.predicted_s / self.measured_s - 1.0


@dataclass(frozen=True, slots=True)
class LiveReport:
    """All steps of a live run against their predictions."""

    run: LiveRun
    profile: str
    rows: tuple[LiveRow, ...]
    notes: tuple[str, ...]

    def median_error(self, prefill: bool | None = None) -> float | None:
        """Median of |error|, of one phase or of both; None where there is no such step."""
        found = [abs(r.error) for r in self.rows if prefill is None or r.case.prefill is prefill]
        return statistics.median(found) if found else None

    def trace_of(self, case: StepCase) -> StepTrace | None:
        """The profiler's view of ``case``, where it was taken."""
        return next((t for t in self.run.traces if t.case == case), None)

    def row_of(self, case: StepCase) -> LiveRow:
        """The row of ``case``."""
        return next(r for r in self.rows if r.case == case)


def compare(run: LiveRun, spec: ModelSpec, profile: Profile, device: GpuSpec) -> LiveReport:
    """Predictions for every measured step, with no engine around the kernels."""
    rows_of = RowsOf(profile, run.how)
    few, whole = (_latency_model(rows_of, cut(spec, n), device, run) for n in (run.model.num_layers, None))
    rows = tuple(_row(s, run, few, whole) for s in run.steps)
    return LiveReport(run, profile.name, rows, tuple(rows_of.notes.values()))


def batch_of(case: StepCase) -> BatchState:
    """The step as the latency model sees it."""
    if case.prefill:
        return BatchState(prefill_tokens=case.tokens, prefill_seqs=case.batch)
    return BatchState(decode_seqs=case.batch, decode_kv_tokens=case.batch * case.context)


def _latency_model(rows: RowsOf, spec: ModelSpec, device: GpuSpec, run: LiveRun) -> KernelLatencyModel:
    book = KernelBook([rows], device, device)
    ops = StepBuilder(book, spec, Layout(), run.model.dtype, run.model.dtype, page_size=run.how.page_size).build()
    return KernelLatencyModel(ops, Overhead(), measured_on=device.name, profiles=(rows.name,))


def _row(s: StepTimes, run: LiveRun, few: KernelLatencyModel, whole: KernelLatencyModel) -> LiveRow:
    step = few.step(batch_of(s.case))
    deeper = run.model.whole_layers / run.model.num_layers
    whole_s = whole.step_s(batch_of(s.case))
    launched = launched_apart(s, few)
    dispatch, whole_dispatch = (_dispatch_s(launched * n, run, kernels_s)
                                for n, kernels_s in ((1.0, step.seconds), (deeper, whole_s)))
    parts = {p: step.parts.get(p, 0.0) for p in PARTS} | {"dispatch": dispatch}
    measured = s.outer_s + (s.median_s - s.outer_s) * deeper
    return LiveRow(s.case, s.median_s, s.spread, step.seconds + dispatch, parts, step.evidence, launched,
                   measured, whole_s + whole_dispatch)


def launched_apart(s: StepTimes, model: KernelLatencyModel) -> int:
    """Operators whose launching no measured row contains: all but matrix products and attention; where element-wise
    kernels were measured, only views are left."""
    measured = any(op.part == "elementwise" and op.kernel.grid is not None for op in model.ops)
    return s.operators - s.kernel_calls - (s.small_calls if measured else 0)


def _dispatch_s(operators: float, run: LiveRun, kernels_s: float) -> float:
    """What launching ``operators`` adds to ``kernels_s``: all of it on a CPU; on a GPU, which runs while the host
    launches, only what is longer than the kernels."""
    launching = run.dispatch_s * operators
    return max(0.0, launching - kernels_s) if run.how.device == "cuda" else launching


def check_machine(manifest: Manifest, machine: Mapping[str, str], *, force: bool) -> str:
    """A warning, or "" where the profile was measured on a machine like this. Raises InputError where it was not,
    unless ``force``."""
    told = manifest.origin.get("machine")
    known = told if isinstance(told, Mapping) else {}
    pairs = [("device", known.get("name") or manifest.device, machine.get("name")),
             ("cores", known.get("cores"), machine.get("cores"))]
    differ = [f"{what} {a}, here {b}" for what, a, b in pairs if a and b and str(a) != str(b)]
    if not differ and any(a for _, a, _ in pairs):
        return ""
    reason = "; ".join(differ) or "it does not say on which device it was measured"
    message = f"profile {manifest.name} is not of this machine: {reason}"
    if not force:
        raise InputError(message, where="--profile",
                         hint="measure this machine with `costplan profile`, or compare anyway with --force")
    return message


def grid(batches: Sequence[int], contexts: Sequence[int], max_prefill_tokens: int) -> list[StepCase]:
    """Decode steps of every batch and context, and prompts up to ``max_prefill_tokens`` per step."""
    out = [StepCase(False, b, c) for b in batches for c in contexts]
    return out + [StepCase(True, b, c) for b in batches for c in contexts if b * c <= max_prefill_tokens]
