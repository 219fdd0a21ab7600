"""Kernels that are too large to measure on this device, and the smaller ones that stand in for them."""

from __future__ import annotations

from costplan.campaign.device import Device
from costplan.campaign.estimate import case_s
from costplan.campaign.kernel import Kernel
from costplan.campaign.work import fits
from costplan.profile.case import Case

_SHRINKS = {"gemm": ("n", "k"), "moe": ("inter_size", "num_experts", "hidden_size"), "elementwise": ("k",)}
_LEAST = 128


def affordable(case: Case, device: Device, max_case_s: float) -> bool:
    """Whether a case fits into memory and takes no longer than ``max_case_s``, by estimate."""
    return fits(case, device) and case_s(case, device) <= max_case_s


def stand_in(kernel: Kernel, device: Device, max_case_s: float) -> Kernel:
    """``kernel`` itself where its smallest sizes are affordable, else the largest one that is, by halving."""
    shrinks = _SHRINKS.get(kernel.family, ())
    smallest = tuple(1 for _ in kernel.sweep)
    for _ in range(24):
        if affordable(kernel.case(smallest), device, max_case_s):
            return kernel
        names = [n for n in shrinks if kernel.number(n) >= 2 * _LEAST]
        if not names:
            return kernel
        widest = max(names, key=lambda n: (kernel.number(n), -names.index(n)))
        values = dict(kernel.fixed)
        values[widest] = int(values[widest]) // 2
        kernel = Kernel.of(kernel.family, kernel.sweep, **values)
    return kernel
