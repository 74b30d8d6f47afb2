"""One PostgreSQL server, as one run reaches it through one `Database` record.

Shapes  `query` gives rows as dictionaries (through `row_to_json`); statements run one by one, each
        in a transaction of its own.
Errors  `SourceError` for a server that cannot be reached or refuses us, with role and host in the
        text; `SqlError` (with the SQLSTATE) for a statement that failed; `TimedOut`.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Generator, Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final

from daybreak.errors import CommandError, ConfigError, DaybreakError, SourceError
from daybreak.hosts import HERE, Host, survey
from daybreak.hosts import explain as explain_host
from daybreak.model import Database, Identity
from daybreak.postgres.sql import literal
from daybreak.postgres.tools import NOTICE_DEATH, PINNED, Tools, conninfo_text
from daybreak.process import Runner, Running
from daybreak.secret import Secret

QUICK: Final = timedelta(minutes=5)
_MAINTENANCE: Final = ("postgres", "template1")
_OLDEST: Final = 12
#: A statement's own error. A FATAL one ends the session: then nobody knows what the statement did.
_SQLSTATE: Final = re.compile(r"^(?:psql: error: )?ERROR:\s+([0-9A-Z]{5}): (.*)$")
#: Settings that only newer servers know.
_PINNED_SINCE: Final[tuple[tuple[int, Mapping[str, str]], ...]] = (
    (14, NOTICE_DEATH),
    (17, {"transaction_timeout": "0"}),
)
#: What is pinned for statements that are not ours: they mean what they mean in that database, and have our deadlines.
_UNHURRIED: Final[Mapping[str, str]] = dict.fromkeys(
    ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"), "0"
)
#: Keywords of a conninfo that the environment of our tools speaks for (PGOPTIONS takes up `options`).
_OURS: Final = frozenset({"options", "application_name", "fallback_application_name", "client_encoding"})
_CLOSED: Final = "is not currently accepting connections"
_NO_FILE: Final = "No such file or directory"
_GONE: Final = re.compile(r'FATAL:  database ".*" does not exist')
_NO_CONNECTION: Final = 2  # psql's own exit status for "the connection went bad or never was"


class SqlError(DaybreakError):
    """A statement failed on the server; `sqlstate` is its five letters."""

    def __init__(self, message: str, *, sqlstate: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class Postgres:
    """A server and a database on it. Thread-safe: every call is a program of its own."""

    def __init__(
        self,
        database: Database,
        *,
        runner: Runner,
        run: str,
        host: Host = HERE,
        passfile: Path | None = None,
        password: Secret | None = None,
    ) -> None:
        self.database = database
        self.runner = runner
        self.application = f"daybreak:{run}"
        self.host = host  # where the tools run
        self._passfile = passfile
        self._password = password
        self._version_num: int | None = None
        self._version_lock = threading.Lock()

    # -- which tools --------------------------------------------------------------------------

    @property
    def version_num(self) -> int:
        """The server's version as PostgreSQL numbers it: 180006 is 18.6."""
        with self._version_lock:
            if self._version_num is None:
                try:
                    self._version_num = self._ask_version(None)
                except CommandError as error:
                    if not any(_CLOSED in line or _GONE.search(line) for line in error.tail):
                        raise self.explain(error) from error
                    # A target that a dead run left closed, or one that is gone: its server answers elsewhere.
                    try:
                        self._version_num = self._ask_version(self.maintenance_db)
                    except CommandError as second:
                        raise self.explain(second) from second
                if self._version_num < _OLDEST * 10000:
                    raise SourceError(
                        f"{self.where()} is PostgreSQL {self._version_num // 10000}; Daybreak needs {_OLDEST} or newer"
                    )
            return self._version_num

    def _ask_version(self, dbname: str | None) -> int:
        newest = max(survey(self.host, self.database.bin).folders)
        command = self.tools_of(newest).psql(
            self.conninfo(dbname), ["SHOW server_version_num"], deadline=timedelta(seconds=30)
        )
        return int(self.runner.run(command).stdout)

    @property
    def version(self) -> str:
        """The server's version for people: `18.6`."""
        return f"{self.version_num // 10000}.{self.version_num % 10000}"

    @property
    def tools(self) -> Tools:
        """The tools of the server's own version, or the next newer ones. Raise SourceError for older only."""
        major = self.version_num // 10000
        have = survey(self.host, self.database.bin).folders
        fitting = sorted(one for one in have if one >= major)
        if not fitting:
            raise SourceError(
                f"{self.where()} is PostgreSQL {self.version}, the tools{self._there or ' here'} are {max(have)}: "
                "an older pg_dump refuses a newer server",
                hint=f"install the tools of version {major} (postgresql-client-{major}) "
                f'or set databases.{self.database.name}.bin = "/usr/lib/postgresql/{major}/bin"',
            )
        return self.tools_of(fitting[0])

    @property
    def own_tools(self) -> Tools:
        """The tools of exactly the server's version: only they restore into it without surprises."""
        tools = self.tools
        major = self.version_num // 10000
        if tools.major != major:
            raise SourceError(
                f"{self.where()} is PostgreSQL {self.version}; pg_restore {major} is not here (found {tools.major})",
                hint=f"install postgresql-client-{major} or set databases.{self.database.name}.bin",
            )
        return tools

    @property
    def installed(self) -> Mapping[int, PurePosixPath]:
        """Every version whose tools are where the server's are: in `bin`, and in the usual places."""
        own = survey(self.host, self.database.bin).folders
        try:
            return {**survey(self.host).folders, **own}
        except (ConfigError, SourceError):  # there are none in the usual places
            return own

    def tools_of(self, major: int) -> Tools:
        """The tools of one version that is there."""
        return Tools(
            folder=self.installed[major],
            major=major,
            application=self.application,
            host=self.host,
            passfile=self._passfile,
            password=self._password,
            options=self.database.conninfo.get("options", ""),
        )

    def with_runner(self, runner: Runner, *, run: str = "") -> Postgres:
        """The same server, its programs started by another runner: one that a cancelled run does not end."""
        other = Postgres(
            self.database,
            runner=runner,
            run=run or self.application.removeprefix("daybreak:"),
            host=self.host,
            passfile=self._passfile,
            password=self._password,
        )
        other._version_num = self._version_num
        return other

    # -- where it is --------------------------------------------------------------------------

    def conninfo(self, dbname: str | None = None) -> dict[str, str]:
        """libpq keywords for this database, or for another one on the same server.

        Without those that would take the place of our session's name and settings.
        """
        kept = {key: value for key, value in self.database.conninfo.items() if key not in _OURS}
        return {**kept, **({} if dbname is None else {"dbname": dbname})}

    def environment(self, dbname: str) -> dict[str, str]:
        """What a program on this host needs to reach a database as we do; without a password in it.

        Empty where the server is only reached from within its container or from its own host.
        """
        if not self.host.is_here:
            return {}
        passfile = {} if self._passfile is None else {"PGPASSFILE": str(self._passfile)}
        return {"DAYBREAK_CONNINFO": conninfo_text(self.conninfo(dbname)), "PGAPPNAME": self.application, **passfile}

    def where(self) -> str:
        """The server for people: `dev (postgres@127.0.0.1:5432/genji)`."""
        info = self.database.conninfo
        user = f"{info['user']}@" if "user" in info else ""
        place = (
            info.get("host") or info.get("hostaddr") or (f"service {info['service']}" if "service" in info else "local")
        )
        port = f":{info['port']}" if "port" in info else ""
        return f"{self.database.name} ({user}{place}{port}/{info.get('dbname', '')}{self._there})"

    @property
    def _there(self) -> str:
        """Where it is, if not here: ` on vps`, ` in container shop-db`."""
        return f" {'in' if self.host.place.container else 'on'} {self.host.name}" if self.host.name else ""

    def settings(self, extra: Mapping[str, str] | None = None, *, pinned: bool = True) -> dict[str, str]:
        """The settings of a session: pinned ones, and that it notices our death where it can."""
        newer = [pins for version, pins in _PINNED_SINCE if self.version_num >= version * 10000]
        return {
            **(PINNED if pinned else _UNHURRIED),
            **{name: value for pins in newer for name, value in pins.items()},
            **(extra or {}),
        }

    @property
    def maintenance_db(self) -> str:
        """The database from which others are created, renamed and dropped."""
        return next(name for name in _MAINTENANCE if name != self.database.conninfo.get("dbname"))

    # -- asking -------------------------------------------------------------------------------

    def execute(
        self,
        *statements: str,
        dbname: str | None = None,
        deadline: timedelta = QUICK,
        settings: Mapping[str, str] | None = None,
        pinned: bool = True,
        application: str | None = None,
        on_stderr: Callable[[str], None] | None = None,
    ) -> str:
        """Run statements one by one and return what they printed. Raise SqlError, SourceError, TimedOut.

        Without `pinned` they run with the settings of that database and its role, as a user's would.
        """
        command = self.tools.psql(
            self.conninfo(dbname),
            statements,
            deadline=deadline,
            settings=self.settings(settings, pinned=pinned),
            application=application,
        )
        try:
            completed = self.runner.run(command, on_stderr=on_stderr or (lambda _line: None))
        except CommandError as error:
            raise self.explain(error) from error
        return completed.stdout.decode("utf-8", "replace")

    def load(self, path: Path, *statements: str, dbname: str, deadline: timedelta = QUICK) -> str:
        """Run statements in one session; those that are `COPY … FROM STDIN` read `path`, one after another."""
        command = self.tools.psql(
            self.conninfo(dbname), statements, deadline=deadline, settings=self.settings(), feed=path
        )
        try:
            return self.runner.run(command).stdout.decode("utf-8", "replace")
        except CommandError as error:
            raise self.explain(error) from error

    def script(self, path: Path, *, dbname: str, deadline: timedelta, on_stderr: Callable[[str], None]) -> None:
        """Run the statements of a file, which may hold secrets or data, in one session. Raise as `execute` does."""
        command = self.tools.psql(self.conninfo(dbname), [], deadline=deadline, settings=self.settings(), feed=path)
        try:
            self.runner.run(command, on_stderr=on_stderr)
        except CommandError as error:
            raise self.explain(error) from error

    def query(self, sql: str, *, dbname: str | None = None, deadline: timedelta = QUICK) -> list[dict[str, Any]]:
        """The rows of one SELECT, as dictionaries."""
        text = self.execute(f"SELECT row_to_json(q) FROM ({sql}) AS q", dbname=dbname, deadline=deadline)
        return [json.loads(line) for line in text.split("\n") if line]  # U+2028 and its kin end no line here

    def stream(
        self, *statements: str, dbname: str, deadline: timedelta, settings: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Running]:
        """The bytes that `COPY … TO STDOUT` statements print, to read. Raise CommandError when the block is left."""
        command = self.tools.psql(
            self.conninfo(dbname), statements, deadline=deadline, settings=self.settings(settings)
        )
        return self.runner.stream(command)

    def identity(self, dbname: str | None = None) -> Identity:
        """Which database answers here, whatever name led to it."""
        found = self.find(dbname)
        if found is None:
            raise SourceError(
                f"{self.where()}: there is no database {dbname}",
                hint=f"mend databases.{self.database.name}, or create the database once, with its owner",
            )
        return found

    def find(self, dbname: str | None) -> Identity | None:
        """The same; None where the server has no database of that name."""
        name = "current_database()" if dbname is None else literal(dbname)
        sql = (
            "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier, "
            f"d.oid::bigint AS oid, d.datname AS database FROM pg_database d WHERE d.datname = {name}"
        )
        rows = self.query(sql, dbname=None if dbname is None else self.maintenance_db)
        return Identity(**rows[0]) if rows else None

    def system_identifier(self) -> str:
        """Which cluster answers here, whatever databases it has."""
        return self.identity(self.maintenance_db).system_identifier

    @contextlib.contextmanager
    def advisory_lock(self, key: int, *, deadline: timedelta) -> Generator[bool]:
        """Hold an advisory lock on the maintenance database inside the block; False when somebody else has it.

        It is held by a sleeping session that ends with us, however we end.
        """
        command = self.tools.psql(
            self.conninfo(self.maintenance_db),
            [f"SELECT pg_try_advisory_lock({key})", f"SELECT pg_sleep({deadline.total_seconds()})"],
            deadline=deadline,
            settings=self.settings({"client_connection_check_interval": "200"} if self.version_num >= 140000 else {}),  # noqa: PLR2004 -- see settings
        )
        with self.runner.hold(command) as held:
            said = held.read()
            if not said:
                self.execute("SELECT 1", dbname=self.maintenance_db)  # says why there is no session
                raise SourceError(f"{self.where()}: the session for the lock ended at once")
            yield said.startswith(b"t")

    # -- what went wrong ----------------------------------------------------------------------

    def explain(self, error: CommandError) -> DaybreakError:
        """The fault of a failed psql, pg_dump or pg_restore in words, with the role and the host."""
        for line in error.tail:  # before the reasons: a statement's error may quote any of them
            if match := _SQLSTATE.match(line):
                return SqlError(f"{self.where()}: {match[2]}", sqlstate=match[1], hint=_SQL_HINTS.get(match[1], ""))
        # A program that has its own word for it was there; anything else may be the way to it.
        if error.status != _NO_CONNECTION and (fault := explain_host(error, self.host, self.runner)):
            return SourceError(f"{self.database.name}: {fault.message}", hint=fault.hint)
        for reason, hint in _CONNECTION.items():
            if line := next((one for one in error.tail if reason in one and not _is_answer(one, reason)), None):
                return SourceError(f"{self.where()}: {_plain(line)}", hint=hint.format(name=self.database.name))
        if error.status == _NO_CONNECTION:
            return SourceError(f"{self.where()}: {_plain(error.tail[-1]) if error.tail else 'the connection was lost'}")
        if error.status < 0 and not self.host.is_here:  # the client was ended, or the program over there
            return SourceError(f"{self.where()}: {error.message}", hint="somebody or something ended it; run again")
        return error


