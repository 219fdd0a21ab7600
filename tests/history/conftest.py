"""Entries made up by hand, and a PostgreSQL server of the test run's own where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from costplan.history.entry import Entry, Kind

START = datetime(2026, 8, 3, 12, tzinfo=UTC)  # a Monday


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """An entry of so many days after the start, at a cost."""
    def made(day: float, usd: float = 1.0, kind: Kind = Kind.ACTUAL, service: str = "chat", **more: object) -> Entry:
        at = (START + timedelta(days=day)).replace(microsecond=0)
        given = {"source": "test", "digest": f"{day}-{usd}", "usd_per_h": usd * 3.6, "output_tok_s": 1000.0, **more}
        return Entry(service, kind, at, usd_per_mtok_out=usd, **given)  # type: ignore[arg-type]

    return made


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an empty database on a server that this run starts and ends; skips visibly without PostgreSQL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra dev)")
    initdb, server = program("initdb"), program("postgres")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL server on this machine")
    user = pwd.getpwuid(os.geteuid()).pw_name
    if user == "root":  # PostgreSQL refuses to run as root
        user = "postgres" if any(p.pw_name == "postgres" for p in pwd.getpwall()) else "nobody"
    folder = Path(tempfile.mkdtemp(prefix="costplan-pg-"))
    shutil.chown(folder, user)
    as_user = {"user": user, "cwd": folder} if os.geteuid() == 0 else {"cwd": folder}
    made = subprocess.run([initdb, "-D", folder / "data", "-U", "tester", "-A", "trust", "-N"], capture_output=True,
                          text=True, check=False, **as_user)  # type: ignore[call-overload]
    assert made.returncode == 0, made.stderr
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([server, "-D", folder / "data", "-k", folder, "-c", "listen_addresses="], stdout=log,
                                   stderr=log, **as_user)  # type: ignore[call-overload]
    try:
        wait_for(folder / ".s.PGSQL.5432", running)
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        running.terminate()
        running.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str) -> str | None:
    """On the path, or where Debian keeps it."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def wait_for(socket: Path, running: subprocess.Popen[bytes]) -> None:
    import psycopg

    for _ in range(300):
        assert running.poll() is None, (socket.parent / "log").read_text(errors="replace")
        try:
            psycopg.connect(f"host={socket.parent} user=tester dbname=postgres").close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise AssertionError("PostgreSQL did not start")
