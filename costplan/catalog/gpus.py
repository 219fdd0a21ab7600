"""The GPU catalogue: two plain tables, and names as people and drivers write them.

``data/gpus.csv`` says what a device is and how it is called; ``data/gpu_facts.csv`` holds every number with
its unit and source. A value without a source cannot be written down there. Devices that somebody measured come
on top, for this process: `add_device`, or `look_further` for those that lie on disk.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from costplan.catalog.device_spec import same_device
from costplan.catalog.gpu_spec import GpuSpec
from costplan.core.errors import CostplanError, InputError, UnknownNameError
from costplan.core.units import GB, GIB, MIB

_DATA = Path(__file__).parent / "data"
_UNITS = {"TFLOP/s": 1e12, "TOP/s": 1e12, "GB/s": float(GB), "MiB": MIB, "GiB": GIB, "bytes": 1, "W": 1.0, "1": 1}
_WHOLE = frozenset({"mem_bytes", "mem_marketed_bytes", "l2_bytes", "num_sms", "gpus_per_node", "link_gpus"})
_OPTIONAL = ("l2_bytes", "num_sms", "link_bytes_per_s", "pcie_bytes_per_s", "node_net_bytes_per_s", "tdp_w",
             "link_gpus")
_REQUIRED = ("mem_bytes", "mem_marketed_bytes", "mem_bandwidth_bytes_per_s", "gpus_per_node")
_PEAK = "peak_flops."
_FILLER = frozenset((
    "accelerator", "advanced", "amd", "aws", "cloud", "core", "corporation", "devices", "edition", "generation",
    "geforce", "google", "gpu", "habana", "huawei", "inc", "instinct", "intel", "micro", "nvidia", "tensor",
    "tesla"))

_added: dict[str, GpuSpec] = {}
_elsewhere: list[Callable[[], Iterable[GpuSpec]]] = []


def gpus() -> Mapping[str, GpuSpec]:
    """All devices by key: the catalogue's in its order, then those that were added."""
    return MappingProxyType({**shipped_gpus(), **_added}) if _added else shipped_gpus()


def add_device(spec: GpuSpec) -> None:
    """Make a measured device known in this process; of two with one name the first stays.

    Raises InputError where the catalogue has the name with other numbers.
    """
    known = shipped_gpus().get(spec.name)
    if known is not None and not same_device(known, spec):
        raise InputError(f"{spec.name} is in the catalogue with other numbers", where="device_spec",
                         hint=f"leave out device_spec for a {known.title}, or give the device a name of its own")
    if known is None:
        _added.setdefault(spec.name, spec)


def look_further(find: Callable[[], Iterable[GpuSpec]]) -> None:
    """Ask ``find`` for more devices, once, when a name is first not known."""
    _elsewhere[:] = [find]


def search_elsewhere() -> None:
    """Add the devices of `look_further` now: a list of all devices needs them."""
    while _elsewhere:
        for spec in _elsewhere.pop()():
            if spec.name not in shipped_gpus():
                add_device(spec)


def forget_devices() -> None:
    """Back to the catalogue alone."""
    _added.clear()
    _elsewhere.clear()


@lru_cache(maxsize=1)
def shipped_gpus() -> Mapping[str, GpuSpec]:
    """The devices of the catalogue by key, in its order."""
    facts: dict[str, dict[str, tuple[float, str]]] = {}
    for row in _rows("gpu_facts.csv"):
        value = float(row["value"]) * _UNITS[row["unit"]]
        facts.setdefault(row["gpu"], {})[row["field"]] = (value, row["source"])
    return MappingProxyType({r["gpu"]: _spec(r, facts[r["gpu"]]) for r in _rows("gpus.csv")})


def gpu(name: str, *, where: str | None = None) -> GpuSpec:
    """The device called ``name``: a key, or a name as nvidia-smi, clouds or SkyPilot write it.

    A short name of several devices means the commonest (`gpu_name_note` says which). Raises
    UnknownNameError with near misses.
    """
    key = gpu_key(name)
    if key is None:
        raise UnknownNameError("GPU", name, gpus(), where=where)
    return gpus()[key]


def gpu_key(name: str) -> str | None:
    """Catalogue key of ``name``, or None where it is not known."""
    plain = _plain(name)
    if plain not in _names() and _of_added(plain) is None:
        search_elsewhere()
    return _names().get(plain) or _of_added(plain)


def _of_added(plain: str) -> str | None:
    return next((key for key in _added if _plain(key) == plain), None)


def gpu_name_note(name: str) -> str | None:
    """What was assumed for a ``name`` that fits several devices; None where it is exact or unknown."""
    key = _short_names().get(_plain(name))
    if key is None or name == key:
        return None
    stem = key.split("_")[0] if not key.startswith("rtx_") else key
    others = [k for k in gpus() if k != key and k.startswith(f"{stem}_")]
    also = f"; others: {', '.join(others)}" if others else ""
    return f"{name!r} is taken as {key} ({gpus()[key].title}){also}"


def _rows(file: str) -> list[dict[str, str]]:
    try:
        with (_DATA / file).open(encoding="utf-8", newline="") as f:
            return list(csv.DictReader(f))
    except OSError as e:
        raise CostplanError(f"this installation has no {file}: {e.strerror}", hint="reinstall costplan") from e


def _spec(row: Mapping[str, str], facts: Mapping[str, tuple[float, str]]) -> GpuSpec:
    def number(field: str) -> float | int:
        value = facts[field][0]
        return round(value) if field in _WHOLE else value

    values: dict[str, Any] = {f: number(f) for f in _REQUIRED}
    values |= {f: number(f) if f in facts else None for f in _OPTIONAL}
    peaks = {f.removeprefix(_PEAK): v for f, (v, _) in facts.items() if f.startswith(_PEAK)}
    return GpuSpec(
        name=row["gpu"], title=row["title"], vendor=row["vendor"], arch=row["arch"],
        compute_capability=row["compute_capability"], peak_flops=MappingProxyType(peaks),
        link=row["link"] or None, notes=row["notes"],
        sources=MappingProxyType({f: s for f, (_, s) in facts.items()}), **values)


def _plain(name: str) -> str:
    """``name`` in lower case without vendor words and punctuation: 'NVIDIA H100-SXM5' -> 'h100sxm5'."""
    if not name.isascii():
        return name  # dropping a letter of another alphabet could turn one name into another
    words = re.split(r"[^0-9a-z]+", name.lower())
    return "".join(w for w in words if w not in _FILLER)


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    names = {_plain(a): r["gpu"] for r in _rows("gpus.csv") for a in (r["gpu"], *r["aliases"].split("|"))}
    return names | _short_names()


@lru_cache(maxsize=1)
def _short_names() -> dict[str, str]:
    return {_plain(a): r["gpu"] for r in _rows("gpus.csv") for a in r["short_names"].split("|") if a}
