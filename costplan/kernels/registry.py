"""Which backends exist. Names map to ``module:class``; nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from costplan.core.errors import CostplanError, UnknownNameError
from costplan.kernels.backend import Backend

_PLACES: dict[str, str] = {}


def register(name: str, place: str) -> None:
    """Add backend ``name`` at ``module:class``. Raises CostplanError where the name is taken."""
    if name in _PLACES:
        raise CostplanError(f"two kernel backends are called {name}: {_PLACES[name]} and {place}")
    _PLACES[name] = place


def names() -> tuple[str, ...]:
    """All backends, in order of registration."""
    return tuple(_PLACES)


def backend(name: str) -> Backend:
    """The backend called ``name``. Raises UnknownNameError with near misses."""
    if name not in _PLACES:
        raise UnknownNameError("kernel backend", name, _PLACES)
    module, kind = _PLACES[name].split(":")
    made: Backend = getattr(import_module(module), kind)()
    return made


def backends(device: str, only: Iterable[str] | None = None) -> list[Backend]:
    """Backends of one kind of device, or those of ``only``. Raises UnknownNameError."""
    found = [backend(n) for n in (names() if only is None else only)]
    return [b for b in found if b.device == device]


def _fill() -> None:
    here = "costplan.kernels"
    for name, place in (
        ("torch-cpu-gemm", f"{here}.cpu_gemm:CpuGemm"),
        ("torch-cpu-int8", f"{here}.cpu_int8:CpuInt8"),
        ("torch-cpu-int4", f"{here}.cpu_int4:CpuInt4"),
        ("torch-cpu-sdpa", f"{here}.cpu_sdpa:CpuSdpa"),
        ("torch-cpu-sdpa-packed", f"{here}.cpu_sdpa:CpuSdpaPacked"),
        ("torch-cpu-paged", f"{here}.cpu_paged:CpuPaged"),
        ("torch-cpu-splitkv", f"{here}.cpu_splitkv:CpuSplitKv"),
        ("torch-cpu-flex", f"{here}.cpu_flex:CpuFlex"),
        ("torch-cpu-elementwise", f"{here}.elementwise:CpuElementwise"),
        ("torch-cpu-moe", f"{here}.cpu_moe:CpuMoe"),
    ):
        register(name, place)
    from costplan.kernels.cuda_places import CUDA

    for name, place in CUDA:
        register(name, place)



_fill()
