"""The narrow waist: time of one engine step, with evidence and relative error, from measured kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from costplan.core.evidence import Estimate, Evidence
from costplan.perf.batch import BatchState
from costplan.perf.op_terms import term_of
from costplan.perf.ops import Op, bound_of, evidence_shares, overall_evidence
from costplan.perf.overhead import Overhead
from costplan.perf.timed import Timing


class LatencyModel(Protocol):
    """Anything that can tell the time of one engine step."""

    def step_s(self, batch: BatchState) -> float:
        """Seconds of one step."""
        ...

    def step(self, batch: BatchState) -> StepTime:
        """The same with evidence, interval and parts."""
        ...


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step: seconds, relative error, and where the time goes (``parts`` in seconds, overhead included)."""

    seconds: float
    log_sd: float
    evidence: Evidence
    shares: Mapping[Evidence, float]
    parts: Mapping[str, float]
    bound: str
    timings: Sequence[tuple[Timing, float]]

    def estimate(self, basis: str = "") -> Estimate:
        return Estimate(self.seconds, self.log_sd, self.evidence, basis, self.shares)


class KernelLatencyModel:
    """Sum of the step's kernels plus the engine's own time per step.

    With ``pp`` > 1 the sequences of a step are split into ``pp`` groups that follow each other through the
    stages, so that a step takes ``pp`` times the stage time of one group.
    """

    narrowing: Mapping[str, float] = MappingProxyType({})
    """Factors on the scale of error of steps (``step``) and of TTFT (``ttft``) that own runs allow; 1 where absent."""

    def __init__(self, ops: Sequence[Op], overhead: Overhead, pp: int = 1, *, measured_on: str = "",
                 profiles: tuple[str, ...] = ()) -> None:
        self.measured_on = measured_on
        self.profiles = profiles
        self.ops = tuple(ops)
        self.overhead = overhead
        self.pp = pp
        self._terms = {id(op): term_of(op) for op in self.ops}
        self._kernels: dict[BatchState, float] = {}

    @property
    def basis(self) -> str:
        """Whose kernels the numbers rest on, in a few words."""
        return f"{self.profiles[0]} kernels" if self.profiles else "roofline with typical efficiencies"

    def _stage(self, b: BatchState) -> BatchState:
        if self.pp == 1:
            return b
        share = [math.ceil(x / self.pp) for x in (b.decode_seqs, b.decode_kv_tokens, b.prefill_tokens,
                                                  b.prefill_context_tokens, b.prefill_seqs)]
        return BatchState(*share)

    def kernels_s(self, stage: BatchState) -> float:
        """Seconds of all kernels of one stage as the engine runs them, without its own time."""
        found = self._kernels.get(stage)
        if found is None:
            found = self._kernels[stage] = self.ops_s(self.ops, stage)
        return found

    def ops_s(self, ops: Sequence[Op], stage: BatchState) -> float:
        """Seconds of some of this model's kernels in one stage, scaled by the engine's factors."""
        factor, terms, tokens = self.overhead.factor, self._terms, stage.tokens
        return sum([op.seconds(stage) * factor(terms[id(op)], tokens) for op in ops])

    def step_s(self, batch: BatchState) -> float:
        stage = self._stage(batch)
        return self.pp * self.overhead.step_s(self.kernels_s(stage), stage)

    def step(self, batch: BatchState) -> StepTime:
        stage = self._stage(batch)
        timings: list[tuple[Timing, float]] = []
        parts: dict[str, float] = {}
        spread: dict[str, float] = {}
        for op in self.ops:
            t = op.timing(stage)
            if t is None:
                continue
            timings.append((t, op.count))
            seconds = t.seconds * op.count * self.pp * self.overhead.factor(self._terms[id(op)], stage.tokens)
            parts[op.part] = parts.get(op.part, 0.0) + seconds
            spread[op.part] = spread.get(op.part, 0.0) + seconds * t.log_sd
        kernels = sum(parts.values()) / self.pp
        seconds = self.pp * self.overhead.step_s(kernels, stage)
        parts["engine"] = seconds - self.pp * kernels
        spread["engine"] = abs(parts["engine"]) * self.overhead.log_sd
        log_sd = math.sqrt(sum(s * s for s in spread.values())) / seconds if seconds else 0.0
        shares = evidence_shares(timings)
        return StepTime(seconds, log_sd, overall_evidence(shares), shares, parts, bound_of(timings), timings)
