"""The few questions put to git. It only reads: nothing is checked out, no hook, filter or monitor runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from costplan.core.errors import InputError, UnavailableError

_ALWAYS = ("--no-optional-locks", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
LINK, SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One path of a commit: its mode, the id of its content, and the size in bytes (None for a submodule)."""

    mode: str
    oid: str
    size: int | None


@dataclass(slots=True)
class Git:
    """The repository that holds ``folder``."""

    folder: Path
    _root: Path | None = None
    _trees: dict[str, Mapping[str, TreeEntry]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Top of the working tree. Raises InputError outside of a repository."""
        if self._root is None:
            done = self._run("rev-parse", "--show-toplevel")
            said = done.stderr.decode(errors="replace").strip()
            if "dubious ownership" in said:
                raise UnavailableError("git refuses a repository of another user", where=str(self.folder),
                                       hint="git config --global --add safe.directory FOLDER")
            if done.returncode:
                raise InputError("is not in a git repository", where=str(self.folder),
                                 hint="run it where costplan.yaml is committed, or compare two plan files")
            self._root = Path(done.stdout.decode(errors="surrogateescape").rstrip("\n"))
        return self._root

    def commit(self, rev: str) -> str | None:
        """Full id of the commit that ``rev`` names; None where there is none here."""
        if not rev or not rev.isprintable():
            return None
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def merge_base(self, a: str, b: str) -> str | None:
        """The commit where ``a`` and ``b`` parted; None where none is at hand."""
        done = self._run("merge-base", a, b)
        return done.stdout.decode().split("\n")[0].strip() if done.returncode == 0 else None

    def shallow(self) -> bool:
        """Whether history was cut off when this repository was fetched."""
        return self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"

    def tree(self, commit: str) -> Mapping[str, TreeEntry]:
        """Every path of a commit."""
        if commit not in self._trees:
            done = self._run("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
            if done.returncode:
                raise InputError(f"git has no files of {commit[:10]}", hint="fetch it: git fetch --unshallow")
            self._trees[commit] = dict(_entry(line) for line in done.stdout.split(b"\0") if line)
        return self._trees[commit]

    def blob(self, oid: str) -> bytes:
        """Content of a file by its id."""
        done = self._run("cat-file", "blob", oid)
        if done.returncode:
            raise InputError(f"git has no object {oid[:10]}", hint="fetch the whole history: fetch-depth: 0")
        return done.stdout

    def blobs(self, oids: list[str]) -> dict[str, bytes]:
        """Contents of many files in one go."""
        done = self._run("cat-file", "--batch", given="\n".join(oids).encode() + b"\n")
        found: dict[str, bytes] = {}
        rest = memoryview(done.stdout)
        for oid in oids:
            head, _, _ = bytes(rest[:200]).partition(b"\n")
            parts = head.split()
            if len(parts) != 3:
                raise InputError(f"git has no object {oid[:10]}", hint="fetch the whole history: fetch-depth: 0")
            start, size = len(head) + 1, int(parts[2])
            found[oid] = bytes(rest[start:start + size])
            rest = rest[start + size + 1:]
        return found

    def _run(self, *args: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        env = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
        try:
            return subprocess.run(["git", *_ALWAYS, *args], cwd=self.folder, env=env, input=given,
                                  capture_output=True, check=False)
        except FileNotFoundError as e:
            raise UnavailableError("git is not installed", hint="install git, or compare two plan files") from e


def _entry(line: bytes) -> tuple[str, TreeEntry]:
    facts, _, path = line.partition(b"\t")
    mode, _, oid, size = facts.decode().split()
    return path.decode(errors="surrogateescape"), TreeEntry(mode, oid, None if size == "-" else int(size))
