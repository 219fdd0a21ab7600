"""One report as values, and as one HTML file that needs nothing else: no script, no image, no font, no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from costplan.core.errors import InputError
from costplan.report.html.chart import Chart
from costplan.report.html.draw import HINT, svg
from costplan.report.html.palette import redrawn, variables
from costplan.report.plan_details import Section
from costplan.report.style import plain


@dataclass(frozen=True, slots=True)
class Tile:
    """One number that people came for. ``tone`` is "", "good" or "bad"; the words must say it too."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A section with its plots. ``key`` is its place in the page, for links."""

    key: str
    section: Section
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The answer first (``headline``, ``tiles``, ``answer``), then what stands behind it."""

    kind: str
    headline: str
    tiles: Sequence[Tile]
    answer: Section
    blocks: Sequence[Block]
    footer: Sequence[str] = ()


def rendered(page: Page) -> str:
    """``page`` as HTML. Raises InputError where the extra is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as e:
        raise InputError("HTML reports need jinja2", hint=HINT) from e

    def shown(x: Any) -> Any:
        return plain(x) if isinstance(x, str) and not isinstance(x, Markup) else x

    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=shown,
                      loader=FileSystemLoader(Path(__file__).parent))
    style = style_sheet()
    digest = b64encode(sha256(style.encode()).digest()).decode()
    drawn = {c.key: Markup(svg(c)) for b in page.blocks for c in b.charts}
    return env.get_template("page.html").render(page=page, style=Markup(style), digest=digest, drawn=drawn) + "\n"


def style_sheet() -> str:
    """The whole style: colours of both themes, then the layout."""
    dark = f"@media (prefers-color-scheme:dark){{:root{{{variables(True)}}}{redrawn()}}}"
    # paper is white, whatever the screen is
    screen = dark.replace("(prefers-color-scheme:dark)", "screen and (prefers-color-scheme:dark)")
    layout = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return f":root{{{variables(False)}}}\n{screen}\n{layout}"
