"""What was acknowledged is there: after kill -9, with two writers, on a full disk, in SQLite and in PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from costplan.core.errors import InputError
from costplan.history.entry import Entry, Kind

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed (extra history)")

from costplan.history.store import HistoryError, opened

Make = Callable[..., Entry]
ROOT = Path(__file__).resolve().parents[2]


def writer(where: str, name: str, count: int, most_bytes: int = 0) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(Path(__file__).parent / "writer.py"), where, name, str(count),
                             str(most_bytes)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def kept(where: str, name: str) -> set[int]:
    with opened(where, create=False) as store:
        return {int(e.digest) for e in store.entries(name)}


def sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


def check_round_trip(where: str, entry: Make) -> None:
    full = entry(1, 2.0, Kind.PLAN, requests_per_s=5.5, ttft_p50_s=0.1, ttft_p99_s=0.2, tpot_p50_s=0.01,
                 tpot_p99_s=0.02, low90=1.0, high90=None, configuration="2 x h100")
    odd = entry(0, 1 / 3, service="x'); DROP TABLE costplan_history_entries; -- é")
    with opened(where, create=True) as store:
        before = len(store.entries())
        assert store.add([full, odd]) == 2
        assert store.add([full, odd, replace(full, at=entry(2).at)]) == 1  # the same again, and one that is new
    with opened(where, create=False) as store:
        found = store.entries()
        assert len(found) == before + 3
        assert [e for e in found if e in (full, odd)] == [odd, full]  # to the last bit, in order of time
        assert store.entries(odd.service) == (odd,)


def test_entries_come_back_as_they_went_in(tmp_path: Path, entry: Make) -> None:
    check_round_trip(str(tmp_path / "h.sqlite"), entry)
    assert [p.name for p in tmp_path.iterdir()] == ["h.sqlite"]


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path, entry: Make) -> None:
    where = str(tmp_path / "h.sqlite")
    with opened(where, create=True) as store, pytest.raises(HistoryError):
        store.add([entry(0), replace(entry(1), usd_per_h=None)])  # type: ignore[arg-type]
    with opened(where, create=True) as store:
        assert store.entries() == ()


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    where, draw, acknowledged = str(tmp_path / "h.sqlite"), Random(5), 0
    for n in range(10):
        process = writer(where, f"round{n}", 100_000)
        assert process.stdout is not None and process.stderr is not None
        told = [process.stdout.readline() for _ in range(draw.randint(1, 40))]
        process.kill()
        told += process.stdout.readlines()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()
        done = {int(line) for line in told if line.endswith("\n")}
        found = kept(where, f"round{n}")
        assert done <= found and len(found - done) <= 1  # at most the one whose word was cut off
        acknowledged += len(done)
    assert acknowledged > 50
    assert sound(tmp_path / "h.sqlite")


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    where = str(tmp_path / "h.sqlite")
    both = [writer(where, name, 60) for name in ("one", "two")]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert kept(where, "one") == kept(where, "two") == set(range(60))


def test_a_full_disk_refuses_and_keeps_what_was_there(tmp_path: Path) -> None:
    where = str(tmp_path / "h.sqlite")
    out, said = writer(where, "full", 100_000, 60_000).communicate(timeout=120)
    done = [int(line) for line in out.splitlines()]
    assert len(done) > 20
    assert "HistoryError" in said and "nothing was added" in said and "Traceback" not in said
    assert kept(where, "full") == set(done)
    assert sound(tmp_path / "h.sqlite")
    process = writer(where, "after", 3)  # room again
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and kept(where, "after") == {0, 1, 2}, said


FILL = """mount -t tmpfs -o size=200k none "$1" && touch "$2/mounted" && head -c 60000 /dev/zero > "$1/ballast"
"$3" "$4" "$1/h.sqlite" full 100000 0; echo "exit $?"
rm "$1/ballast"; "$3" "$4" "$1/h.sqlite" after 3 0 > /dev/null; echo "exit $?"
cp "$1/h.sqlite" "$2"
"""


def test_a_full_file_system_refuses_and_keeps_what_was_there(tmp_path: Path) -> None:
    """A real one, of 200 KiB, mounted for this test alone: no room for the journal either."""
    small = tmp_path / "small"
    small.mkdir()
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1): a small file system cannot be mounted")
    ran = subprocess.run([*own, "sh", "-c", FILL, "sh", small, tmp_path, sys.executable,
                          Path(__file__).parent / "writer.py"], capture_output=True, text=True, timeout=120,
                         check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    if not (tmp_path / "mounted").exists():
        pytest.skip(f"a small file system cannot be mounted: {ran.stderr.strip()}")
    *told, full, after = ran.stdout.splitlines()
    assert (full, after) == ("exit 4", "exit 0"), ran.stderr
    assert "disk is full; nothing was added" in ran.stderr and "Traceback" not in ran.stderr
    where = str(tmp_path / "h.sqlite")
    assert len(told) > 20 and kept(where, "full") == set(map(int, told))
    assert kept(where, "after") == {0, 1, 2}
    assert sound(tmp_path / "h.sqlite")


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello, world\n" * 1000, encoding="utf-8")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE bookmarks (id)")
    other.commit()
    other.close()
    for path, said in ((text, "not a history"), (tmp_path / "other.sqlite", "holds something else"),
                       (tmp_path / "none.sqlite", "no history at")):
        with pytest.raises(InputError, match=said), opened(str(path), create=False):
            pass
    assert not (tmp_path / "none.sqlite").exists()
    with pytest.raises(InputError, match="something else"), opened(str(tmp_path / "other.sqlite"), create=True):
        pass
    with pytest.raises(HistoryError, match="unable to open"), opened(str(tmp_path / "no" / "h.sqlite"), create=True):
        pass


@pytest.mark.parametrize(("version", "hint"), [("2", "update costplan"), ("none", "right database")])
def test_another_version_of_the_tables_is_told_apart(tmp_path: Path, entry: Make, version: str, hint: str) -> None:
    where = tmp_path / "h.sqlite"
    with opened(str(where), create=True) as store:
        store.add([entry(0)])
    connection = sqlite3.connect(where)
    connection.execute("UPDATE costplan_history_meta SET value = ?", (version,))
    connection.commit()
    connection.close()
    for create in (False, True):
        with pytest.raises(InputError, match=f"version {version}") as e, opened(str(where), create=create):
            pass
        assert hint in str(e.value.hint)


@pytest.mark.parametrize("url", ["://", "nosql://x/y", "postgresql+nodriver://x/y"])
def test_a_url_of_no_database_says_what_to_give(url: str) -> None:
    with pytest.raises(InputError) as e, opened(url, create=True):
        pass
    assert e.value.hint


def test_a_password_is_never_said() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra dev)")
    with pytest.raises(HistoryError) as e, opened("postgresql://u:secret@127.0.0.1:1/x", create=False):
        pass
    assert "secret" not in str(e.value) and "***" in str(e.value)


def test_postgres_keeps_the_same(postgres: str, entry: Make) -> None:
    check_round_trip(postgres, entry)


def test_postgres_takes_two_that_begin_at_once(postgres: str) -> None:
    both = [writer(postgres, name, 40) for name in ("one", "two")]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert kept(postgres, "one") == kept(postgres, "two") == set(range(40))


def test_postgres_keeps_once_what_two_add_at_once(postgres: str) -> None:
    both = [writer(postgres, "same", 40) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    with opened(postgres, create=False) as store:
        assert sorted(int(e.digest) for e in store.entries("same")) == list(range(40))


def test_postgres_killed_writer_loses_nothing(postgres: str) -> None:
    process = writer(postgres, "killed", 100_000)
    assert process.stdout is not None and process.stderr is not None
    told = [process.stdout.readline() for _ in range(30)]
    process.kill()
    told += process.stdout.readlines()
    process.wait(30)
    process.stdout.close()
    process.stderr.close()
    done = {int(line) for line in told if line.endswith("\n")}
    found = kept(postgres, "killed")
    assert done <= found and len(found - done) <= 1
