"""Names from a change, through the parsers that readers use: they forge no cell, link, tag or command."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from costplan.ci.comment import comment
from costplan.ci.text import report_text
from costplan.ci.types import (
    Cause,
    Fix,
    GuardrailResult,
    InputKind,
    Level,
    MetricDiff,
    Note,
    Outcome,
    PlanSide,
    ProfileChange,
    Report,
    Side,
    Status,
    Verdict,
    WorkloadDiff,
)
from costplan.report.escape import code, markup, visible, word, workflow_command
from costplan.report.plan_file import Tool
from costplan.report.style import Style

COUNT = 20_000
GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PIECES = [
    '|', '||', '\\|', '`', '``', '```\n', '<', '>', '</code>', '<code>', '<script>alert(1)</script>',
    '<img src=x onerror=y>', '<!--', '-->', '[a](http://e.vil)', '![i](http://e.vil/p.png)', '[r]: http://e.vil',
    '<http://e.vil>', 'http://e.vil', 'www.evil.example', 'a@b.example', '@everyone', '@octocat', '#1', '**', '__',
    '*', '_', '~~', '~', '\\', '\n', '\r\n', '\r', '\n\n# h', '\n---\n', '\n| x | y |\n|---|---|', '    code',
    '- item', '1. item', '> quote', '&lt;', '&#124;', '&amp;', '&', '\x00', '\x1b[31m', '\x1b]8;;http://e.vil\x07',
    '\x07', '\x9b', '\u202e', '\u2066', '\u200b', '\ufeff', '\u2028', '\u2029', '::set-output name=x::y',
    '::add-mask::', '##[error]', '%0A::error::', '[red]x[/red]', '$(id)', '${{ x }}', '=1+1', '+', "'", '"',
    "' onload='", '" x="', 'é́́́', '\ud800', '漢字', 'é', '🙂', 'a', 'chat', ' ', '\t', '|-|', ':-:', '</summary>',
    '</details>', '<details open>', ']]>', '<?php', 'javascript:alert(1)', 'data:text/html,x', ':tada:', '$x$',
]


def hostile(n: int = COUNT, seed: int = 7) -> Iterator[str]:
    """Mixtures of what has broken other tools, and of random characters of all planes."""
    rng = random.Random(seed)
    for _ in range(n):
        most = rng.choice((128, 0x3000, 0x110000))
        yield "".join(rng.choice(PIECES) if rng.random() < 0.8 else chr(rng.randrange(most))
                      for _ in range(rng.randrange(1, 9)))


def flat(tokens: list[Token]) -> Iterator[Token]:
    for t in tokens:
        yield t
        yield from flat(t.children or [])


def test_20000_hostile_names_in_cells_and_headings_of_markdown() -> None:
    """Fifty at a time, every second in a heading too: as many rows, two cells each, `<code>` the only tag, no link,
    image, emphasis or block more."""
    names = list(hostile())
    for i in range(0, COUNT, 50):
        part = names[i:i + 50]
        table = "\n".join(["| a | b |", "|---|---|", *(f"| {code(n)} | **1** |" for n in part)])
        heads = "\n\n".join(f"### x {code(n)} y" for n in part[::2])
        tokens = list(flat(GFM.parse(f"{table}\n\n{heads}\n")))
        kinds = [t.type for t in tokens]
        assert kinds.count("tr_open") == 51 and kinds.count("td_open") == 100 and kinds.count("heading_open") == 25
        assert kinds.count("strong_open") == 50 and kinds.count("table_open") == 1
        assert {t.content for t in tokens if t.type == "html_inline"} == {"<code>", "</code>"}
        assert kinds.count("html_inline") == 150
        assert not set(kinds) & {"link_open", "image", "em_open", "s_open", "html_block", "code_inline", "fence",
                                 "code_block", "hr", "bullet_list_open", "ordered_list_open", "blockquote_open"}


def test_a_name_reads_as_what_is_visible_of_it() -> None:
    for name in hostile(2000):
        tree = html5lib.parseFragment(GFM.renderInline(code(name)), namespaceHTMLElements=False)
        found = tree.find(".//code")
        assert found is not None and len(found) == 0
        assert (found.text or "").replace("\u2060", "") == visible(name)


def test_20000_hostile_names_in_text_and_attributes_of_html() -> None:
    """html5lib finds the elements that were written and the very text."""
    names = list(hostile(seed=8))
    for i in range(0, COUNT, 50):
        part = names[i:i + 50]
        text = "".join(f'<p title="{markup(n)}">{markup(n)}</p>' for n in part)
        found = list(html5lib.parseFragment(text, namespaceHTMLElements=False))
        assert [(p.tag, p.attrib, p.text, len(p)) for p in found] == [
            ("p", {"title": visible(n)}, visible(n), 0) for n in part]


def test_20000_hostile_names_on_a_terminal_and_in_a_log() -> None:
    for name in hostile(seed=9):
        shown = word(name)
        assert shown.isprintable() and not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
        assert "::" not in shown and "##[" not in shown
        line = workflow_command("error", name, name)
        assert "\n" not in line and "\r" not in line and line.startswith("::error title=")
        assert "," not in line[8:line.index("::", 8)]


@given(st.text(max_size=300))
def test_any_text_is_one_short_line(text: str) -> None:
    shown = visible(text)
    assert 0 < len(shown) <= 80 and "\n" not in shown
    assert len(code(text)) < 80 * 20


def report(name: str, verdict: Outcome = Outcome.FAILED) -> Report:
    """A report in which every text is ``name``."""
    metric = MetricDiff("usd/Mtok", 1.0, 1.1, 0.1, (0.9, None), name)
    metrics = {"cost_usd_per_mtok_out": metric, name: metric, f"ttft_p{name}_s": metric,
               "ttft_p99_s": MetricDiff("s", 0.5, 0.6, 0.2, None, name, 0.8)}
    side = PlanSide(name, name, True, {"measured": 0.5, name: 0.5}, name)
    causes = (Cause(InputKind.ENGINE, name, name, name, 0.1), Cause(InputKind.PRICES, name, name, name, None, name),
              Cause(InputKind.WORKLOAD, name, name, name, 0.0), Cause(InputKind.TOGETHER, "", "", "", 0.01))
    fix = Fix(InputKind.ENGINE, name, name, 1.0, 0.0, True)
    one = WorkloadDiff(name, Verdict.WORSE, name, name, metrics, name, causes, fix, side, side)
    rails = tuple(GuardrailResult(name, m, Level.ERROR, r, 0.05, 0.1, s, name)
                  for m, r, s in ((name, name, Status.FAIL), ("cost_usd_per_mtok_out", "max_increase", Status.WARN)))
    return Report("costplan.ci/1", Tool(name, name), Side(name, name), Side(name, None, True), verdict, True, 0.005, 0,
                  (one, WorkloadDiff(f"{name}2", Verdict.NOT_JUDGED, name)), rails,
                  (ProfileChange(name, Verdict.WORSE, name, 1, 1, 0, 1.1),), (Note(name, name),))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_whole_comments_and_texts_keep_their_shape(outcome: Outcome) -> None:
    plain = [t.type for t in flat(GFM.parse(comment(report("x", outcome))))]
    for name in hostile(60, seed=10):
        found = report(name, outcome)
        text = comment(found)
        assert text.isprintable() or {c for c in text if not c.isprintable()} == {"\n"}
        tokens = list(flat(GFM.parse(text)))
        kinds = [t.type for t in tokens if t.type not in ("text", "text_special", "softbreak")]
        assert kinds == [k for k in plain if k not in ("text", "text_special", "softbreak")]
        assert {t.content for t in tokens if t.type == "html_inline"} <= {"<code>", "</code>", "<sub>", "</sub>"}
        said = report_text(found, Style(100))
        assert not any(line.lstrip().startswith("::") or "##[" in line for line in said.splitlines())
        assert all(c.isprintable() or c == "\n" for c in said)


@pytest.mark.parametrize("status", list(Status))
def test_a_forged_report_brings_no_text_of_its_own_into_the_headline(status: Status) -> None:
    """Values that costplan never writes together, as a fork's report.json may have them."""
    for name in hostile(200, seed=12):
        rail = GuardrailResult(name, "cost_usd_per_mtok_out", Level.ERROR, name, None, None, status, name)
        for outcome in (Outcome.FAILED, Outcome.WARNED, Outcome.NOT_JUDGED, Outcome.PASSED):
            first = comment(replace(report(name, outcome), guardrails=(rail,))).splitlines()[2]
            kinds = [t for t in flat(GFM.parse(first)) if t.type not in ("text", "text_special")]
            assert {t.type for t in kinds} <= {"heading_open", "heading_close", "inline", "html_inline"}
            assert {t.content for t in kinds if t.type == "html_inline"} <= {"<code>", "</code>"}


def test_long_lists_are_cut_by_whole_rows() -> None:
    base = report("x")
    many = tuple(WorkloadDiff(f"{'n' * 75}{i}", Verdict.WORSE, "r" * 400, None, base.workloads[0].metrics, "x",
                              base.workloads[0].causes * 30) for i in range(300))
    big = replace(base, workloads=many, guardrails=base.guardrails * 400, notes=base.notes * 500)
    text = comment(big)
    assert len(text.encode()) <= 60_000 and text.endswith("</sub>\n")
    kinds = [t.type for t in flat(GFM.parse(text))]
    assert kinds.count("tr_open") * 7 >= kinds.count("td_open") > 0
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")
