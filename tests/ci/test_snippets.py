"""The workflows that docs/ci.md tells people to copy: valid, pinned, with the least rights, closed to injection."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from costplan.cli.app import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
SNIPPETS = {found[1].split("/")[-1]: yaml.safe_load(found[0])
            for found in re.findall(r"```yaml\n((?:# (\S+)[^\n]*\n).*?)```", PAGE, re.S)}
GITLAB = ".gitlab-ci.yml:"
GITHUB = ("costplan.yml", "costplan-comment.yml")


def steps(name: str) -> list[dict[str, Any]]:
    return [s for job in SNIPPETS[name]["jobs"].values() for s in job["steps"]]


def test_the_page_has_them_all() -> None:
    assert {*GITHUB, GITLAB} <= set(SNIPPETS)


@pytest.mark.parametrize("name", GITHUB)
def test_actions_are_pinned_and_no_event_data_stands_in_a_script(name: str) -> None:
    used = [s["uses"] for s in steps(name) if "uses" in s]
    assert used and all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", u) for u in used)
    scripts = [s["run"] for s in steps(name) if "run" in s]
    assert scripts and not any("${{" in s for s in scripts)
    assert all("==$COSTPLAN" in s for s in scripts)
    assert "pull_request_target" not in str(SNIPPETS[name])


def test_the_workflow_that_sees_the_change_has_no_rights_and_the_other_checks_out_nothing() -> None:
    judge, tell = (SNIPPETS[n] for n in GITHUB)
    assert judge["permissions"] == {"contents": "read"} and "secrets" not in str(judge) and "token" not in str(judge)
    checkout = next(s for s in steps("costplan.yml") if "checkout" in s.get("uses", ""))
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}
    assert tell["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert not any("checkout" in s.get("uses", "") for s in steps("costplan-comment.yml"))
    assert tell[True]["workflow_run"]["workflows"] == [judge["name"]]  # YAML 1.1 reads the key "on" as true
    written = {s["with"]["name"] for s in steps("costplan.yml") if "upload" in s.get("uses", "")}
    read = [s["with"]["name"] for s in steps("costplan-comment.yml") if "download" in s.get("uses", "")]
    assert set(read) <= written
    assert "--expect-head" in steps("costplan-comment.yml")[-1]["run"]


def test_scripts_parse_and_their_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    lines = [s["run"] for n in GITHUB for s in steps(n) if "run" in s] + SNIPPETS[GITLAB]["costplan"]["script"]
    for line in lines:
        if bash:
            assert subprocess.run([bash, "-n", "-c", line], capture_output=True, check=False).returncode == 0, line
    posting = next(line for line in lines if "costplan ci comment" in line)
    flags = re.findall(r"--[a-z-]+", posting.split("costplan ci comment")[1])
    assert len(flags) == 3 and main(["ci", "comment", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(flag in told for flag in flags)


def test_gitlab_shows_the_page_without_a_token() -> None:
    job = SNIPPETS[GITLAB]["costplan"]
    assert job["artifacts"]["expose_as"] and job["artifacts"]["paths"] == ["costplan-report/report.html"]
    assert job["variables"] == {"GIT_DEPTH": "0"} and "TOKEN" not in str(job)
    assert not job["image"].endswith("-slim")
