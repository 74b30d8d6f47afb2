"""A place that a command can be sent to, or the reason why not.

Errors  `SourceError`: ssh cannot reach it, its shell talks by itself, the container does not run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from daybreak.errors import CommandError, DaybreakError, SourceError
from daybreak.hosts import container, ssh
from daybreak.hosts.host import Host
from daybreak.model import Place
from daybreak.process import Runner

_GREETING: Final = "daybreak"
_BRIEFLY: Final = timedelta(seconds=60)


def reach(place: Place, runner: Runner) -> Host:
    """The host at `place`. Raise SourceError."""
    host = Host(place=place)
    try:
        if place.ssh is not None:
            _require_silence(host.outer, runner)
        return container.require_running(host, runner) if place.container else host
    except CommandError as error:
        raise fault_of(error, host, runner) from error


def explain(error: CommandError, host: Host, runner: Runner) -> DaybreakError | None:
    """The fault of a command that ran on `host`, where it is the host's or the way's; None for the program's own."""
    inside = bool(host.place.container and host.place.runtime)
    # podman ends with ssh's own status where the container is away, so its words come before that.
    if inside and container.runtime_said(error):
        return container.explain(error, host, runner)
    if host.place.ssh is not None and (fault := ssh.explain(error, host.place.ssh, runner)):
        return fault
    return container.explain(error, host, runner) if inside else None


def fault_of(error: CommandError, host: Host, runner: Runner) -> DaybreakError:
    """The fault of a command of ours that had no reason to fail: the host's, the way's, or told as it is."""
    return explain(error, host, runner) or SourceError(f"{host.name or 'here'}: {error.message}", hint="run again")


def _require_silence(host: Host, runner: Runner) -> None:
    """See that nothing but the command's own output comes back: a dump must not begin with a greeting."""
    said = runner.run(host.command(("printf", "%s", _GREETING), deadline=_BRIEFLY)).stdout
    if said != _GREETING.encode():
        shown = said.removesuffix(_GREETING.encode()).decode("utf-8", "replace").strip()[:80]
        raise SourceError(
            f"{host.name} says {shown!r} on standard output before a command's own: every dump would begin with it",
            hint="let the login files of that user (.bashrc, .profile) talk only where there is a terminal: [ -t 1 ]",
        )
