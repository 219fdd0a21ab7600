"""Files of one state of a repository, by path from its top: a commit read through git, or the working tree.

Neither follows a symbolic link or leaves the repository.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from costplan.ci.git import LINK, SUBMODULE, Git
from costplan.core.errors import InputError

LARGEST_BYTES = 256 << 20


class Source(Protocol):
    """One state of the inputs. ``label`` stands before a path in messages; ``rev`` is the commit."""

    @property
    def label(self) -> str: ...

    @property
    def rev(self) -> str | None: ...

    def has(self, path: str) -> bool:
        """Whether there is a file at ``path``."""
        ...

    def read(self, path: str) -> bytes:
        """Content of the file at ``path``. Raises InputError."""
        ...

    def files(self, folder: str) -> list[str]:
        """Paths of the files that lie directly in ``folder``, sorted."""
        ...

    def ahead(self, paths: list[str]) -> None:
        """Say which files will be read, so that they can be fetched in one go."""
        ...


@dataclass(slots=True)
class Commit:
    """A commit, read with ``git cat-file``."""

    git: Git
    rev: str
    _kept: dict[str, bytes] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.rev[:7]}:"

    def has(self, path: str) -> bool:
        entry = self.git.tree(self.rev).get(path)
        if entry is None:
            inner = self._submodule(path)
            return inner is not None and inner[0].has(inner[1])
        return entry.size is not None

    def read(self, path: str) -> bytes:
        entry = self.git.tree(self.rev).get(path)
        if entry is None:
            inner = self._submodule(path)
            if inner is None:
                raise InputError("no such file", where=f"{self.label}{path}")
            return inner[0].read(inner[1])
        if entry.mode == LINK:
            raise InputError("is a symbolic link", where=f"{self.label}{path}", hint="name the file itself")
        if entry.size is None or entry.size > LARGEST_BYTES:
            raise InputError("is not a file that costplan reads", where=f"{self.label}{path}")
        if entry.oid not in self._kept:
            self._kept[entry.oid] = self.git.blob(entry.oid)
        return self._kept[entry.oid]

    def ahead(self, paths: list[str]) -> None:
        tree = self.git.tree(self.rev)
        wanted = {e.oid: e.size for p in paths if (e := tree.get(p)) is not None and e.mode not in (LINK, SUBMODULE)
                  and e.oid not in self._kept}
        if sum(size or 0 for size in wanted.values()) <= LARGEST_BYTES and wanted:
            self._kept |= self.git.blobs(list(wanted))

    def files(self, folder: str) -> list[str]:
        inside = f"{folder}/"
        found = [p for p in self.git.tree(self.rev) if p.startswith(inside) and "/" not in p[len(inside):]]
        if not found and (inner := self._submodule(f"{folder}/x")) is not None:
            at = folder[:len(folder) - len(str(PurePosixPath(inner[1]).parent))].rstrip("/")
            return sorted(f"{at}/{p}" for p in inner[0].files(str(PurePosixPath(inner[1]).parent)))
        return sorted(found)

    def _submodule(self, path: str) -> tuple[Commit, str] | None:
        """The commit of the submodule that ``path`` lies in, and the path there; None where it lies in none."""
        tree = self.git.tree(self.rev)
        for parent in PurePosixPath(path).parents:
            entry = tree.get(str(parent))
            if entry is not None and entry.mode == SUBMODULE:
                folder = self.git.root / parent
                inner = Git(folder)
                if not (folder / ".git").exists() or inner.commit(entry.oid) is None:
                    raise InputError(f"lies in the submodule {parent}, which is not fetched",
                                     where=f"{self.label}{path}",
                                     hint="git submodule update --init; in actions/checkout: submodules: true")
                return Commit(inner, entry.oid), str(PurePosixPath(path).relative_to(parent))
        return None


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """The files as they lie in the checkout."""

    git: Git

    @property
    def label(self) -> str:
        return ""

    @property
    def rev(self) -> str | None:
        return self.git.commit("HEAD")

    def has(self, path: str) -> bool:
        return (self.git.root / path).is_file()

    def read(self, path: str) -> bytes:
        place = self._inside(path)
        if not place.is_file():
            raise InputError("no such file" if not place.exists() else "is not a file", where=path)
        if place.stat().st_size > LARGEST_BYTES:
            raise InputError(f"is larger than {LARGEST_BYTES >> 20} MiB", where=path)
        return place.read_bytes()

    def ahead(self, paths: list[str]) -> None:
        """Nothing to fetch."""

    def files(self, folder: str) -> list[str]:
        place = self._inside(folder)
        return sorted(f"{folder}/{p.name}" for p in place.iterdir() if p.is_file()) if place.is_dir() else []

    def _inside(self, path: str) -> Path:
        root = self.git.root.resolve()
        place = root / path
        if place.resolve() != place:
            raise InputError("is a symbolic link, or lies behind one", where=path, hint="name the file itself")
        return place


def differs(head: Source, commit: str, git: Git, paths: list[str]) -> bool:
    """Whether any of ``paths`` in ``head`` is not as it was committed. Checks contents, runs no filter."""
    tree = git.tree(commit)
    for path in paths:
        entry = tree.get(path)
        if entry is None or entry.size is None:
            return True
        data = head.read(path)
        make = hashlib.sha1 if len(entry.oid) == 40 else hashlib.sha256
        if make(b"blob %d\0" % len(data) + data).hexdigest() != entry.oid:
            return True
    return False


def inside(base: PurePosixPath, named: str, where: str) -> str:
    """The path from the top of the repository that ``named``, relative to the folder ``base``, means.

    Raises InputError for a path that leaves the repository.
    """
    if named.startswith(("/", "~")) or any(c in named for c in ("\\", ":", "##[")) or not named.isprintable():
        raise InputError(f"{named[:80]!r} is not a path inside this repository", where=where,
                         hint="write it relative to the file that names it, with /")
    parts: list[str] = []
    for part in (base / named).parts:
        if part == "..":
            if not parts:
                raise InputError(f"{named[:80]!r} leads out of this repository", where=where)
            parts.pop()
        elif part != ".":
            parts.append(part)
    if not parts or ".git" in (p.lower() for p in parts):
        raise InputError(f"{named[:80]!r} is not a file of this repository", where=where)
    return "/".join(parts)
