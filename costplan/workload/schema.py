"""JSON Schema of a workload file, which completes and checks it in editors."""

from __future__ import annotations

from typing import Any

from costplan.workload.file import WorkloadFile


def schema() -> dict[str, Any]:
    """The schema (draft 2020-12); ``configs/workload.schema.json`` is its committed copy."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **WorkloadFile.model_json_schema()}
