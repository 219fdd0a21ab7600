"""What a profile that we measured says of its machine and its samples, as name and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costplan.profile.manifest import Manifest
from costplan.profile.raw_summary import RawSummary
from costplan.report.numbers import gib, seconds, si

_UNITS = {"bytes_per_s": "B/s", "flops_per_s": "FLOP/s", "s": "", "w": "W", "mhz": "MHz", "c": "deg C"}


def machine_facts(m: Manifest) -> list[tuple[str, str]]:
    """Machine and ceilings, as the profiler recorded them."""
    out = []
    for group in ("machine", "ceilings"):
        found = m.origin.get(group)
        if isinstance(found, Mapping):
            out += [(f"{group} {_label(k)}", text) for k, v in found.items() if (text := _value(k, v))]
    return out


def _label(key: str) -> str:
    for suffix in ("_bytes_per_s", "_per_s", *(f"_{u}" for u in _UNITS)):
        key = key.removesuffix(suffix)
    return key.removesuffix("_bytes").replace("_", " ")


def _value(key: str, value: Any) -> str:
    """A figure with the unit that its name carries."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(key, v)}" for k, v in value.items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if key.endswith("_bytes"):
        return gib(value) if value >= 1 << 28 else f"{value / (1 << 20):g} MiB"
    unit = next((u for u in _UNITS if f"_{key}".endswith(f"_{u}")), None)
    if unit == "s":
        return seconds(value) if value >= 1e-7 else f"{value * 1e9:.3g} ns"
    return f"{value:,}" if unit is None else f"{si(value)}{_UNITS[unit]}" if "per" in unit else f"{value:g} {unit}"


def sample_facts(r: RawSummary) -> list[tuple[str, str]]:
    """How well the samples settled, what was skipped, how far passes and sentinel scatter."""
    out = [("measured", f"{r.cases:,} cases with kernel and regime in {r.passes:,} passes, {r.runs} "
                        f"{'run' if r.runs == 1 else 'runs'}")]
    out += [(f"  {reason}", f"{n:,} passes") for reason, n in r.stops.items()]
    if r.disturbed:
        out.append(("  disturbed", f"{r.disturbed:,} passes beside a slow sentinel; calm ones stand for them where "
                                   "there are any"))
    out += [("skipped", f"{n:,}: {reason}") for reason, n in r.skipped.items()]
    if r.worst_pass_spread is not None and r.median_pass_spread is not None:
        out.append(("between passes", f"median {r.median_pass_spread * 100:.1f}%, worst "
                                      f"{r.worst_pass_spread * 100:.1f}% ({r.worst_case})"))
    drift = "no sentinel was measured" if r.sentinel_drift is None else f"{r.sentinel_drift * 100:.1f}% within a run"
    return [*out, ("sentinel drift", drift)]
