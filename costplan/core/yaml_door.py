"""The door for YAML written by people and pull requests: small, plain, and exact about where an error is.

Only a subset of YAML is read: one document of mappings, lists and scalars. Tags, anchors, aliases and
duplicate keys are refused, so no file can be larger in memory than on disk, or construct anything.
Scalars follow the YAML 1.2 core schema as editors do: ``no`` and ``1:30`` are texts, ``1e6`` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from costplan.core.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

_M = TypeVar("_M", bound="BaseModel")

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32

Key = str | int
KeyPath = tuple[Key, ...]
Place = tuple[int, int]

_INT = re.compile(r"[-+]?[0-9]{1,400}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
    ".inf": float("inf"), ".Inf": float("inf"), ".INF": float("inf"), "+.inf": float("inf"),
    "-.inf": float("-inf"), "-.Inf": float("-inf"), "-.INF": float("-inf"),
}


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A parsed file: plain ``data`` and, per key path, the 1-based line and column where it stands."""

    name: str
    data: Any
    places: Mapping[KeyPath, Place]

    def where(self, path: KeyPath = ()) -> str:
        """``file:line`` of ``path``, or of its nearest parent that is in the file."""
        return f"{self.name}:{self.place(path)[0]}"

    def place(self, path: KeyPath) -> Place:
        """Line and column of ``path`` or of its nearest parent in the file."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))


def read_yaml(path: Path) -> YamlDocument:
    """Parse the file at ``path``. Raises InputError for whatever cannot be read, with file and line."""
    return parse_yaml(read_text(path), str(path))


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Text of a UTF-8 file of at most ``max_bytes``; the size is known before anything is read."""
    where = str(path)
    try:
        if path.is_dir():
            raise InputError("is a folder, not a file", where=where)
        if not path.is_file() and path.exists():
            raise InputError("is not a regular file", where=where)
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(f"is {size:,} bytes; files of this kind may have {max_bytes:,}", where=where,
                             hint="is this the right file? A trace goes under load.trace.path")
        with path.open("rb") as f:
            raw = f.read(max_bytes + 1)[:max_bytes]
    except FileNotFoundError as e:
        raise InputError("no such file", where=where, hint=_near_files(path)) from e
    except (OSError, ValueError) as e:
        raise InputError(f"cannot be read: {getattr(e, 'strerror', None) or e}", where=where) from e
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise InputError(f"byte 0x{raw[e.start]:02x} is not UTF-8", where=f"{where}:{line}",
                         hint="save the file as UTF-8") from e


def _near_files(path: Path) -> str | None:
    from difflib import get_close_matches

    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"there is no folder {path.parent}"
    near = get_close_matches(path.name, names, n=2)
    return f"did you mean {' or '.join(str(path.parent / n) for n in near)}?" if near else None


def parse_yaml(text: str, name: str) -> YamlDocument:
    """Parse ``text``; ``name`` is how errors call the file."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        builder = _Builder(name, yaml.parse(text, Loader=loader))
        return YamlDocument(name, builder.document(), builder.places)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        hint = "indent with spaces" if "tab" in str(e.problem) or "'\\t'" in str(e.problem) else None
        raise InputError(f"not valid YAML: {e.problem or e.context}", where=where, hint=hint) from e
    except yaml.YAMLError as e:  # a character that YAML does not allow
        raise InputError("not valid YAML: holds a control character", where=name,
                         hint="save the file as plain UTF-8 text") from e


class _Builder:
    """Turns parser events into plain values, one at a time, so that a bomb is refused before it grows."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self.name = name
        self.events = events
        self.places: dict[KeyPath, Place] = {}

    def document(self) -> Any:
        import yaml

        root: Any = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "holds a second document", "one document per file: remove the line ---")
            elif isinstance(event, yaml.NodeEvent):
                root = self._value(event, ())
        if root is None:
            raise InputError("is empty", where=self.name)
        return root

    def _value(self, event: Any, path: KeyPath) -> Any:
        import yaml

        self.places.setdefault(path, (event.start_mark.line + 1, event.start_mark.column + 1))
        if len(path) > MAX_DEPTH:
            self._refuse(event, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"alias *{event.anchor} is not allowed", "write the value out")
        if event.anchor is not None:
            self._refuse(event, f"anchor &{event.anchor} is not allowed", "write the value out where it is needed")
        if isinstance(event, yaml.MappingStartEvent):
            self._refuse_tag(event)
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            self._refuse_tag(event)
            return self._sequence(path)
        if event.tag is not None:
            self._refuse_tag(event)
        return self._scalar(event)

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        import yaml

        out: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                return out
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, "a key must be a plain word")
            if event.anchor is not None or event.tag is not None:
                self._refuse(event, "a key cannot have an anchor or a tag")
            key = event.value
            here = (event.start_mark.line + 1, event.start_mark.column + 1)
            if key in out:
                first = self.places[(*path, key)][0]
                self._refuse(event, f"key {shown(key)} is given twice (first in line {first})", "keep one of them")
            self.places[(*path, key)] = here
            out[key] = self._value(next(self.events), (*path, key))
        return out

    def _sequence(self, path: KeyPath) -> list[Any]:
        import yaml

        out: list[Any] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            out.append(self._value(event, (*path, len(out))))
        return out

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted or block text
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.match(text):
            return int(text)
        return float(text) if _FLOAT.match(text) else text

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._refuse(event, f"tag {shown(event.tag)} is not allowed", "remove it: only plain values are read")

    def _refuse(self, event: Any, message: str, hint: str | None = None) -> None:
        raise InputError(message, where=f"{self.name}:{event.start_mark.line + 1}", hint=hint)


def shown(text: str) -> str:
    """``text`` as it may be printed: quoted and escaped where it holds anything unprintable, cut if long."""
    text = text if len(text) <= 60 else text[:57] + "..."
    return text if text.isprintable() and text == text.strip() and text else repr(text)


def check(doc: YamlDocument, model: type[_M]) -> _M:
    """``doc`` as a ``model``. Raises one InputError that lists every problem as ``file:line: key: message``."""
    from pydantic import ValidationError

    from costplan.core.door_errors import explain

    if not isinstance(doc.data, dict):
        raise InputError("must hold keys and values", where=doc.where(), hint="start with a line like name: chat")
    try:
        return model.model_validate(doc.data)
    except ValidationError as e:
        raise explain(doc, model, e) from None
