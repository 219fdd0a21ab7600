"""`costplan history show` and `report` for people."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.history.entry import Entry
from costplan.history.summary import ServiceHistory
from costplan.report.columns import heading
from costplan.report.history_sections import entries, headline, history_sections
from costplan.report.plan_text import titled
from costplan.report.style import Style


def report_text(found: Sequence[ServiceHistory], style: Style) -> str:
    """The state of every service."""
    blocks = [heading(headline(found), style), *(titled(x, style) for x in history_sections(found))]
    return "\n\n".join("\n".join(b) for b in blocks if found or b is blocks[0]) + "\n"


def entries_text(found: Sequence[Entry], style: Style) -> str:
    """Entries one by one."""
    return "\n".join(titled(entries(found), style)) + "\n"
