"""What a server, or the way to it, says when something fails, in words, with what to do.

Errors  `SqlError` for a statement that failed, with its SQLSTATE.
Source  libpq's and the server's own messages, which come in English (LC_ALL).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Final

from daybreak.errors import CommandError, DaybreakError, SourceError
from daybreak.hosts import Host
from daybreak.hosts import explain as explain_host
from daybreak.process import Runner

#: A statement's own error. A FATAL one ends the session: then nobody knows what the statement did.
_SQLSTATE: Final = re.compile(r"^(?:psql: error: )?ERROR:\s+([0-9A-Z]{5}): (.*)$")
CLOSED: Final = "is not currently accepting connections"
#: What libpq says of a ~/.pgpass that it then does not read; the server only ever asks for a password.
_PASSED_OVER: Final = re.compile(r'^WARNING: password file "(.+)" has group or world access')
_PASSWORD: Final = {"password authentication failed", "no password supplied"}
_ADDED: Final = re.compile(r"(DETAIL|HINT|CONTEXT|LOCATION): ")
_NO_FILE: Final = "No such file or directory"
GONE: Final = re.compile(r'FATAL:  database ".*" does not exist')
_NO_CONNECTION: Final = 2  # psql's own exit status for "the connection went bad or never was"


class SqlError(DaybreakError):
    """A statement failed on the server; `sqlstate` is its five letters."""

    def __init__(self, message: str, *, sqlstate: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


def explain(error: CommandError, *, name: str, where: str, host: Host, runner: Runner) -> DaybreakError:
    """The fault of a failed psql, pg_dump or pg_restore of the database `name`; `where` is its server, for people."""
    for line in error.tail:  # before the reasons: a statement's error may quote any of them
        if match := _SQLSTATE.match(line):
            return SqlError(f"{where}: {match[2]}", sqlstate=match[1], hint=hint_of(match[1], match[2]))
    # A program that has its own word for it was there; anything else may be the way to it.
    if error.status != _NO_CONNECTION and (fault := explain_host(error, host, runner)):
        return SourceError(f"{name}: {fault.message}", hint=fault.hint)
    if fault := _no_session(error, name=name, where=where):
        return fault
    if error.status == _NO_CONNECTION:
        return SourceError(f"{where}: {_what_happened(error)}")
    if error.status < 0 and not host.is_here:  # the client was ended, or the program over there
        return SourceError(f"{where}: {error.message}", hint="somebody or something ended it; run again")
    return error


def hint_of(sqlstate: str, said: str) -> str:
    """What to do about an error of the server, where that is known; else empty."""
    return _SHARED_MEMORY_HINT if said.startswith(_SHARED_MEMORY) else _SQL_HINTS.get(sqlstate, "")


def _no_session(error: CommandError, *, name: str, where: str) -> SourceError | None:
    """Why no session came about, with what to do; None for what is not known here."""
    for reason, hint in _CONNECTION.items():
        if line := next((one for one in error.tail if reason in one and not _is_answer(one, reason)), None):
            passed = next(filter(None, map(_PASSED_OVER.match, error.tail)), None) if reason in _PASSWORD else None
            if passed is not None:
                said = f"{_plain(line)}; {passed[1]} was not read, since others may read it"
                return SourceError(f"{where}: {said}", hint=f"chmod 600 {shlex.quote(passed[1])}")
            return SourceError(f"{where}: {_plain(line)}", hint=hint.format(name=name))
    return None


def _what_happened(error: CommandError) -> str:
    """The line that says it: libpq and the server put what they add to it (a question, DETAIL) behind it."""
    said = [line for line in error.tail if line.strip() and not line[0].isspace() and not _ADDED.match(line)]
    return _plain(said[-1]) if said else "the connection was lost"


def _is_answer(line: str, reason: str) -> bool:
    """Whether a server says this: then it runs, and a file that it misses is not its socket."""
    return reason == _NO_FILE and "FATAL" in line


def _plain(line: str) -> str:
    """A line of a tool without its own name in front."""
    return re.sub(r"^(psql|pg_dump|pg_dumpall|pg_restore|vacuumdb): (error|fatal): ", "", line)


POOLED: Final = "name the server itself in databases.{name}, not the connection pooler (PgBouncer) in front of it"
#: What libpq or the server says when no session comes about -> what to do.
_CONNECTION: Final[Mapping[str, str]] = {
    "password authentication failed": "check databases.{name}.password_file and the role's password",
    "no password supplied": "set databases.{name}.password_file, password_env or password_command",
    "no pg_hba.conf entry": "let this host and role in: pg_hba.conf on the server",
    "Peer authentication failed": "connect as the same system user, or over TCP with a password",
    "Ident authentication failed": "use a password, or mend pg_hba.conf on the server",
    "is not permitted to log in": "ALTER ROLE … LOGIN, or mend the user in databases.{name}",
    "FATAL:  permission denied for database": "GRANT CONNECT ON DATABASE … TO the role, on the server",
    "too many connections for": "raise the CONNECTION LIMIT that is named, or end sessions nobody needs",
    CLOSED: "`daybreak repair` opens a target that a dead run left closed",
    "FATAL:  role": "create the role, or mend the user in databases.{name}",
    "FATAL:  database": "mend the database in databases.{name}, or create it",
    "Connection refused": "is the server running, and is the port of databases.{name} right?",
    "could not translate host name": "mend the host in databases.{name}",
    "timeout expired": "is the host of databases.{name} right, and no firewall between?",
    _NO_FILE: "is the server running? its socket is not there",
    "failed: Permission denied": "let this user into the folder of the socket, or connect over TCP with a password",
    "failed: Not a directory": "name the folder of the socket in databases.{name}, not the socket",
    "Network is unreachable": "look at the network of this host",
    "No route to host": "look at the network of this host",
    "the database system is starting up": "wait until the server is ready, then run again",
    "the database system is shutting down": "wait until the server is back, then run again",
    "the database system is in recovery mode": "wait until the server is back, then run again",
    "server closed the connection unexpectedly": "the server went away; look at its log",
    "too many clients": "raise max_connections, or end sessions nobody needs",
    "remaining connection slots are reserved": "raise max_connections, or end sessions nobody needs",
    "definition of service": "mend service in databases.{name}, or ~/.pg_service.conf of the user who runs Daybreak",
    "unsupported startup parameter": POOLED,
    "SSL was required": "the server speaks no TLS: switch it on there, or mend sslmode in databases.{name}",
    "invalid response to SSL negotiation": "something else answers there: mend host and port in databases.{name}",
    "certificate": "look at sslrootcert and the host name in databases.{name}",
    "SSL error": "look at sslmode in databases.{name}",
}
#: A parallel query of a server in a container: its disk has nothing to do with it.
_SHARED_MEMORY: Final = "could not resize shared memory segment"
_SHARED_MEMORY_HINT: Final = "its /dev/shm is too small, not its disk: give the container more (shm_size, --shm-size)"
_SQL_HINTS: Final[Mapping[str, str]] = {
    "42501": "give the role of this database the right that is named",
    "53100": "the server's disk is full: make room there",
    "53200": "the server has too little memory: give it more, or let it do less at once (jobs)",
    "55006": "somebody is still connected; the run log names them",
}
