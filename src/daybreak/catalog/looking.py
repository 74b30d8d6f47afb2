"""A catalog that is only looked at: nothing is made, migrated or written, whatever its state.

Shapes  a store whose `write` is refused by SQLite itself. Who may not write the folder can still read a catalog that
        nobody has open: it is taken as it stands, for one look each time.
Errors  `ConfigError` in words for a catalog that is missing, locked, damaged, older or newer than this Daybreak.
Source  SQLite's "Read-Only WAL-Mode Databases": -shm and -wal exist, or can be made, or the file is immutable.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from daybreak import files
from daybreak.catalog.schema import HEAD, metadata
from daybreak.catalog.store import FILE, Store, read_revision, translated
from daybreak.errors import ConfigError

#: Whoever looks is a page: it rather says that the catalog is locked than keep a person waiting.
BUSY_S: Final = 2
#: How SQLite says that -shm and -wal are not there and cannot be made.
_NO_ROOM: Final = ("SQLITE_CANTOPEN", "SQLITE_READONLY")


def look_store(folder: Path) -> Store:
    """Open the catalog of `folder` for reading. Raise ConfigError."""
    path = folder / FILE
    if not path.exists():
        raise ConfigError(
            f"there is no catalog in {folder} yet", hint="the first run makes it, and so does `daybreak serve`"
        )
    engine = _engine(path)
    try:
        with translated(folder, busy_s=BUSY_S):
            _require_ours(read_revision(engine), folder)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, folder, busy_s=BUSY_S)


def empty_store(folder: Path) -> Store:
    """A catalog without anything in it, in memory: what is left to show where there is none that can be read."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    return Store(engine, folder, busy_s=BUSY_S)


def _require_ours(found: str, folder: Path) -> None:
    if found == HEAD:
        return
    if found > HEAD:
        raise ConfigError(
            f"the catalog in {folder} has schema {found}, from a newer Daybreak; this one knows {HEAD}",
            hint="use the newer Daybreak, or another state folder",
        )
    raise ConfigError(
        f"the catalog in {folder} has schema {found or 'none'}, from an older Daybreak; this one reads {HEAD}",
        hint="the next run, or `daybreak serve`, brings it up to date",
    )


def _engine(path: Path) -> Engine:
    place = f"file:{quote(str(path))}?mode=ro"

    def connect() -> sqlite3.Connection:
        # From several threads, one at a time: SQLAlchemy lends a connection to one thread only.
        connection = sqlite3.connect(place, timeout=BUSY_S, uri=True, check_same_thread=False)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").close()
        except sqlite3.OperationalError as error:
            connection.close()
            alone = _is_empty(path.with_name(f"{FILE}-wal"))
            # On a full disk SQLite says of -shm no more than that it failed.
            no_room = error.sqlite_errorname.startswith(_NO_ROOM) or files.is_full(path)
            if not (alone and no_room):
                raise
            return _Frozen(f"{place}&immutable=1", timeout=BUSY_S, uri=True, check_same_thread=False)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=32)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:  # pyright: ignore[reportUnusedFunction] -- SQLAlchemy calls it
        connection.isolation_level = None
        connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction] -- SQLAlchemy calls it
        connection.exec_driver_sql("BEGIN")

    @event.listens_for(engine, "checkin")
    def checkin(connection: sqlite3.Connection | None, entry: ConnectionPoolEntry) -> None:  # pyright: ignore[reportUnusedFunction] -- SQLAlchemy calls it
        if isinstance(connection, _Frozen):  # what is written next, it would never see
            entry.invalidate()

    return engine


def _is_empty(log: Path) -> bool:
    """Whether nothing waits in a write-ahead log; one that is not there is as good as one without a byte."""
    return not log.exists() or log.stat().st_size == 0


class _Frozen(sqlite3.Connection):
    """To a file that nobody has open: it shows it as it was at that moment."""
