"""The unit files: the service that acts and the one that shows, or a service and a timer for each plan. Pure.

Shapes  a unit is a name and a text; `systemd-analyze verify` has nothing to say about it.
Errors  `UsageError` for a schedule that a timer cannot say.
Source  systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.time(7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daybreak.errors import UsageError
from daybreak.model import Timed
from daybreak.schedule import parse_spec

SERVICE: Final = "daybreak.service"
CONSOLE: Final = "daybreak-console.service"
#: The user of the console: it reads the state folder, asks the runner, and owns nothing but its own database.
CONSOLE_USER: Final = "daybreak-console"
#: The group of a state folder that is not there yet.
GROUP: Final = "daybreak"
_DAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_CLOCK: Final = re.compile(r"(?P<minute>\d+) (?P<hour>\d+) \* \* (?P<days>\*|[0-7](?:-[0-7])?(?:,[0-7](?:-[0-7])?)*)")
_HOURS: Final = range(24)
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit file."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What the units of a host are made from."""

    program: tuple[str, ...]  # how Daybreak is called, by its full path
    config: Path
    folders: tuple[Path, ...]  # that runs write: of archives, local repositories, metrics; the state folder
    podman: bool = False  # a container here is podman's, which has no server that does the work
    group: str = GROUP  # the group of the state folder
    console: Path = Path("/var/lib/daybreak/console")  # what is the console's own


def scheduler_units(where: Installed) -> tuple[Unit, ...]:
    """The service that keeps the schedule and answers the runner's socket, and the one of the console."""
    text = f"""\
# Written by `daybreak systemd install`. Changes of your own belong into a drop-in: systemctl edit {SERVICE}

[Unit]
Description=Daybreak: backups and refreshes on time
Wants=network-online.target
# The clock first: what is due is a question of what time it is.
After=network-online.target time-sync.target docker.service podman.socket
{_after_disks(where)}

[Service]
Type=notify
NotifyAccess=main
ExecStart={_command(where, "serve", "--only", "runner")}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=30
WatchdogSec=3min
TimeoutStopSec=30
# A backup or refresh that runs is a process of its own in this unit. It outlives a stop or restart of the scheduler,
# which then finds it in the catalog; every other KillMode would kill it half-way.
KillMode=process
# A restic or pg_restore that the kernel kills for memory ends its own run, not the scheduler and all other runs.
OOMPolicy=continue
{_hardening(where)}
[Install]
WantedBy=multi-user.target
"""
    return (Unit(name=SERVICE, text=text), _console_unit(where))


def _console_unit(where: Installed) -> Unit:
    """The pages, as a user that can read, ask the runner, and write its own database."""
    install = f"-/usr/bin/install -d -o {CONSOLE_USER} -g {_word(where.group)} -m 0700 {_word(str(where.console))}"
    return Unit(
        name=CONSOLE,
        text=f"""\
# Written by `daybreak systemd install`. Changes of your own belong into a drop-in: systemctl edit {CONSOLE}
# Its user is made once: useradd --system --no-create-home --shell /usr/sbin/nologin --gid {where.group} {CONSOLE_USER}

[Unit]
Description=Daybreak: the console
# It is there without the runner as well, and says that nothing can be asked of it.
After=network.target {SERVICE}

[Service]
Type=notify
NotifyAccess=main
User={CONSOLE_USER}
Group={where.group}
# As root: the folder of its own database lies in the state folder, which it may only read.
ExecStartPre=+{install}
ExecStart={_command(where, "serve", "--only", "console")}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=10
WatchdogSec=3min
TimeoutStopSec=15
MemoryMax=256M
TasksMax=128
# A crowd that looks must not slow a backup.
Nice=10
CPUWeight=25
UMask=0077
ReadWritePaths={_path(where.console)}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
""",
    )


