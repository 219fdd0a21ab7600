"""The journal keeps whole lines, whatever happens to the process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import InputError
from costplan.kernels.journal import Journal

HEAD = {"workload": "chat", "seed": 0}


def written(path: Path, n: int) -> bytes:
    with Journal(path, HEAD) as j:
        for i in range(n):
            j.add({"i": i, "text": "x" * i})
    return path.read_bytes()


@given(st.integers(0, 400))
def test_a_cut_at_any_byte_loses_at_most_the_last_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("j") / "journal.jsonl"
    data = written(path, 8)
    kept = data[: min(cut, len(data))]
    path.write_bytes(kept)
    with Journal(path, HEAD) as j:
        found = [e["i"] for e in j.entries]
        assert found == list(range(max(0, kept.count(b"\n") - 1)))
        j.add({"i": 99})
    lines = path.read_bytes().splitlines()
    assert json.loads(lines[0])["head"] == HEAD
    assert json.loads(lines[-1])["i"] == 99
    assert len(lines) == len(found) + 2


def test_another_run_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path, 2)
    with pytest.raises(InputError, match="workload was \"chat\", now \"code\"") as e:
        Journal(path, {**HEAD, "workload": "code"})
    assert "--out" in (e.value.hint or "")


def test_damage_in_the_middle_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = written(path, 4).split(b"\n")
    lines[2] = lines[2][:-3]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match=r"journal\.jsonl:3: damaged"):
        Journal(path, HEAD)


def test_something_else_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    with pytest.raises(InputError, match="no journal"):
        Journal(path, HEAD)
