"""The engine terms as a hierarchy of factors, and how they are fitted: robust ridge regression on logarithms.

Each term of each row is a product of factors from the general to the particular (`scopes`). A factor's prior is 1
with a log standard deviation that shrinks with how particular it is, so that what few rows say stays near what many
say. Residuals count with Cauchy weights: a row that no physics explains is not chased.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from engine_cases import HOST, KERNELS, METRICS, TERMS, Case, Floats, simulated, terms_present

from costplan.perf.overhead import bounds

Scope = tuple[tuple[str, object], ...]
BASE = {"step_s0": 5e-4, "seq_s": 1e-5, "launch_s": 3e-5, "request_s": 0.03, "prompt_token_s": 5e-6}
"""Prior means of the host's terms, in seconds; kernels start at a factor of 1."""
HOST_SD, STEP_SD, VENDOR_SD, CELL_SD = 1.2, 0.6, 0.7, 0.12
KERNEL_SD, READ_SD, LARGE_SD, FUSED_SD = 0.25, 0.06, 0.18, 0.65
ENGINE, SINCE, ARCH, SINCE_ARCH, FORMAT, MOE, HYBRID = 0.5, 0.5, 0.5, 0.4, 0.5, 0.3, 0.5
"""Prior log standard deviations, and what they shrink by when a factor speaks of less. Matrix products that wait for
weights (`READ_SD`) run at a bandwidth that was measured, in all but quantised formats; element-wise kernels are freer:
engines fuse or overlap most of what was measured one by one."""
SDS = {"gemm_small": READ_SD, "gemm_large": LARGE_SD, "elementwise": FUSED_SD, "step_s0": STEP_SD}
QUANTISED_SD = 0.15
VENDORS = ("AMD", "Huawei", "Google", "Moore Threads")
"""Vendors whose kernels nobody measured: one more factor on all of them, beyond the bounds."""
CELL_TERMS = {"small": ("gemm_small", "experts_small", "attention_decode"),
              "large": ("gemm_large", "experts_large", "attention_prefill")}
"""What a model's own factors on one GPU scale: kernels that wait for memory, and those that wait for compute."""
SCALE, RIDGE, STEP = 0.12, 0.8, 0.15
"""Log error at which a row's weight halves; weight of the prior; log step of the numerical derivatives."""
METRIC_WEIGHT, FAMILY_POWER = (0.7, 1.0, 1.0), 0.35
DOUBT = {"gpustack": (0.3, 0.3, 0.3), "dstack": (1.0, 0.0, 1.0)}
"""Weights, by metric, of families that measured more than the engine: GPUStack sends 1,000 requests at once through a
gateway; dstack's TPOT is that of multi-step scheduling, which hands out several tokens at a time."""


def start() -> Floats:
    """Logarithms of the prior means of `TERMS`."""
    return np.array([math.log(BASE.get(t, 1.0)) for t in TERMS])


def scopes(case: Case) -> list[tuple[str, tuple[str, Scope], float]]:
    """(term, (name, scope) of a factor, its prior standard deviation) for all factors of ``case``."""
    e, since = ("engine", case.engine), ("since", case.since)
    arch, fmt = ("arch", case.traits.arch), ("format", case.traits.weight_format)
    out: list[tuple[str, tuple[str, Scope], float]] = []
    for t in TERMS:
        sd = SDS.get(t, HOST_SD if t in HOST else KERNEL_SD)
        out += [(t, (t, ()), sd), (t, (t, (e,)), sd * ENGINE), (t, (t, (e, since)), sd * SINCE)]
        if t in ("launch_s", "step_s0"):
            out.append((t, (t, (e, since, ("moe", case.traits.moe))), sd * MOE))
        if t == "elementwise":
            out += [(t, (t, (("moe", case.traits.moe),)), sd * 2 * MOE),
                    (t, (t, (e, since, ("moe", case.traits.moe))), sd * MOE)]
        if t == "launch_s" and case.traits.hybrid:
            out.append((t, (t, (("hybrid", True),)), sd * HYBRID))
        if t in HOST:
            continue
        out += [(t, (t, (arch,)), sd * ARCH), (t, (t, (e, since, arch)), sd * SINCE_ARCH)]
        if t.startswith("experts"):
            out += [(t, ("experts", s), sd * FORMAT) for s in ((fmt,), (fmt, arch), (fmt, e), (fmt, e, arch))]
        if t.startswith("gemm"):
            plain = case.traits.weight_format in ("16", "fp8")
            own = sd * FORMAT if plain else max(sd * FORMAT, QUANTISED_SD)
            out += [(t, (t, s), own) for s in ((fmt,), (fmt, arch), (fmt, e), (fmt, e, arch))]
            out.append((t, (t, (("moe", case.traits.moe),)), KERNEL_SD * FORMAT if case.traits.moe else sd * FORMAT))
        if case.traits.arch in VENDORS:
            out.append((t, ("kernels", (arch,)), VENDOR_SD))
    gpu, model = case.cell
    cell: Scope = (("gpu", gpu), ("model", model), e)
    return out + [(t, (f"cell_{size}", cell), CELL_SD) for size, terms in CELL_TERMS.items() for t in terms]


