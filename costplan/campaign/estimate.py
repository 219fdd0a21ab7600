"""How long a case takes to measure: kernel time by roofline, times what the protocol asks for, plus preparation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from costplan.campaign.device import Device
from costplan.campaign.work import call_s, compute_format, input_bytes, work_of
from costplan.perf.kernel_source import peak
from costplan.profile.case import Case


@dataclass(frozen=True, slots=True)
class Protocol:
    """What the timer does for one case, in seconds; the sampling of one regime in one pass is capped at ``cap_s``.

    ``fill_bytes_per_s`` is the speed at which random inputs come into being, ``check_share`` the part of the
    result that the fp32 reference computes again, ``check_efficiency`` how fast it does.
    """

    passes: int = 2
    regimes: float = 1.5
    warmup_s: float = 0.025
    warmup_max_s: float = 0.5
    warmup_calls: int = 3
    samples: int = 20
    sample_s: float = 0.05
    least_samples: int = 5
    cap_s: float = 2.0
    fixed_s: float = 0.02
    fill_bytes_per_s: float = 200e9
    check_share: float = 0.05
    check_efficiency: float = 0.02


CUDA = Protocol()
CPU = Protocol(samples=10, sample_s=0.12, cap_s=0.6, warmup_max_s=0.2, least_samples=2, fixed_s=0.005,
               fill_bytes_per_s=0.4e9)


def protocol_for(device: Device) -> Protocol:
    """The protocol of a kind of device."""
    return CPU if device.kind == "cpu" else CUDA


def case_s(case: Case, device: Device, protocol: Protocol | None = None) -> float:
    """Seconds to measure ``case`` with one backend, inputs and reference check included."""
    p = protocol or protocol_for(device)
    call = call_s(case, device)
    warm = max(p.warmup_s, min(p.warmup_max_s, p.warmup_calls * call), call)
    sampling = max(min(p.cap_s, max(p.sample_s, p.samples * call)), p.least_samples * call)
    size = input_bytes(case)
    sets = max(1.0, min(3.0 * (device.gpu.l2_bytes or 0) / max(size, 1.0) + 1.0, 64.0))
    fill = sets * size / p.fill_bytes_per_s
    check = p.check_share * work_of(case).flops / (p.check_efficiency * peak(device.gpu, compute_format(case)))
    return p.passes * (p.regimes * (warm + sampling) + fill + p.fixed_s) + check


def within(cases: Iterable[Case], budget_s: float, device: Device) -> list[Case]:
    """The cases, in their order, that still fit into ``budget_s`` of one backend."""
    out = []
    for case in cases:
        seconds = case_s(case, device)
        if seconds <= budget_s:
            out.append(case)
            budget_s -= seconds
    return out


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a list of cases costs before it is measured: seconds by family, all backends included."""

    cases: int
    seconds: float
    by_family: tuple[tuple[str, int, float], ...]

    def cost_usd(self, price_usd_per_h: float) -> float:
        """Money at a price of the device."""
        return self.seconds / 3600 * price_usd_per_h


def estimate(cases: Iterable[Case], device: Device, *, backends: float = 1.0,
             protocol: Protocol | None = None) -> Estimate:
    """Cases, seconds by family and in all; ``backends`` is the mean number of them that run a case."""
    families: dict[str, tuple[int, float]] = {}
    for case in cases:
        n, s = families.get(case.family, (0, 0.0))
        families[case.family] = n + 1, s + backends * case_s(case, device, protocol)
    rows = tuple((f, n, s) for f, (n, s) in sorted(families.items(), key=lambda item: -item[1][1]))
    return Estimate(sum(n for _, n, _ in rows), sum(s for _, _, s in rows), rows)
