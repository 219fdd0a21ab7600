"""What the GEMM backends for GPUs share: limits on sizes, input sets of one matrix product, the `Prepared`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from costplan.kernels.backend import Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.quantised import Quantised, product_error
from costplan.profile.case import Case

GEMM = frozenset({"gemm"})
TOLERANCE, TOLERANCE_QUANTISED = 1e-2, 2e-2


@dataclass(frozen=True, slots=True)
class GemmLimits:
    """``dtypes`` of weights and activations; ``n`` and ``k`` are multiples of the steps, ``m`` at least ``least_m``."""

    dtypes: tuple[str, ...]
    n_step: int = 1
    k_step: int = 1
    least_m: int = 1

    def words(self) -> Mapping[str, str]:
        return {"formats": ", ".join(self.dtypes), "n": f"multiples of {self.n_step}",
                "k": f"multiples of {self.k_step}"}


def gemm_refusal(case: Case, limits: GemmLimits) -> str | None:
    """None where a kernel of these limits multiplies ``case``, else the reason in a few words."""
    if case.family != "gemm":
        return f"multiplies matrices, not {case.family}"
    if case.text("dtype") not in limits.dtypes:
        return f"no kernel for {case.text('dtype')}"
    m, n, k = (case.size(x) for x in "mnk")
    if min(m, n, k) < 1:
        return "not a case: a size is zero"
    if m < limits.least_m:
        return f"m = {m}: at least {limits.least_m}"
    if n % limits.n_step:
        return f"n = {n} is no multiple of {limits.n_step}"
    return f"k = {k} is no multiple of {limits.k_step}" if k % limits.k_step else None


def prepare_gemm(case: Case, inputs: Inputs, quantise: Callable[[Any, Any], tuple[Quantised, Quantised]],
                 bind: Callable[[Quantised, Quantised], Callable[[], Any]], kernel: str, weight_bytes: float,
                 facts: Mapping[str, object] | None = None, *, tolerance: float = TOLERANCE_QUANTISED,
                 drawn_as: str = "fp32") -> Prepared:
    """``quantise(a, b)`` turns activations ``[m, k]`` and weights ``[n, k]``, drawn as ``drawn_as``, into what
    ``bind`` multiplies. ``weight_bytes`` per weight count towards the cache to defeat."""
    m, n, k = (case.size(x) for x in "mnk")
    sets = []
    for _ in range(inputs.sets(n * k * weight_bytes + m * k + 2 * m * n)):
        sets.append(quantise(inputs.randn(m, k, dtype=drawn_as), inputs.randn(n, k, dtype=drawn_as)))
    told = {"sets": len(sets), "activations": "quantised beforehand", **(facts or {})}
    return Prepared([bind(a, b) for a, b in sets], product_error(*sets[0], m, n), tolerance, kernel, told)
