"""A user's own runs correct predictions near them: shift and interval by how alike the runs and the question are.

Errors of predictions, in units of their stated scale, are taken as a Student t process (3 degrees of freedom, as
`core.evidence`) whose correlations are those of `perf.kinship`. Given the errors of measured runs, the error of the
question has a mean (the shift) and a smaller scale (the narrowed interval). A run that disagrees with its fellows
counts less, so that one outlier cannot move the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from costplan.core.evidence import Z90, Estimate
from costplan.perf.assemble import kernel_engine
from costplan.perf.kinship import ANY_LOAD, LEVELS, Setting, correlation, depth, table
from costplan.perf.overhead import overhead
from costplan.perf.predict import Deployment, Prediction
from costplan.perf.steady import Load, LoadKind

METRICS = ("tpot", "ttft", "output_tok_s")
DEGREES = 3.0
ROUNDS = 8
LIGHTEST_TAIL = 1.6448536269514722 / Z90
"""90 % quantile of a normal distribution over that of Student's t with 3 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A measured run: by metric ln(measured / predicted), and the scale of error that was stated for it."""

    setting: Setting
    log_error: Mapping[str, float]
    log_sd: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibration as predictions use it, and what a reader must know about it."""

    name: str
    observed: tuple[Observed, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Correction:
    """Of one metric: add ``log_shift`` to its logarithm, multiply its scale by ``narrowing``. ``runs`` count."""

    log_shift: float = 0.0
    narrowing: float = 1.0
    runs: int = 0
    level: int = 0

    @property
    def factor(self) -> float:
        return math.exp(self.log_shift)

    def of(self, e: Estimate) -> Estimate:
        """The corrected estimate."""
        if not self.runs:
            return e
        words = f"calibrated x{self.factor:.3g} by {self.runs} own run{'s' if self.runs > 1 else ''} {NEAR[self.level]}"
        basis = f"{e.basis}; {words}" if e.basis else words
        return Estimate(e.value * self.factor, e.log_sd * self.narrowing, e.evidence, basis, e.shares, e.tail)


NEAR = ("elsewhere", "of this engine on another GPU", "of this engine and GPU with another model",
        "of this model and GPU in another deployment", "of this deployment")


def setting_of(dep: Deployment, load: Load | None) -> Setting:
    """The place of a question among measured runs."""
    lay = dep.layout
    era = overhead(dep.engine, dep.engine_version).name
    formats = f"{dep.weight_dtype or dep.spec.weight_dtype}/{dep.stored_kv_dtype}"
    layout = f"tp{lay.tp} pp{lay.pp} dp{lay.dp} ep{lay.ep}"
    place = (ANY_LOAD, 0.0, 0.0, 0.0) if load is None else (
        str(load.kind), math.log(load.value / dep.replicas), math.log(load.isl), math.log(load.osl))
    return Setting(kernel_engine(dep.engine), dep.gpu.name, dep.spec.name, f"{era} {formats} {layout}", place)


def correction(observed: Sequence[Observed], metric: str, asked: Setting, log_sd: float) -> Correction:
    """What ``observed`` says about ``metric`` of a question whose stated scale of error is ``log_sd``."""
    shares = table()["shares"][metric]
    alike = [(o, correlation(o.setting, asked, shares)) for o in observed if metric in o.log_error]
    near = [(o, share) for o, share in alike if share > 0]
    if not near:
        return Correction()
    z = np.array([o.log_error[metric] / max(o.log_sd[metric], 1e-6) for o, _ in near])
    k = np.array([c for _, c in near])
    prior = np.array([[correlation(a.setting, b.setting, shares) for b, _ in near] for a, _ in near])
    own = np.minimum(prior.diagonal(), 0.999)
    cov = prior - np.diag(prior.diagonal()) + np.diag(own + (1 - own) / _weights(prior, own, z))
    solved = np.linalg.solve(cov, np.column_stack([z, k]))
    shift, explained = float(k @ solved[:, 0]), min(0.99, max(0.0, float(k @ solved[:, 1])))
    level: int = max(depth(o.setting, asked) for o, _ in near)
    nearness = float(np.max(k / own))
    learned = math.pow(_scale(float(z @ solved[:, 0]), len(near)), nearness)
    return Correction(shift * log_sd, math.sqrt(1 - explained) * learned, len(near), level)


def _scale(size: float, n: int) -> float:
    """What ``n`` errors teach a t process about its scale: ``size`` is their squared length, ``n`` if as expected.

    The tail gets lighter with each run, towards that of a normal distribution.
    """
    return math.sqrt((DEGREES + size) / (DEGREES + n)) * math.pow(LIGHTEST_TAIL, n / (DEGREES + n))


def _weights(prior: np.ndarray, own: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Weight of each run in (0, 1]: how well its error agrees with what the others lead to expect."""
    weights = np.ones(len(z))
    off = prior - np.diag(prior.diagonal())
    for _ in range(ROUNDS):
        inverse = np.linalg.inv(off + np.diag(own + (1 - own) / weights))
        variance = 1 / inverse.diagonal() - (1 - own) / weights + (1 - own)
        surprise = (inverse @ z / inverse.diagonal()) ** 2 / variance
        weights = np.minimum(1.0, (DEGREES + 1) / (DEGREES + surprise))
    return weights


def calibrated(p: Prediction, dep: Deployment, load: Load, observed: Sequence[Observed]) -> Prediction:
    """``p`` as the user's own runs correct it."""
    if not observed:
        return p
    asked = setting_of(dep, load)
    found = {m: correction(observed, m, asked, e.log_sd) for m, e in (
        ("ttft", p.ttft_s), ("tpot", p.tpot_s), ("output_tok_s", p.output_tok_s))}
    ttft, tpot = found["ttft"].of(p.ttft_s), found["tpot"].of(p.tpot_s)
    decoding = max(0.0, p.e2e_s.value - p.ttft_s.value)
    e2e = replace(found["tpot"].of(p.e2e_s), value=ttft.value + decoding * found["tpot"].factor)
    rate = p.output_tok_s if _repeats_the_load(load, p) else found["output_tok_s"].of(p.output_tok_s)
    if not found["output_tok_s"].runs and load.kind is LoadKind.CONCURRENCY:  # Little's law: rate x latency stays
        rate = replace(found["tpot"].of(rate), value=rate.value * p.e2e_s.value / e2e.value)
    return replace(p, ttft_s=ttft, tpot_s=tpot, e2e_s=e2e, output_tok_s=rate,
                   output_tok_s_per_gpu=rate.scaled(1 / dep.num_gpus))


def _repeats_the_load(load: Load, p: Prediction) -> bool:
    """An open loop that keeps up serves what arrives, whatever its steps take."""
    return load.kind is LoadKind.RATE and not p.point.saturated


def nearest_words(observed: Sequence[Observed], asked: Setting) -> str:
    """How near the nearest run is, in words; for a calibration that cannot help."""
    level = max((depth(o.setting, asked) for o in observed), default=0)
    return f"its nearest run is {NEAR[level]}" if level < len(LEVELS) else "it holds runs of this deployment"