def _log_bounds(term: str, case: Case) -> tuple[float, float]:
    """What of the log of ``term`` is physical beyond its prior mean; the host's terms are not bounded."""
    if term in HOST:
        return -math.inf, math.inf
    least, most = bounds(term, case.traits.weight_format)
    return math.log(least), math.log(most)


class Design:
    """Which factors act on which term of which row."""

    def __init__(self, items: Sequence[Case]) -> None:
        self.index: dict[tuple[str, Scope], int] = {}
        sds: list[float] = []
        self.rows: list[list[tuple[int, int]]] = []
        self.vendor: set[int] = set()
        self.bounds = np.array([[_log_bounds(t, c) for t in TERMS] for c in items])
        for case in items:
            row = []
            for term, name, sd in scopes(case):
                if name not in self.index:
                    self.index[name] = len(sds)
                    sds.append(sd)
                    if name[0] == "kernels":
                        self.vendor.add(self.index[name])
                row.append((TERMS.index(term), self.index[name]))
            self.rows.append(row)
        self.sd = np.array(sds)

    def terms(self, theta: Floats) -> Floats:
        """Log terms [rows, terms] under the log factors ``theta``, within what is physical."""
        own, vendor = np.zeros((len(self.rows), len(TERMS))), np.zeros((len(self.rows), len(TERMS)))
        for i, row in enumerate(self.rows):
            for k, j in row:
                (vendor if j in self.vendor else own)[i, k] += theta[j]
        return np.asarray(start() + np.clip(own, self.bounds[..., 0], self.bounds[..., 1]) + vendor)

    def spread(self, jacobian: Floats) -> Floats:
        """Derivatives [rows, metrics, factors] from those by term [rows, metrics, terms]."""
        out = np.zeros((*jacobian.shape[:2], len(self.sd)), dtype=np.float32)
        for i, row in enumerate(self.rows):
            for k, j in row:
                out[i, :, j] += jacobian[i, :, k]
        return out


def predicted(items: Sequence[Case], log_terms: Floats) -> Floats:
    """ln of the metrics [rows, metrics]; each row simulated as it was run."""
    return np.array([simulated(c, x) for c, x in zip(items, log_terms, strict=True)])


def derivatives(items: Sequence[Case], log_terms: Floats) -> tuple[Floats, Floats]:
    """Predictions, and their derivatives by the logarithm of each term [rows, metrics, terms]."""
    base = predicted(items, log_terms)
    out = np.zeros((*base.shape, len(TERMS)))
    for i, case in enumerate(items):
        present = terms_present(case)
        for k, term in enumerate(TERMS):
            if term in present:
                moved = log_terms[i].copy()
                moved[k] += STEP
                out[i, :, k] = (simulated(case, moved) - base[i]) / STEP
    return base, out


def observed(items: Sequence[Case]) -> tuple[Floats, Floats]:
    """ln of the measurements (NaN: not scored) and their weights, both [rows, metrics]."""
    y = np.array([[math.log(v) if v else math.nan for v in c.measured] for c in items])
    sizes = Counter(c.row.text["family"] for c in items)
    family = np.array([(sizes[c.row.text["family"]] / 100) ** -FAMILY_POWER for c in items])
    doubt = np.array([DOUBT.get(c.row.text["family"], (1.0, 1.0, 1.0)) for c in items])
    return y, np.where(np.isnan(y), 0.0, family[:, None] * doubt * np.array(METRIC_WEIGHT))


def solve(a: Floats, r: Floats, w: Floats, sd: Floats, rounds: int = 6) -> Floats:
    """Log factors that minimise the robust error of the linear model ``r = a theta``; rows of weight 0 are left out.

    Weights begin wide, at three times `SCALE`, so that no start decides which rows count as outliers.
    """
    keep = w.reshape(-1) > 0
    a2, r2, w2 = a.reshape(-1, a.shape[-1])[keep], r.reshape(-1)[keep], w.reshape(-1)[keep]
    prior = np.diag(RIDGE / sd**2)
    theta = np.zeros(len(sd))
    for n in range(rounds):
        wide = 3 * SCALE if n < 2 else SCALE
        q = (w2 / (1 + ((r2 - a2 @ theta) / wide) ** 2) / SCALE**2).astype(np.float32)
        weighted = a2 * q[:, None]
        theta = np.linalg.solve((weighted.T @ a2).astype(float) + prior, (weighted.T @ r2).astype(float))
    return theta


def fold_of(group: tuple[str, ...], folds: int) -> int:
    """Fold of a group, by a hash that never changes."""
    return int(hashlib.md5(repr(group).encode(), usedforsecurity=False).hexdigest(), 16) % folds


__all__ = ["BASE", "CELL_TERMS", "HOST", "KERNELS", "METRICS", "TERMS", "Design", "derivatives", "fold_of", "observed",
           "predicted", "scopes", "solve", "start"]
