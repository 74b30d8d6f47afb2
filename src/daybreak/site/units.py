"""The units of this host, from its configuration. Dials nobody and opens no catalog."""

from __future__ import annotations

import contextlib
import grp
import pwd
import shlex
import shutil
import sys
from pathlib import Path

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


def wants_user(found: tuple[Unit, ...]) -> list[str]:
    """The command that makes the console's user, where a unit wants him and he is not there."""
    console = next((unit for unit in found if unit.name == CONSOLE), None)
    if console is None:
        return []
    try:
        pwd.getpwnam(CONSOLE_USER)
    except KeyError:
        group = next(line[6:] for line in console.text.splitlines() if line.startswith("Group="))
        return [f"useradd --system --no-create-home --shell /usr/sbin/nologin --gid {group} {CONSOLE_USER}"]
    return []


def _program() -> tuple[str, ...]:
    """How Daybreak is called by its full path: as now where that is a program, else by this Python."""
    called = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "daybreak" else None
    return (str(Path(called).absolute()),) if called else (sys.executable, "-P", "-m", "daybreak.cli.main")


def _group(settings: Settings, state: Path) -> str:
    """The group whose members may read the state folder and ask the runner."""
    if settings.server is not None:
        return settings.server.group
    with contextlib.suppress(OSError, KeyError):
        return grp.getgrgid(state.stat().st_gid).gr_name
    return GROUP


def _is_podman_here(settings: Settings) -> bool:
    """Whether a container on this host may be podman's: said so, or podman is here, maybe under docker's name."""
    here = [one.place.runtime for one in settings.databases.values() if one.place.container and one.place.ssh is None]
    return "podman" in here or ("" in here and shutil.which("podman") is not None)
