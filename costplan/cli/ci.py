"""`costplan ci`: judge a change against its merge base, write the reports; render and post them apart from that."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.ci.plans import Plans
    from costplan.ci.post import Provider
    from costplan.ci.state import State
    from costplan.ci.types import Note, Report

BROKEN, NOT_JUDGED = 1, 3

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None,
                  help="Judge what a change does to the bill; render and post the result.",
                  epilog="Exit codes: 0 guardrails hold, 1 a guardrail of level error is broken, 2 bad usage or input, "
                         "3 could not judge (with --strict), 4 environment, 70 a bug of ours, 130 interrupted.")


@app.callback()
def ci(
    context: typer.Context,
    base: Annotated[str | None, typer.Option(help="Revision whose merge base with HEAD is compared, or a plan file. "
                                                  "Default: what the CI service names, else origin/HEAD.")] = None,
    config: Annotated[Path, typer.Option(help="The costplan.yaml.")] = Path("costplan.yaml"),
    out_dir: Annotated[Path, typer.Option(help="Folder for report.json, comment.md, report.html and the plans.",
                                          )] = Path("costplan-report"),
    form: Annotated[str, typer.Option("--format", help="text or json, on standard output.")] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 where the change could not be judged.")] = False,
    no_fail: Annotated[bool, typer.Option("--no-fail", help="Exit 0 even where a guardrail is broken.")] = False,
    today: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Judge exceptions and the age of "
                                                                             "prices as of this day.")] = None,
) -> None:
    """Plan the inputs of base and head with this costplan, compare, judge the guardrails of costplan.yaml.

    Nothing is measured and no code of the change runs. The same inputs give exactly 0 and silence.
    """
    if context.invoked_subcommand is not None:
        return
    import tempfile

    from costplan.ci.compare import Comparison
    from costplan.ci.plans import Plans
    from costplan.cli.ci_planner import planner
    from costplan.cli.progress import Progress
    from costplan.core.errors import InputError, UnavailableError

    if form not in ("text", "json"):
        raise InputError(f"unknown format {form!r}", where="--format", hint="text or json")
    out_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(out_dir, os.W_OK):
        raise UnavailableError("the folder cannot be written", where=str(out_dir), hint="give another with --out-dir")
    day = (today or datetime.now()).date()
    progress = Progress.of_terminal()
    with tempfile.TemporaryDirectory(prefix="costplan-") as folder:
        old, new, notes = _states(base, config, Path(folder))
        plans = Plans(planner(day), progress.planning)
        try:
            report = Comparison(old, new, plans, day).report(notes)
        finally:
            progress.clear()
        _write(report, out_dir, {"plan.base.json": _plans(old, plans), "plan.head.json": _plans(new, plans)})
    _tell(report, form)
    raise typer.Exit(_code(report, strict, no_fail))


def _states(base: str | None, config: Path, folder: Path) -> tuple[State | None, State, tuple[Note, ...]]:
    """Base (None: there is none), head, and what must be said about them."""
    from dataclasses import replace

    from costplan.ci.base import find_base
    from costplan.ci.git import Git
    from costplan.ci.source import Commit, WorkingTree, differs
    from costplan.ci.state import read_state
    from costplan.ci.types import Note
    from costplan.cli.ci_sides import plan_files
    from costplan.core.errors import CostplanError, InputError

    if not config.is_file():
        raise InputError("no such file", where=str(config), hint="write a costplan.yaml, or name it with --config; "
                                                                 "docs/ci.md has one")
    git = Git(config.absolute().parent)
    place = config.resolve().relative_to(git.root.resolve()).as_posix()
    tree = WorkingTree(git)
    head = read_state(tree, folder, "head", place)
    commit = tree.rev
    if commit is not None:
        head = replace(head, side=replace(head.side, dirty=differs(tree, commit, git, list(head.paths))))
    if base is not None and base.endswith(".json"):  # a file that a change adds cannot stand in for a branch
        return plan_files(Path(base)), head, ()
    found = find_base(git, base, os.environ)
    if found.commit is None:
        return None, head, (found.note,) if found.note else ()
    source = Commit(git, found.commit)
    if not source.has(place):
        return None, head, (Note("first_run", f"{place} is not in the base {found.commit[:7]}: every workload is new"),)
    try:
        return read_state(source, folder, "base", place, lenient=True), head, ()
    except CostplanError as e:
        return None, head, (Note("no_base", f"the base cannot be read: {e}"),)


def _plans(state: State | None, plans: Plans) -> dict[str, str]:
    """Plan files of one side by workload, of those that were planned."""
    made = {e.name: plans.text(e.inputs) for e in (state.entries if state else ()) if e.inputs is not None}
    return {name: text for name, text in made.items() if text is not None}


def _write(report: Report, out_dir: Path, plans: dict[str, dict[str, str]]) -> None:
    """Every file whole; then the job summary, which other steps write too."""
    from costplan.ci.comment import comment, summary
    from costplan.ci.report_file import report_json
    from costplan.cli.ci_sides import plans_text
    from costplan.core.atomic import write_text

    texts = {"report.json": report_json(report), "comment.md": comment(report), "report.html": _html(report),
             **{name: plans_text(found) for name, found in plans.items()}}
    for name, text in texts.items():
        if text is None:
            (out_dir / name).unlink(missing_ok=True)
        else:
            write_text(out_dir / name, text)
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if place:
        with Path(place).open("a", encoding="utf-8") as f:
            f.write(summary(report) + "\n")


def _html(report: Report) -> str | None:
    """The page; None, and a word about it, without the extra that draws it: the verdict needs no plots."""
    from costplan.ci.page import page
    from costplan.ci.types import Outcome
    from costplan.cli.output import say
    from costplan.cli.page import missing
    from costplan.report.html.page import rendered

    if (package := missing()) is None:
        return rendered(page(report))
    if report.verdict is not Outcome.UNCHANGED:
        say(f"no report.html: {package} is not installed; pip install 'costplan[html]'")
    return None


def _tell(report: Report, form: str) -> None:
    from costplan.ci.report_file import report_json
    from costplan.ci.text import report_text
    from costplan.ci.types import Outcome
    from costplan.ci.words import Ink, headline
    from costplan.cli.output import emit, say, style
    from costplan.report.escape import word, workflow_command

    emit(report_json(report) if form == "json" else report_text(report, style()), None)
    if os.environ.get("GITHUB_ACTIONS") == "true" and report.verdict is not Outcome.UNCHANGED:
        level = {Outcome.FAILED: "error", Outcome.WARNED: "warning"}.get(report.verdict, "notice")
        say(workflow_command(level, "costplan", headline(report, Ink(word, str))))


def _code(report: Report, strict: bool, no_fail: bool) -> int:
    """One meaning per code, never a count."""
    from costplan.ci.types import Outcome
    from costplan.ci.verdict import undecided

    if report.verdict is Outcome.FAILED:
        return 0 if no_fail else BROKEN
    return NOT_JUDGED if strict and undecided(report) else 0


def _read(path: Path) -> Report:
    from costplan.ci.report_file import LARGEST_BYTES, parse_report
    from costplan.core.yaml_door import read_text

    return parse_report(read_text(path, LARGEST_BYTES).encode(), str(path))


@app.command("render")
def render(
    report: Annotated[Path, typer.Argument(help="report.json of costplan ci.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="The comment.")] = False,
    html: Annotated[bool, typer.Option("--html", help="The page.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Check a report.json that another job wrote, and render it again: nothing else of that job is trusted."""
    from costplan.ci.comment import comment
    from costplan.ci.page import page
    from costplan.ci.text import report_text
    from costplan.cli.output import emit, style
    from costplan.core.errors import InputError
    from costplan.report.html.page import rendered

    if markdown and html:
        raise InputError("choose one of --markdown and --html")
    found = _read(report)
    text = comment(found) if markdown else rendered(page(found)) if html else report_text(found, style(output))
    emit(text, output)


