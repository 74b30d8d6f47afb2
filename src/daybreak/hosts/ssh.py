"""What went wrong with ssh, in words.

Source  ssh(1) exits with 255 for its own faults; a far program may do so too, so its words decide.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.command import Command
from daybreak.errors import CommandError, DaybreakError, SourceError
from daybreak.hosts.host import SSH, Host
from daybreak.model import SshHost
from daybreak.process import Runner

OWN_FAULT: Final = 255
#: A socket's path ends at 107 bytes, and ssh makes it under a longer name first.
_LONGEST: Final = 85
_AS_LONG_AS_A_RUN: Final = timedelta(days=7)
_SOON_S: Final = 15.0
_LOOK_S: Final = 0.02
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/=]{43}=?")
_CHANGED: Final = re.compile(r"^Host key for (\S+) has changed", re.MULTILINE)
_OFFENDING: Final = re.compile(r"^Offending .*? key in (.+):\d+$", re.MULTILINE)
_UNKNOWN: Final = re.compile(r"host key is known for (\S+) and you have requested")
#: What ssh says -> what to do next.
_REASONS: Final = {
    "Permission denied": "is this user's key in authorized_keys there, and offered here? `ssh {to}` must work "
    "without a question (ssh-agent, IdentityFile in ~/.ssh/config)",
    "Could not resolve hostname": "mend hosts.{name}.ssh, or the name service of this host",
    "Connection refused": "is sshd running there, on this port?",
    "timed out": "is the host up, and no firewall between?",
    "not responding": "the line was cut, or the host is gone: look at both, then run again",
    "No route to host": "look at the network of this host",
    "Network is unreachable": "look at the network of this host",
    "Connection reset": "the line was cut; run again when it is back",
    "closed by remote host": "the line was cut, or sshd ended the session: its log on that host says why",
    "Broken pipe": "the line was cut; run again when it is back",
    "Connection closed": "sshd ended the session: its log on that host says why (MaxStartups? AllowUsers?)",
    "Bad owner or permissions": "ssh does not read a configuration that others may write: chmod 600 it",
    "Too many authentication failures": "name the right key with IdentityFile and IdentitiesOnly in ~/.ssh/config",
}


def explain(error: CommandError, host: SshHost, runner: Runner) -> DaybreakError | None:
    """The fault of ssh itself; None where the far program failed."""
    if error.status != OWN_FAULT:
        return None
    text = "\n".join(error.tail)
    if "Host key verification failed" in text or "IDENTIFICATION HAS CHANGED" in text:
        return _host_key(text, host, runner)
    for line in reversed(error.tail):
        for reason, hint in _REASONS.items():
            if reason in line:
                return SourceError(
                    f"{host.name} ({host.destination}) cannot be reached: {line}",
                    hint=hint.format(name=host.name, to=host.destination),
                )
    last = error.tail[-1] if error.tail else "it said nothing"
    return SourceError(
        f"{host.name} ({host.destination}): ssh ended in the middle: {last}",
        hint="the line was cut, or sshd ended the session: its log on that host says why",
    )


@contextlib.contextmanager
def shared(host: Host, runner: Runner, folder: Path) -> Generator[Host]:
    """The host with one connection for all sessions of the block; its socket lies in the private `folder`.

    A run asks a server dozens of things, and each would log in anew. Without the connection, if the path is too long
    or it ends, every session has its own.
    """
    path = folder / "ssh"
    if host.place.ssh is None or len(str(path)) > _LONGEST:
        yield host
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = tuple(word for word in SSH if not word.startswith("-oControlMaster"))
    option = f"-oControlPath={str(path).replace('%', '%%')}"
    argv = (*own, "-oControlMaster=yes", option, "-N", "--", host.place.ssh.destination)
    with runner.hold(Command(argv=argv, deadline=_AS_LONG_AS_A_RUN)):
        until = time.monotonic() + _SOON_S
        while not path.exists() and time.monotonic() < until and not runner.cancel.wait(_LOOK_S):
            pass
        yield replace(host, control=str(path)) if path.exists() else host


def _host_key(text: str, host: SshHost, runner: Runner) -> SourceError:
    """Whose key it is, ssh says: that of a jump host in between, maybe, and known in a file of its own."""
    if changed := _CHANGED.search(text):
        got, file = _FINGERPRINT.search(text), _OFFENDING.search(text)
        where, options = changed[1], ("-f", file[1]) if file else ()
        known = _known_keys(where, options, runner)
        return SourceError(
            f"HOST KEY MISMATCH: {_called(where, host)} shows a key {got[0] if got else '?'} that is not "
            f"the known one ({', '.join(known) or 'unreadable'}); nothing was sent",
            hint="somebody may be between, or the server was set up anew: compare with "
            "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console; only then "
            f"`{shlex.join(('ssh-keygen', '-R', where, *options))}` and add the right key to known_hosts",
        )
    unknown = _UNKNOWN.search(text)
    who = _called(unknown[1], host) if unknown else f"{host.name} ({host.destination}), or of a jump host before it,"
    return SourceError(
        f"the host key of {who} is not known here, and no key is trusted unseen",
        hint="compare its fingerprint on the server's console (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), "
        f"then let `ssh {host.destination}` add it to known_hosts once, by hand",
    )


def _called(where: str, host: SshHost) -> str:
    """The host whose key it is, and the one that was meant where the names do not tell that they are the same."""
    meant = f"{host.name} ({host.destination})"
    same = where in {host.name, host.destination.rpartition("@")[2]}
    return meant if same else f"{where}, by which {meant} is reached,"


def _known_keys(where: str, options: tuple[str, ...], runner: Runner) -> list[str]:
    """The fingerprints that stand in known_hosts for a host."""
    argv = ("ssh-keygen", "-l", "-F", where, *options)
    try:
        found = runner.run(Command(argv=argv, deadline=timedelta(seconds=10), ok=frozenset({0, 1, OWN_FAULT})))
    except DaybreakError:
        return []
    return _FINGERPRINT.findall(found.stdout.decode("utf-8", "replace"))
