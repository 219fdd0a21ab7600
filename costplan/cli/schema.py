"""`costplan schema`: JSON Schemas for editors and pipelines."""

from __future__ import annotations

import typer


def schema(kind: str = typer.Argument(..., help="What to describe: workload.")) -> None:
    """Print the JSON Schema of a file that costplan reads."""
    import json

    from costplan.core.errors import UnknownNameError
    from costplan.workload.schema import schema as workload_schema

    makers = {"workload": workload_schema}
    if kind not in makers:
        raise UnknownNameError("schema", kind, makers)
    typer.echo(json.dumps(makers[kind](), indent=2))
