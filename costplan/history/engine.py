"""From a path or URL to an SQLAlchemy engine with the promises that a history makes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from costplan.core.errors import InputError


def engine_at(where: str, *, writes: bool, wait_s: int) -> tuple[Engine, str]:
    """Engine, and its name without a password. Raises InputError for a bad URL or a missing driver."""
    try:
        url = make_url(where) if "://" in where else URL.create("sqlite", database=where)
    except (ArgumentError, ValueError):
        raise InputError("not an SQLAlchemy URL", where="--db", hint="a file, or postgresql://USER@HOST/NAME") from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    lite = url.get_backend_name() == "sqlite"
    name = (url.database or ":memory:") if lite else url.render_as_string(hide_password=True)
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": wait_s} if lite else {})
    except (ImportError, NoSuchModuleError) as e:
        hint = "pip install 'psycopg[binary]'" if "psycopg" in url.drivername else "install that database's driver"
        raise InputError(f"no driver for {url.drivername}", where="--db", hint=hint) from e
    if lite:
        _careful(engine, writes)
    return engine, name


def _careful(engine: Engine, writes: bool) -> None:
    """SQLite: a commit returns when it is on disk; a writer takes its lock first, so that two wait in turn."""
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN, not the driver
        connection.execute("PRAGMA synchronous=EXTRA")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
