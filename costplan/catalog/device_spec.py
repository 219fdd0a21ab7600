"""A device that was measured but is not in the catalogue: its `GpuSpec` as the mapping that a profile carries."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from costplan.catalog.gpu_spec import GpuSpec
from costplan.core.errors import InputError, UnknownNameError

FORMATS = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_TEXTS = ("title", "vendor", "arch", "compute_capability", "notes")
_WHOLE = ("mem_bytes", "mem_marketed_bytes", "l2_bytes", "num_sms", "gpus_per_node", "link_gpus")
_SPEEDS = ("mem_bandwidth_bytes_per_s", "link_bytes_per_s", "pcie_bytes_per_s", "node_net_bytes_per_s", "tdp_w")
_NEEDED = ("name", "title", "vendor", "arch", "peak_flops", "mem_bytes", "mem_bandwidth_bytes_per_s")
_FIELDS = tuple(f.name for f in fields(GpuSpec))


def spec_mapping(spec: GpuSpec) -> dict[str, Any]:
    """``spec`` as plain JSON values; `read_spec` gives it back."""
    plain = {f: getattr(spec, f) for f in _FIELDS if getattr(spec, f) is not None}
    return {**plain, "peak_flops": dict(spec.peak_flops), "sources": dict(spec.sources)}


def read_spec(content: object, *, where: str) -> GpuSpec:
    """The device that a mapping describes; ``where`` names the file in errors. Raises InputError with the key.

    Left out: marketed memory is the real one, a node holds one device, everything else is unknown.
    """
    if not isinstance(content, Mapping):
        raise InputError("must be a mapping of device fields", where=where)
    for key in content:
        if key not in _FIELDS:
            raise UnknownNameError("device field", str(key), _FIELDS, where=where)
    if missing := [f for f in _NEEDED if content.get(f) is None]:
        raise InputError(f"{missing[0]} is missing", where=where, hint=f"a device needs {', '.join(_NEEDED)}")
    name = content["name"]
    if not isinstance(name, str) or not _NAME.match(name):
        raise InputError(f"name: {name!r} is not a device name", where=where,
                         hint="small letters, digits, _ . and -, at most 64")
    values: dict[str, Any] = {f: _text(content, f, where) for f in _TEXTS}
    values |= {f: _number(content.get(f), f, where, whole=True) for f in _WHOLE}
    values |= {f: _number(content.get(f), f, where) for f in _SPEEDS}
    values["mem_marketed_bytes"] = values["mem_marketed_bytes"] or values["mem_bytes"]
    values["gpus_per_node"] = values["gpus_per_node"] or 1
    link = content.get("link")
    return GpuSpec(name=name, peak_flops=_peaks(content["peak_flops"], where), link=None if link is None else str(link),
                   sources=_sources(content.get("sources", {}), where), **values)


def same_device(a: GpuSpec, b: GpuSpec) -> bool:
    """Whether two specs hold the same facts, whatever their sources, titles and notes say."""
    told = ("sources", "notes", "title")
    return {k: v for k, v in _plain(a).items() if k not in told} == {k: v for k, v in _plain(b).items()
                                                                     if k not in told}


def _plain(spec: GpuSpec) -> dict[str, Any]:
    return {f: getattr(spec, f) for f in _FIELDS} | {"peak_flops": dict(spec.peak_flops)}


def _text(content: Mapping[str, Any], field: str, where: str) -> str:
    value = content.get(field, "")
    if not isinstance(value, str) or len(value) > 2000:
        raise InputError(f"{field} must be a text", where=where)
    return value


def _number(value: object, field: str, where: str, *, whole: bool = False) -> float | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise InputError(f"{field}: {value!r} must be a number above 0", where=where)
    if whole and value != int(value):
        raise InputError(f"{field}: {value!r} must be a whole number", where=where)
    return int(value) if whole else float(value)


def _peaks(content: object, where: str) -> Mapping[str, float]:
    if not isinstance(content, Mapping) or not content:
        raise InputError("peak_flops must name at least one number format", where=where,
                         hint='for example {"bf16": 1.2e12}')
    for name in content:
        if name not in FORMATS:
            raise UnknownNameError("compute format", str(name), FORMATS, where=f"{where}: peak_flops")
    peaks = {str(k): _number(v, f"peak_flops.{k}", where) for k, v in content.items()}
    return MappingProxyType({k: float(v) for k, v in peaks.items() if v is not None})


def _sources(content: object, where: str) -> Mapping[str, str]:
    if not isinstance(content, Mapping) or not all(isinstance(v, str) for v in content.values()):
        raise InputError("sources must map a field to a text", where=where)
    return MappingProxyType({str(k): str(v) for k, v in content.items()})
