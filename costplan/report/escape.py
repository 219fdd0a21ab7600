"""The one door through which names from a change may enter Markdown, HTML, a terminal or an Actions log.

Names of workloads, models, GPUs, branches and files are written by strangers. In Markdown a name becomes ``<code>``
with a numeric reference for every ASCII punctuation mark, so that nothing in it can end a cell, a heading or the tag.
"""

from __future__ import annotations

import html
import re
import unicodedata

MOST_CHARACTERS = 80
_JOINER = "&#8288;"
_GAP = "…"
_COMMAND = re.compile(r":(?=:)|##(?=\[)")


def visible(text: str, most: int = MOST_CHARACTERS) -> str:
    """``text`` in one line: control, direction-changing and zero-width characters taken out, at most one combining
    mark after another, the middle cut out where it is longer than ``most``."""
    kept: list[str] = []
    for c in text[:most * 50]:
        kind = unicodedata.category(c)
        if c in "\t\r\n" or kind in ("Zl", "Zp", "Zs"):
            kept.append(" ")
        elif kind[0] != "C" and not (kind in ("Mn", "Me") and kept and unicodedata.category(kept[-1]) in ("Mn", "Me")):
            kept.append(c)
    words = " ".join("".join(kept).split())
    if len(words) > most:
        left = (most - 1) // 2
        words = words[:left] + _GAP + words[len(words) - (most - 1 - left):]
    return words or "(nothing)"


def code(text: str, most: int = MOST_CHARACTERS) -> str:
    """A name in Markdown, in table cells and headings too: it can form no cell, link, image, emphasis or tag.

    A joiner after ``@`` keeps it from becoming a mention or an address.
    """
    return f"<code>{''.join(_reference(c) for c in visible(text, most))}</code>"


def _reference(c: str) -> str:
    if c == "@":
        return f"&#64;{_JOINER}"
    return c if c == " " or c.isalnum() or not c.isascii() else f"&#{ord(c)};"


def markup(text: str, most: int = MOST_CHARACTERS) -> str:
    """A name in HTML text or in a quoted attribute."""
    return html.escape(visible(text, most), quote=True)


def word(text: str, most: int = MOST_CHARACTERS) -> str:
    """A name on a terminal or in a job's log: nothing steers the terminal or reads as a workflow command."""
    return _COMMAND.sub(r"\g<0> ", visible(text, most))


def workflow_command(level: str, title: str, message: str) -> str:
    """One line that GitHub Actions shows as an annotation. ``level`` is error, warning or notice."""
    return f"::{level} title={_property(visible(title, 200))}::{_data(visible(message, 1000))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
