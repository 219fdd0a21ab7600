"""What a profile says about itself: ``manifest.json``, read by hand so that loading needs no pydantic.

The manifest carries the SHA-256 of every table and of its own content, so an edit by hand is seen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costplan.core.errors import ProfileError
from costplan.profile.families import FAMILIES

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"
_MAX_MANIFEST_BYTES = 4 << 20
_MAX_ROWS = 20_000_000
_TABLE_FILE = re.compile(r"[a-z0-9_]{1,64}\.npz\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_SHA = re.compile(r"[0-9a-f]{64}\Z")
REIMPORT = "re-import it with `costplan profile import`, or reinstall costplan if it is a shipped profile"


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One table of a profile. ``dropped`` counts refused rows by reason; ``sources`` are the files that it was
    made from; ``groups`` say which version and kernel measured how many rows of which dtype."""

    family: str
    file: str
    rows: int
    sha256: str
    vocab: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()
    groups: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Provenance of a profile. ``gpu`` is a catalogue name, ``device`` the driver's string; ``versions`` maps
    software (``engine nccl driver cuda kernels`` ...) to a version or None where it was not recorded;
    ``collected`` are the first and last day of measuring (ISO dates)."""

    name: str
    gpu: str
    engine: str
    device: str | None
    versions: Mapping[str, str | None]
    protocol: Mapping[str, Any]
    collected: tuple[str, ...]
    origin: Mapping[str, Any]
    licence: str
    tables: Mapping[str, TableEntry]
    notes: tuple[str, ...] = ()


def dump(manifest: Manifest) -> str:
    """The text of ``manifest.json``."""
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "name": manifest.name, "gpu": manifest.gpu, "engine": manifest.engine,
        "device": manifest.device, "versions": dict(manifest.versions), "protocol": dict(manifest.protocol),
        "collected": list(manifest.collected), "origin": dict(manifest.origin), "licence": manifest.licence,
        "notes": list(manifest.notes),
        "tables": {e.family: {
            "file": e.file, "rows": e.rows, "sha256": e.sha256, "vocab": {k: list(v) for k, v in e.vocab.items()},
            "dropped": dict(e.dropped), "sources": list(e.sources), "groups": list(e.groups),
        } for e in manifest.tables.values()},
    }
    content["sha256"] = _content_hash(content)
    return json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def read(path: Path) -> Manifest:
    """The manifest in file ``path``. Raises ProfileError on damage, hand edits and newer schemas."""
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ProfileError("the manifest is larger than 4 MiB", where=str(path), hint=REIMPORT)
        text = path.read_bytes().decode("utf-8")
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except OSError as e:
        raise ProfileError(f"cannot read the manifest: {e.strerror}", where=str(path), hint=REIMPORT) from e
    except (ValueError, RecursionError) as e:
        raise ProfileError(f"not a manifest: {e}", where=str(path), hint=REIMPORT) from e
    try:
        return _parse(content)
    except ProfileError as e:
        raise ProfileError(e.message, hint=e.hint or REIMPORT, where=str(path)) from e


def _parse(content: object) -> Manifest:
    if not isinstance(content, dict):
        raise ProfileError("not a manifest: no mapping")
    version = content.get("schema_version")
    if type(version) is not int or version < 1:
        raise ProfileError("not a manifest: schema_version is missing")
    if version > SCHEMA_VERSION:
        raise ProfileError(f"written for schema {version}; this costplan reads up to {SCHEMA_VERSION}",
                           hint="upgrade costplan")
    if content.get("sha256") != _content_hash(content):
        raise ProfileError("the manifest was changed after it was written (its checksum does not match)")
    fields = Fields(content, "manifest")
    name = fields.text("name")
    if not _NAME.match(name):
        raise ProfileError(f"name {name!r} is not a profile name")
    versions = Fields(fields.mapping("versions"), "versions")
    tables = {family: _entry(family, value) for family, value in fields.mapping("tables").items()}
    return Manifest(
        name=name, gpu=fields.text("gpu"), engine=fields.text("engine"),
        device=fields.optional_text("device"), versions={k: versions.optional_text(k) for k in versions.content},
        protocol=fields.mapping("protocol"), collected=tuple(fields.texts("collected")),
        origin=fields.mapping("origin"), licence=fields.text("licence"), tables=tables,
        notes=tuple(fields.texts("notes")))


def _entry(family: str, value: object) -> TableEntry:
    if family not in FAMILIES:
        raise ProfileError(f"unknown kernel family {family!r}", hint="upgrade costplan")
    fields = Fields(value, f"tables.{family}")
    file, sha, rows = fields.text("file"), fields.text("sha256"), fields.count("rows")
    if not _TABLE_FILE.match(file):
        raise ProfileError(f"tables.{family}.file {file!r} is not a plain file name")
    if not _SHA.match(sha):
        raise ProfileError(f"tables.{family}.sha256 is not a SHA-256")
    if rows > _MAX_ROWS:
        raise ProfileError(f"tables.{family}.rows {rows} is more than {_MAX_ROWS}")
    texts = Fields(fields.mapping("vocab"), f"tables.{family}.vocab")
    if set(texts.content) != set(FAMILIES[family].texts):
        raise ProfileError(f"tables.{family}.vocab must name {', '.join(FAMILIES[family].texts)}")
    vocab = {k: tuple(texts.texts(k)) for k in FAMILIES[family].texts}
    dropped = Fields(fields.mapping("dropped"), f"tables.{family}.dropped")
    return TableEntry(family, file, rows, sha, vocab, {k: dropped.count(k) for k in dropped.content},
                      tuple(fields.mappings("sources")), tuple(fields.mappings("groups")))


@dataclass(frozen=True, slots=True)
class Fields:
    """Typed access to a JSON mapping; every refusal names the key."""

    content: Any
    where: str

    def _get(self, key: str, kind: type, label: str) -> Any:
        value = self.content.get(key) if isinstance(self.content, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ProfileError(f"{self.where}.{key} must be {label}")
        return value

    def text(self, key: str) -> str:
        return str(self._get(key, str, "a text"))

    def optional_text(self, key: str) -> str | None:
        return None if self.content.get(key) is None else self.text(key)

    def count(self, key: str) -> int:
        value = int(self._get(key, int, "a whole number"))
        if value < 0:
            raise ProfileError(f"{self.where}.{key} must not be negative")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        return dict(self._get(key, dict, "a mapping"))

    def texts(self, key: str) -> list[str]:
        return [str(x) for x in self._list(key, str, "a list of texts")]

    def mappings(self, key: str) -> list[Mapping[str, Any]]:
        return [dict(x) for x in self._list(key, dict, "a list of mappings")]

    def _list(self, key: str, kind: type, label: str) -> list[Any]:
        values: list[Any] = self._get(key, list, label)
        if not all(isinstance(x, kind) for x in values):
            raise ProfileError(f"{self.where}.{key} must be {label}")
        return values


def _content_hash(content: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in content.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key occurs twice")
    return out


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not a number")
