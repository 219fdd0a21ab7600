"""Step times as own runs correct them, for simulations and plans: every step slower or faster by one factor.

The factor is that of TPOT. First tokens follow the steps; what own runs say about TTFT beyond that only narrows its
interval here (`costplan predict` shifts it too).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from costplan.perf.batch import BatchState
from costplan.perf.calibration import NEAR, Observed, correction, setting_of
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.overhead import Overhead, residual_log_sd
from costplan.perf.predict import Deployment


@dataclass(frozen=True, slots=True)
class ScaledOverhead(Overhead):
    """An overhead whose steps take ``scale`` times as long, kernels included."""

    scale: float = 1.0

    def step_s(self, kernel_s: float, batch: BatchState) -> float:
        return self.scale * Overhead.step_s(self, kernel_s, batch)


class CalibratedModel(KernelLatencyModel):
    """A latency model whose steps are scaled, and which is surer than kernels alone: see ``narrowing``."""

    def __init__(self, model: KernelLatencyModel, scale: float, narrowing: dict[str, float], words: str) -> None:
        kept = {f.name: getattr(model.overhead, f.name) for f in fields(model.overhead)}
        super().__init__(model.ops, ScaledOverhead(**kept, scale=scale), model.pp, measured_on=model.measured_on,
                         profiles=model.profiles)
        self.narrowing = narrowing
        self._words = words

    @property
    def basis(self) -> str:
        return f"{super().basis}; {self._words}"


def calibrated_model(model: KernelLatencyModel, dep: Deployment, observed: Sequence[Observed]) -> KernelLatencyModel:
    """``model`` as runs near ``dep`` correct it; unchanged where none says anything."""
    if not observed:
        return model
    asked = setting_of(dep, None)
    typical = model.step(BatchState(decode_seqs=16, decode_kv_tokens=16 * 1024))
    found = {m: correction(observed, m, asked, (typical.log_sd**2 + residual_log_sd(m, typical.evidence)**2) ** 0.5)
             for m in ("tpot", "ttft", "output_tok_s")}
    steps = found["tpot"]
    if not any(c.runs for c in found.values()):
        return model
    words = f"calibrated x{steps.factor:.3g} by {steps.runs} own runs {NEAR[steps.level]}"
    return CalibratedModel(model, steps.factor, {
        "step": min(steps.narrowing, found["output_tok_s"].narrowing), "ttft": found["ttft"].narrowing}, words)
