"""One throw-away PostgreSQL server: made, started, stopped, and gone with the program that started it.

It listens on 127.0.0.1 and on a unix socket in its own folder, with trust for everybody but members
of the role `needs_password`, who need theirs. One with a password is for its owner alone: the network asks
for it, and the socket lies in a folder that only the server's user and root can enter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Generator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from daybreak.command import Command
from daybreak.embedded.binaries import usable_by
from daybreak.embedded.scratch import ServerUser, free_port, server_user
from daybreak.errors import CommandError, ConfigError
from daybreak.files import discard
from daybreak.process import Runner
from daybreak.secret import Secret

HOST: Final = "127.0.0.1"
SUPERUSER: Final = "postgres"
#: Losing power loses the server: right for what is thrown away, wrong for a measurement.
FAST: Final[Mapping[str, str]] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_START_S: Final = 60.0
_TRIES: Final = 5
_STATUS_LINE: Final = 8  # of postmaster.pid; utils/pidfile.h
_MINUTE: Final = timedelta(minutes=1)
_AS_LONG_AS_WE_LIVE: Final = timedelta(days=365)
#: Sockets, then the network; members of needs_password (never superusers) by password.
_HBA: Final = """\
local all +needs_password               scram-sha-256
host  all +needs_password 127.0.0.1/32  scram-sha-256
local all all                           trust
host  all all             127.0.0.1/32  trust
"""
#: For one with a password: whoever may enter the folder has all its files anyway.
_PRIVATE_HBA: Final = """\
local all all               trust
host  all all 127.0.0.1/32  scram-sha-256
"""
#: From a folder that the server's user may stand in, its words into a file.
_BEGIN: Final = 'cd "$1" && log=$2 && shift 2 && exec "$@" >>"$log" 2>&1'


class Cluster:
    """A server in `folder`; `with cluster:` runs it. `bin` is the folder of its programs.

    `settings` are postgresql.conf's names and values, on top of a small server's; `password` is the superuser's.
    """

    def __init__(
        self,
        folder: Path,
        binaries: Path,
        *,
        settings: Mapping[str, str] | None = None,
        runner: Runner | None = None,
        password: Secret | None = None,
    ) -> None:
        self.folder = folder
        self.user = SUPERUSER
        self.host = HOST
        self.port = 0  # chosen at the first start, kept over restarts
        self._as: ServerUser = server_user()
        self.bin = usable_by(self._as, binaries, folder.parent)
        self._settings = {
            "shared_buffers": "32MB",
            "max_connections": "60",
            "listen_addresses": HOST,
            **(settings or {}),
        }
        self._runner = runner or Runner()
        self._password = password
        self._held = contextlib.ExitStack()
        self._said_before = 0  # bytes of its log that are of an earlier start

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.folder / "server.log"

    def conninfo(self, dbname: str = "postgres") -> str:
        """Keywords and values for libpq, without a password."""
        quoted = dbname.replace("\\", "\\\\").replace("'", "\\'")
        return f"host={self.host} port={self.port} user={self.user} dbname='{quoted}'"

    def create(self) -> None:
        """initdb. Raise CommandError, or ConfigError where the server's user cannot get there."""
        self.folder.mkdir(mode=0o700)
        try:
            os.chown(self.folder, self._as.uid, self._as.gid)
        except OSError as error:
            raise self._refused(f"chown: {error.strerror}") from error
        words = ["-D", str(self.data), "-U", SUPERUSER, "-N", "-E", "UTF8", "--locale=C.UTF-8"]
        if self._password is None:
            self._call("initdb", *words, "-A", "trust")
            (self.data / "pg_hba.conf").write_text(_HBA)
            return
        with passfile_of(self._password, self.folder, self._as) as path:
            self._call("initdb", *words, "-A", "scram-sha-256", f"--pwfile={path}")
        (self.data / "pg_hba.conf").write_text(_PRIVATE_HBA)

    def start(self) -> None:
        """Start and wait until it accepts connections. Raise ConfigError with its last words if it does not."""
        first = self.port == 0
        for left in reversed(range(_TRIES if first else 1)):
            if first:
                self.port = free_port()
            self._said_before = self.log.stat().st_size if self.log.exists() else 0
            self._held.enter_context(self._runner.hold(self._command()))
            if self._wait():
                break
            self._held.close()
            if not left or "Address already in use" not in self._said():  # else somebody was quicker: another port
                raise ConfigError(f"PostgreSQL in {self.folder} did not start: {self._said()}", hint=f"read {self.log}")
        if first and self._password is None:
            create = "CREATE ROLE needs_password NOLOGIN"
            self._call("psql", "-XAtqc", create, "-h", HOST, "-p", str(self.port), "-U", SUPERUSER, "-d", "postgres")

    def stop(self, mode: str = "fast") -> None:
        """Stop as pg_ctl does: `fast`, `smart` or `immediate` (a crash). A stopped one may be started again."""
        try:
            self._call("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", "-t", "55", ok=frozenset({0, 1}))
        finally:
            self._held.close()

    def remove(self) -> None:
        """Remove a stopped server with everything it held."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.create()
        try:
            self.start()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("immediate" if error else "fast")
        self.remove()

    def _command(self) -> Command:
        settings = {**self._settings, "unix_socket_directories": str(self.folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = (str(self.bin / "postgres"), "-D", str(self.data), "-p", str(self.port), *options)
        shell = ("/bin/sh", "-c", _BEGIN, "postgres", str(self.folder), str(self.log))
        return Command(
            argv=(*self._as.drop, *shell, *server), env={"HOME": str(self.folder)}, deadline=_AS_LONG_AS_WE_LIVE
        )

    def _call(self, program: str, *words: str, ok: frozenset[int] = frozenset({0})) -> None:
        shell = ("/bin/sh", "-c", _BEGIN, program, str(self.folder), str(self.folder / f"{program}.log"))
        argv = (*self._as.drop, *shell, str(self.bin / program), *words)
        try:
            self._runner.run(Command(argv=argv, env={"HOME": str(self.folder)}, deadline=_MINUTE, ok=ok))
        except CommandError as error:
            if error.tail and error.tail[-1].startswith("setpriv: "):
                raise self._refused(error.tail[-1]) from error
            raise

    def _refused(self, said: str) -> ConfigError:
        """A container, or a unit of systemd, that took a right from root."""
        return ConfigError(
            f"root may not become the user {self._as.name}, who would run PostgreSQL here: {said}",
            hint="leave root CAP_CHOWN, CAP_SETGID and CAP_SETUID (--cap-add of a container, CapabilityBoundingSet of a"
            " unit: `daybreak systemd install` writes one), or call this as an ordinary user",
        )

    def _wait(self) -> bool:
        """Whether the server is ready: the last line of its pid file says so, as for pg_ctl."""
        pid_file = self.data / "postmaster.pid"
        until = time.monotonic() + _START_S
        seen = False
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                lines = pid_file.read_text().splitlines()
                seen = True
                if len(lines) >= _STATUS_LINE and lines[_STATUS_LINE - 1].strip() == "ready":
                    return True
            if (seen and not pid_file.exists()) or (not seen and "FATAL" in self._said()):
                return False
            time.sleep(0.02)
        return False

    def _said(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            said = self.log.read_bytes()[self._said_before :].decode("utf-8", "replace")
            return " / ".join(said.splitlines()[-5:]) or "nothing"
        return "nothing"


@contextlib.contextmanager
def running_cluster(
    folder: Path,
    binaries: Path,
    *,
    settings: Mapping[str, str] | None = None,
    runner: Runner | None = None,
    password: Secret | None = None,
) -> Generator[Cluster]:
    """A new server in `folder` (which must not exist) for the time of the block."""
    with Cluster(folder, binaries, settings=settings, runner=runner, password=password) as cluster:
        yield cluster


@contextlib.contextmanager
def passfile_of(password: Secret, folder: Path, user: ServerUser) -> Generator[Path]:
    """A file with the password that only `user` may read, for initdb; gone after the block."""
    path = folder / "superuser.password"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            os.fchown(file.fileno(), user.uid, user.gid)
            file.write(password.reveal() + "\n")
        yield path
    finally:
        discard(path)  # on a disk that is read-only by now it goes with its folder
