"""Where a number comes from and how far it may be off.

Every number that leaves a model carries its evidence and two central intervals (50 % and 90 %).
Uncertainty is carried as the scale of the error of the natural log (``log_sd``), because times and costs
are positive and their errors are relative: an interval is ``value * exp(+-z * log_sd)``. The quantiles are
those of Student's t with 3 degrees of freedom: prediction errors have heavier tails than a normal
distribution (on the tuning measurements a normal one that covers 50 % of the errors covers 77-83 %, not
90 %).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

Z50 = 0.7648923284043458
Z90 = 2.3533634348018264


class Evidence(StrEnum):
    """How a number was obtained, best first."""

    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    EXTRAPOLATED = "extrapolated"
    ANALYTIC = "analytic"


_RANK = {e: i for i, e in enumerate(Evidence)}


def worst(items: Iterable[Evidence]) -> Evidence:
    """The weakest evidence of several; ``MEASURED`` for none."""
    return max(items, key=_RANK.__getitem__, default=Evidence.MEASURED)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A positive number with its evidence and relative uncertainty.

    ``shares`` says which fraction of the number rests on which evidence (sums to 1); ``basis`` names
    the source in a few words. ``tail`` stretches the 90 % interval where errors of this kind were seen to have
    longer tails than Student's t (below 1: shorter).
    """

    value: float
    log_sd: float
    evidence: Evidence
    basis: str = ""
    shares: Mapping[Evidence, float] | None = None
    tail: float = 1.0

    def interval(self, z: float) -> tuple[float, float]:
        """Central interval at ``z`` standard deviations, in the unit of ``value``."""
        f = math.exp(z * self.log_sd)
        return self.value / f, self.value * f

    @property
    def i50(self) -> tuple[float, float]:
        return self.interval(Z50)

    @property
    def i90(self) -> tuple[float, float]:
        return self.interval(Z90 * self.tail)

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit, or of a multiple."""
        return Estimate(self.value * factor, self.log_sd, self.evidence, self.basis, self.shares, self.tail)

    def inverse(self, numerator: float) -> Estimate:
        """``numerator / value``: a rate from a time; the relative uncertainty is unchanged."""
        return Estimate(numerator / self.value, self.log_sd, self.evidence, self.basis, self.shares, self.tail)
