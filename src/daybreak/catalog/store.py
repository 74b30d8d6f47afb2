"""The SQLite file: how it is opened, brought up to date, read and written.

Shapes  one file, `catalog.sqlite3`, in WAL mode, for many processes and a few threads each. Every
        write is one short transaction that takes the write lock at its start, so it waits for its turn
        and never finds half-way that somebody else wrote.
Errors  `ConfigError` (exit 3), the state folder named, for all that the file system or an older or
        newer Daybreak causes. What is left are our own slips.
Source  SQLite gives -wal and -shm the mode (and for root the owner) of the database file, so making
        that one 0660 in a 2770 folder is enough.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from daybreak import files
from daybreak.catalog.folder import CATALOG, make_file, make_folder
from daybreak.catalog.schema import HEAD, metadata
from daybreak.errors import ConfigError

FILE: Final = CATALOG
#: How long a writer waits for its turn. Writes take milliseconds; a slow disk may need seconds.
BUSY_S: Final = 30
_WRITE: Final = "daybreak_write"


class Store:
    """An open catalog file. `read` and `write` lend a connection; several threads may ask at once."""

    def __init__(self, engine: Engine, folder: Path, *, busy_s: int = BUSY_S) -> None:
        self._engine = engine
        self._folder = folder
        self._busy_s = busy_s
        self._held = threading.local()  # the connection of this thread's `still`

    @contextlib.contextmanager
    def read(self) -> Generator[Connection]:
        """A consistent view for the time of the block."""
        held: Connection | None = getattr(self._held, "connection", None)
        with translated(self._folder, busy_s=self._busy_s):
            if held is not None:
                yield held
                return
            with self._engine.connect() as connection:
                yield connection

    @contextlib.contextmanager
    def still(self) -> Generator[None]:
        """Everything that this thread reads in the block is of one instant, and of one transaction.

        For whoever asks much at once: to begin and end a transaction takes longer than most of what is asked in it.
        """
        with self.read() as connection:
            before: Connection | None = getattr(self._held, "connection", None)
            self._held.connection = connection
            try:
                yield
            finally:
                self._held.connection = before

    @contextlib.contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction, committed at the end of the block; an exception takes all of it back."""
        with (
            translated(self._folder, busy_s=self._busy_s),
            self._engine.connect().execution_options(**{_WRITE: True}) as connection,
            connection.begin(),
        ):
            yield connection

    def revision(self) -> str:
        """The schema of the file as it is now; another process may have brought it further."""
        with translated(self._folder, busy_s=self._busy_s):
            return read_revision(self._engine)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def open_store(folder: Path) -> Store:
    """Open the catalog of `folder`, made or brought up to date where that is needed."""
    make_folder(folder)
    path = folder / FILE
    fresh = not path.exists()
    make_file(path)
    engine = _engine(path)
    try:
        with translated(folder, busy_s=BUSY_S):
            if fresh or read_revision(engine) != HEAD:
                with _alone(folder):
                    _bring_up_to_date(engine, folder)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, folder)


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:  # pyright: ignore[reportUnusedFunction] -- SQLAlchemy calls it
        connection.isolation_level = None  # we begin transactions ourselves, below
        connection.execute("PRAGMA synchronous = FULL")  # a record may lag behind a file, never lead
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction] -- SQLAlchemy calls it
        writing = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the lock under which a catalog is made or migrated: changing to WAL does not wait, it fails."""
    path = folder / "catalog.lock"
    make_file(path)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_revision(engine: Engine) -> str:
    """The revision of the file, "" for one that has no tables yet."""
    with engine.connect() as connection:
        if connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).first() is None:
            return ""
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def _bring_up_to_date(engine: Engine, folder: Path) -> None:
    found = read_revision(engine)
    if found == HEAD:
        return
    if found > HEAD:
        raise ConfigError(
            f"the catalog in {folder} has schema {found}, from a newer Daybreak; this one knows {HEAD}",
            hint="use the newer Daybreak, or another state folder",
        )
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()
    with engine.connect() as connection, connection.execution_options(**{_WRITE: True}).begin():
        (migrate if found else _create)(connection)


#: Alembic's own table, as it would make it.
_VERSION: Final = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""


def _create(connection: Connection) -> None:
    """All tables as they are today, those that all migrations leave; without Alembic, which is slow to import."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(text(_VERSION))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def migrate(connection: Connection, to: str = "head") -> None:
    """Run the migrations that a file lacks until it has revision `to`; all of them in an empty one."""
    from alembic import command  # noqa: PLC0415 -- slow to import and only wanted for an old file
    from alembic.config import Config  # noqa: PLC0415 -- see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    # Names the separator so that alembic does not warn about its old default.
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)


_MAKE_ROOM: Final = "make room on that file system"
#: How SQLite names what the world did to the file, and what to do about it.
_WHY: Final = {
    "SQLITE_FULL": ("the disk is full", _MAKE_ROOM),
    "SQLITE_READONLY": ("it is read-only", "look at the mode, owner and mount of the folder"),
    "SQLITE_CANTOPEN": ("its files cannot be opened", "look at the mode and owner of the folder and its files"),
    "SQLITE_PERM": ("its files cannot be opened", "look at the mode and owner of the folder and its files"),
    "SQLITE_BUSY": (
        "it was locked for more than {busy_s} s",
        "look for a hung daybreak process or an open sqlite3 shell",
    ),
    "SQLITE_LOCKED": (
        "it was locked for more than {busy_s} s",
        "look for a hung daybreak process or an open sqlite3 shell",
    ),
    "SQLITE_IOERR": ("the file system reported an error", "look at the kernel's log and the disk"),
    "SQLITE_CORRUPT": ("the file is damaged", "move catalog.sqlite3 away; archives and snapshots do not depend on it"),
    "SQLITE_NOTADB": (
        "the file is not a catalog",
        "move catalog.sqlite3 away; archives and snapshots do not depend on it",
    ),
}


@contextlib.contextmanager
def translated(folder: Path, *, busy_s: int) -> Generator[None]:
    """What SQLite says of the file, as a ConfigError."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name: str = getattr(cause, "sqlite_errorname", "")
        if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and files.is_full(folder):
            name = "SQLITE_FULL"  # where there is no room, or no inode, for its -shm, SQLite only says that it failed
        why = next((known for prefix, known in _WHY.items() if name.startswith(prefix)), None)
        if why is None:
            raise
        what = why[0].format(busy_s=busy_s)
        if name == "SQLITE_FULL" and files.lacks_inodes(folder):
            what = files.NO_INODES
        raise ConfigError(f"the catalog in {folder} cannot be used: {what} ({cause})", hint=why[1]) from error


def is_full(fault: BaseException) -> bool:
    """Whether a fault of the catalog is a full disk: what is not written now may be written later."""
    return isinstance(fault, ConfigError) and fault.hint == _MAKE_ROOM
