"""`costplan plan` for people: the answer in a few lines, then the tables behind it."""

from __future__ import annotations

from costplan.plan.types import PlanSet
from costplan.report.columns import dropped, facts, heading, table
from costplan.report.plan_details import Section
from costplan.report.plan_sections import answer, headline, sections
from costplan.report.style import Style


def plan_text(s: PlanSet, style: Style) -> str:
    """The whole answer; no line is wider than ``style.width``."""
    blocks = [[*heading(headline(s), style), *_body(answer(s), style)]]
    blocks += [titled(x, style) for x in sections(s)]
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def titled(x: Section, style: Style) -> list[str]:
    """A section under its title."""
    lines = heading(x.title[:1].upper() + x.title[1:] + (f": {x.note}" if x.note else ""), style)
    return [*lines, *_body(x, style)]


def _body(x: Section, style: Style) -> list[str]:
    lines = table(x.columns, x.rows, style) if x.rows else []
    hidden = dropped(x.columns, x.rows, style) if x.rows else []
    if hidden:
        lines += facts([("", f"not shown in {style.width} columns: {', '.join(hidden)}")], style)
    return [*lines, *(facts(x.facts, style) if x.facts else [])]
