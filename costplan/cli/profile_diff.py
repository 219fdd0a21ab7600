"""``costplan profile diff A B``: did kernels become slower?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from costplan.profile.compare import Comparison


def diff(
    a: Annotated[str, typer.Argument(help="Name or folder of the profile to compare with.")],
    b: Annotated[str, typer.Argument(help="Name or folder of the profile in question.")],
    margin: Annotated[float, typer.Option(help="Differences up to this fraction of the time are the same.",
                                          min=0.001, max=1.0)] = 0.02,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 where the whole is unclear or not judged.")]
    = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: ratios and fractions, not percent.")] = False,
) -> None:
    """Compare two profiles run by run: same, better, worse, unclear, or not judged. Exit code 1 where the whole or a
    family is worse."""
    from costplan.cli.output import emit, emit_json, style
    from costplan.profile.compare import compare_profiles
    from costplan.profile.store import Profile
    from costplan.report.profile_diff_text import diff_text

    found = compare_profiles(Profile.load(a), Profile.load(b), margin)
    if as_json:
        emit_json(_as_json(found), None)
    else:
        emit(diff_text(found, style()), None)
    if found.worse:
        raise typer.Exit(1)
    if strict and not found.judged:
        raise typer.Exit(3)


def _as_json(c: Comparison) -> dict[str, Any]:
    return {"schema": "costplan.profile_diff/1", **asdict(c)}
