"""Whether two profiles were measured under conditions that allow a comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from costplan.profile.manifest import Manifest

_HARMLESS = frozenset({"", "none", "gpu_idle", "idle", "applications_clocks_setting", "sw_power_cap", "power_cap"})
_MACHINE = (("name", "device"), ("cores", "number of cores"), ("capability", "compute capability"),
            ("memory_bytes", "memory"), ("power_limit_w", "power limit"))
_MEMORY_SLACK = 0.02  # a control group or firmware may keep a little


def incomparable(a: Manifest, b: Manifest) -> list[str]:
    """Reasons why times of ``a`` and ``b`` must not be held against each other; empty where there is none."""
    out = []
    if a.gpu != b.gpu:
        out.append(f"other GPU: {a.gpu} and {b.gpu}")
    elif a.device and b.device and a.device != b.device:
        out.append(f"other device: {a.device} and {b.device}")
    ours, theirs = _machine(a), _machine(b)
    for key, label in _MACHINE:
        x, y = ours.get(key), theirs.get(key)
        if None not in (x, y) and x != y and not (key == "memory_bytes" and _close(x, y)):
            out.append(f"other {label}: {x} and {y}")
    x, y = _driver_class(a), _driver_class(b)
    if x and y and x != y:
        out.append(f"other driver class: {x} and {y}")
    return list(dict.fromkeys(out))


def throttled(telemetry: Mapping[str, Any]) -> str:
    """Why a device ran below its clocks before or after this was measured; empty where it did not, or nobody
    looked."""
    seen = [telemetry, *(t for k in ("before", "after") if isinstance(t := telemetry.get(k), Mapping))]
    bad: dict[str, None] = {}
    for t in seen:
        reasons = t.get("throttle_reasons") or ()
        names = re.split(r"[ ,|]+", reasons) if isinstance(reasons, str) else [str(r) for r in reasons]
        bad |= dict.fromkeys(n for n in names if n.lower() not in _HARMLESS)
    return ", ".join(bad)


def _machine(m: Manifest) -> Mapping[str, Any]:
    found = m.origin.get("machine")
    return found if isinstance(found, Mapping) else {}


def _close(x: Any, y: Any) -> bool:
    return isinstance(x, int | float) and isinstance(y, int | float) and abs(x - y) <= _MEMORY_SLACK * max(x, y)


def _driver_class(m: Manifest) -> str:
    """Major version of the driver: 570 and 580 schedule and clock differently, 580.65 and 580.82 do not."""
    machine = _machine(m)
    version = m.versions.get("driver") or machine.get("driver") or ""
    return str(version).split(".", maxsplit=1)[0]
