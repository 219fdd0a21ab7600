"""`costplan diff`: what a change does to the bill, without judging it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

Word = Annotated[str, typer.Argument(help="plan.json, or GIT_REV[:costplan.yaml].", show_default=False)]


def diff(
    base: Word,
    head: Word,
    json_: Annotated[bool, typer.Option("--json", help="report.json: see costplan schema ci.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The comment of a pull request.")] = False,
    today: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Judge the age of prices as of this day "
                                                                             "instead of today.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Compare the cost of two states: two plan files, or two commits with a costplan.yaml.

    Commits are read with git: nothing is checked out. Guardrails are shown and not judged: the exit code is 0.
    """
    import tempfile

    from costplan.ci.compare import Comparison
    from costplan.ci.plans import Plans
    from costplan.cli.ci_planner import planner
    from costplan.cli.ci_sides import side_named
    from costplan.cli.output import emit, style
    from costplan.cli.progress import Progress
    from costplan.core.errors import InputError

    if json_ and markdown:
        raise InputError("choose one of --json and --markdown")
    day = (today or datetime.now()).date()
    progress = Progress.of_terminal()
    with tempfile.TemporaryDirectory(prefix="costplan-") as folder:
        states = [side_named(word, Path(folder), name) for word, name in ((base, "base"), (head, "head"))]
        plans = Plans(planner(day), progress.planning)
        try:
            report = Comparison(states[0], states[1], plans, day).report()
        finally:
            progress.clear()
    if json_:
        from costplan.ci.report_file import report_json

        emit(report_json(report), output)
    elif markdown:
        from costplan.ci.comment import comment

        emit(comment(report), output)
    else:
        from costplan.ci.text import report_text

        emit(report_text(report, style(output)), output)