@app.command("comment")
def comment_(
    report: Annotated[Path, typer.Argument(help="report.json of costplan ci.")],
    provider: Annotated[str, typer.Option(help="github or gitlab.")],
    number: Annotated[int, typer.Option(min=1, help="Of the pull or merge request.")],
    behavior: Annotated[str, typer.Option(help="update (one comment, in place), new or delete.")] = "update",
    expect_head: Annotated[str | None, typer.Option(help="Refuse unless the request is at this commit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the comment; no token, no network.")] = False,
) -> None:
    """Post a report as a comment. The only command that uses a token: GITHUB_TOKEN or GITLAB_TOKEN.

    The comment is rendered here from the checked report. Where nothing changed, none is written, and an older one
    of ours is brought up to date.
    """
    from costplan.ci.comment import comment
    from costplan.ci.post import post
    from costplan.cli.output import emit, say
    from costplan.core.errors import UnknownNameError

    if provider not in ("github", "gitlab"):
        raise UnknownNameError("provider", provider, ("github", "gitlab"), where="--provider")
    if behavior not in ("update", "new", "delete"):
        raise UnknownNameError("behavior", behavior, ("update", "new", "delete"), where="--behavior")
    found = _read(report)
    if dry_run:
        emit(comment(found), None)
        say("dry run: would be posted" if found.post else "dry run: only an older comment of ours would be updated")
        return
    done = post(_provider(provider, number), comment(found), behavior, found.post, expect_head)
    say(f"{done.action}{f' comment {done.id}' if done.id else ''}")


def _provider(name: str, number: int) -> Provider:
    from costplan.ci.post_github import GitHub
    from costplan.ci.post_gitlab import GitLab

    return GitHub.from_env(os.environ, number) if name == "github" else GitLab.from_env(os.environ, number)
