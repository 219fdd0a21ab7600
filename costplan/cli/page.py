"""`--html` and `--open` of the commands that have them: checked before the work, written after it, shown at last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costplan.perf.calibration import Observed
    from costplan.plan.types import PlanSet
    from costplan.profile.store import Profile
    from costplan.report.html.page import Page


def check(html: Path | None, show: bool) -> None:
    """Raises InputError where a page could not be written in the end: no folder, no extra, no file to open."""
    from costplan.core.errors import InputError

    if html is None:
        if show:
            raise InputError("--open needs a page to open", hint="add --html FILE")
        return
    if (package := missing()) is not None:
        raise InputError(f"HTML reports need {package}", hint="pip install 'costplan[html]'")
    if not html.parent.is_dir():
        raise InputError(f"no folder {html.parent}", where="--html", hint="create it first")
    if html.is_dir():
        raise InputError(f"{html} is a folder", where="--html", hint="name a file in it")


def missing() -> str | None:
    """What of the extra is not installed; None where a page can be written."""
    from importlib.util import find_spec

    needed = (("vl_convert", "vl-convert-python"), ("jinja2", "jinja2"))
    return next((package for name, package in needed if find_spec(name) is None), None)


def write(page: Page, html: Path, show: bool) -> None:
    """The file, and a browser that shows it if ``show``."""
    import webbrowser

    from costplan.cli.output import emit, warn
    from costplan.report.html.page import rendered

    emit(rendered(page), html)
    if show and not webbrowser.open(html.resolve().as_uri()):
        warn([f"no browser could be started: open {html} yourself"])


def of_plan(s: PlanSet, inputs: Mapping[str, str], profiles: Sequence[Profile],
            observed: Sequence[Observed] = ()) -> Page:
    """The page of a plan, with what its plots need."""
    from costplan.cli.derive import derivations, mean_steps
    from costplan.plan.day import hours
    from costplan.report.html.plan_page import plan_page

    return plan_page(s, steps=mean_steps(s, profiles, observed), behind=derivations(s, profiles, observed),
                     inputs=inputs, hours=hours(s.best, s.workload) if s.best is not None else ())
