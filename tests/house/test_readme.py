"""What README.md and docs/cli.md tell a reader to type does work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from costplan.cli.app import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [p for p in (ROOT / "README.md", ROOT / "docs" / "cli.md") if p.is_file()]


def commands(page: Path) -> list[str]:
    """Lines of console blocks after the prompt that need no file of the reader's."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ costplan ")]
    return [line for line in lines if not re.search(r"\.(csv|jsonl|ya?ml|json)\b|[|<>]", line)]


def test_pages_show_commands() -> None:
    assert any(commands(p) for p in PAGES)


@pytest.mark.parametrize("line", sorted({c for p in PAGES for c in commands(p)}))
def test_shown_commands_work(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out


def test_links_to_files_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:|#)([^)#]+)")
    links = [(p, target) for p in PAGES for target in link.findall(p.read_text(encoding="utf-8"))]
    assert [f"{p.name}: {t}" for p, t in links if not (p.parent / t).exists()] == []


def test_readme_names_every_command() -> None:
    from costplan.cli.app import app

    names = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(n for n in names if n and n != "schema" and f"costplan {n}" not in text) == []


def test_readme_example_has_the_layout_of_today(capsys: pytest.CaptureFixture[str],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers may move with the latency model; the lines that a reader finds may not."""
    monkeypatch.setenv("COLUMNS", "100")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```console\n\$ (costplan predict [^\n]*)\n(.*?)```", page, re.S)
    assert shown is not None
    assert main(shlex.split(shown[1])[1:]) == 0
    assert sorted(labels(capsys.readouterr().out)) == sorted(labels(shown[2]))


def labels(page: str) -> list[str]:
    """What stands at the left of each line that does not begin with a number or blanks."""
    return [line.split("  ")[0] for line in page.splitlines() if re.match(r"[A-Za-z]", line)
            and not re.match(r"(TTFT \d|interpolated|measured|extrapolated|analytic)", line)]
