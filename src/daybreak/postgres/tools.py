"""PostgreSQL's programs as command values. Pure: nothing runs here.

Shapes  a conninfo is a mapping of libpq keywords; the text that is passed never holds a password.
Source  the settings of `PINNED` are those that change how a value is printed; dump and proof share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Final

from daybreak.command import Command
from daybreak.hosts import HERE, Host
from daybreak.secret import Secret

#: What changes the text of a value, ends a statement early, refuses it or lets a commit be lost, pinned for every
#: session of ours. Not `role`: one that is set for a role or a database may be what gives us our rights; `options` in
#: the address outranks it.
PINNED: Final[Mapping[str, str]] = {
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "synchronize_seqscans": "off",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "search_path": "pg_catalog",
    # A database or a role may be set to read only, which is dev's own and carried over. A standby stays read only.
    "default_transaction_read_only": "off",
    # What we name, mark and rename stays so when the server crashes, also where commits may be lost; a standby that
    # is away is not waited for.
    "synchronous_commit": "local",
}
#: Since PostgreSQL 18 a scan lets other processes read ahead for it. Where every processor has work and the tables were
#: written a moment ago, that only costs: a session with this reads by itself.
READ_BY_ITSELF: Final[Mapping[str, str]] = {"effective_io_concurrency": "0"}
#: The version whose pg_dump and server know the planner's statistics.
STATISTICS_SINCE: Final = 18
#: A backend whose client is gone ends itself, also inside a long statement (PostgreSQL 14 and newer).
NOTICE_DEATH: Final[Mapping[str, str]] = {"client_connection_check_interval": "1000"}
#: libpq's keywords for what a session of ours is, and the variables that say so.
_VARIABLES: Final = {
    "application_name": "PGAPPNAME",
    "options": "PGOPTIONS",
    "client_encoding": "PGCLIENTENCODING",
}


def conninfo_text(conninfo: Mapping[str, str]) -> str:
    """libpq keywords as one string, each value quoted."""
    return " ".join(
        "{}='{}'".format(key, value.replace("\\", "\\\\").replace("'", "\\'")) for key, value in conninfo.items()
    )


def options_text(settings: Mapping[str, str]) -> str:
    """Settings as PGOPTIONS: blanks and backslashes escaped as the server wants them."""
    return " ".join(
        "-c {}={}".format(key, value.replace("\\", "\\\\").replace(" ", "\\ ")) for key, value in settings.items()
    )


def _is_utf8(statement: str) -> bool:
    """Whether it is text: names in a database of SQL_ASCII may be any bytes, which only such a session takes."""
    return statement.isascii() or not any("\udc80" <= one <= "\udcff" for one in statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The programs of one PostgreSQL version, and what every session of one run is started with."""

    folder: PurePath
    major: int
    application: str  # PGAPPNAME: daybreak:<run>
    host: Host = HERE  # where they are
    passfile: Path | None = None  # here
    password: Secret | None = None  # elsewhere: no file of ours is there
    options: str = ""  # the configuration's own, as PGOPTIONS has them; ours count after them

    def _command(
        self,
        program: str,
        conninfo: Mapping[str, str],
        arguments: Sequence[str],
        *,
        deadline: timedelta,
        idle: timedelta | None = None,
        settings: Mapping[str, str] = PINNED,
        application: str | None = None,
        feed: Path | None = None,
    ) -> Command:
        session = {
            "application_name": application or self.application,
            "options": f"{self.options} {options_text(settings)}".strip(),
            "client_encoding": "UTF8",
        }
        if program in {"pg_dump", "pg_dumpall", "pg_restore", "vacuumdb"}:
            del session["client_encoding"]  # these speak the database's own encoding
        env: dict[str, str | Secret] = {_VARIABLES[key]: value for key, value in session.items()}
        env["PGCONNECT_TIMEOUT"] = "10"
        if self.passfile is not None:
            env["PGPASSFILE"] = str(self.passfile)
        if self.password is not None:
            env["PGPASSWORD"] = self.password
        # What the file of a service says outranks the environment.
        reached = {**conninfo, **session} if "service" in conninfo else conninfo
        argv = (str(self.folder / program), "-w", "-d", conninfo_text(reached), *arguments)
        return self.host.command(argv, deadline=deadline, idle=idle, env=env, feed=feed)

    def psql(
        self,
        conninfo: Mapping[str, str],
        statements: Sequence[str],
        *,
        deadline: timedelta,
        settings: Mapping[str, str] = PINNED,
        application: str | None = None,
        feed: Path | None = None,
    ) -> Command:
        """Run each statement by itself, in order, until one fails; rows come bare, one a line.

        COPY reads `feed`; without a statement, the statements are in there.
        """
        arguments = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
        if not all(map(_is_utf8, statements)):
            arguments += ["-c", "SET client_encoding = 'SQL_ASCII'"]
        for statement in statements:
            arguments += ["-c", statement]
        return self._command(
            "psql", conninfo, arguments, deadline=deadline, settings=settings, application=application, feed=feed
        )

    def pg_dump(
        self,
        conninfo: Mapping[str, str],
        *,
        statistics: bool,
        lock_wait: timedelta,
        deadline: timedelta,
        idle: timedelta,
        settings: Mapping[str, str],
    ) -> Command:
        """A custom-format dump to stdout. Compression is the cheapest that this version has.

        `statistics`: with those of the planner, which pg_dump knows since 18.
        """
        compress = "zstd:1" if self.major >= 16 else "1"  # noqa: PLR2004 -- the version that learned zstd
        arguments = [
            "--format=custom",
            f"--compress={compress}",
            *(("--statistics",) if statistics else ()),
            f"--lock-wait-timeout={int(lock_wait.total_seconds() * 1000)}",
        ]
        return self._command("pg_dump", conninfo, arguments, deadline=deadline, idle=idle, settings=settings)

    def pg_dump_schema(
        self, conninfo: Mapping[str, str], pattern: str, *, deadline: timedelta, settings: Mapping[str, str]
    ) -> Command:
        """One schema as a script on stdout, with owners. `pattern`: its name, quoted."""
        arguments = ["--no-privileges", f"--schema={pattern}"]
        return self._command("pg_dump", conninfo, arguments, deadline=deadline, settings=settings)

    def pg_dumpall_globals(self, conninfo: Mapping[str, str], *, passwords: bool, deadline: timedelta) -> Command:
        """Roles and tablespaces as SQL on stdout."""
        arguments = ["--globals-only", *(() if passwords else ("--no-role-passwords",))]
        return self._command("pg_dumpall", conninfo, arguments, deadline=deadline)

    def pg_restore(
        self,
        conninfo: Mapping[str, str],
        archive: PurePath,
        *,
        use_list: PurePath,
        jobs: int,
        tablespaces: bool,
        owners: bool,
        exit_on_error: bool,
        deadline: timedelta,
        settings: Mapping[str, str],
    ) -> Command:
        """One parallel restore of the listed entries from a file; owners and privileges only with `owners`.

        Without `exit_on_error` it goes on behind a failed statement, and ends with status 1.
        """
        arguments = [
            "--verbose",
            f"--jobs={jobs}",
            *(() if owners else ("--no-owner", "--no-privileges")),
            *(() if tablespaces else ("--no-tablespaces",)),
            *(("--exit-on-error",) if exit_on_error else ()),
            f"--use-list={use_list}",
            str(archive),
        ]
        return self._command("pg_restore", conninfo, arguments, deadline=deadline, settings=settings)

    def vacuumdb_analyze(
        self,
        conninfo: Mapping[str, str],
        *,
        missing: bool,
        jobs: int,
        deadline: timedelta,
        settings: Mapping[str, str],
    ) -> Command:
        """Fresh statistics for a whole database; `missing`: where there are none yet, since 18, for a superuser."""
        # It takes a connection string where it takes a database name.
        arguments = ["--analyze-only", *(("--missing-stats-only",) if missing else ()), f"--jobs={jobs}"]
        return self._command("vacuumdb", conninfo, arguments, deadline=deadline, settings=settings)
