"""PostgreSQL servers of this host: in running containers, and behind the sockets of local servers.

Nothing is asked that needs a password: a container says who it is, a local server lets its system users in or not.
Errors  none: what cannot be asked is left out, with the reason in words.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.errors import DaybreakError
from daybreak.hosts import container
from daybreak.hosts.host import HERE, Host
from daybreak.hosts.reach import reach
from daybreak.hosts.tools import survey
from daybreak.model import Place
from daybreak.process import Command, Runner

SOCKETS: Final = (Path("/run/postgresql"), Path("/tmp"))  # noqa: S108 -- where servers put their sockets
_BRIEFLY: Final = timedelta(seconds=30)
_READY: Final = "command -v pg_isready >/dev/null && pg_isready -q"
_SOCKET: Final = re.compile(r"\.s\.PGSQL\.(\d+)")
_DATABASES: Final = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A database that was found."""

    name: str  # of the container, or of the database
    dbname: str
    place: Place = field(default_factory=Place)
    socket: Path | None = None  # the folder, of a local server
    port: int = 5432
    user: str = ""
    backups: Path | None = None  # the folder of this host that the container sees as /backups


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found, and what could not be asked."""

    servers: tuple[Server, ...]
    remarks: tuple[str, ...]


def search(runner: Runner, *, sockets: Iterable[Path] = SOCKETS, user: str) -> Found:
    """Look round on this host; `user` is who we are to a local server."""
    remarks: list[str] = []
    servers = [*_containers(runner, remarks), *_local(runner, sockets, user, remarks)]
    return Found(servers=tuple(servers), remarks=tuple(remarks))


def _containers(runner: Runner, remarks: list[str]) -> Iterator[Server]:
    seen: set[str] = set()
    for runtime in reversed(container.RUNTIMES):  # a docker that is podman by another name shows its containers again
        if shutil.which(runtime) is None:
            continue
        command = HERE.command((runtime, "ps", "--format", "{{.ID}} {{.Names}}"), deadline=_BRIEFLY)
        try:
            lines = runner.run(command).stdout.decode("utf-8", "replace").splitlines()
        except DaybreakError as error:
            remarks.append(f"{runtime} could not be asked: {error.message}")
            continue
        for number, _, name in (line.partition(" ") for line in lines):
            if number in seen:
                continue
            seen.add(number)
            try:
                host = reach(Place(container=name, runtime=runtime), runner)
                if not _is_server(host, runner):
                    continue
                inside = survey(host)
                mounts = found.mounts if (found := container.state(host, runner)) else ()
            except DaybreakError as error:
                remarks.append(f"container {name}: {error.message}")
                continue
            backups = next((Path(one.source) for one in mounts if str(one.inside) == "/backups"), None)
            yield Server(name=name, dbname=inside.dbname, place=host.place, user=inside.user, backups=backups)


def _is_server(host: Host, runner: Runner) -> bool:
    """Whether a server answers in a container; an application may have the client tools as well."""
    ask = host.command(("sh", "-c", _READY), deadline=_BRIEFLY, ok=frozenset(range(256)))
    return runner.run(ask).status == 0


def _local(runner: Runner, sockets: Iterable[Path], user: str, remarks: list[str]) -> Iterator[Server]:
    for folder in dict.fromkeys(sockets):
        for path in sorted(folder.glob(".s.PGSQL.*")) if folder.is_dir() else ():
            match = _SOCKET.fullmatch(path.name)
            if match is None or not path.is_socket():
                continue
            port = int(match[1])
            try:
                newest = survey(HERE).folders[max(survey(HERE).folders)]
                conninfo = f"host='{folder}' port={port} user='{user}' dbname=postgres connect_timeout=5"
                argv = (str(newest / "psql"), "-XAtqw", "-d", conninfo, "-c", _DATABASES)
                said = runner.run(Command(argv=argv, deadline=_BRIEFLY)).stdout.decode("utf-8", "replace")
            except DaybreakError as error:
                remarks.append(f"the server at {path} could not be asked as {user}: {error.message}")
                continue
            for dbname in said.splitlines():
                yield Server(name=dbname, dbname=dbname, socket=folder, port=port, user=user)
