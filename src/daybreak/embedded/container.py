"""One throw-away PostgreSQL server in a container of its own, without a network, gone with the program that started it.

Shapes  the server is made and started by the programs of the image, whatever its own entry point is; its socket lies in
        a folder of this host, so that programs here reach it too.
Errors  `ConfigError` where neither docker nor podman is there, the image cannot be had, or its server does not start.
Source  the first process in the container is the watchdog at the far end of our lifeline: it ends when we end, and a
        container ends with its first process.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.command import Command, Far
from daybreak.errors import CommandError, ConfigError, DaybreakError
from daybreak.hosts.container import RUNTIMES, SOCKET_VARIABLE, refusal, state
from daybreak.hosts.host import Host
from daybreak.model import Place
from daybreak.process import Runner, Running
from daybreak.watchdog import THERE

#: The folder of the socket, as the container sees it.
SOCKET: Final = "/run/daybreak"
_USER: Final = "postgres"
#: podman's word for a short name that its configuration gives no registry for.
_NO_REGISTRIES: Final = "no unqualified-search registries"
_LABEL: Final = "daybreak.state"
_PREFIX: Final = "daybreak-throwaway-"
_BRIEFLY: Final = timedelta(seconds=60)
_PULL: Final = timedelta(minutes=30)
_AS_LONG_AS_WE_LIVE: Final = timedelta(days=365)
_START_S: Final = 120.0
_PID_FILE: Final = "/var/tmp/daybreak/data/postmaster.pid"  # noqa: S108 -- in the container, whose only user we are
#: Makes a server with the programs of the image and runs it. $1 are extensions whose libraries are loaded where they
#: are there, the others are settings.
_SERVE: Final = r"""
exec 2>&1
for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /usr/local/bin /usr/bin; do
    [ ! -x "$folder/initdb" ] || bin=$folder
done
[ -n "${bin-}" ] || { echo "the image has no PostgreSQL server"; exit 1; }
umask 077; mkdir -p /var/tmp/daybreak && cd /var/tmp/daybreak || exit 1
make() { "$bin/initdb" -D data -U postgres -A trust -N -E UTF8 --locale="$1"; }
make C.UTF-8 >made 2>&1 || { rm -rf data; make C >made 2>&1; } || { cat made; exit 1; }
share=$("$bin/pg_config" --sharedir 2>/dev/null); loaded=
for name in $1; do
    [ ! -f "$share/extension/$name.control" ] || loaded=${loaded:+$loaded,}$name
done
shift
"$bin/postgres" -D "$PWD/data" -c listen_addresses= -c unix_socket_directories=/run/daybreak \
    -c shared_preload_libraries="$loaded" "$@" >log 2>&1
tail -n 5 log
exit 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerServer:
    """A running server in a container."""

    place: Place
    user: str = _USER
    socket: str = SOCKET  # its folder, inside


def find_image(image: str, runner: Runner) -> str:
    """The runtime that has `image`; where none has it, it is pulled. Raise ConfigError."""
    runtimes = [name for name in RUNTIMES if shutil.which(name)]
    if not runtimes:
        raise ConfigError("neither docker nor podman is installed here", hint="install one of them")
    for runtime in runtimes:
        with contextlib.suppress(CommandError):
            runner.run(Command(argv=(runtime, "image", "inspect", image), deadline=_BRIEFLY))
            return runtime
    for runtime in runtimes:
        try:
            runner.run(Command(argv=(runtime, "pull", "--quiet", image), deadline=_PULL))
        except CommandError as error:
            fault = refusal(Host(place=Place(container=image, runtime=runtime)), error)
            if runtime == runtimes[-1]:
                said = fault.message if fault else error.message
                hint = f"{runtime} pull {image}   # then run again; or name another image"
                if any(_NO_REGISTRIES in line for line in error.tail):
                    hint = (
                        f"{runtime} knows no registry for short names: write the whole name, its registry in front "
                        "(docker's own images are its library/…), or set unqualified-search-registries in "
                        "/etc/containers/registries.conf"
                    )
                raise ConfigError(f"the image {image} is not here and cannot be pulled: {said}", hint=hint) from error
        else:
            return runtime
    raise AssertionError("there is a last runtime")


