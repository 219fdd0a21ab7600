"""`report.json`: written with sorted keys and money as decimal text, read back with every limit checked, described by a
schema."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

from costplan.ci.types import SCHEMA, Report
from costplan.core.errors import InputError
from costplan.report.plan_json import values

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LARGEST_BYTES = 16 << 20  # a thousand workloads take half of it
MOST_ITEMS = 20_000
MOST_VALUES = 1_000_000
LONGEST_TEXT = 2000
DEEPEST = 12
_MONEY = {"anyOf": [{"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}, {"type": "number"}, {"type": "null"}]}


def report_json(r: Report) -> str:
    """The report as strict JSON; the same report gives the same bytes."""
    found = values(r)
    for w in found["workloads"]:
        for m in w["metrics"].values():
            if m["unit"].startswith("usd"):
                m["base"], m["head"], m["limit"] = (_decimal(m[k]) for k in ("base", "head", "limit"))
                m["interval"] = m["interval"] and [_decimal(x) for x in m["interval"]]
        if w["fix"]:
            w["fix"]["cost_usd_per_mtok_out"] = _decimal(w["fix"]["cost_usd_per_mtok_out"])
    return json.dumps(found, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _decimal(x: float | None) -> str | None:
    """Digits without an exponent."""
    return None if x is None else format(x, ".10f").rstrip("0").rstrip(".")


def parse_report(data: bytes, source: str) -> Report:
    """The report in ``data``, which strangers may have written. Raises InputError; unknown keys are ignored."""
    from pydantic import ValidationError

    if len(data) > LARGEST_BYTES:
        raise InputError(f"larger than {LARGEST_BYTES >> 20} MiB", where=source, hint="is this a report.json?")
    try:
        raw = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        _limited(raw, 0, [0])
        if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}")
        found = adapter().validate_python(raw)
        _finite(dataclasses.asdict(found))
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InputError(f"{'.'.join(str(x) for x in first['loc'])[:200]}: {first['msg']}", where=source,
                         hint="expected the report.json of costplan ci") from None
    except (ValueError, RecursionError) as e:
        raise InputError(f"not a report: {str(e)[:200]}", where=source,
                         hint="expected the report.json of costplan ci") from None
    return found


def _limited(x: Any, depth: int, count: list[int]) -> None:
    """Raise ValueError for texts, lists and depths that no report of ours has."""
    count[0] += 1
    if depth > DEEPEST or count[0] > MOST_VALUES:
        raise ValueError("too large or too deep")
    if isinstance(x, str) and len(x) > LONGEST_TEXT:
        raise ValueError(f"a text is longer than {LONGEST_TEXT} characters")
    if isinstance(x, dict | list):
        if len(x) > MOST_ITEMS:
            raise ValueError(f"a list is longer than {MOST_ITEMS}")
        for v in (*x, *x.values()) if isinstance(x, dict) else x:
            _limited(v, depth + 1, count)


def _finite(x: Any) -> None:
    if isinstance(x, float) and not (math.isfinite(x) and abs(x) < 1e15):
        raise ValueError("a number is not finite or absurdly large")
    for v in x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ():
        _finite(v)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def adapter() -> TypeAdapter[Report]:
    """Reads, and describes, `Report`."""
    from pydantic import TypeAdapter

    return TypeAdapter(Report)


def report_schema() -> dict[str, Any]:
    """JSON Schema of `report.json`; unknown keys are allowed, since keys may be added."""
    found = adapter().json_schema()
    found["properties"]["schema"] = {"const": SCHEMA}
    metric, fix = found["$defs"]["MetricDiff"]["properties"], found["$defs"]["Fix"]["properties"]
    metric |= {"base": _MONEY, "head": _MONEY, "limit": _MONEY,
               "interval": {"anyOf": [{"type": "array", "items": _MONEY, "minItems": 2, "maxItems": 2},
                                      {"type": "null"}]}}
    fix["cost_usd_per_mtok_out"] = _MONEY
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "costplan ci report.json"}
