"""The units: what systemd says about them, what they let a run write, and what a service tells systemd."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from slot_world import WEEKLY, configuration

from daybreak.cli import main
from daybreak.console.listening import NICE
from daybreak.errors import UsageError
from daybreak.model import Schedule, Timed
from daybreak.systemd.notify import Supervisor
from daybreak.systemd.units import Installed, on_calendar, scheduler_units, timer_units

WHERE = Installed(
    program=("/bin/true",),
    config=Path("/etc/daybreak/with a blank 100%.toml"),
    folders=(Path("/var/backups/genji/postgres"), Path("/srv/with a blank"), Path("/var/lib/daybreak")),
)
NIGHTLY = Timed(kind="backup", plan="nightly", schedule=Schedule(spec="02:00", timezone="America/Chicago"))


def analyze(*words: object, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["systemd-analyze", *map(str, words)],  # noqa: S607 -- whichever systemd this host has
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def call(*words: str) -> int:
    return main.run(list(words))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "daybreak.toml"
    path.write_text(configuration(tmp_path) + WEEKLY)
    return path


@pytest.mark.parametrize("podman", [False, True])
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path, podman: bool) -> None:  # noqa: FBT001 -- both
    where = Installed(program=WHERE.program, config=WHERE.config, folders=WHERE.folders, podman=podman)
    units = [*scheduler_units(where), *timer_units(where, [NIGHTLY])]
    for unit in units:
        (tmp_path / unit.name).write_text(unit.text)
    said = analyze("verify", *(tmp_path / unit.name for unit in units), env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    assert said.strip() == ""


def test_a_run_waits_for_the_disks_that_it_writes_to(tmp_path: Path) -> None:
    """One that is mounted late at the host's start hid what a missed backup, made up for at once, had published."""
    folders = tuple(map(Path, ("/mnt/usb disk/new-backups", "/srv/.hidden/ä%", "/var/lib/daybreak")))
    where = Installed(program=WHERE.program, config=WHERE.config, folders=folders)
    wanted = {place for one in folders for place in (one, *one.parents) if place != Path("/")}
    names = subprocess.run(
        ["systemd-escape", "--path", "--suffix=mount", *map(str, wanted)],  # noqa: S607 -- whichever this host has
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(names) == len(wanted)
    for unit in (scheduler_units(where)[0], timer_units(where, [NIGHTLY])[0]):
        after = " ".join(re.findall(r"^After=(.+)$", unit.text, re.MULTILINE)).split()
        assert set(names) <= set(after)
        assert not re.search("^Requires", unit.text, re.MULTILINE)  # a disk that fails keeps nothing else waiting
        (tmp_path / unit.name).write_text(unit.text)
        said = analyze("verify", tmp_path / unit.name, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
        assert said.strip() == ""


def test_a_fault_in_a_unit_would_be_found(tmp_path: Path) -> None:
    unit, _ = scheduler_units(WHERE)
    (tmp_path / unit.name).write_text(unit.text.replace("KillMode=process", "KillMod=process"))
    said = analyze("verify", tmp_path / unit.name, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    assert "'KillMod'" in said


@pytest.mark.parametrize("timers", [False, True])
def test_the_exposure_is_what_it_was(tmp_path: Path, timers: bool) -> None:  # noqa: FBT001 -- both
    """Of 10; the rest is that it runs as root, on the network, and shares files with a group."""
    unit = timer_units(WHERE, [NIGHTLY])[0] if timers else scheduler_units(WHERE)[0]
    (tmp_path / unit.name).write_text(unit.text)
    said = analyze("security", "--offline=yes", "--threshold=40", tmp_path / unit.name)
    found = re.search(r"exposure level for .*: (\d+\.\d)", said)
    assert found is not None
    assert float(found[1]) <= 3.5


def test_the_console_has_a_user_of_its_own_and_writes_its_own_folder_alone(tmp_path: Path) -> None:
    _, unit = scheduler_units(WHERE)
    lines = unit.text.splitlines()
    assert (unit.name, "User=daybreak-console" in lines, "Group=daybreak" in lines) == (
        "daybreak-console.service",
        True,
        True,
    )
    assert [one for one in lines if one.startswith("ReadWritePaths=")] == ["ReadWritePaths=-/var/lib/daybreak/console"]
    assert 'ExecStart=/bin/true --config "/etc/daybreak/with a blank 100%%.toml" serve --only console' in lines
    assert f"Nice={NICE}" in lines
    (tmp_path / unit.name).write_text(unit.text)
    said = analyze("security", "--offline=yes", "--threshold=40", tmp_path / unit.name)
    found = re.search(r"exposure level for .*: (\d+\.\d)", said)
    assert found is not None
    assert float(found[1]) <= 2.0


def test_a_run_may_write_what_it_has_to_and_outlives_the_scheduler() -> None:
    unit, _ = scheduler_units(WHERE)
    lines = unit.text.splitlines()
    paths = " ".join(line.partition("=")[2] for line in lines if line.startswith("ReadWritePaths="))
    for path in ("-/var/backups/genji/postgres", '"-/srv/with a blank"', "-/var/lib/daybreak", "/run", "/tmp"):  # noqa: S108 -- that is the point
        assert path in paths
    kill = lines.index("KillMode=process")
    assert lines[kill - 1].startswith("#")
    assert "OOMPolicy=continue" in lines
    assert "/run/docker.sock" in unit.text
    for forbidden in ("PrivateTmp=yes", "RestrictSUIDSGID=yes", "RuntimeDirectory="):
        assert not any(line.startswith(forbidden) for line in lines)
    assert 'ExecStart=/bin/true --config "/etc/daybreak/with a blank 100%%.toml" serve --only runner' in lines


@pytest.mark.parametrize("timers", [(), ("--timers",)])
def test_a_run_may_write_repositories_of_this_host_and_the_metrics(
    tmp_path: Path, file: Path, timers: tuple[str, ...]
) -> None:
    """Below ProtectSystem=strict all else is read-only: each night off-site failed, but only where serve began it."""
    tables = 'password_file = "/etc/daybreak/pw"\n'
    file.write_text(
        f'metrics_file = "/var/lib/node_exporter/daybreak.prom"\n{file.read_text()}\n'
        f'[repositories.disk]\nurl = "/mnt/usb disk/restic"\n{tables}'
        f'[repositories.named]\nurl = "local:/srv/restic"\n{tables}[repositories.far]\nurl = "sftp:a@b:/r"\n{tables}'
    )
    to = tmp_path / "units"
    to.mkdir()
    assert call("--config", str(file), "systemd", "install", *timers, "--to", str(to)) == 0
    unit = to / ("daybreak-backup-nightly.service" if timers else "daybreak.service")
    lines = [line for line in unit.read_text().splitlines() if line.startswith("ReadWritePaths=")]
    for path in ('"-/mnt/usb disk/restic"', "-/srv/restic", "-/var/lib/node_exporter"):
        assert f"ReadWritePaths={path}" in lines


@pytest.mark.parametrize(
    ("spec", "first", "second"),
    [
        ("02:00", "*-*-* 02:00:00", "*-*-* 03:00:00"),
        ("Sun 02:00", "Sun *-*-* 02:00:00", "Sun *-*-* 03:00:00"),
        ("Sat-Sun 23:30", "Sun,Sat *-*-* 23:30:00", "Sun,Mon *-*-* 00:30:00"),
        ("23:30", "*-*-* 23:30:00", "*-*-* 00:30:00"),
        ("5 4 * * 1-5,7", "Sun,Mon,Tue,Wed,Thu,Fri *-*-* 04:05:00", "Sun,Mon,Tue,Wed,Thu,Fri *-*-* 05:05:00"),
    ],
)
def test_a_timer_has_its_time_and_one_an_hour_later(spec: str, first: str, second: str) -> None:
    timed = Timed(kind="backup", plan="nightly", schedule=Schedule(spec=spec, timezone="America/Chicago"))
    assert on_calendar(timed) == (f"{first} America/Chicago", f"{second} America/Chicago")
    for event in on_calendar(timed):
        analyze("calendar", event)


def test_on_the_night_when_the_clocks_go_forward_the_second_time_is_there() -> None:
    """T1: systemd leaves 02:00 out; 03:00 is the instant at which the slot is due."""
    weekly = Timed(kind="refresh", plan="weekly", schedule=Schedule(spec="Sun 02:00", timezone="America/Chicago"))
    base = "--base-time=2026-03-07 12:00:00 UTC"
    first, second = (analyze("calendar", base, one, env={"TZ": "UTC"}) for one in on_calendar(weekly))
    assert "Next elapse: Sun 2026-03-15 07:00:00 UTC" in first
    assert "Next elapse: Sun 2026-03-08 08:00:00 UTC" in second


@pytest.mark.parametrize("spec", ["*/10 * * * *", "0 2 1 * *", "0 2 * jan *", "0 2,3 * * *"])
def test_what_a_timer_cannot_say_is_refused(spec: str) -> None:
    timed = Timed(kind="backup", plan="nightly", schedule=Schedule(spec=spec, timezone="UTC"))
    with pytest.raises(UsageError, match="a timer cannot say") as caught:
        on_calendar(timed)
    assert "daybreak serve" in caught.value.hint


@pytest.mark.parametrize(
    ("installed", "runtime", "strict"),
    [
        (["docker"], "", 1),
        (["docker", "podman"], "", 0),  # podman-docker, or both of them
        (["docker", "podman"], "docker", 1),
        (["podman"], "", 0),
    ],
)
def test_a_unit_lets_podman_work_where_the_container_may_be_its_own(
    file: Path, monkeypatch: pytest.MonkeyPatch, installed: list[str], runtime: str, strict: int
) -> None:
    """podman enters a container by itself, which needs namespaces and root's capabilities."""
    for name in installed:
        (file.parent / name).write_text("#!/bin/sh\n")
        (file.parent / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(file.parent))
    said = f'runtime = "{runtime}"\n' if runtime else ""
    file.write_text(f'{file.read_text()}\n[databases.boxed]\ncontainer = "shop-db"\n{said}')
    to = file.parent / "units"
    to.mkdir()
    assert call("--config", str(file), "systemd", "install", "--to", str(to)) == 0
    unit = (to / "daybreak.service").read_text()
    assert unit.count("RestrictNamespaces=yes") == strict
    assert unit.count('runtime = "docker"') == 1 - strict  # what makes it strict stands where it is missed


def test_a_masked_unit_is_told_and_what_masks_it_stays_as_it_is(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`systemctl mask` links to /dev/null; root's chmod 0644 there takes /dev/null from everybody else."""
    touched: list[Path] = []
    monkeypatch.setattr(Path, "chmod", lambda path, _mode: touched.append(path))
    to = tmp_path / "units"
    to.mkdir()
    (to / "daybreak.service").symlink_to("/dev/null")
    assert call("--config", str(file), "systemd", "install", "--to", str(to)) == 3
    said = capsys.readouterr().err
    assert f"daybreak.service is masked by {to}/daybreak.service" in said
    assert "systemctl unmask daybreak.service" in said
    assert to / "daybreak.service" not in touched


@pytest.mark.parametrize("timers", [(), ("--timers",)])
def test_installing_twice_changes_nothing(
    tmp_path: Path, file: Path, timers: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "units"
    to.mkdir()
    words = ("--config", str(file), "systemd", "install", *timers, "--to", str(to))
    assert call(*words) == 0
    before = {path.name: (path.read_text(), path.stat().st_mtime_ns) for path in to.iterdir()}
    assert "systemctl daemon-reload && systemctl enable --now daybreak" in capsys.readouterr().out
    assert call(*words) == 0
    assert {path.name: (path.read_text(), path.stat().st_mtime_ns) for path in to.iterdir()} == before
    assert "as it was" in capsys.readouterr().out
    assert len(before) == (4 if timers else 2)
    assert call("--config", str(file), "systemd", "show", *timers) == 0
    shown = capsys.readouterr().out
    assert all(text.strip() in shown for text, _ in before.values())
    assert f"ReadWritePaths=-{tmp_path}/archives" in shown
    assert f"ReadWritePaths=-{tmp_path}/state" in shown


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of root")
def test_the_user_of_the_console_never_comes_into_the_group_of_root(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root, who called Daybreak before there was a group, made the state folder; secrets of root's are 0640 at most."""
    state, to = tmp_path / "state", tmp_path / "units"
    to.mkdir()
    file.chmod(0o600)
    assert call("--config", str(file), "console", "first") == 0
    assert state.stat().st_gid == 0
    capsys.readouterr()
    assert call("--config", str(file), "systemd", "install", "--to", str(to), "--json") == 0
    assert json.loads(capsys.readouterr().out)["first"] == [
        "groupadd --system daybreak",
        f"chgrp -R daybreak {state}",
        f"chgrp daybreak {file}",
        f"chmod g+r {file}",
        "useradd --system --no-create-home --shell /usr/sbin/nologin --gid daybreak daybreak-console",
        f"chown -R daybreak-console: {state}/console",
    ]
    assert "Group=daybreak" in (to / "daybreak-console.service").read_text().splitlines()


def test_a_folder_that_is_not_there_and_no_schedule_are_told(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--config", str(file), "systemd", "install", "--to", str(tmp_path / "nowhere")) == 3
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert f"install -d {tmp_path}/nowhere" in said
    file.write_text(re.sub(r"^(schedule|timezone) = .*\n", "", file.read_text(), flags=re.MULTILINE))
    assert call("--config", str(file), "systemd", "show") == 3
    assert "no plan" in capsys.readouterr().err


# -- what a service tells --------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A socket as systemd has one; gives what was told last."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield lambda: listening.recv(4096).decode()


def test_systemd_is_told_in_its_words(tmp_path: Path, systemd: Callable[[], str]) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "180000000", "WATCHDOG_PID": str(os.getpid())}
    supervisor = Supervisor(env)
    assert supervisor.patience == timedelta(minutes=3)
    supervisor.ready("next: backup\nnightly")
    assert systemd() == "READY=1\nSTATUS=next: backup nightly"
    supervisor.alive("x")
    assert systemd() == "WATCHDOG=1\nSTATUS=x"
    supervisor.reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", systemd())
    supervisor.stopping()
    assert systemd() == "STOPPING=1"


def test_without_systemd_nobody_is_told(tmp_path: Path) -> None:
    assert Supervisor({}).patience is None
    assert Supervisor({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).patience is None
    Supervisor({}).ready("x")
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("x")