@contextlib.contextmanager
def running_container(
    name: str,
    image: str,
    *,
    socket: Path,
    state_folder: Path,
    settings: Collection[str],
    libraries: Collection[str],
    runner: Runner,
) -> Generator[ContainerServer]:
    """A server in a new container for the time of the block.

    `socket` is a folder of this host that everybody may write, in one that only we may enter; `libraries` are loaded
    where the image has them. A cancel of `runner` ends the pull and the wait, but never a server that runs: the block
    ends in order first. Raise ConfigError.
    """
    runtime = find_image(image, runner)
    container = f"{_PREFIX}{name}"
    host = Host(place=Place(container=container, runtime=runtime))
    options = [word for setting in settings for word in ("-c", setting)]
    argv = (
        *(runtime, "run", "--rm", "--interactive", "--name", container, "--label", f"{_LABEL}={state_folder}"),
        *("--network=none", f"--user={_USER}", "--security-opt=label=disable", "--volume", f"{socket}:{SOCKET}"),
        f"--env={SOCKET_VARIABLE}={SOCKET}",
        *("--entrypoint=sh", image, "-c", THERE, "daybreak-watchdog", "", ":"),
        *("sh", "-c", _SERVE, "daybreak-serve", " ".join(libraries), *options),
    )
    command = Command(
        argv=(runtime, "run", image), deadline=_AS_LONG_AS_WE_LIVE, far=Far(argv=argv, where=f"container {container}")
    )
    said: deque[str] = deque(maxlen=5)
    try:
        with Runner(log=runner.log).hold(command, on_stderr=said.append) as held:
            if not _is_ready(host, held, runner):
                if state(host, runner) is None:  # else it goes on saying nothing
                    said.extend(held.read().decode("utf-8", "replace").splitlines()[-5:])
                raise ConfigError(
                    f"PostgreSQL in a container of {image} did not start: {' / '.join(said) or 'it said nothing'}",
                    hint=f"try it by hand: {runtime} run --rm -it --user={_USER} {image} sh",
                )
            yield ContainerServer(place=host.place)
    finally:
        _remove(host.place, Runner())


def sweep_containers(state_folder: Path, is_alive: Callable[[str], bool], runner: Runner) -> list[str]:
    """Remove the containers that dead runs of this state folder left; say which. A runtime that is down has none."""
    gone: list[str] = []
    for runtime in (name for name in RUNTIMES if shutil.which(name)):
        label = f"label={_LABEL}={state_folder}"
        argv = (runtime, "ps", "--all", "--filter", label, "--format", "{{.Names}}")
        with contextlib.suppress(DaybreakError):
            names = runner.run(Command(argv=argv, deadline=_BRIEFLY)).stdout.decode("utf-8", "replace").split()
            for name in names:
                if name.startswith(_PREFIX) and not is_alive(name.removeprefix(_PREFIX)):
                    _remove(Place(container=name, runtime=runtime), runner)
                    gone.append(name)
    return gone


def _is_ready(host: Host, held: Running, runner: Runner) -> bool:
    """Whether the server comes up: the last line of its pid file says so, as for pg_ctl."""
    ask = host.command(("grep", "-q", "^ready", _PID_FILE), deadline=_BRIEFLY, ok=frozenset(range(256)))
    until, seen = time.monotonic() + _START_S, False
    while time.monotonic() < until:
        found = state(host, runner)
        if found is None or found.status not in {"created", "running", "initialized", "configured"}:
            if seen or held.ended():
                return False
        else:
            seen = True
            if found.status == "running" and runner.run(ask).status == 0:
                return True
        if not seen and time.monotonic() > until - _START_S + _BRIEFLY.total_seconds():
            return False
        time.sleep(0.1)
    return False


def _remove(place: Place, runner: Runner) -> None:
    argv = (place.runtime, "rm", "--force", "--volumes", place.container)
    with contextlib.suppress(DaybreakError):  # it has removed itself, as a rule
        runner.run(Command(argv=argv, deadline=_BRIEFLY))
