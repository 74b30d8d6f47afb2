"""The file of the accounts: how it is made, opened, read and written.

Shapes  `console.sqlite3`, WAL, 0600 in a folder of 0700 that belongs to whoever runs the console. What root makes
        there is given to the folder's owner: `sudo daybreak console first` must not lock the console out.
Errors  `ConfigError` for all that the file system, another process or a newer Daybreak causes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from daybreak.catalog.folder import ACCOUNTS, make_folder
from daybreak.console.accounts.schema import TRIGGERS, VERSION, metadata
from daybreak.errors import ConfigError

FILE: Final = ACCOUNTS
#: A page waits no longer than this for its turn to write.
BUSY_S: Final = 5
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_WRITE: Final = "daybreak_write"


class Store:
    """An open file. `read` and `write` lend a connection; several threads may ask at once."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self.path = path

    @contextlib.contextmanager
    def read(self) -> Generator[Connection]:
        """A consistent view for the time of the block."""
        with _translated(self.path), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction that has the write lock from its start; an exception takes all of it back."""
        with (
            _translated(self.path),
            self._engine.connect().execution_options(**{_WRITE: True}) as connection,
            connection.begin(),
        ):
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def open_store(folder: Path) -> Store:
    """Open the accounts of `folder`, made where they are missing."""
    path = folder / FILE
    if not folder.parent.exists():  # the state folder, where nobody made it before
        make_folder(folder.parent)
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=_FOLDER_MODE)
            folder.chmod(_FOLDER_MODE)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
            if os.geteuid() == 0:
                owner = folder.stat()
                os.chown(path, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise ConfigError(
            f"the console's accounts {path} cannot be made: {error.strerror}",
            hint="call it as the user that runs the console, or name another folder with `state = …` in [console]",
        ) from error
    if not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(
            f"the console's accounts {path} are not readable for this user",
            hint="call it as the user that runs the console, or as root",
        )
    engine = _engine(path)
    try:
        with _translated(path):
            with engine.connect() as connection:
                present = _version(connection, path)
            if present != VERSION:
                with _alone(folder):
                    _bring_up_to_date(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, path)


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:  # pyright: ignore[reportUnusedFunction] -- SQLAlchemy calls it
        connection.isolation_level = None  # we begin transactions ourselves, below
        connection.execute("PRAGMA synchronous = FULL")  # what the audit log says is on the disk
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # a session or a secret that is gone leaves no bytes

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction] -- SQLAlchemy calls it
        writing = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Be the only one that makes the file: changing to WAL does not wait, it fails."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _bring_up_to_date(engine: Engine, path: Path) -> None:
    with engine.connect() as connection:
        if _version(connection, path) == VERSION:  # somebody was faster
            return
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()
    with engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
        metadata.create_all(connection)
        for trigger in TRIGGERS:
            connection.exec_driver_sql(trigger)
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _version(connection: Connection, path: Path) -> int:
    found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if found > VERSION:
        raise ConfigError(
            f"the console's accounts {path} have schema {found}, from a newer Daybreak; this one knows {VERSION}",
            hint="use the newer Daybreak, or another `state` in [console]",
        )
    return found


@contextlib.contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name: str = getattr(cause, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CONSTRAINT", "SQLITE_ERROR", "SQLITE_MISUSE")) or not name:
            raise  # a slip of ours, or a trigger's no
        raise ConfigError(
            f"the console's accounts {path} cannot be used just now ({cause})",
            hint="look for room on that disk, its rights, and for another process that holds the file",
        ) from error
