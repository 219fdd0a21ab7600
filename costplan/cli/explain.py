"""`costplan explain`: the derivation of every number of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.report.plan_file import PlanFile


def explain(
    plan: Annotated[Path, typer.Argument(help="File written by: costplan plan WORKLOAD --json -o FILE.")],
    rank: Annotated[int, typer.Option(min=1, help="Which of its plans.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="JSON: title, number, value, formula, source.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Print how every number of a plan follows from others, with the numbers in the formula and their source."""
    from costplan.cli.output import emit, emit_json, style
    from costplan.report.explain_text import chapters, explain_text

    found = read_plan(plan)
    chosen = found.ranked(rank)
    if json_:
        emit_json({"schema": "costplan.explain/1", "plan": chosen.name, "numbers": [
            {"chapter": title, "number": x.name, "value": x.value, "formula": x.formula, "source": x.source}
            for title, lines in chapters(found, chosen) for x in lines]}, output)
    else:
        emit(explain_text(found, chosen, style(output)), output)


def read_plan(path: Path) -> PlanFile:
    """The plan file at ``path``. Raises InputError for anything else."""
    from costplan.core.errors import InputError
    from costplan.report.plan_file import LARGEST_BYTES, parse_plan

    hint = "write one with: costplan plan WORKLOAD --json -o FILE"
    try:
        if not path.is_file():
            raise InputError(f"no such file {path}", hint=hint)
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"larger than {LARGEST_BYTES // 2**20} MiB", where=str(path), hint=hint)
        return parse_plan(path.read_bytes(), str(path))
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}", hint=hint) from None
