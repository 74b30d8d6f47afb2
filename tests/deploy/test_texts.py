"""Authorized keys, workflows for other names, and the service: what is written, and what is refused in words."""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from daybreak.deploy.keys import key_line, with_keys
from daybreak.deploy.pieces import Folder, Keys, Private, Service, Text
from daybreak.deploy.server import Outcome, walk
from daybreak.deploy.workflows import workflows
from daybreak.errors import ConfigError
from daybreak.model import BackupPlan, Database, RefreshPlan, Schedule
from daybreak.server import ServerKey


def public(kind: str = "ssh-ed25519", comment: str = "github", fill: bytes = b"k") -> str:
    blob = len(kind).to_bytes(4, "big") + kind.encode() + fill * 40
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".strip()


def line(text: str, program: str = "/usr/local/bin/daybreak") -> str:
    return key_line(text, ["backup:nightly"], program=Path(program), configuration=Path("/etc/d/d.toml"))


def test_a_line_has_the_forced_command_before_the_key() -> None:
    command = "/usr/local/bin/daybreak --config /etc/d/d.toml gate backup:nightly"
    assert line(public() + "\n") == f'restrict,command="{command}" {public()}'
    assert line(public(comment="")).endswith(public(comment=""))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        f'command="id" {public()}',
        f"{public()}\n{public(fill=b'x')}",
        public(kind="ssh-dss"),
        public().replace("ssh-ed25519 ", "ssh-rsa "),  # it says another kind inside
        public(comment='" id'),
        "ssh-ed25519 " + "!" * 60,
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not one public key"):
        line(text)


@pytest.mark.parametrize("program", ["/opt/my tools/daybreak", '/x"y', "/x$(id)", "/x'y"])
def test_a_program_that_a_shell_would_read_otherwise_is_refused(program: str) -> None:
    with pytest.raises(ConfigError, match="cannot stand in a forced command"):
        line(public(), program)


def test_ours_are_replaced_everybody_elses_stay() -> None:
    theirs = f'# mine\n{public(fill=b"p", comment="a person")}\n\ncommand="rrsync /x" {public(fill=b"r")}\n'
    first = with_keys(theirs, [line(public())])
    assert first == theirs + line(public()) + "\n"
    assert with_keys(first, [line(public())]) == first
    changed = with_keys(first, [line(public(fill=b"n"))])  # a new key: the old one goes
    assert changed == theirs + line(public(fill=b"n")) + "\n"
    assert with_keys(changed, []) == theirs


@pytest.mark.parametrize("before", ["", "restrict ", 'from="10.0.0.0/8",no-pty ', "  "])
def test_the_same_key_with_more_rights_goes(before: str) -> None:
    found = with_keys(f"{before}{public(comment='old')}\n# {public()}\n", [line(public())])
    assert found == f"# {public()}\n{line(public())}\n"


SHOP = Database(name="shop", conninfo={"dbname": "shop"})
TEST = Database(name="test", conninfo={"dbname": "test"})


def plans(spec: str, trigger: str | None = "github") -> tuple[BackupPlan, RefreshPlan]:
    schedule = Schedule(spec=spec, timezone="Europe/Berlin", trigger=trigger)
    backup = BackupPlan(name="hourly", database=SHOP, archive=Path("/b/shop.dump"), schedule=schedule)
    return backup, RefreshPlan(name="daily", backup=backup, target=TEST, schedule=schedule)


def test_another_projects_workflows_have_its_names() -> None:
    backup, refresh = plans("30 */2 * * mon-fri")
    found = workflows([backup], [refresh], {"refresh:daily": Path("/srv/refresh.sh")}, minutes=90)
    assert set(found) == {"db-backup-hourly.yml", "db-refresh-test-daily.yml"}
    first, second = (YAML(typ="safe", pure=True).load(text) for text in found.values())
    assert first["on"]["schedule"] == [{"cron": "30 */2 * * mon-fri", "timezone": "Europe/Berlin"}]
    assert first["concurrency"]["group"] == second["concurrency"]["group"] == "db-shop"
    assert " backup:hourly </dev/null" in first["jobs"]["backup"]["steps"][0]["run"]
    assert " /srv/refresh.sh </dev/null" in second["jobs"]["refresh"]["steps"][0]["run"]
    assert second["jobs"]["refresh"]["timeout-minutes"] == 90
    assert not any("@" in text.replace("USER@$SERVER", "") for text in found.values())


def test_a_plan_that_github_is_not_expected_for_has_none() -> None:
    backup, refresh = plans("02:00", trigger=None)
    assert workflows([backup], [refresh], {}, minutes=45) == {}


