"""Step times as own runs correct them, for simulations and plans: every step slower or faster by one factor.

The factor is that of TPOT. First tokens follow the steps; what own runs say about TTFT beyond that only narrows its
interval here (`costplan predict` shifts it too).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from costplan.perf.batch import BatchState
from costplan.perf.calibration import NEAR, Observed, correction, setting_of
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.overhead import Overhead
from costplan.perf.predict import Deployment
from costplan.perf.residual import residual


def scaled(o: Overhead, by: float) -> Overhead:
    """An overhead whose steps take ``by`` times as long, kernels included."""
    return replace(o, factors=tuple((small * by, large * by) for small, large in o.factors), step_s0=o.step_s0 * by,
                   seq_s=o.seq_s * by, eager_s=o.eager_s * by)


class CalibratedModel(KernelLatencyModel):
    """A latency model whose steps are scaled, and which is surer than kernels alone: see ``narrowing``."""

    def __init__(self, model: KernelLatencyModel, scale: float, narrowing: dict[str, float], words: str) -> None:
        super().__init__(model.ops, scaled(model.overhead, scale), model.pp, measured_on=model.measured_on,
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
    found = {m: correction(observed, m, asked, math.hypot(typical.log_sd, residual(m, typical.evidence).log_sd))
             for m in ("tpot", "ttft", "output_tok_s")}
    steps = found["tpot"]
    if not any(c.runs for c in found.values()):
        return model
    words = f"calibrated x{steps.factor:.3g} by {steps.runs} own runs {NEAR[steps.level]}"
    return CalibratedModel(model, steps.factor, {
        "step": min(steps.narrowing, found["output_tok_s"].narrowing), "ttft": found["ttft"].narrowing}, words)
