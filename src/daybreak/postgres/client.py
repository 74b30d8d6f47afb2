"""One PostgreSQL server, as one run reaches it through one `Database` record.

Shapes  `query` gives rows as dictionaries (through `row_to_json`); statements run one by one, each
        in a transaction of its own.
Errors  `SourceError` for a server that cannot be reached or refuses us, with role and host in the
        text; `SqlError` (with the SQLSTATE) for a statement that failed; `TimedOut`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Generator, Mapping
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from daybreak.command import SPOKEN, Command
from daybreak.errors import CommandError, ConfigError, DaybreakError, SourceError
from daybreak.hosts import HERE, Host, survey
from daybreak.model import Database, Identity
from daybreak.postgres.faults import CLOSED, GONE, POOLED, explain
from daybreak.postgres.session import Session
from daybreak.postgres.sql import literal
from daybreak.postgres.tools import NOTICE_DEATH, PINNED, Tools, conninfo_text
from daybreak.process import Runner, Running
from daybreak.secret import Secret

QUICK: Final = timedelta(minutes=5)
_MAINTENANCE: Final = ("postgres", "template1")
_OLDEST: Final = 12
#: Settings that only newer servers know.
_PINNED_SINCE: Final[tuple[tuple[int, Mapping[str, str]], ...]] = (
    (14, {**NOTICE_DEATH, "idle_session_timeout": "0"}),
    (17, {"transaction_timeout": "0"}),
)
#: Triggers on login, which came with 17, fire for each session of ours too, and what they write into a database that is
#: being restored is a row too many. A superuser may do without; nobody else could have restored one.
_UNHEARD: Final[tuple[int, Mapping[str, str]]] = (17, {"event_triggers": "off"})
#: Names in a database of SQL_ASCII may be any bytes: a session with an encoding of its own can neither be told of them
#: nor name them.
AS_IT_IS: Final = (
    "SELECT WHERE CASE getdatabaseencoding() WHEN 'SQL_ASCII' "
    "THEN set_config('client_encoding', 'SQL_ASCII', false) IS NULL END"
)
#: What is pinned for statements that are not ours: they mean what they mean in that database, and have our deadlines.
_UNHURRIED: Final[Mapping[str, str]] = dict.fromkeys(
    ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"), "0"
)
#: What kind of server, and whether a setting of ours that is no default arrived.
_FIRST: Final = (
    "SELECT current_setting('server_version_num'), current_setting('is_superuser') = 'on', "
    "current_setting('synchronize_seqscans') = 'off'"
)
#: Keywords of a conninfo that the environment of our tools speaks for (PGOPTIONS takes up `options`).
_OURS: Final = frozenset({"options", "application_name", "fallback_application_name", "client_encoding"})


class Postgres:
    """A server and a database on it. Thread-safe: every call is a program of its own.

    Where it `keeps` a session, questions to the maintenance database and to a protected one, which nobody renames or
    drops, share a psql until `close`.
    """

    def __init__(
        self,
        database: Database,
        *,
        runner: Runner,
        run: str,
        host: Host = HERE,
        passfile: Path | None = None,
        password: Secret | None = None,
        keeps: bool = False,
    ) -> None:
        self.database = database
        self.runner = runner
        self.application = f"daybreak:{run}"
        self.host = host  # where the tools run
        self._passfile = passfile
        self._password = password
        self._version_num: int | None = None
        self._superuser = False  # known with the version
        self._version_lock = threading.Lock()
        self._others: list[Postgres] = []  # that close with this one
        #: By the name of the database, as `query` is called with it.
        self._kept: dict[str | None, Session] = {}
        if keeps:
            lasting = [self.maintenance_db, *((None,) if database.protected else ())]
            self._kept = {dbname: Session(runner, partial(self._spoken, dbname)) for dbname in lasting}

    # -- which tools --------------------------------------------------------------------------

    @property
    def version_num(self) -> int:
        """The server's version as PostgreSQL numbers it: 180006 is 18.6."""
        with self._version_lock:
            if self._version_num is None:
                try:
                    self._version_num = self._ask_version(None)
                except CommandError as error:
                    if not any(CLOSED in line or GONE.search(line) for line in error.tail):
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
        command = self.tools_of(newest).psql(self.conninfo(dbname), [_FIRST], deadline=timedelta(seconds=30))
        version, superuser, heard = self.runner.run(command).stdout.decode("ascii").strip().split("|")
        if heard != "t":
            # Dump and proof stand on them; and what is set in a session may be for another's next transaction.
            raise SourceError(
                f"{self.where()}: what answers there passes over the settings of a session, as a pooler does",
                hint=POOLED.format(name=self.database.name),
            )
        self._superuser = superuser == "t"
        return int(version)

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
            keeps=bool(self._kept),
        )
        other._version_num, other._superuser = self._version_num, self._superuser
        self._others.append(other)
        return other

    @cached_property
    def steadfast(self) -> Postgres:
        """The same server for what has to be finished: a cancelled run does not end it."""
        return self.with_runner(Runner(log=self.runner.log))

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
        known = (*_PINNED_SINCE, _UNHEARD) if pinned and self.version_num and self._superuser else _PINNED_SINCE
        newer = [pins for version, pins in known if self.version_num >= version * 10000]
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
        errors: str = "replace",
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
        return completed.stdout.decode("utf-8", errors)

    def load(self, path: Path, *statements: str, dbname: str, deadline: timedelta = QUICK) -> str:
        """Run statements in one session; those that are `COPY … FROM STDIN` read `path`, one after another.

        Without a statement, they are in there, each COPY's rows behind it.
        """
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

    def query(
        self, sql: str, *, dbname: str | None = None, deadline: timedelta = QUICK, named: bool = False
    ) -> list[dict[str, Any]]:
        """The rows of one SELECT, as dictionaries. `named`: with all bytes of names, for statements, not for people."""
        question = f"SELECT row_to_json(q) FROM ({sql}) AS q"
        kept = self._kept.get(dbname)
        text = None if kept is None else kept.ask(question, deadline=deadline)
        if text is None:
            errors = "surrogateescape" if named else "replace"
            text = self.execute(AS_IT_IS, question, dbname=dbname, deadline=deadline, errors=errors)
        return [json.loads(line) for line in text.split("\n") if line]  # U+2028 and its kin end no line here

    def _spoken(self, dbname: str | None) -> Command:
        return self.tools.psql(self.conninfo(dbname), [], deadline=QUICK, settings=self.settings(), feed=SPOKEN)

    def close(self) -> None:
        """End the sessions that were kept; a later question begins another."""
        for session in self._kept.values():
            session.close()
        for other in self._others:
            other.close()

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

    def explain(self, error: CommandError) -> DaybreakError:
        """The fault of a failed psql, pg_dump or pg_restore in words, with the role and the host."""
        return explain(error, name=self.database.name, where=self.where(), host=self.host, runner=self.runner)
