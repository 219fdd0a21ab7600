"""What plans are computed from, taken apart: each part with a digest, so that it can come from base or from head.

Files are copied out of their `Source` into a folder of our own and read there: the same bytes for both sides.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from costplan.ci.source import Source, inside
from costplan.ci.types import InputKind
from costplan.core.errors import InputError
from costplan.core.yaml_door import MAX_BYTES, YamlDocument, parse_yaml

_APART = ("candidates", "constraints", "lengths")
_LABELS = ("name", "description")
_HARDWARE = ("gpus",)
_PATHS = (("load", "trace", "path"), ("lengths", "trace", "path"))
_MODEL_FILES = ("config.json", "hf_quant_config.json")


@dataclass(frozen=True, slots=True)
class Part:
    """One input. ``value`` is plain data with staged paths; equal digests mean the same input; ``said`` is how the
    user wrote it."""

    kind: InputKind
    field: str
    value: Any
    digest: str
    said: Any


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """Everything that one plan is computed from, by key. ``document`` gives names and lines for messages;
    ``folder`` is what staged paths are relative to."""

    parts: Mapping[str, Part]
    document: YamlDocument
    folder: Path

    @property
    def digest(self) -> str:
        """SHA-256 over all parts."""
        return digest({k: p.digest for k, p in self.parts.items()})

    def changed(self, head: PlanInputs) -> list[str]:
        """Keys of the parts that differ, in the order of kinds."""
        keys = [k for k in {**self.parts, **head.parts}
                if (a := self.parts.get(k)) is None or (b := head.parts.get(k)) is None or a.digest != b.digest]
        order = list(InputKind)
        return sorted(keys, key=lambda k: (order.index((self.parts.get(k) or head.parts[k]).kind), k))

    def having(self, other: PlanInputs, keys: list[str]) -> PlanInputs:
        """These inputs with some parts of ``other``."""
        parts = {k: p for k, p in self.parts.items() if k not in keys}
        parts |= {k: other.parts[k] for k in keys if k in other.parts}
        return PlanInputs(parts, self.document, self.folder)

    def workload(self) -> YamlDocument:
        """The workload document that these parts make; its name and lines are those of ``document``."""
        data: dict[str, Any] = {k: self.document.data[k] for k in _LABELS if k in self.document.data}
        for key, part in self.parts.items():
            if part.kind in (InputKind.PRICES, InputKind.PROFILE, InputKind.SEED):
                continue
            top, _, below = key.partition(".")
            if below:
                data.setdefault(top, {})[below] = part.value
            else:
                data[top] = part.value
        return YamlDocument(self.document.name, data, self.document.places)

    @property
    def prices(self) -> Path | None:
        """The user's price file; None: the shipped table."""
        part = self.parts.get("prices")
        return None if part is None else self.folder / part.value

    @property
    def profiles(self) -> dict[str, Path]:
        """Folders of the user's measured profiles by key."""
        return {k: self.folder / p.value for k, p in self.parts.items() if p.kind is InputKind.PROFILE}

    @property
    def seed(self) -> int:
        return int(self.parts["seed"].value)

    @property
    def model(self) -> str | None:
        """The model as the user wrote it."""
        part = self.parts.get("model")
        return None if part is None else str(part.said)


