"""An installed kernel library: its version, the SHA-256 of its compiled file, and why it cannot run here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from costplan.kernels.backend import Availability

HARDWARE_INSTALL = "run where torch (a CUDA build) sees such an NVIDIA GPU"


@dataclass(frozen=True, slots=True)
class Library:
    """Where a kernel library comes from. ``dist`` is the name of its package, ``module`` what is imported, ``binary``
    globs its compiled file below the folder of ``module``'s top package, ``majors`` are the compute capabilities
    (major) that its kernels were built for, ``least`` the least one, ``limits`` what it can do, in words."""

    dist: str
    module: str
    install: str
    majors: tuple[int, ...] = (8, 9, 10, 12)
    binary: str | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    least: tuple[int, int] = (8, 0)


def probe(library: Library, check: Callable[[Any], str | None] | None = None) -> Availability:
    """Whether ``library`` imports and a GPU of the right kind is present. ``check`` looks further into the imported
    module and returns a reason or None. Never raises; does not say that a kernel gives right results."""
    from importlib import import_module

    facts: dict[str, str] = {"package": library.dist, **library.limits}
    version = version_of(library.dist)
    try:
        module = import_module(library.module)
        facts.update(binary_facts(library))
        version = version or getattr(module, "__version__", None)
        reason = check(module) if check else None
        hardware = None if reason else gpu_reason(library.majors, library.least)
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt | SystemExit):
            raise
        missing = isinstance(e, ModuleNotFoundError) and version is None
        return Availability(version, "not installed" if missing else f"import fails: {said(e)}", library.install, facts)
    if hardware:
        return Availability(version, hardware, HARDWARE_INSTALL, facts)
    return Availability(version, reason or "", library.install if reason else "", facts)


def said(error: BaseException) -> str:
    """Kind and first line of an exception, at most 200 characters."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


def version_of(dist: str) -> str | None:
    """Version of an installed package, None where its metadata is absent."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(dist)
    except PackageNotFoundError:
        return None


def binary_facts(library: Library) -> dict[str, str]:
    """Name, size in bytes and SHA-256 of the library's compiled file; empty where none is named or found."""
    path = binary_path(library)
    if path is None:
        return {}
    return {"file": path.name, "file_bytes": str(path.stat().st_size), "sha256": sha256_of(path)}


def binary_path(library: Library) -> Path | None:
    """The compiled file of ``library``, without importing it."""
    from importlib.util import find_spec

    if library.binary is None:
        return None
    spec = find_spec(library.module.split(".")[0])
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [str(Path(spec.origin or ".").parent)])
    found = [p for f in folders for p in sorted(Path(f).glob(library.binary))]
    return found[0] if found else None


@lru_cache(maxsize=64)
def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def gpu_reason(majors: Sequence[int] = (), least: tuple[int, int] = (0, 0)) -> str | None:
    """Why no CUDA kernel built for ``majors``, from ``least`` on, runs here; None where one does."""
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return "no CUDA GPU is visible"
    major, minor = torch.cuda.get_device_capability()
    if majors and major not in majors:
        wanted = " or ".join(f"{m}.x" for m in majors)
        return f"built for compute capability {wanted}; this GPU has {major}.{minor}"
    if (major, minor) < least:
        return f"needs compute capability {least[0]}.{least[1]}; this GPU has {major}.{minor}"
    return None


def first(out: Any) -> Any:
    """The output tensor of a call that returns it alone or with its softmax sums."""
    return out[0] if isinstance(out, tuple | list) else out
