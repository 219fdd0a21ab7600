"""Profiles on disk: load one, list them, write one whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from costplan.core.atomic import new_folder, write_bytes
from costplan.core.errors import CostplanError, ProfileError, UnknownNameError
from costplan.core.shipped import shipped_dir
from costplan.profile import manifest as manifests
from costplan.profile.codec import decode, encode
from costplan.profile.families import FAMILIES
from costplan.profile.manifest import REIMPORT, Manifest, TableEntry
from costplan.profile.table import Table

_MAX_TABLE_BYTES = 256 << 20


class Profile:
    """Measured kernels of one GPU and engine. Tables are read, and their checksums verified, on first use."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._tables: dict[str, Table] = {}

    @classmethod
    def load(cls, path_or_name: str | Path, *, folders: Sequence[Path] | None = None) -> Profile:
        """The profile in a folder, or the one of that name in the search path. Reads only the manifest."""
        folder = Path(path_or_name)
        if not (folder / manifests.FILE_NAME).is_file():
            if folder.is_dir():
                raise ProfileError(f"{folder} holds no {manifests.FILE_NAME}", hint="give the folder of a profile")
            folder = _by_name(str(path_or_name), search_path() if folders is None else folders)
        return cls(folder, manifests.read(folder / manifests.FILE_NAME))

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def gpu(self) -> str:
        return self.manifest.gpu

    @property
    def engine(self) -> str:
        return self.manifest.engine

    @property
    def versions(self) -> Mapping[str, str | None]:
        return self.manifest.versions

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(self.manifest.tables)

    def table(self, family: str) -> Table | None:
        """Measurements of one kernel family; None where this profile has none. Raises ProfileError on damage."""
        if family not in FAMILIES:
            raise UnknownNameError("kernel family", family, FAMILIES)
        entry = self.manifest.tables.get(family)
        if entry is None:
            return None
        if family not in self._tables:
            self._tables[family] = self._read(entry)
        return self._tables[family]

    def _read(self, entry: TableEntry) -> Table:
        path = self.folder / entry.file
        try:
            if path.stat().st_size > _MAX_TABLE_BYTES:
                raise ProfileError("the table is larger than 256 MiB", where=str(path), hint=REIMPORT)
            data = path.read_bytes()
        except OSError as e:
            raise ProfileError(f"cannot read the table: {e.strerror}", where=str(path), hint=REIMPORT) from e
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise ProfileError("the table is damaged (its checksum does not match the manifest)", where=str(path),
                               hint=REIMPORT)
        return decode(entry.family, data, rows=entry.rows, vocab=entry.vocab, where=str(path))


@dataclass(frozen=True, slots=True)
class Listed:
    """One profile folder; ``error`` says why it cannot be used."""

    name: str
    folder: Path
    manifest: Manifest | None
    error: CostplanError | None


def search_path(env: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where profiles are looked for, first hit wins: COSTPLAN_PROFILES, the user's data folder, the shipped ones."""
    env = os.environ if env is None else env
    data = env.get("XDG_DATA_HOME")
    user = (Path(data) if data else Path.home() / ".local" / "share") / "costplan" / "profiles"
    own = [Path(p) for p in env.get("COSTPLAN_PROFILES", "").split(os.pathsep) if p]
    return (*own, user, shipped_dir("profiles"))


def list_profiles(folders: Iterable[Path] | None = None) -> list[Listed]:
    """All profiles in the search path, sorted by name; of two with one name the first folder's."""
    out: dict[str, Listed] = {}
    for base in search_path() if folders is None else folders:
        for path in sorted(base.glob(f"*/{manifests.FILE_NAME}")):
            folder = path.parent
            if folder.name.startswith(".") or folder.name in out:
                continue
            try:
                out[folder.name] = Listed(folder.name, folder, manifests.read(path), None)
            except ProfileError as e:
                out[folder.name] = Listed(folder.name, folder, None, e)
    return sorted(out.values(), key=lambda p: p.name)


def find_profile(gpu: str, engine: str, *, folders: Sequence[Path] | None = None) -> Profile | None:
    """The first profile measured on ``gpu`` with ``engine``; None if there is none. A folder called
    ``<gpu>-<engine>`` is tried before the others are searched; those shipped are all called so."""
    bases = search_path() if folders is None else folders
    for base in bases:
        folder = base / f"{gpu}-{engine}"
        if (folder / manifests.FILE_NAME).is_file():
            found = Profile.load(folder)
            if (found.gpu, found.engine) == (gpu, engine):
                return found
    for item in list_profiles(b for b in bases if b != shipped_dir("profiles")):
        if item.manifest and (item.manifest.gpu, item.manifest.engine) == (gpu, engine):
            return Profile(item.folder, item.manifest)
    return None


def write_profile(folder: Path, manifest: Manifest, tables: Iterable[Table],
                  beside: Mapping[str, bytes] | None = None) -> Profile:
    """Write a new profile folder whole or not at all. ``manifest.tables`` gives the provenance of each table;
    file names, row counts, checksums and vocabularies are filled in here. ``beside``: further files by name."""
    entries: dict[str, TableEntry] = {}
    with new_folder(folder) as tmp:
        for table in sorted(tables, key=lambda t: t.family):
            data = encode(table)
            told = manifest.tables.get(table.family)
            entry = TableEntry(table.family, f"{table.family}.npz", len(table), hashlib.sha256(data).hexdigest(),
                               {k: tuple(v) for k, v in table.vocab.items()})
            if told is not None:
                entry = replace(entry, dropped=told.dropped, sources=told.sources, groups=told.groups)
            decode(table.family, data, rows=len(table), vocab=entry.vocab, where=entry.file)
            write_bytes(tmp / entry.file, data)
            entries[table.family] = entry
        for name, content in (beside or {}).items():
            write_bytes(tmp / name, content)
        text = manifests.dump(replace(manifest, tables=entries))
        write_bytes(tmp / manifests.FILE_NAME, text.encode())
        manifests.read(tmp / manifests.FILE_NAME)
    return Profile.load(folder)


def _by_name(name: str, folders: Sequence[Path]) -> Path:
    if Path(name).name == name:
        for base in folders:
            if (base / name / manifests.FILE_NAME).is_file():
                return base / name
    raise UnknownNameError("profile", name, [p.name for p in list_profiles(folders)])
