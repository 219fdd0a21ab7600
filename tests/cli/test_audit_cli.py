"""`costplan audit` as a user meets it: exit codes, the page, strict JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costplan.cli.app import main

WRONG = ["audit", "--gpu", "h100", "--mem-bandwidth-tb-s", "3.65"]


def test_a_wrong_claim_ends_with_1_and_shows_its_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WRONG) == 1
    out = capsys.readouterr().out
    assert "claim 1: impossible" in out
    assert "catalogue: 3.35 TB/s" in out


def test_a_plausible_claim_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--mfu", "0.4"]) == 0
    assert "plausible" in capsys.readouterr().out


def test_json_is_strict_and_versioned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WRONG, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "costplan.audit/1"
    assert found["claims"][0]["verdict"] == "impossible"
    assert found["claims"][0]["findings"][0]["arithmetic"][0]["value"] == 3.35e12


@pytest.mark.parametrize(("args", "said"), [
    (["audit"], "give either files"), (["audit", "--gpu", "h10"], "--gpu: unknown GPU"),
    (["audit", "--tpot", "8"], "--tpot"), (["audit", "--mfu", "-1"], "--mfu"), (["audit", "no.yaml"], "no such file"),
    (["audit", "no.yaml", "--mfu", "1"], "give either"), (["audit", "--replicas", "3", "--num-gpus", "8"], "replicas")])
def test_bad_usage_ends_with_2(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert said in capsys.readouterr().err


def test_many_claims_are_counted_and_only_the_flagged_are_shown(tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.csv"
    path.write_text("name,mfu\n" + "".join(f"c{i},0.{i}\n" for i in range(1, 8)) + "odd,1.5\n", encoding="utf-8")
    assert main(["audit", str(path)]) == 1
    out = capsys.readouterr().out
    assert "8 claims" in out
    assert "odd: impossible" in out
    assert "c3" not in out
