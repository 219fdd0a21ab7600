"""Colour, width and progress: for people at a terminal only."""

from __future__ import annotations

import sys

import pytest

from costplan.cli import output
from costplan.cli.validate import _progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("terminal")
def test_colour_on_a_terminal_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert output.style().color
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.style().color
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not output.style().color


def test_no_colour_in_a_pipe() -> None:
    assert not output.style().color


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("20", 60), ("999", 200), ("nonsense", 100)])
def test_columns_sets_the_width(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert output.style().width == width


def test_warnings_are_single_clean_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.warn(["evil\nerror: forged\x1b[2J"])
    out, err = capsys.readouterr()
    assert (out, err) == ("", "warning: evil?error: forged?[2J\n")


def test_json_refuses_what_json_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.emit_json({"x": float("nan")}, None)
    assert capsys.readouterr().out == ""


def test_progress_cleans_up_after_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for done in range(1, 61):
        _progress(done, 60)
    err = capsys.readouterr().err
    assert "40 of 60 rows" in err
    assert err.endswith("\r\x1b[K")
