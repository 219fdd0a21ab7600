"""pydantic's findings as one error a person can act on: file, line, key, what is wrong, nearest valid key."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from costplan.core.errors import InputError
from costplan.core.yaml_door import KeyPath, YamlDocument, shown

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

MAX_SHOWN = 20

_TYPES = {
    "float_type": "must be a number", "int_type": "must be a whole number", "int_from_float": "must be a whole number",
    "string_type": "must be text", "bool_type": "must be true or false", "list_type": "must be a list",
    "tuple_type": "must be a list", "dict_type": "must hold keys and values",
    "mapping_type": "must hold keys and values", "model_type": "must hold keys and values",
    "finite_number": "must be a finite number",
    "string_too_short": "must not be empty",
}


def explain(doc: YamlDocument, model: type[BaseModel], error: ValidationError) -> InputError:
    """Every problem of ``error`` as one InputError; a single one keeps its own place and hint."""
    found = sorted({_problem(doc, model, e) for e in error.errors(include_url=False)})
    lines = [(f"{doc.name}:{line}", message, hint) for line, _, message, hint in found]
    if len(lines) == 1:
        where, message, hint = lines[0]
        return InputError(message, where=where, hint=hint or None)
    shown_lines = [f"  {where}: {message}{f' ({hint})' if hint else ''}" for where, message, hint in lines[:MAX_SHOWN]]
    if len(lines) > MAX_SHOWN:
        shown_lines.append(f"  ... and {len(lines) - MAX_SHOWN} more")
    return InputError(f"{len(lines)} problems in {doc.name}\n" + "\n".join(shown_lines))


def _problem(doc: YamlDocument, model: type[BaseModel], e: Mapping[str, Any]) -> tuple[int, int, str, str]:
    kind, ctx = str(e["type"]), e.get("ctx") or {}
    path = _in_file(doc.data, e["loc"], kind)
    line, column = doc.place(path)
    key = ".".join(shown(p) if isinstance(p, str) else str(p) for p in path)
    hint = str(ctx.get("hint") or "")
    if kind == "extra_forbidden":
        message, hint = "unknown key", _near_key(str(path[-1]), known_keys(model, path[:-1]))
    elif kind == "missing":
        message = "required key is missing"
    else:
        message = _said(kind, ctx, e)
    return line, column, f"{key}: {message}" if key else message, hint


def _said(kind: str, ctx: Mapping[str, Any], e: Mapping[str, Any]) -> str:
    given = "" if isinstance(e["input"], dict | list) else f", got {_value(e['input'])}"
    if kind in _TYPES:
        return _TYPES[kind] + given
    if kind == "literal_error":
        return f"must be {str(ctx['expected']).replace(chr(39), '')}{given}"
    bounds = {"greater_than": ("gt", "above"), "greater_than_equal": ("ge", "at least"),
              "less_than": ("lt", "below"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        name, word = bounds[kind]
        return f"must be {word} {ctx[name]:g}{given}"
    message = str(e["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _value(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _near_key(key: str, known: list[str]) -> str:
    lower = {k.lower(): k for k in known}
    near = [lower[k] for k in get_close_matches(key.lower(), lower, n=2, cutoff=0.55)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known here: {', '.join(known[:16])}" if known else ""


def _in_file(data: Any, loc: tuple[int | str, ...], kind: str) -> KeyPath:
    """pydantic's location without the union tags that are not in the file."""
    path: list[int | str] = []
    for part in loc:
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif not (kind == "missing" and part == loc[-1]):
            continue
        path.append(part)
    return tuple(path)


def known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Keys that ``model`` accepts at ``path``, in the order of its fields."""
    here: list[Any] = [model]
    for part in path:
        here = [t for node in here for t in _step(node, part)]
    return [f.alias or name for node in here for name, f in _fields(node).items()]


def _fields(node: Any) -> dict[str, Any]:
    return dict(getattr(node, "model_fields", {})) if isinstance(node, type) else {}


def _step(node: Any, part: str | int) -> list[Any]:
    if isinstance(part, int):
        return [node]
    fields = {f.alias or name: f for name, f in _fields(node).items()}
    if part in fields:
        return _models(fields[part].annotation)
    return []


def _models(annotation: Any) -> list[Any]:
    """Model classes inside an annotation: of an optional, a union, a list's items, a mapping's values."""
    if _fields(annotation):
        return [annotation]
    return [m for a in get_args(annotation) for m in _models(a)]
