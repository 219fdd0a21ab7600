"""One thing to measure: a kernel family with its sizes and number formats, but not yet which kernel runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from costplan.core.errors import InputError, UnknownNameError
from costplan.profile.families import FAMILIES


@dataclass(frozen=True, slots=True)
class Case:
    """``sizes`` follow ``FAMILIES[family].ints``, ``texts`` its text columns without ``kernel``."""

    family: str
    sizes: tuple[int, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, family: str, **values: int | str) -> Case:
        """A case from named values; sizes that are left out are 0. Raises InputError on wrong names."""
        names = case_columns(family)
        if unknown := set(values) - set(names):
            raise InputError(f"family {family} has no column {sorted(unknown)[0]!r}", hint=f"it has {', '.join(names)}")
        f = FAMILIES[family]
        sizes = tuple(int(values.get(n, 0)) for n in f.ints)
        if any(s < 0 for s in sizes):
            raise InputError(f"a size of {family} is negative: {dict(zip(f.ints, sizes, strict=True))}")
        if missing := [n for n in f.texts if n != "kernel" and n not in values]:
            raise InputError(f"family {family} needs {missing[0]}")
        return cls(family, sizes, tuple(str(values[n]) for n in f.texts if n != "kernel"))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Case:
        """The case that `as_json` wrote."""
        values = {k: v for k, v in content.items() if k != "family"}
        return cls.of(str(content.get("family")), **values)

    def as_json(self) -> dict[str, int | str]:
        """Family and named values."""
        return {"family": self.family, **self.values()}

    def values(self) -> dict[str, int | str]:
        """All columns by name."""
        f = FAMILIES[self.family]
        texts = [n for n in f.texts if n != "kernel"]
        return {**dict(zip(f.ints, self.sizes, strict=True)), **dict(zip(texts, self.texts, strict=True))}

    def size(self, name: str) -> int:
        """An integer column."""
        return self.sizes[FAMILIES[self.family].ints.index(name)]

    def text(self, name: str) -> str:
        """A text column."""
        return self.texts[[n for n in FAMILIES[self.family].texts if n != "kernel"].index(name)]

    @property
    def key(self) -> str:
        """A unique, readable name; the same in every run and version."""
        return " ".join((self.family, *(f"{k}={v}" for k, v in self.values().items() if v not in (0, ""))))


def case_columns(family: str) -> tuple[str, ...]:
    """Names of the columns that make a case of ``family``. Raises UnknownNameError."""
    if family not in FAMILIES:
        raise UnknownNameError("kernel family", family, FAMILIES)
    f = FAMILIES[family]
    return (*f.ints, *(t for t in f.texts if t != "kernel"))
