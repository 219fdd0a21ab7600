"""Kinds of values in a workload file: durations with a unit, percentiles, token counts, names."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-zµ]*)\s*\Z")
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,4})?|100)\Z")
MAX_TOKENS = 10_000_000


def problem(message: str, hint: str = "") -> PydanticCustomError:
    """A finding at the door, with what to try."""
    return PydanticCustomError("workload", "{said}", {"said": message, "hint": hint})


def parse_duration(value: Any) -> float:
    """Seconds of a text like ``800ms`` or ``0.8s``. A number without unit is refused: it could be either."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise problem(f"{value:g} has no unit", f"write {value:g}ms or {value:g}s")
    found = _DURATION.match(value) if isinstance(value, str) else None
    if found is None:
        raise problem(f"must be a duration, got {value!r}"[:120], "write for example 800ms or 0.8s")
    unit = found[2]
    if unit not in _UNITS_S:
        if not unit:
            raise problem(f"{found[1]} has no unit", f"write {found[1]}ms or {found[1]}s")
        raise problem(f"unknown unit {unit!r}", f"units are {', '.join(_UNITS_S)}")
    seconds = float(found[1]) * _UNITS_S[unit]
    if not 0 < seconds < math.inf:
        raise problem("must be above 0")
    return seconds


def parse_percentile(key: str) -> float:
    """Fraction of a key like ``p95`` or ``p99.9``."""
    found = _PERCENTILE.match(key)
    if found is None:
        raise problem(f"{key!r} is not a percentile"[:120], "write p50, p95, p99 or p99.9")
    return float(Decimal(found[1]) / 100)


def _percentile_key(key: str) -> str:
    if not 0 < parse_percentile(key) < 1:
        raise problem(f"{key!r} is not a percentile between p0 and p100", "write p50, p95, p99 or p99.9")
    return key


def _by_percentile(value: Any) -> Any:
    if isinstance(value, str | int | float):
        raise problem("needs a percentile", f"write {{p95: {value}}}"[:60])
    return value


def _quantile_key(key: str) -> str:
    if key not in ("min", "max"):
        parse_percentile(key)
    return key


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise problem("must be plain printable text")
    return text


Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema({
    "type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?|\.[0-9]+)\s*(us|ms|s|min|h)\s*$",
    "description": "a duration with its unit, like 800ms or 0.8s"})]
QuantileKey = Annotated[str, AfterValidator(_quantile_key)]
Percentile = Annotated[str, AfterValidator(_percentile_key)]
Percentiles = Annotated[dict[Percentile, Duration], BeforeValidator(_by_percentile), Field(
    min_length=1, json_schema_extra={"propertyNames": {"pattern": r"^p[0-9]{1,2}(\.[0-9]{1,4})?$"}})]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e9)]


class Door(BaseModel):
    """Base of everything read from a workload file: no unknown keys, no conversions, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def exactly_one(model: BaseModel, names: tuple[str, ...]) -> None:
    """Refuse ``model`` unless exactly one of ``names`` is given."""
    given = [n for n in names if getattr(model, n) is not None]
    if len(given) != 1:
        choice = ", ".join(names[:-1]) + f" or {names[-1]}"
        raise problem(f"give exactly one of {choice}" + (f", not {' and '.join(given)}" if given else ""))


def one_of_schema(names: tuple[str, ...]) -> dict[str, Any]:
    """JSON Schema for `exactly_one`, so that editors see the same rule."""
    return {"oneOf": [{"required": [n]} for n in names]}
