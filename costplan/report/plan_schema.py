"""JSON Schema of `costplan plan --json`, derived from the types that the file is read into."""

from __future__ import annotations

from typing import Any

from costplan.report.plan_file import adapter

_INTERVAL = {"type": "array", "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 2}


def plan_schema() -> dict[str, Any]:
    """The schema; unknown keys are allowed, since keys may be added."""
    found = adapter().json_schema()
    estimate = found["$defs"]["Estimate"]
    estimate["properties"] |= {"interval_50": _INTERVAL, "interval_90": _INTERVAL}
    estimate["required"] = [*estimate["required"], "interval_50", "interval_90"]
    plan = found["$defs"]["Plan"]
    plan["properties"] |= {"name": {"type": "string"}, "num_gpus": {"type": "integer", "minimum": 1}}
    plan["required"] = [*plan["required"], "name", "num_gpus"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "costplan plan --json"}
