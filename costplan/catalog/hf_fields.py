"""Typed, range-checked reading of a config dict: every error names the file, the key and what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from costplan.core.errors import InputError

T = TypeVar("T")
Json = Mapping[str, Any]
MAX_LAYERS = 2000


class Fields:
    """One JSON object of a model config. Keys are given as synonyms: the first one present counts.

    A key that holds ``null`` is absent. ``where`` is the file, ``prefix`` the key path of a nested object.
    """

    __slots__ = ("data", "prefix", "where")

    def __init__(self, data: Json, where: str, prefix: str = "") -> None:
        self.data = data
        self.where = where
        self.prefix = prefix

    def find(self, *keys: str) -> tuple[str, Any] | None:
        """The first of ``keys`` that is present, with its raw value."""
        for key in keys:
            value = self.data.get(key)
            if value is not None:
                return key, value
        return None

    def has(self, *keys: str) -> bool:
        return self.find(*keys) is not None

    def fail(self, key: str, message: str, hint: str) -> InputError:
        """The error to raise for ``key``."""
        return InputError(f"{self.prefix}{key} {message}", hint=hint, where=self.where)

    def missing(self, *keys: str) -> InputError:
        also = f" (also accepted: {', '.join(keys[1:])})" if len(keys) > 1 else ""
        return InputError(f"{self.prefix}{keys[0]} is missing",
                          hint=f"costplan needs it to know the model's shape{also}; take the config.json of the "
                               "checkpoint itself", where=self.where)

    def integer(self, *keys: str, low: int = 1, high: int = 1 << 24) -> int:
        """A whole number in ``[low, high]``; missing is an error."""
        got = self.find(*keys)
        if got is None:
            raise self.missing(*keys)
        return self.as_int(got[0], got[1], low, high)

    def integer_or(self, default: T, *keys: str, low: int = 1, high: int = 1 << 24) -> int | T:
        """A whole number in ``[low, high]``, or ``default`` where no key is present."""
        got = self.find(*keys)
        return default if got is None else self.as_int(got[0], got[1], low, high)

    def as_int(self, key: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"must be a whole number, not {_show(value)}", "write it as a bare JSON number")
        if not low <= value <= high:
            raise self.fail(key, f"is {_show(value)}, outside {low}..{high}",
                            "check the config file for a typing error")
        return value

    def number_or(self, default: float, *keys: str, low: float = 0.0, high: float = 1e6) -> float:
        """A finite number in ``(low, high]``, or ``default``."""
        got = self.find(*keys)
        if got is None:
            return default
        key, value = got
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"must be a number, not {_show(value)}", "write it as a bare JSON number")
        if not (low < value <= high):
            raise self.fail(key, f"is {_show(value)}, outside {low:g}..{high:g}", "check the config file")
        return float(value)

    def flag(self, *keys: str, default: bool) -> bool:
        """A JSON boolean, or ``default``."""
        got = self.find(*keys)
        if got is None:
            return default
        if not isinstance(got[1], bool):
            raise self.fail(got[0], f"must be true or false, not {_show(got[1])}", "write it as a bare JSON boolean")
        return got[1]

    def text(self, *keys: str, default: str = "") -> str:
        """A string, or ``default``."""
        got = self.find(*keys)
        if got is None:
            return default
        if not isinstance(got[1], str):
            raise self.fail(got[0], f"must be a string, not {_show(got[1])}", "check the config file")
        return got[1]

    def array(self, key: str, *, at_least: int = 0) -> list[Any] | None:
        """A list with at least ``at_least`` entries, or None where the key is absent."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.fail(key, f"must be a list, not {_show(value)}", "check the config file")
        if len(value) < at_least:
            raise self.fail(key, f"has {len(value)} entries for {at_least} layers", "give one entry per layer")
        return value

    def sub(self, key: str) -> Fields | None:
        """The nested object under ``key``, or None where it is absent."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fail(key, f"must be an object, not {_show(value)}", "check the config file")
        return Fields(value, self.where, f"{self.prefix}{key}.")

    @property
    def hidden_size(self) -> int:
        return self.integer("hidden_size", "n_embd", "d_model", "model_dim")

    @property
    def num_layers(self) -> int:
        return self.integer("num_hidden_layers", "n_layer", "n_layers", "num_layers", high=MAX_LAYERS)


def _show(value: object) -> str:
    """A short printable form of a JSON value."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**18 else "a number of more than 18 digits"
    return text if len(text) <= 60 else text[:57] + "..."
