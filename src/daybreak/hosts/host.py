"""A host, and how a command gets to it.

Shapes  argument lists stay lists: a container's runtime takes them as they are, and ssh, whose far end is a shell,
        gets one text that every shell there reads alike. Streams are binary; there never is a terminal.
Source  the watchdog at the far end is `watchdog.THERE`; the lifeline runs through the clients' standard input.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.command import Command, Far
from daybreak.hosts.shells import in_any_shell
from daybreak.model import Place
from daybreak.secret import Secret
from daybreak.watchdog import FED, THERE

_NOTHING: Final[Mapping[str, str | Secret]] = {}
#: The far side's answers are read by us, and its data is UTF-8 or bytes.
_LOCALE: Final = "LC_ALL=C.UTF-8"
#: libpq's password in a container is the container's own, unless the configuration names one; it stays inside.
_INSIDE: Final = (
    'if [ -n "${POSTGRES_PASSWORD_FILE-}" ]; then PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE"); '
    "else PGPASSWORD=${POSTGRES_PASSWORD-}; fi; "
    'if [ -n "$PGPASSWORD" ]; then export PGPASSWORD; else unset PGPASSWORD; fi'
)
#: The user's own configuration of ssh holds, but for what would make it ask, open ports or trust a stranger.
SSH: Final = (
    "ssh",
    "-T",
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=yes",
    "-oConnectTimeout=15",
    "-oServerAliveInterval=15",
    "-oServerAliveCountMax=3",
    "-oControlMaster=no",
    "-oForwardAgent=no",
    "-oForwardX11=no",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oLogLevel=ERROR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A place whose way is known: a container's runtime was found, and it ran when it was looked at."""

    place: Place = field(default_factory=Place)
    control: str = field(default="", compare=False)  # the socket of a connection that sessions share

    @property
    def is_here(self) -> bool:
        """Whether its programs are this machine's own."""
        return self.place == Place()

    @property
    def name(self) -> str:
        """The host for people: `container genjishimada-db on vps`; empty for here."""
        ssh = self.place.ssh
        container = f"container {self.place.container}" if self.place.container else ""
        return " on ".join(part for part in (container, ssh.name if ssh else "") if part)

    @property
    def outer(self) -> Host:
        """The host that a container runs on."""
        return Host(place=Place(ssh=self.place.ssh))

    def command(
        self,
        argv: Sequence[str],
        *,
        deadline: timedelta,
        idle: timedelta | None = None,
        env: Mapping[str, str | Secret] = _NOTHING,
        ok: frozenset[int] = frozenset({0}),
        feed: Path | None = None,
    ) -> Command:
        """`argv` as a command that runs on this host, under a watchdog there.

        With `feed`, a file or SPOKEN, that is its standard input; then it must end with it.
        """
        far = None if self.is_here else Far(argv=self._way(argv, env, feed), where=self.name, lines=_secrets(env))
        return Command(argv=tuple(argv), deadline=deadline, idle=idle, env=env, ok=ok, far=far, feed=feed)

    def _way(self, argv: Sequence[str], env: Mapping[str, str | Secret], feed: Path | None) -> tuple[str, ...]:
        plain = [f"{name}={value}" for name, value in env.items() if not isinstance(value, Secret)]
        secret = " ".join(name for name, value in env.items() if isinstance(value, Secret))
        prelude = _INSIDE if self.place.container else ":"
        around = ["sh", "-c", FED if feed else THERE, "daybreak-fed" if feed else "daybreak-watchdog"]
        words = [*around, secret, prelude, "env", _LOCALE, *plain, *argv]
        if self.place.container:
            words = [self.place.runtime, "exec", "-i", self.place.container, *words]
        if self.place.ssh is not None:
            share = [f"-oControlPath={self.control.replace('%', '%%')}"] if self.control else []
            words = [*SSH, *share, "--", self.place.ssh.destination, in_any_shell(shlex.join(words))]
        return tuple(words)


def _secrets(env: Mapping[str, str | Secret]) -> tuple[Secret, ...]:
    return tuple(value for value in env.values() if isinstance(value, Secret))


HERE: Final = Host()
