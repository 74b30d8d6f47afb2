"""Containers: which runtime knows one, the state it is in, what it mounts.

Shapes  everything is asked of the host that the container runs on, by `docker` or `podman` there.
Errors  `SourceError` that tells apart: no runtime, a daemon that is down or refuses us, a container that is
        missing, stopped, paused or does not come back; each with the command that mends it.
"""

from __future__ import annotations

import difflib
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Final

from daybreak.errors import CommandError, DaybreakError, SourceError
from daybreak.hosts.host import Host
from daybreak.process import Runner

RUNTIMES: Final = ("docker", "podman")
#: How long a container may take to restart, its server included.
RESTART_S: Final = 60.0
_BRIEFLY: Final = timedelta(seconds=30)
_FORMAT: Final = '{"state": {{json .State}}, "mounts": {{json .Mounts}}}'
#: In the environment of a container of ours: where its server listens, if not where its programs look by themselves.
SOCKET_VARIABLE: Final = "DAYBREAK_SOCKET"
_IS_READY: Final = (
    f'! command -v pg_isready >/dev/null || pg_isready -q ${{{SOCKET_VARIABLE}:+-h "${SOCKET_VARIABLE}"}}'
)
_MISSING: Final = ("no such container", "no such object", "no container with name")
#: How docker and podman begin what they say themselves.
_OWN_WORDS: Final = ("Error: ", "Error response from daemon", "OCI runtime")
#: What a runtime says when it cannot work at all -> what that means, what to do next.
_REFUSALS: Final = (
    (
        "permission denied",
        "this user may not speak to {runtime}",
        "add the user to the group that owns the socket (usermod -aG docker USER), and log in again",
    ),
    (
        "cannot connect to the docker daemon",
        "the daemon of {runtime} is down; of the database nothing is known",
        "systemctl start docker (or mend DOCKER_HOST)",
    ),
    (
        "error during connect",
        "the daemon of {runtime} does not answer",
        "systemctl status docker (or mend DOCKER_HOST)",
    ),
    ("unable to connect to podman", "the service of podman does not answer", "look at CONTAINER_HOST"),
    ("command not found", "{runtime} is not installed there", "install docker or podman, or mend runtime"),
    ("not found", "{runtime} is not installed there", "install docker or podman, or mend runtime"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of the outer host that a container sees."""

    source: PurePosixPath
    inside: PurePosixPath
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A container as its runtime describes it."""

    status: str  # running, exited, paused, restarting, created, dead …
    exit_code: int
    age_s: float  # since it started, by two clocks; huge where it never did
    mounts: tuple[Mount, ...]


def require_running(host: Host, runner: Runner) -> Host:
    """The host with its runtime found and its container running; waits for one that restarts. Raise SourceError."""
    candidates = [host.place.runtime] if host.place.runtime else _runtimes(host, runner)
    missing: list[str] = []
    faults: list[DaybreakError] = []
    for runtime in candidates:
        known = replace(host, place=replace(host.place, runtime=runtime))
        try:
            found = state(known, runner)
        except SourceError as error:
            faults.append(error)
            continue
        if found is None:
            missing.append(runtime)
            continue
        _require_running(known, found, runner)
        return known
    if not faults:
        raise _missing(host, missing, runner)
    also = f"; {_missing(host, missing, runner).message}" if missing else ""
    raise SourceError(faults[0].message + also, hint=faults[0].hint)


def state(host: Host, runner: Runner) -> State | None:
    """What the runtime knows of the container; None where there is none of that name. Raise SourceError."""
    argv = (host.place.runtime, "inspect", "--type", "container", "--format", _FORMAT, host.place.container)
    try:
        said = runner.run(host.outer.command(argv, deadline=_BRIEFLY)).stdout
    except CommandError as error:
        if any(word in line.lower() for line in error.tail for word in _MISSING):
            return None
        raise refusal(host, error) or SourceError(error.message, hint="run again") from error
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        raise SourceError(f"{host.place.runtime} inspect {host.place.container} said no JSON") from None
    mounts: list[dict[str, Any]] = found["mounts"] or []
    its_mounts = tuple(
        Mount(
            source=PurePosixPath(str(one["Source"])),
            inside=PurePosixPath(str(one["Destination"])),
            writable=bool(one.get("RW", True)),
        )
        for one in mounts
        if one.get("Source")
    )
    return State(
        status=str(found["state"].get("Status", "")).lower(),
        exit_code=int(found["state"].get("ExitCode", 0)),
        age_s=_age_s(str(found["state"].get("StartedAt", ""))),
        mounts=its_mounts,
    )


def refusal(host: Host, error: CommandError) -> SourceError | None:
    """Why the runtime itself does not work, where that is what it says."""
    runtime = host.place.runtime
    where = f" on {host.outer.name}" if host.outer.name else ""
    for line in reversed(error.tail):
        for word, meaning, hint in _REFUSALS:
            if word in line.lower():
                return SourceError(f"{meaning.format(runtime=runtime)}{where}: {line}", hint=hint)
    return None


def runtime_said(error: CommandError) -> str | None:
    """The line in which a runtime, and no program in the container, says that it could not run it."""
    return next((line for line in error.tail if line.startswith(_OWN_WORDS)), None)


def explain(error: CommandError, host: Host, runner: Runner) -> DaybreakError | None:
    """The fault of a command in a container, where it is the container's or the runtime's."""
    try:
        found = state(host, runner)
    except SourceError as fault:
        return fault
    except DaybreakError:
        return None
    if found is None:
        return _missing(host, [host.place.runtime], runner)
    if found.status != "running":
        return _not_running(host, found)
    text = "\n".join(error.tail).lower()
    if "executable file not found" in text and '"sh"' in text:
        return SourceError(f"{host.name} has no shell, so nothing can be run in it", hint="use an image with sh")
    line = runtime_said(error)
    return (
        None
        if line is None
        else SourceError(
            f"{host.name} runs, but did not take a command a moment ago: {line}",
            hint=f"was it restarted? `{host.place.runtime} logs {host.place.container}` says why; then run again",
        )
    )


def _require_running(host: Host, found: State, runner: Runner) -> None:
    until = time.monotonic() + RESTART_S
    now: State | None = found
    while now is not None and now.status == "restarting" and time.monotonic() < until:
        if runner.cancel.wait(0.5):
            break
        now = state(host, runner)
    if now is None:
        raise _missing(host, [host.place.runtime], runner)
    if now.status == "restarting":
        raise SourceError(
            f"{host.name} has been restarting for {RESTART_S:.0f} s",
            hint=f"{host.place.runtime} logs {host.place.container}   # says why it does not stay up",
        )
    if now.status != "running":
        raise _not_running(host, now)
    if now.age_s < RESTART_S:
        _await_server(host, runner, until)


def _age_s(started: str) -> float:
    try:
        return abs((datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds())
    except (ValueError, TypeError):
        return float("inf")


def _await_server(host: Host, runner: Runner, until: float) -> None:
    """Give the server in a container that has just started the time to come up; whether it did, is asked later."""
    ask = host.command(("sh", "-c", _IS_READY), deadline=_BRIEFLY, ok=frozenset(range(256)))
    while time.monotonic() < until and runner.run(ask).status != 0:
        if runner.cancel.wait(0.5):
            break


def _not_running(host: Host, found: State) -> SourceError:
    runtime, container = host.place.runtime, host.place.container
    if found.status == "paused":
        return SourceError(f"{host.name} is paused", hint=f"{runtime} unpause {container}")
    return SourceError(
        f"{host.name} is not running: {found.status} (exit status {found.exit_code})",
        hint=f"{runtime} start {container}   # and {runtime} logs {container} says why it ended",
    )


def _missing(host: Host, runtimes: list[str], runner: Runner) -> SourceError:
    running = sorted({name for runtime in runtimes for name in _running(host, runtime, runner)})
    near = difflib.get_close_matches(host.place.container, running, n=1)
    known = f"these run: {', '.join(running)}" if running else "none runs"
    meant = f"was it renamed, or is {near[0]} meant? " if near else ""
    where = f" on {host.outer.name}" if host.outer.name else ""
    return SourceError(
        f"{' and '.join(runtimes)} know{'s' if len(runtimes) == 1 else ''} no container "
        f"{host.place.container}{where}; {known}",
        hint=f"{meant}`{runtimes[0]} ps -a` lists all; mend container in the configuration",
    )


def _running(host: Host, runtime: str, runner: Runner) -> list[str]:
    command = host.outer.command((runtime, "ps", "--format", "{{.Names}}"), deadline=_BRIEFLY)
    try:
        return runner.run(command).stdout.decode("utf-8", "replace").split()
    except DaybreakError:
        return []


def _runtimes(host: Host, runner: Runner) -> list[str]:
    """The runtimes that are installed on the outer host. Raise SourceError where there is none."""
    text = 'for name; do ! command -v "$name" >/dev/null 2>&1 || echo "$name"; done'
    said = runner.run(host.outer.command(("sh", "-c", text, "sh", *RUNTIMES), deadline=_BRIEFLY)).stdout.decode()
    found = [name for name in RUNTIMES if name in said.split()]
    if not found:
        raise SourceError(
            f"neither docker nor podman is installed {f'on {host.outer.name}' if host.outer.name else 'here'}",
            hint=f"install one, or take container = {host.place.container!r} out of the configuration",
        )
    return found