def _is_answer(line: str, reason: str) -> bool:
    """Whether a server says this: then it runs, and a file that it misses is not its socket."""
    return reason == _NO_FILE and "FATAL" in line


def _plain(line: str) -> str:
    """A line of a tool without its own name in front."""
    return re.sub(r"^(psql|pg_dump|pg_dumpall|pg_restore|vacuumdb): (error|fatal): ", "", line)


#: What libpq or the server says when no session comes about -> what to do.
_CONNECTION: Final[Mapping[str, str]] = {
    "password authentication failed": "check databases.{name}.password_file and the role's password",
    "no password supplied": "set databases.{name}.password_file, password_env or password_command",
    "no pg_hba.conf entry": "let this host and role in: pg_hba.conf on the server",
    "Peer authentication failed": "connect as the same system user, or over TCP with a password",
    "Ident authentication failed": "use a password, or mend pg_hba.conf on the server",
    "FATAL:  role": "create the role, or mend the user in databases.{name}",
    "FATAL:  database": "mend the database in databases.{name}, or create it",
    "Connection refused": "is the server running, and is the port of databases.{name} right?",
    "could not translate host name": "mend the host in databases.{name}",
    "timeout expired": "is the host of databases.{name} right, and no firewall between?",
    _NO_FILE: "is the server running? its socket is not there",
    "Network is unreachable": "look at the network of this host",
    "No route to host": "look at the network of this host",
    _CLOSED: "`daybreak repair` opens a target that a dead run left closed",
    "the database system is starting up": "wait until the server is ready, then run again",
    "the database system is shutting down": "wait until the server is back, then run again",
    "the database system is in recovery mode": "wait until the server is back, then run again",
    "server closed the connection unexpectedly": "the server went away; look at its log",
    "too many clients": "raise max_connections, or end sessions nobody needs",
    "remaining connection slots are reserved": "raise max_connections, or end sessions nobody needs",
    "certificate": "look at sslrootcert and the host name in databases.{name}",
    "SSL error": "look at sslmode in databases.{name}",
}
_SQL_HINTS: Final[Mapping[str, str]] = {
    "42501": "give the role of this database the right that is named",
    "53100": "the server's disk is full: make room there",
    "55006": "somebody is still connected; the run log names them",
}
