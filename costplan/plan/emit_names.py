"""Names that reach a shell, a YAML file or a cluster: checked at the door, never pasted."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from costplan.catalog.models import canonical_name
from costplan.core.errors import InputError

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}\Z")
_PATH = re.compile(r"[A-Za-z0-9._/@+=, -]{1,1024}\Z")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,254}\Z")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
MAX_NAME = 52
"""Room for the suffixes that Kubernetes adds to a name of 63 characters."""


def model_ref(name: str, *, where: str = "model") -> str:
    """The repository or folder that an engine loads for ``name``; built-in short names become their repository.

    Raises InputError for anything that is neither, or that a shell or a flag parser could misread.
    """
    text = name.strip()
    known = canonical_name(text)
    if known is not None:
        return text if known.lower() == text.lower() or _same_repo_family(text) else known
    if _looks_like_path(text):
        return _folder(text, where)
    if not _REPO.match(text) or ".." in text:
        raise InputError(f"not a model that an engine can load: {_shown(name)}", where=where,
                         hint="give a Hugging Face name like org/model, or the folder with the weights")
    return text


def _same_repo_family(text: str) -> bool:
    """Whether the user gave a full repository name (kept as given: an -Instruct sibling has the same shapes)."""
    return bool(_REPO.match(text)) and ".." not in text


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text.endswith(".json") or text.count("/") > 1


def _folder(text: str, where: str) -> str:
    """A path to weights; that of a config.json is its folder."""
    path = PurePosixPath(text)
    if not _PATH.match(text) or text.startswith(("-", " ")) or text != text.strip():
        raise InputError(f"the path of the model has characters that cannot be passed on safely: {_shown(text)}",
                         where=where, hint="use letters, digits and . _ / @ + = , - in an absolute path")
    return str(path.parent if path.suffix == ".json" else path)


def is_path(ref: str) -> bool:
    """Whether a checked model reference is a folder, not a repository."""
    return _looks_like_path(ref) or "/" not in ref


def image_ref(image: str) -> str:
    """A container image as given. Raises InputError."""
    if not _IMAGE.match(image) or "//" in image:
        raise InputError(f"not a container image: {_shown(image)}", where="image",
                         hint="write it as registry/name:tag")
    return image


def namespace_name(name: str) -> str:
    """A Kubernetes namespace as given. Raises InputError: another name than the user's would be a surprise."""
    if not _LABEL.match(name):
        raise InputError(f"not a Kubernetes namespace: {_shown(name)}", where="namespace",
                         hint="use lower-case letters, digits and -, at most 63")
    return name


def label_value(text: str) -> str | None:
    """``text`` if a Kubernetes label can hold it."""
    return text if _LABEL_VALUE.match(text) else None


def rfc1123_name(text: str, fallback: str = "llm") -> str:
    """``text`` as a Kubernetes object name: lower case, digits and single dashes, a letter first, at most 52."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower().encode("ascii", "ignore").decode()).strip("-")
    if not name:
        return fallback
    if not name[0].isalpha():
        name = f"{fallback}-{name}"
    return name[:MAX_NAME].rstrip("-")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
