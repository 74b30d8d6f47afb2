"""The units of this host, from its configuration. Dials nobody and opens no catalog."""

from __future__ import annotations

import contextlib
import grp
import pwd
import shlex
import shutil
import stat
import sys
from pathlib import Path

from daybreak.catalog.folder import ACCOUNTS, is_our_own
from daybreak.config import Settings
from daybreak.errors import ConfigError
from daybreak.restic.folder import folder_of
from daybreak.site.timing import timed_plans
from daybreak.systemd.units import CONSOLE, CONSOLE_USER, GROUP, Installed, Unit, scheduler_units, timer_units


def units(settings: Settings, state: Path, *, timers: bool) -> tuple[Unit, ...]:
    """The services of serve, or a service and a timer for every plan. Raise ConfigError without a plan."""
    plans = timed_plans(settings)
    if not plans:
        raise ConfigError(
            f"no plan in {settings.path} has a schedule", hint='give one: schedule = "02:00" in [backups.NAME]'
        )
    written = [plan.archive.parent for plan in settings.backups.values()]
    written += [folder for one in settings.repositories.values() if (folder := folder_of(one.url))]
    written += [settings.metrics_file.parent] if settings.metrics_file else []
    where = Installed(
        program=_program(),
        config=settings.path.resolve(),
        folders=(*written, state),
        podman=_is_podman_here(settings),
        group=_group(settings, state),
        console=settings.console.state or state / "console",
    )
    return timer_units(where, plans) if timers else scheduler_units(where)


def install(found: tuple[Unit, ...], folder: Path) -> dict[str, bool]:
    """Write units into a folder; for each whether it was changed. Raise ConfigError."""
    changed: dict[str, bool] = {}
    for unit in found:
        path = folder / unit.name
        if path.exists() and not path.is_file():  # a link to /dev/null: what is written goes nowhere, chmod does not
            raise ConfigError(f"{unit.name} is masked by {path}", hint=f"systemctl unmask {unit.name}; then call again")
        try:
            changed[unit.name] = not path.exists() or path.read_text("utf-8", "replace") != unit.text
            if changed[unit.name]:
                path.write_text(unit.text, "utf-8")
                path.chmod(0o644)
        except OSError as error:
            hint = "be root, or name another folder with --to"
            if not folder.exists():
                hint = f"make it: install -d {shlex.quote(str(folder))}; or name another folder with --to"
            raise ConfigError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
    return changed


def to_do_first(found: tuple[Unit, ...], settings: Settings, state: Path) -> list[str]:
    """The commands that make what the console's unit stands on, where that is not as it should be."""
    console = next((unit for unit in found if unit.name == CONSOLE), None)
    if console is None:
        return []
    group = next(line[6:] for line in console.text.splitlines() if line.startswith("Group="))
    lines: list[str] = []
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        lines.append(f"groupadd --system {shlex.quote(group)}")
        gid = -1
    if not state.exists():
        lines.append(shlex.join(["install", "-d", "-m", "2770", "-g", group, str(state)]))
    elif state.stat().st_gid == 0 and is_our_own(state):  # made by root alone, before anybody had a say
        lines.append(shlex.join(["chgrp", "-R", group, str(state)]))
    status = settings.path.stat()
    if not status.st_mode & stat.S_IROTH:
        file = str(settings.path)
        lines += [] if status.st_gid == gid else [shlex.join(["chgrp", group, file])]
        lines += [] if status.st_mode & stat.S_IRGRP else [shlex.join(["chmod", "g+r", file])]
    uid = -1
    try:
        uid = pwd.getpwnam(CONSOLE_USER).pw_uid
    except KeyError:
        call = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "--gid", group, CONSOLE_USER]
        lines.append(shlex.join(call))
    own = settings.console.state or state / "console"
    with contextlib.suppress(OSError):  # not there yet
        files = [own, *own.iterdir()]
        # `daybreak console first` by root was first; a folder of other things is not given away
        if own / ACCOUNTS in files and any(one.stat().st_uid != uid for one in files):
            lines.append(shlex.join(["chown", "-R", f"{CONSOLE_USER}:", str(own)]))
    return lines


def _program() -> tuple[str, ...]:
    """How Daybreak is called by its full path: as now where that is a program, else by this Python."""
    called = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "daybreak" else None
    return (str(Path(called).absolute()),) if called else (sys.executable, "-P", "-m", "daybreak.cli.main")


def _group(settings: Settings, state: Path) -> str:
    """The group whose members may read the state folder and ask the runner; never root's, which may read secrets."""
    if settings.server is not None:
        return settings.server.group
    with contextlib.suppress(OSError, KeyError):
        if (gid := state.stat().st_gid) != 0:
            return grp.getgrgid(gid).gr_name
    return GROUP


def _is_podman_here(settings: Settings) -> bool:
    """Whether a container on this host may be podman's: said so, or podman is here, maybe under docker's name."""
    here = [one.place.runtime for one in settings.databases.values() if one.place.container and one.place.ssh is None]
    return "podman" in here or ("" in here and shutil.which("podman") is not None)
