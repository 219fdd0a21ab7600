"""Where AIConfigurator's and AISimulate's measured tables lie: an installed package, a folder, or a wheel file.

Paths inside end in ``.../<system>/[<op>/]<engine>/<version>/<table>.parquet``; beside them lies a
``collection_meta.yaml`` with provenance and date.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from costplan.core.errors import InputError

PACKAGES = ("aisimulate_core", "aiconfigurator_core", "aiconfigurator")
_DISTRIBUTIONS = ("aisimulate", "aiconfigurator-core", "aiconfigurator")
_MAX_FILE_BYTES = 512 << 20
_DATA = "/systems/data/"


@dataclass(frozen=True, slots=True)
class RawTable:
    """One parquet file: the system and engine that it was measured on, its version, and how to read it."""

    path: str
    system: str
    engine: str
    version: str
    stem: str
    read: Callable[[], bytes]
    meta: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """All tables of one package. ``package`` and ``version`` are what its metadata says, None if unknown."""

    package: str | None
    version: str | None
    tables: tuple[RawTable, ...]

    def systems(self) -> list[str]:
        return sorted({t.system for t in self.tables})


def open_source(origin: str) -> Source:
    """Tables of a wheel file, a folder, or (any other name) an installed package. Raises InputError."""
    path = Path(origin)
    if path.is_file():
        return _from_wheel(path)
    if path.is_dir():
        return _from_folder(path, *_metadata_in(path))
    if origin.replace("_", "-") in {p.replace("_", "-") for p in (*PACKAGES, *_DISTRIBUTIONS)}:
        return _from_installed(origin)
    raise InputError(f"{origin} is neither a folder, a wheel file nor a known package",
                     hint=f"packages: {', '.join(_DISTRIBUTIONS)}")


def version_key(version: str) -> tuple[tuple[int, ...], int, int]:
    """Sort key of an engine version: release, then rc before final before post. Builds named by a commit come first."""
    match = re.match(r"(\d+(?:\.\d+)*)(.*)\Z", version)
    if match is None:
        return (), 0, 0
    release = tuple(int(x) for x in match[1].split("."))
    tag = re.match(r"\.?(dev|rc|post)(\d+)", match[2])
    if tag is None:
        return release, 2, 0
    return release, {"dev": 0, "rc": 1, "post": 3}[tag[1]], int(tag[2])


def _from_folder(root: Path, package: str | None, version: str | None) -> Source:
    found = []
    for file in sorted(root.rglob("*.parquet")):
        meta = file.parent / "collection_meta.yaml"

        def read(file: Path = file) -> bytes:
            return _read_capped(file)

        def read_meta(meta: Path = meta) -> Mapping[str, Any]:
            return _yaml(_read_capped(meta), str(meta)) if meta.is_file() else {}

        raw = _raw(f"{root.resolve().as_posix()}/{file.relative_to(root).as_posix()}", read, read_meta)
        found += [raw] if raw else []
    return _checked(Source(package, version, tuple(found)), str(root))


def _from_wheel(path: Path) -> Source:
    try:
        with zipfile.ZipFile(path) as z:
            infos = {i.filename: i for i in z.infolist()}
    except (zipfile.BadZipFile, OSError) as e:
        raise InputError(f"not a readable wheel: {e}", where=str(path)) from e

    def read(name: str) -> bytes:
        if infos[name].file_size > _MAX_FILE_BYTES:
            raise InputError(f"{name} is larger than {_MAX_FILE_BYTES >> 20} MiB", where=str(path))
        try:
            with zipfile.ZipFile(path) as z:
                return z.read(name)
        except (zipfile.BadZipFile, OSError) as e:
            raise InputError(f"{name}: {e}", where=str(path)) from e

    def read_meta(name: str) -> Mapping[str, Any]:
        return _yaml(read(name), name) if name in infos else {}

    found = []
    for name in sorted(n for n in infos if n.endswith(".parquet")):
        meta = f"{name.rpartition('/')[0]}/collection_meta.yaml"
        raw = _raw(name, lambda name=name: read(name), lambda meta=meta: read_meta(meta))  # type: ignore[misc]
        found += [raw] if raw else []
    parts = path.name.split("-")
    return _checked(Source(parts[0], parts[1] if len(parts) > 1 else None, tuple(found)), str(path))


def _from_installed(name: str) -> Source:
    import importlib.metadata
    import importlib.util

    for package in (name.replace("-", "_"), *PACKAGES):
        spec = importlib.util.find_spec(package)
        roots = spec.submodule_search_locations if spec else None
        for root in roots or ():
            if (Path(root) / "systems" / "data").is_dir():
                owners = importlib.metadata.packages_distributions().get(package, [name])
                return _from_folder(Path(root), owners[0], importlib.metadata.version(owners[0]))
    raise InputError(f"package {name} with its measured tables is not installed",
                     hint="pip install --pre --no-deps aisimulate, or give --from a wheel file or folder")


def _raw(path: str, read: Callable[[], bytes], meta: Callable[[], Mapping[str, Any]]) -> RawTable | None:
    if _DATA not in path:
        return None
    parts = PurePosixPath(path.split(_DATA, 1)[1]).parts
    if len(parts) not in (4, 5):
        return None
    inside = path[path.index(_DATA) + 1:]
    return RawTable(inside, parts[0], parts[-3], parts[-2], parts[-1].removesuffix(".parquet"), read, meta)


def _checked(source: Source, where: str) -> Source:
    if not source.tables:
        raise InputError("no measured tables (systems/data/**/*.parquet) found", where=where,
                         hint="give an aisimulate or aiconfigurator-core wheel, or the folder it was unpacked to")
    return source


def _metadata_in(root: Path) -> tuple[str | None, str | None]:
    for folder in sorted(root.glob("*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        return name, version or None
    return None, None


def _read_capped(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise InputError(f"larger than {_MAX_FILE_BYTES >> 20} MiB", where=str(path))
    return path.read_bytes()


def _yaml(data: bytes, where: str) -> Mapping[str, Any]:
    import yaml

    if len(data) > 1 << 20:
        raise InputError("collection_meta.yaml is larger than 1 MiB", where=where)
    try:
        content = yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise InputError(f"not readable YAML: {e}", where=where) from e
    return content if isinstance(content, dict) else {}
