"""A server that takes an archive for a while and is gone afterwards: where one is found, and how it is reached.

    installed here, of the archive's version or newer → a container image → a database beside a target's

Shapes  `choices` gives the ways there are, in that order; each opens to a `Ready`.
        `sweep` removes what killed runs left.
Errors  `ConfigError` where there is no way at all, `PublishError` for a disk without room; those of a target.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from daybreak import files
from daybreak.archive import Manifest
from daybreak.command import Command
from daybreak.credentials import passfile
from daybreak.embedded.binaries import installed_servers
from daybreak.embedded.cluster import FAST, running_cluster
from daybreak.embedded.container import running_container, sweep_containers
from daybreak.embedded.scratch import scratch_folder, sweep_everywhere
from daybreak.errors import CommandError, ConfigError, DaybreakError, Refused, SourceError
from daybreak.hosts import HERE, survey
from daybreak.jobs.connect import connect
from daybreak.jobs.obstacles import PRELOADED, forecast
from daybreak.jobs.run import RunContext
from daybreak.jobs.target import Ground, hold_target
from daybreak.model import Database
from daybreak.postgres import shadow
from daybreak.postgres.sql import derived_name
from daybreak.postgres.tools import conninfo_text
from daybreak.process import Runner
from daybreak.secret import Secret

_PREFIX: Final = "daybreak-throwaway"
_NAME: Final = "throw-away server"
_MAINTENANCE: Final = "postgres"
_TEMPLATES: Final = {_MAINTENANCE, "template0", "template1"}
_BRIEFLY: Final = timedelta(seconds=30)
_WAL_BYTES: Final = 2**30
#: Nothing in it has to survive, and whoever waits for it wants it soon.
_SETTINGS: Final = {
    **FAST,
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "shared_buffers": "128MB",
    "max_locks_per_transaction": "1024",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Where a throw-away server may run."""

    tools: tuple[Path, ...] = ()  # folders of tools that the configuration names
    image: str | None = None
    on: Database | None = None
    protected: tuple[Database, ...] = ()
    installed: bool = True  # what is installed here may be used; False: somebody named image or database on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A server that takes an archive now."""

    held: Ground
    name: str  # of the database to be made
    where: str  # for people
    own: bool  # it is all ours: roles may be made in it
    socket: Path | None = None  # the folder of its socket, on this host
    passfile: Path | None = None  # for its port on 127.0.0.1
    psql: tuple[str, ...] = ()  # what a person's psql is started with


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to a throw-away server."""

    label: str
    open: Callable[[RunContext, Manifest], AbstractContextManager[Ready]]


def choices(wish: Wish, manifest: Manifest) -> list[Choice]:
    """The ways to a server that this archive can be restored in, best first. Raise ConfigError where there is none."""
    needed = manifest.major
    have = installed_servers(_tool_folders(wish.tools))
    fitting = min((major for major in have if major >= needed), default=None)
    found: list[Choice] = []
    if wish.installed and fitting is not None:
        folder = have[fitting]
        found.append(Choice(label=f"PostgreSQL {fitting} in {folder}", open=partial(_local, folder)))
    if (image := wish.image) is not None:
        found.append(Choice(label=f"the image {image}", open=partial(_container, image)))
    if (on := wish.on) is not None:
        found.append(Choice(label=f"a database beside {on.name}", open=partial(_beside, on, wish)))
    if not found:
        there = ", ".join(map(str, sorted(have))) or "none"
        raise ConfigError(
            f"archive {manifest.id} needs a server of PostgreSQL {needed} or newer to be restored in, "
            f"and none is installed here (found: {there})",
            hint=f"apt install postgresql-{needed}; or name a container image, --image postgres:{needed} "
            f'(drill_image = "postgres:{needed}" in the backup), or a database whose server takes it (--on, drill_on)',
        )
    return found


def sweep(run: RunContext) -> list[str]:
    """Remove the servers, folders and containers that killed runs left; say what was removed."""
    gone = [f"throw-away server {folder.name}" for folder in sweep_everywhere(_PREFIX)]
    left = sweep_containers(run.engine.state, run.engine.is_alive, Runner(log=run.log.write))
    return [*gone, *(f"container {name}" for name in left)]


def url(ready: Ready) -> str:
    """Where programs of this host reach the database, without a password: by the socket, which is ours alone."""
    info = ready.held.server.conninfo()
    at = {"host": str(ready.socket), "port": info.get("port", "5432"), "user": info["user"]}
    return f"postgresql:///{quote(ready.name, safe='')}?{urlencode(at, quote_via=quote, safe='/')}"


def tcp_url(ready: Ready) -> str | None:
    """The same by 127.0.0.1, for programs that know no sockets; the password stands in the passfile that it names."""
    if ready.passfile is None:
        return None
    info = ready.held.server.conninfo()
    at = urlencode({"passfile": str(ready.passfile)}, quote_via=quote, safe="/")
    return f"postgresql://{info['user']}@127.0.0.1:{info['port']}/{quote(ready.name, safe='')}?{at}"


# -- installed here -------------------------------------------------------------------------------


@contextlib.contextmanager
def _local(folder: Path, run: RunContext, manifest: Manifest) -> Generator[Ready]:
    password = Secret(secrets.token_urlsafe(24))
    settings = {**_SETTINGS, "shared_preload_libraries": ",".join(_loadable(folder, _wanted(manifest)))}
    # A cancelled run has to stop it in order, so its own programs do not hear of that.
    steady = Runner(log=run.log.write)
    programs = (folder / "postgres").resolve().parent  # PostgreSQL looks for its files from there
    with (
        scratch_folder(_PREFIX, room_bytes=_room(manifest)) as scratch,
        files.disk_told(scratch, "no server can work in"),
        running_cluster(scratch / "server", programs, settings=settings, runner=steady, password=password) as cluster,
        passfile(password, _private_folder(scratch)) as secret,
    ):
        conninfo = {"host": str(cluster.folder), "port": str(cluster.port), "user": cluster.user}
        database = Database(name=_NAME, conninfo={**conninfo, "dbname": _MAINTENANCE}, bin=folder)
        with _ready(run, database, manifest, f"PostgreSQL from {folder}") as ready:
            yield replace(
                ready,
                socket=cluster.folder,
                passfile=secret,
                psql=(str(folder / "psql"), *_psql_words(conninfo, ready.name)),
            )


def _loadable(folder: Path, wanted: Iterable[str]) -> list[str]:
    """Those of the wanted extensions whose library can be loaded: they are installed for this server."""
    try:
        said = Runner().run(Command(argv=(str(folder / "pg_config"), "--sharedir"), deadline=_BRIEFLY)).stdout
    except DaybreakError:  # without pg_config nobody can say
        return []
    share = Path(said.decode("utf-8", "surrogateescape").strip()) / "extension"
    return sorted(name for name in wanted if (share / f"{name}.control").exists())


def _wanted(manifest: Manifest) -> set[str]:
    """The extensions of an archive that have to be loaded when the server starts."""
    extensions = manifest.facts.get("extensions")
    return {name for name in PRELOADED if isinstance(extensions, dict) and name in extensions}


def _room(manifest: Manifest) -> int:
    return forecast(manifest, _WAL_BYTES) + 100 * 2**20  # the server's own files


def _private_folder(scratch: Path) -> Path:
    """A folder that only we may enter."""
    private = scratch / "private"
    private.mkdir(mode=0o700)
    return private


# -- in a container -------------------------------------------------------------------------------


@contextlib.contextmanager
def _container(image: str, run: RunContext, manifest: Manifest) -> Generator[Ready]:
    with scratch_folder(_PREFIX) as scratch:
        socket = _private_folder(scratch) / "socket"
        socket.mkdir()
        socket.chmod(0o777)  # for the container's user, whoever that is out here; nobody else gets this far
        with running_container(
            run.id,
            image,
            socket=socket,
            state_folder=run.engine.state,
            settings=[f"{key}={value}" for key, value in _SETTINGS.items()],
            libraries=sorted(_wanted(manifest)),
            runner=run.runner,
        ) as server:
            conninfo = {"host": server.socket, "port": "5432", "user": server.user}
            database = Database(name=_NAME, conninfo={**conninfo, "dbname": _MAINTENANCE}, place=server.place, bin=None)
            with _ready(run, database, manifest, f"a container of {image}") as ready:
                tools = ready.held.server.tools.folder / "psql"
                enter = (server.place.runtime, "exec", "--interactive", "--tty", server.place.container, str(tools))
                yield replace(ready, socket=socket, psql=(*enter, *_psql_words(conninfo, ready.name)))


# -- beside a target ------------------------------------------------------------------------------


@contextlib.contextmanager
def _beside(on: Database, wish: Wish, run: RunContext, manifest: Manifest) -> Generator[Ready]:
    """A database beside a target, on its server; whoever makes it records it as a refresh's shadow, and drops it."""
    with hold_target(run, on, wish.protected, timedelta(hours=2)) as held:
        needed = manifest.major
        if held.server.version_num // 10000 < needed:
            raise ConfigError(
                f"{held.server.where()} is PostgreSQL {held.server.version}, older than the archive ({needed})",
                hint="name a database on a newer server, an image, or install a server here",
            )
        name = derived_name(held.name, f"shadow_{run.id}")
        if held.server.find(name) is not None:
            raise Refused(
                f"a database {name} is on {held.server.where()}, and this run did not make it",
                hint="look what it is and rename it, then run again",
            )
        yield Ready(held=held, name=name, where=f"a database on {held.server.where()}", own=False)


# -- together -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _ready(run: RunContext, database: Database, manifest: Manifest, where: str) -> Generator[Ready]:
    with connect(database, run) as server:
        try:
            held = Ground(
                server=server,
                name=_MAINTENANCE,
                exists=True,
                system_identifier=server.identity().system_identifier,
                facts=shadow.facts_of(server, _MAINTENANCE),
            )
        except (SourceError, CommandError) as error:
            raise ConfigError(f"the throw-away server does not answer: {error.message}", hint=error.hint) from error
        name = manifest.database if manifest.database not in _TEMPLATES else f"{manifest.database}_archive"
        yield Ready(held=held, name=name, where=f"{where} ({server.version})", own=True)


def _psql_words(conninfo: dict[str, str], dbname: str) -> tuple[str, ...]:
    return ("-d", conninfo_text({**conninfo, "dbname": dbname}))


def _tool_folders(configured: Collection[Path]) -> dict[int, Path]:
    """Every folder of tools on this host by version; what the configuration names counts first."""
    folders: dict[int, Path] = {}
    for folder in (*configured, None):
        with contextlib.suppress(ConfigError, SourceError):  # none there
            for major, found in survey(HERE, folder).folders.items():
                folders.setdefault(major, Path(found))
    return folders
