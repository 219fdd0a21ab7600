"""Kernels that are too large to measure on this device, and the smaller ones that stand in for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from costplan.campaign.device import Device
from costplan.campaign.estimate import case_s
from costplan.campaign.kernel import Kernel
from costplan.campaign.work import fits
from costplan.profile.case import Case

_SHRINKS = {"gemm": {"n": 512, "k": 512}, "moe": {"num_experts": 16, "inter_size": 128, "hidden_size": 512},
            "elementwise": {"k": 512}}
"""Least sizes of the columns that perf/ interpolates over; attention of other heads would not be found."""


def affordable(case: Case, device: Device, max_case_s: float) -> bool:
    """Whether a case fits into memory and takes no longer than ``max_case_s``, by estimate."""
    return fits(case, device) and case_s(case, device) <= max_case_s


def ladder(kernel: Kernel) -> Iterator[Kernel]:
    """``kernel``, then ever smaller ones: the widest of its dimensions halved each time."""
    least = dict(_SHRINKS.get(kernel.family, {}))
    if kernel.family == "moe":
        least["num_experts"] = max(least["num_experts"], 2 * kernel.number("top_k"))
    while True:
        yield kernel
        room = {n: kernel.number(n) / low for n, low in least.items() if kernel.number(n) >= 2 * low}
        if not room:
            return
        widest = max(room, key=room.__getitem__)
        values = dict(kernel.fixed)
        values[widest] = int(values[widest]) // 2
        kernel = Kernel.of(kernel.family, kernel.sweep, **values)


def source_at(kernel: Kernel, at: Sequence[int], device: Device, max_case_s: float) -> Kernel | None:
    """The largest rung of the `ladder` that is affordable at sizes ``at``; None where not even the last one is."""
    return next((k for k in ladder(kernel) if affordable(k.case(at), device, max_case_s)), None)
