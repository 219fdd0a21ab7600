"""`costplan predict --spec-draft`: the section, its JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costplan.cli.app import main

BASE = ["predict", "-m", "llama-3.1-70b", "-g", "h100_sxm", "--tp", "4", "--weights", "fp8", "--isl", "1000", "--osl",
        "300", "--concurrency", "16"]


@pytest.mark.parametrize("draft", ["llama-3.1-8b", "eagle", "ngram"])
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
    assert found["without"]["tpot_s"] > 0
    assert main([*BASE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["speculative"] is None


@pytest.mark.parametrize(("more", "said"), [
    (["--spec-draft", "eagle"], "--acceptance"), (["--acceptance", "0.7"], "says nothing without --spec-draft"),
    (["--spec-draft", "egle", "--acceptance", "0.7"], "--spec-draft: unknown model"),
    (["--spec-draft", "qwen3-0.6b", "--acceptance", "0.7"], "cannot guess for it"),
    (["--spec-draft", "mtp", "--acceptance", "0.7"], "--spec-draft: meta-llama/Llama-3.1-70B-Instruct has no layers"),
    (["--adaptive-drafts"], "says nothing without --spec-draft"),
    (["--spec-draft", "eagle", "--acceptance", "1.7"], "acceptance")])
def test_bad_flags_end_with_2(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, *more]) == 2
    assert said in capsys.readouterr().err


def test_the_answer_is_with_drafts_and_names_what_it_is_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--spec-draft", "eagle", "--acceptance", "0.8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tpot = next(m for k, m in found["metrics"].items() if k == "tpot_s")["value"]
    assert tpot < 0.8 * found["speculative"]["without"]["tpot_s"]
    assert main([*BASE, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["metrics"]["tpot_s"]["value"]
    assert found["speculative"]["without"]["tpot_s"] == pytest.approx(plain)


SIMULATE = ["simulate", "-g", "h100_sxm", "-m", "llama-3.1-70b", "--tp", "4", "--weights", "fp8", "-n", "300", "--json"]


def test_simulate_takes_drafts_from_flags_and_from_the_workload(tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*SIMULATE, "--isl", "500", "--osl", "100", "--rate", "2", "--spread", "0"]
    assert main([*flags, "--spec-draft", "eagle", "--acceptance", "0.8", "--draft-tokens", "3"]) == 0
    by_flags = json.loads(capsys.readouterr().out)
    (tmp_path / "w.yaml").write_text(
        "name: w\nload: {rate: {requests_per_s: 2}}\nlengths: {isl: {fixed: 500}, osl: {fixed: 100}}\n"
        "speculative: {draft: eagle, acceptance: 0.8, draft_tokens: [3, 5]}\n", encoding="utf-8")
    assert main([SIMULATE[0], str(tmp_path / "w.yaml"), *SIMULATE[1:]]) == 0
    by_file = json.loads(capsys.readouterr().out)
    assert by_file["drafting"] == by_flags["drafting"]
    assert by_file["summary"]["tpot"]["mean"] == pytest.approx(by_flags["summary"]["tpot"]["mean"], rel=0.05)


@pytest.mark.parametrize(("line", "said"), [
    ("speculative: {draft: eagle}", "speculative.acceptance"),
    ("speculative: {draft: eagle, acceptance: 70}", "speculative.acceptance"),
    ("speculative: {draft: eagle, acceptance: 0.7, draft_tokens: [4, 4]}", "twice"),
    ("speculative: {draft: eagle, acceptance: 0.7, draft_tokens: [40]}", "draft_tokens"),
    ("speculative: {draft: egle, acceptance: 0.7}", "unknown model 'egle'")])
def test_a_wrong_section_is_named(tmp_path: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.yaml").write_text(
        "name: w\nmodel: llama-3.1-70b\nload: {rate: {requests_per_s: 2}}\n"
        f"lengths: {{isl: {{fixed: 500}}, osl: {{fixed: 100}}}}\n{line}\n", encoding="utf-8")
    assert main([SIMULATE[0], str(tmp_path / "w.yaml"), *SIMULATE[1:]]) == 2
    assert said in capsys.readouterr().err
