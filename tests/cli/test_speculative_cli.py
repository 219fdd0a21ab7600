"""`costplan predict --spec-draft`: the section, its JSON, and what it refuses."""

from __future__ import annotations

import json

import pytest

from costplan.cli.app import main

BASE = ["predict", "-m", "llama-3.1-70b", "-g", "h100_sxm", "--tp", "4", "--weights", "fp8", "--isl", "1000", "--osl",
        "300", "--concurrency", "16"]


@pytest.mark.parametrize("draft", ["llama-3.1-8b", "eagle", "mtp", "ngram"])
def test_every_kind_of_draft_has_a_table(draft: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--spec-draft", draft, "--acceptance", "0.7"]) == 0
    out = capsys.readouterr().out
    assert "break-even" in out
    assert "this load" in out


def test_json_holds_it_and_is_null_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--spec-draft", "eagle", "--acceptance", "0.7", "--draft-tokens", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["speculative"]
    assert found["draft_tokens"] == 3
    assert found["tokens_per_cycle"] == pytest.approx(1 + 0.7 + 0.49 + 0.343)
    assert {"speedup", "break_even_acceptance", "best_draft_tokens"} <= set(found["here"])
    assert main([*BASE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["speculative"] is None


@pytest.mark.parametrize(("more", "said"), [
    (["--spec-draft", "eagle"], "--acceptance"), (["--acceptance", "0.7"], "says nothing without --spec-draft"),
    (["--spec-draft", "egle", "--acceptance", "0.7"], "--spec-draft: unknown model"),
    (["--spec-draft", "qwen3-0.6b", "--acceptance", "0.7"], "cannot guess for it"),
    (["--spec-draft", "eagle", "--acceptance", "1.7"], "acceptance")])
def test_bad_flags_end_with_2(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, *more]) == 2
    assert said in capsys.readouterr().err
