"""`costplan plan --markdown`: the same sections as on a terminal, all columns, for a page or a merge request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from costplan.plan.types import PlanSet
from costplan.report.plan_details import Section
from costplan.report.plan_sections import answer, headline, sections
from costplan.report.style import plain

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#@])")


def plan_markdown(s: PlanSet) -> str:
    """The whole answer as Markdown."""
    first = answer(s)
    blocks = [f"# {_text(headline(s))}", _facts(first.facts), *[_section(x) for x in sections(s)]]
    return "\n\n".join(blocks) + "\n"


def _section(x: Section) -> str:
    note = _text(x.note[:1].upper() + x.note[1:] + ".") if x.note else ""
    parts = [f"## {_text(x.title[:1].upper() + x.title[1:])}", note, _table(x), _facts(x.facts)]
    return "\n\n".join(p for p in parts if p)


def _table(x: Section) -> str:
    if not x.rows:
        return ""
    rule = "|" + "|".join(" ---: " if c.right else " --- " for c in x.columns) + "|"
    return "\n".join([_line([c.title for c in x.columns]), rule, *[_line(r) for r in x.rows]])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_text(c) for c in cells) + " |"


def _facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A list; lines without a name belong to the one before."""
    return "\n".join(f"- **{_text(k)}**: {_text(v)}" if k else f"  - {_text(v)}" for k, v in pairs)


def _text(text: str) -> str:
    """Nothing in a name can format, link, or mention."""
    return _SPECIAL.sub(r"\\\1", plain(text))
