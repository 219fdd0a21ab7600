"""The passes of a run over its cases, as the journal has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from costplan.profile.case import Case
from costplan.profile.disturbance import calm, disturbed

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pass:
    """One measurement of a case by a kernel; ``disturbed``: the machine was busy around it."""

    entry: Entry
    disturbed: bool

    @property
    def steady(self) -> Mapping[str, Any]:
        """Samples, median and stop of the steady regime."""
        found: Mapping[str, Any] = self.entry["regimes"][0]
        return found


def all_passes(entries: Iterable[Entry]) -> dict[tuple[Case, str], list[Pass]]:
    """Every pass by case and kernel in the order of measuring; sentinels are none."""
    out: dict[tuple[Case, str], list[Pass]] = {}
    for e, is_slow in _marked(entries):
        if "regimes" in e and not e.get("sentinel"):
            out.setdefault((Case.from_json(e["case"]), str(e["kernel"])), []).append(Pass(e, is_slow))
    return out


def kept_passes(entries: Iterable[Entry]) -> dict[tuple[Case, str], list[Pass]]:
    """The passes that a row is made of: the calm ones where there are any."""
    return {key: calm(found, lambda p: p.disturbed) for key, found in all_passes(entries).items()}


def _marked(entries: Iterable[Entry]) -> list[tuple[Entry, bool]]:
    """What was timed, in the order of measuring, with whether other work disturbed it."""
    lines = [e for e in entries if "regimes" in e or "ceilings" in e]
    slow = disturbed([e["regimes"][0]["median_s"] if e.get("sentinel") else None for e in lines])
    return list(zip(lines, slow, strict=True))


def doubtful_ceilings(entries: Iterable[Entry]) -> bool:
    """Whether the device's limits were only measured on a busy machine."""
    return all(is_slow for e, is_slow in _marked(entries) if "ceilings" in e)


def best_ceilings(entries: Iterable[Entry]) -> dict[str, Any]:
    """The device's limits: the best of all times they were measured, for that is what a limit is."""
    best: dict[str, Any] = {}
    for found in (e["ceilings"] for e in entries if "ceilings" in e):
        flops = {k: max(v, best.get("flops_per_s", {}).get(k, 0.0)) for k, v in found["flops_per_s"].items()}
        best = {"copy_bytes_per_s": max(found["copy_bytes_per_s"], best.get("copy_bytes_per_s", 0.0)),
                "read_bytes_per_s": max(found["read_bytes_per_s"], best.get("read_bytes_per_s", 0.0)),
                "flops_per_s": {**best.get("flops_per_s", {}), **flops},
                "floor_s": min(found["floor_s"], best.get("floor_s", found["floor_s"]))}
    return best