def digest(value: Any) -> str:
    """SHA-256 of plain data; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(slots=True)
class Stage:
    """Copies files of ``source`` to ``folder``/``name``, each once. Paths come back relative to ``folder``."""

    source: Source
    folder: Path
    name: str
    digests: dict[str, str] = field(default_factory=dict)

    def file(self, path: str) -> str:
        """Copy one file."""
        staged = f"{self.name}/{path}"
        if path not in self.digests:
            data = self.source.read(path)
            target = self.folder / staged
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            self.digests[path] = hashlib.sha256(data).hexdigest()
        return staged

    def several(self, paths: list[str]) -> str:
        """Copy the files of one folder; the digest of them all."""
        for p in paths:
            self.file(p)
        return digest({p.rsplit("/", 1)[-1]: self.digests[p] for p in paths})

    def yaml(self, path: str) -> YamlDocument:
        """The YAML file at ``path``, named in messages as its source calls it."""
        data = self.source.read(path)
        where = f"{self.source.label}{path}"
        if len(data) > MAX_BYTES:
            raise InputError(f"is {len(data):,} bytes; files of this kind may have {MAX_BYTES:,}", where=where)
        self.digests[path] = hashlib.sha256(data).hexdigest()
        try:
            return parse_yaml(data.decode("utf-8-sig"), where)
        except UnicodeDecodeError as e:
            raise InputError("is not UTF-8", where=where) from e


@dataclass(frozen=True, slots=True)
class Common:
    """Parts that costplan.yaml gives to every workload."""

    seed: Part
    prices: Part | None
    profiles: Mapping[str, Part]


def common(stage: Stage, folder: PurePosixPath, seed: int, prices: str | None, profiles: list[str],
           where: str) -> Common:
    """Seed, prices and profiles as costplan.yaml names them."""
    own: dict[str, Part] = {}
    for named in profiles:
        path = inside(folder, named, where)
        files = stage.source.files(path)
        if f"{path}/manifest.json" not in files:
            raise InputError(f"profiles: {named} is not the folder of a profile", where=where,
                             hint="it must hold a manifest.json; remove the entry if the profile was deleted")
        own[f"profile:{path}"] = Part(InputKind.PROFILE, path.rsplit("/", 1)[-1], f"{stage.name}/{path}",
                                      stage.several(files), path)
    return Common(Part(InputKind.SEED, "seed", seed, digest(seed), seed), price_part(stage, folder, prices, where), own)


def price_part(stage: Stage, folder: PurePosixPath, named: str | None, where: str) -> Part | None:
    """A price file; None for the shipped prices."""
    if named is None:
        return None
    path = inside(folder, named, where)
    staged = stage.file(path)
    return Part(InputKind.PRICES, path.rsplit("/", 1)[-1], staged, stage.digests[path], path)


def plan_inputs(stage: Stage, path: str, shared: Common, prices: Part | None) -> PlanInputs:
    """Inputs of the workload file at ``path``."""
    doc = stage.yaml(path)
    if not isinstance(doc.data, dict):
        raise InputError("must hold keys and values", where=doc.where(), hint="start with a line like name: chat")
    parts = dict(_parts(stage, doc, PurePosixPath(path).parent))
    parts |= {"seed": shared.seed, **shared.profiles}
    if prices is not None:
        parts["prices"] = prices
    return PlanInputs(parts, doc, stage.folder)


def _parts(stage: Stage, doc: YamlDocument, folder: PurePosixPath) -> Iterator[tuple[str, Part]]:
    data, said = copy.deepcopy(doc.data), copy.deepcopy(doc.data)
    for path in _PATHS:
        _stage_path(stage, doc, folder, path, data, said)
    for key, value in data.items():
        if key in _LABELS:
            continue
        if key == "model" and isinstance(value, str):
            yield key, _model(stage, folder, value, doc.where(("model",)))
        elif key in _APART and isinstance(value, dict):
            for below, inner in value.items():
                yield f"{key}.{below}", Part(_kind(key, below), f"{key}.{below}", inner, digest(said[key][below]),
                                             doc.data[key][below])
        else:
            yield key, Part(_kind(key, ""), key, value, digest(said[key]), doc.data[key])


def _kind(key: str, below: str) -> InputKind:
    if key == "model":
        return InputKind.MODEL
    if key == "constraints" or below in _HARDWARE:
        return InputKind.HARDWARE
    return InputKind.ENGINE if key == "candidates" else InputKind.WORKLOAD


def _stage_path(stage: Stage, doc: YamlDocument, folder: PurePosixPath, path: tuple[str, ...], data: Any,
                said: Any) -> None:
    """Copy the trace that the workload names; in ``said`` its content stands for its name."""
    for step in path[:-1]:
        data, said = (x.get(step) if isinstance(x, dict) else None for x in (data, said))
    last = path[-1]
    if isinstance(data, dict) and isinstance(said, dict) and isinstance(data.get(last), str):
        named = inside(folder, data[last], doc.where(path))
        data[last] = stage.file(named)
        said[last] = stage.digests[named]


def _model(stage: Stage, folder: PurePosixPath, named: str, where: str) -> Part:
    """A built-in name, or a config file of the repository with its sidecar."""
    if not (named.startswith((".", "/", "~")) or named.endswith(".json")):
        return Part(InputKind.MODEL, "model", named, digest(named), named)
    path = inside(folder, named, where)
    parent = str(PurePosixPath(path).parent) if path.endswith(".json") else path
    files = [p for p in dict.fromkeys([path, *(f"{parent}/{n}" for n in _MODEL_FILES[1:])]) if path.endswith(".json")]
    files = files or [f"{parent}/{n}" for n in _MODEL_FILES]
    there = [p for p in files if stage.source.has(p)]
    if not there:
        raise InputError(f"model: no config file at {named}", where=where,
                         hint="a path is relative to the workload file")
    return Part(InputKind.MODEL, "model", f"./{stage.name}/{path}", stage.several(there), named)