def timer_units(where: Installed, plans: Iterable[Timed]) -> tuple[Unit, ...]:
    """A service and a timer for every plan: instead of the scheduler, or beside it, since a slot is taken once."""
    units: list[Unit] = []
    for timed in plans:
        name = f"daybreak-{timed.kind}-{timed.plan}"
        first, second = on_calendar(timed)
        service = f"""\
# Written by `daybreak systemd install --timers`. Changes of your own belong into a drop-in:
# systemctl edit {name}.service

[Unit]
Description=Daybreak: {timed}
Wants=network-online.target
After=network-online.target time-sync.target docker.service podman.socket
{_after_disks(where)}

[Service]
Type=oneshot
ExecStart={_command(where, *timed.words, "--slot", "now", "--trigger", "timer")}
TimeoutStartSec=infinity
# A restic or pg_restore that the kernel kills for memory is reported by the run.
OOMPolicy=continue
{_hardening(where)}"""
        timer = f"""\
# Written by `daybreak systemd install --timers`.

[Unit]
Description=When {timed} is due

[Timer]
OnCalendar={first}
# On the night when the clocks go forward, the time above may not exist, and systemd leaves that whole day out; an hour
# later is there every night. Where the slot was taken by then, this second call ends at once with "already done".
OnCalendar={second}
# What was missed while the host was down is made up for at its start.
Persistent=yes
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
        units += [Unit(name=f"{name}.service", text=service), Unit(name=f"{name}.timer", text=timer)]
    return tuple(units)


def on_calendar(timed: Timed) -> tuple[str, str]:
    """A schedule as a timer says it, and the same an hour later. Raise UsageError."""
    found = _CLOCK.fullmatch(parse_spec(timed.schedule.spec))
    if found is None:
        raise UsageError(
            f"a timer cannot say when {timed} is due: {timed.schedule.spec!r}",
            hint='write it as "02:00" or "Sun 02:00", or let `daybreak serve` begin it',
        )
    minute, hour = int(found["minute"]), int(found["hour"])
    days = None if found["days"] == "*" else _days(found["days"])
    later = days if days is None or hour + 1 < len(_HOURS) else [(day + 1) % 7 for day in days]
    zone = timed.schedule.timezone
    return _event(days, hour, minute, zone), _event(later, (hour + 1) % len(_HOURS), minute, zone)


def _event(days: Sequence[int] | None, hour: int, minute: int, zone: str) -> str:
    named = "" if days is None else ",".join(_DAYS[day] for day in sorted(set(days))) + " "
    return f"{named}*-*-* {hour:02}:{minute:02}:00 {zone}"


def _days(text: str) -> list[int]:
    """`1-5`, `0,6` as days, Sunday is 0; 7 is Sunday, too."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += [day % 7 for day in range(int(first), int(last or first) + 1)]
    return found


def _command(where: Installed, *words: str) -> str:
    return " ".join(_word(one) for one in (*where.program, "--config", str(where.config), *words))


def _after_disks(where: Installed) -> str:
    """Wait for the disks that runs write to: one that is late at the host's start (nofail, NFS) would hide their work.

    One that fails or is not there keeps nothing waiting: all else is backed up, and told, all the same.
    """
    places = dict.fromkeys(place for one in where.folders for place in (one, *one.parents) if place != place.parent)
    units = " ".join(f"{_escaped(place)}.mount" for place in places)
    return "# And the disks below these folders, where they are mounted." + (f"\nAfter={units}" if units else "")


def _escaped(path: Path) -> str:
    """A path as the name of a unit has it: `systemd-escape --path`."""
    letters = str(path).strip("/").encode()
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_."
    name = ["-" if one == ord("/") else chr(one) if one in plain else f"\\x{one:02x}" for one in letters]
    return "".join(["\\x2e", *name[1:]] if letters.startswith(b".") else name)


def _word(text: str) -> str:
    """A word of a command line or path as systemd reads it."""
    text = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def _path(path: Path) -> str:
    """A path of a list of paths; one that is not there is left out instead of being the end of the service."""
    text = str(path).replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f"-{text}" if _PLAIN.fullmatch(text) else f'"-{text}"'


def _hardening(where: Installed) -> str:
    folders = "\n".join(f"ReadWritePaths={_path(one)}" for one in dict.fromkeys(where.folders))
    podman = "ReadWritePaths=-/var/lib/containers\n" if where.podman else ""
    return f"""\
UMask=0007
CacheDirectory=daybreak
Environment=XDG_CACHE_HOME=/var/cache/daybreak

# What a run may write: the folders of archives, of repositories on this host and of the metrics, the state folder,
{folders}
{podman}\
# the folder of the container sockets (/run/docker.sock, /run/podman/podman.sock): to name a socket itself would hold on
# to the one of now, and docker makes a new one when it is restarted;
ReadWritePaths=/run
# and /tmp: a private one would be taken away at a restart, from under the runs that go on.
ReadWritePaths=/tmp /var/tmp
ProtectSystem=strict
ProtectHome=read-only
NoNewPrivileges=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
# RestrictSUIDSGID is left out: shared folders are made with mode 2770, so that what is in them keeps the group.
{_PODMAN if where.podman else _STRICT}"""


_STRICT: Final = """\
ProtectKernelModules=yes
ProtectControlGroups=yes
PrivateDevices=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# root reads and shares files of others, ends its own programs, becomes another user for the server of a drill, which
# PostgreSQL wants, and nothing else.
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL
CapabilityBoundingSet=CAP_SETUID CAP_SETGID
"""
_PODMAN: Final = """\
# podman enters the container itself: it needs namespaces, control groups, devices and root's capabilities. Where a
# container here is docker's, say so in the configuration (runtime = "docker" beside it): this unit is stricter then.
"""
