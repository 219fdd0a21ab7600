"""`costplan schema`: JSON Schemas for editors and pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def schema(
    kind: Annotated[str, typer.Argument(help="workload or config (the files), plan, predict or ci (output).")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Print the JSON Schema of a file that costplan reads, or of JSON that it prints."""
    from costplan.cli.output import emit_json
    from costplan.core.errors import UnknownNameError

    if kind == "workload":
        from costplan.workload.schema import schema as workload_schema

        emit_json(workload_schema(), output)
    elif kind == "predict":
        from costplan.report.predict_schema import predict_schema

        emit_json(predict_schema(), output)
    elif kind == "plan":
        from costplan.report.plan_schema import plan_schema

        emit_json(plan_schema(), output)
    elif kind == "config":
        from costplan.ci.config_file import config_schema

        emit_json(config_schema(), output)
    elif kind == "ci":
        from costplan.ci.report_file import report_schema

        emit_json(report_schema(), output)
    else:
        raise UnknownNameError("schema", kind, ("workload", "config", "plan", "predict", "ci"))