@pytest.mark.parametrize("spec", ["0 2 L * *", "0 2 * * 5#3", "0 2 * * 5L"])
def test_a_schedule_that_github_cannot_read_is_named(spec: str) -> None:
    backup, _ = plans(spec)
    with pytest.raises(ConfigError, match=r"GitHub cannot read the schedule of backup:hourly"):
        workflows([backup], [], {}, minutes=45)


def test_a_service_is_enabled_and_started_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A systemctl that keeps what it was told stands for systemd."""
    fake = tmp_path / "systemctl"
    fake.write_text(
        f"""#!/bin/sh
        cd '{tmp_path}'
        echo "$*" >>asked
        case $1 in
        enable) touch on ;;
        is-enabled) [ -e on ] && echo enabled || {{ echo disabled; exit 1; }} ;;
        is-active) [ -e on ] && echo active || {{ echo inactive; exit 3; }} ;;
        esac
        """
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    service = Service(name="daybreak.service", system=tmp_path)
    assert service.look() == "is disabled and inactive"
    service.make()
    assert service.look() == ""
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [one for one in asked if not one.startswith(("is-", "show"))] == [
        "daemon-reload",
        "enable --now daybreak.service",
    ]
    assert Service(name="daybreak.service", system=tmp_path / "no-systemd").look() == ""


def test_a_service_that_runs_by_an_older_unit_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit that was just replaced says nothing to the service that runs."""
    fake = tmp_path / "systemctl"
    fake.write_text(
        f"""#!/bin/sh
cd {tmp_path}; echo "$*" >>asked
case $1 in
is-enabled) echo enabled ;;
is-active) echo active ;;
show) [ -e read ] && echo no || echo yes ;;
daemon-reload) touch read ;;
esac
"""
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    service = Service(name="daybreak.service", system=tmp_path)
    assert service.look() == "runs by its unit of before"
    service.make()
    assert service.look() == ""
    asked = (tmp_path / "asked").read_text().splitlines()
    changing = [one for one in asked if one.split()[0] not in {"is-enabled", "is-active", "show"}]
    assert changing == ["daemon-reload", "enable --now daybreak.service", "try-restart daybreak.service"]


def test_a_masked_unit_stays_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`systemctl mask` is a person's word that it shall not run."""
    fake = tmp_path / "systemctl"
    fake.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked; [ "$1" != is-enabled ] || echo masked\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    unit = tmp_path / "daybreak.service"
    unit.symlink_to("/dev/null")
    parts = [Text(path=unit, content=b"[Unit]\n", mode=0o644), Service(name=unit.name, system=tmp_path)]
    assert [one.found for one in walk(parts, make=False)] == ["is masked", "is masked and unknown"]
    for result in walk(parts, make=True):
        assert result.outcome is Outcome.BY_HAND
        assert result.found.startswith("daybreak.service is masked")
        assert result.hint.startswith("systemctl unmask daybreak.service")
    assert unit.readlink() == Path("/dev/null")
    assert {one.split()[0] for one in (tmp_path / "asked").read_text().splitlines()} == {"is-enabled", "is-active"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders away")
def test_the_umask_of_root_does_not_close_the_way_to_what_is_shared(tmp_path: Path) -> None:
    """With 077, /var/backups/genji would be root's alone, and the group could not reach the folder in it."""
    public_key = tmp_path / "key.pub"
    public_key.write_text(public())
    keys = Keys(
        user="root",
        keys=(ServerKey(file=public_key, may=("backup:nightly",)),),
        program=Path("/usr/bin/daybreak"),
        configuration=Path("/etc/daybreak/daybreak.toml"),
        path=tmp_path / "ssh/keys/deploy",
    )
    before = os.umask(0o077)
    try:
        found = walk([Folder(path=tmp_path / "backups/genji/postgres", mode=0o2770), keys], make=True)
    finally:
        os.umask(before)
    assert [one.outcome for one in found] == [Outcome.MADE, Outcome.MADE]
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o7777 for name in ("backups", "backups/genji", "ssh", "ssh/keys")
    }
    assert set(modes.values()) == {0o755}, modes  # sshd reads keys as the user who comes
    assert (tmp_path / "backups/genji/postgres").stat().st_mode & 0o7777 == 0o2770


@pytest.mark.skipif(os.geteuid() != 0, reason="what is written is root's")
def test_the_command_that_writes_a_missing_secret_works_as_it_is_printed(tmp_path: Path) -> None:
    """In a folder that is not there yet, with a blank in its name."""
    secret = Private(path=tmp_path / "my secrets/r2.password", holds="the password of repository r2")
    result = walk([secret], make=True)[0]
    assert result.outcome is Outcome.BY_HAND
    sudo, *words = shlex.split(result.hint.removeprefix("write it: "))
    assert sudo == "sudo"
    subprocess.run(words, input=b"a password", check=True, timeout=30)
    assert secret.path.read_bytes() == b"a password"
    assert walk([secret], make=False)[0].outcome is Outcome.THERE
