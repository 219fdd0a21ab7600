"""Where entries are kept: one SQLite file, or any database that SQLAlchemy reaches.

What `Store.add` has acknowledged is on disk: SQLite commits with ``synchronous=EXTRA`` and a rollback journal, writers
wait for each other, and a commit that the disk refuses leaves all that was there before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costplan.core.errors import CostplanError, InputError
from costplan.history.entry import Entry, Kind

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SCHEMA = 1
WAIT_S = 30
"""How long a writer waits for another."""
_INSTALL = "pip install 'costplan[history]'"


class HistoryError(CostplanError):
    """The database failed: full disk, locked, not reachable. Nothing was added."""

    exit_code = 4


class Store:
    """An open history. Use `opened`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self.name = engine, name

    def add(self, entries: Sequence[Entry]) -> int:
        """Keep ``entries``, all or none; how many were new. They are on disk when this returns."""
        from sqlalchemy.exc import IntegrityError

        with _told(self.name):
            try:
                return self._added(entries)
            except IntegrityError:  # another writer has just added the same
                return self._added(entries)

    def _added(self, entries: Sequence[Entry]) -> int:
        from costplan.history.tables import ENTRIES

        added = 0
        with self._engine.begin() as c:
            for e in entries:
                if not _there(c, e):
                    c.execute(ENTRIES.insert().values(**_row(e)))
                    added += 1
        return added

    def entries(self, service: str | None = None) -> tuple[Entry, ...]:
        """In order of time; of one service, or of all."""
        from sqlalchemy import select

        from costplan.history.tables import ENTRIES

        query = select(ENTRIES).order_by(ENTRIES.c.at, ENTRIES.c.id)
        if service is not None:
            query = query.where(ENTRIES.c.service == service)
        with _told(self.name), self._engine.connect() as c:
            return tuple(_entry(r._mapping) for r in c.execute(query))


@contextmanager
def opened(where: str, *, create: bool) -> Iterator[Store]:
    """The history at a path or an SQLAlchemy URL; a new one if ``create``. Raises InputError, HistoryError."""
    try:
        from costplan.history.engine import engine_at
    except ImportError as e:
        raise InputError("a history needs SQLAlchemy", hint=_INSTALL) from e
    if not create and "://" not in where and not Path(where).is_file():
        raise InputError(f"no history at {where}", hint="begin one with: costplan history add FILE")
    engine, name = engine_at(where, writes=create, wait_s=WAIT_S)
    try:
        with _told(name):
            _prepare(engine, name, create)
        yield Store(engine, name)
    finally:
        engine.dispose()


def _prepare(engine: Engine, name: str, create: bool) -> None:
    """Check the version; make the tables where there are none. Two that begin at once: the later tries again."""
    from sqlalchemy.exc import DatabaseError

    for last in (False, True):
        try:
            with engine.begin() as c:
                _check(c, name, create)
            return
        except DatabaseError:
            if last or not create or engine.dialect.name == "sqlite":
                raise


def _check(c: Connection, name: str, create: bool) -> None:
    from sqlalchemy import inspect, select

    from costplan.history.tables import ENTRIES, META, TABLES

    there = set(inspect(c).get_table_names())
    if META.name not in there:
        if c.dialect.name == "sqlite" and there:
            raise InputError(f"{name} holds something else", hint="give another --db")
        if not create:
            raise InputError(f"no history at {name}", hint="begin one with: costplan history add FILE")
        TABLES.create_all(c)
        c.execute(META.insert().values(name="schema", value=str(SCHEMA)))
        return
    version = c.execute(select(META.c.value).where(META.c.name == "schema")).scalar()
    if version != str(SCHEMA) or ENTRIES.name not in there:
        newer = version is not None and version.isdigit() and int(version) > SCHEMA
        raise InputError(f"{name} has version {version} of the history's tables, this costplan knows {SCHEMA}",
                         hint="update costplan" if newer else "is this the right database? give another --db")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors of the database in our words."""
    from sqlalchemy.exc import DatabaseError, SQLAlchemyError

    try:
        yield
    except DatabaseError as e:
        said = str(e.orig).strip().splitlines()[0] if str(e.orig).strip() else type(e.orig).__name__
        if "not a database" in said:
            raise InputError(f"{name} is not a history", hint="give another --db") from None
        hint = "another process holds it: try again" if "locked" in said else "is the disk full, or the server down?"
        raise HistoryError(f"{name}: {said}; nothing was added", hint=hint) from e
    except SQLAlchemyError as e:
        raise HistoryError(f"{name}: {str(e).splitlines()[0]}", hint="check --db") from e


def _there(c: Connection, e: Entry) -> bool:
    """Whether the same content is kept for the same service, kind and time."""
    from sqlalchemy import select

    from costplan.history.tables import ENTRIES

    same = {k: v for k, v in _row(e).items() if k in ("service", "kind", "at", "digest")}
    return c.execute(select(ENTRIES.c.id).filter_by(**same)).first() is not None


def _row(e: Entry) -> dict[str, Any]:
    from costplan.history.tables import NUMBERS

    return {"service": e.service, "kind": e.kind.value, "at": e.at.strftime("%Y-%m-%dT%H:%M:%SZ"), "source": e.source,
            "digest": e.digest, "configuration": e.configuration, **{n: getattr(e, n) for n in NUMBERS}}


def _entry(row: Any) -> Entry:
    from costplan.history.tables import NUMBERS

    return Entry(row["service"], Kind(row["kind"]), datetime.fromisoformat(row["at"]), row["source"], row["digest"],
                 configuration=row["configuration"], **{n: row[n] for n in NUMBERS})
