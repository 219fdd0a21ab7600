"""`costplan explain`: the derivation of every number of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costplan.cli.predict import Calibrations

if TYPE_CHECKING:
    from costplan.report.plan_file import PlanFile


def explain(
    plan: Annotated[str, typer.Argument(help="File written by: costplan plan WORKLOAD --json -o FILE; or a workload, "
                                             "which is planned first.")],
    rank: Annotated[int, typer.Option(min=1, help="Which of its plans.")] = 1,
    profile: Annotated[list[str] | None, typer.Option(help="Measured profile for a workload, by name or folder; may be "
                                                           "given again.")] = None,
    calibration: Calibrations = None,
    price: Annotated[list[str] | None, typer.Option(help="Your price per GPU and hour for a workload, "
                                                         "NAME=USD.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON: title, number, value, formula, source.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Print how every number of a plan follows from others, with the numbers in the formula and their source."""
    from costplan.cli.output import emit, emit_json, style
    from costplan.core.errors import InputError
    from costplan.report.explain_text import chapters, explain_text

    written = plan.lower().endswith(".json")
    if written and (profile or price or calibration):
        raise InputError("--profile, --calibration and --price belong to a workload, this is the file of a plan")
    found = read_plan(Path(plan)) if written else _planned(plan, profile, price, calibration)
    chosen = found.ranked(rank)
    if json_:
        emit_json({"schema": "costplan.explain/1", "plan": chosen.name, "numbers": [
            {"chapter": title, "number": x.name, "value": x.value, "formula": x.formula, "source": x.source}
            for title, lines in chapters(found, chosen) for x in lines]}, output)
    else:
        emit(explain_text(found, chosen, style(output)), output)


def _planned(workload: str, profile: list[str] | None, price: list[str] | None,
             calibration: list[Path] | None) -> PlanFile:
    """The plan of a workload, as if written to a file and read back."""
    from datetime import date

    from costplan.cli.derive import document
    from costplan.cli.plan_inputs import (
        digests,
        find_workload,
        price_table,
        profiles_named,
        with_devices_of,
        with_stated,
    )
    from costplan.cli.predict_inputs import tuned_by
    from costplan.cli.progress import Progress
    from costplan.plan.planner import plan
    from costplan.report.plan_file import parse_plan

    profiles = profiles_named(profile)
    table = with_stated(price_table(None), price, date.today())
    asked, progress = with_devices_of(find_workload(workload), profiles), Progress.of_terminal()
    tuned = tuned_by([*(calibration or ()), *asked.calibrations])
    try:
        found = plan(asked, today=date.today(), prices=table, profiles=profiles, observed=tuned.observed,
                     progress=progress.told)
    finally:
        progress.clear()
    text = document(found, digests(asked, 0, None, profiles, table, tuned), profiles, tuned.observed)
    return parse_plan(text.encode(), workload)


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
