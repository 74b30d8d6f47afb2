"""G5: pieces are broken one by one, and each is found by its id, with what mends it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from installation import Installation, wait_for
from webhook import Hook

if TYPE_CHECKING:
    from conftest import Server

ROLE = "doctor_reads"
#: What an installation that is well is still told: the tools of the tests are below the floors, dev is new.
EXPECTED = {
    "server.version",
    "client.version",
    "refresh.note",
    "plan.last_success",
    "database.identity",
    "archive.mode",
}


def examine(site: Installation, *words: str) -> dict[str, Any]:
    answer = site.call("doctor", *words, "--json")
    told = answer.json
    assert answer.code == (0 if told["well"] else 1), answer.out
    for one in told["findings"]:
        assert set(one) == {"id", "subject", "severity", "finding", "fix"}
        assert one["severity"] == "ok" or one["fix"], one
    assert "canary" not in answer.out + answer.err
    return told


def ill(told: dict[str, Any], severity: str = "error") -> dict[str, str]:
    """id -> what was found, of one severity."""
    return {
        one["id"]: f"{one['subject']}: {one['finding']} → {one['fix']}"
        for one in told["findings"]
        if one["severity"] == severity
    }


def test_an_installation_that_is_well(site: Installation) -> None:
    told = examine(site)
    assert ill(told) == {}
    assert told["well"]
    assert set(ill(told, "warning")) <= EXPECTED
    ids = {one["id"] for one in told["findings"]}
    assert ids >= {
        "config.mode",
        "clock",
        "zone_data",
        "state.folder",
        "state.room",
        "floors",
        "alerts.configured",
        "alerts.address",
        "database.reachable",
        "database.clock",
        "database.identity",
        "server.version",
        "client.version",
        "role.reads_all",
        "role.row_security",
        "role.large_objects",
        "archive.folder",
        "archive.mode",
        "archive.room",
        "archive.lock",
        "archive.manifest",
        "restic.version",
        "repository.reachable",
        "repository.format",
        "repository.locks",
        "repository.keep",
        "refresh.rehearsal",
        "plan.schedule",
        "plan.last_success",
    }
    tonight = examine(site, "--tonight")
    assert {one["id"] for one in tonight["findings"]} < ids
    assert site.call("doctor", "--tonight").out.splitlines()[-1].startswith("tonight will work: ")
    before = sorted(site.folder.rglob("*"))
    examine(site)
    assert [path for path in sorted(site.folder.rglob("*")) if "cache" not in str(path)] == [
        path for path in before if "cache" not in str(path)
    ]


def config_is_open(site: Installation, _prod: tuple[Server, str]) -> None:
    site.file.chmod(0o666)


def role_reads_not_all(_site: Installation, prod: tuple[Server, str]) -> None:
    prod[0].psql(f"REVOKE pg_read_all_data FROM {ROLE}")


def row_security_hides(_site: Installation, prod: tuple[Server, str]) -> None:
    prod[0].psql("ALTER TABLE account ENABLE ROW LEVEL SECURITY", prod[1])


def somebody_elses_large_object(_site: Installation, prod: tuple[Server, str]) -> None:
    prod[0].psql("SELECT lo_from_bytea(0, 'x')", prod[1])


def another_database_answers(site: Installation, _prod: tuple[Server, str]) -> None:
    write(site, "UPDATE databases SET oid = oid + 1 WHERE name = 'prod'")


def server_is_gone(site: Installation, _prod: tuple[Server, str]) -> None:
    site.configure(database={"url": "postgresql://nobody@127.0.0.1:9/nothing"})


def folder_is_open(site: Installation, _prod: tuple[Server, str]) -> None:
    site.backups.chmod(0o2777)


def folder_is_gone(site: Installation, _prod: tuple[Server, str]) -> None:
    shutil.rmtree(site.backups)


def archive_is_gone(site: Installation, _prod: tuple[Server, str]) -> None:
    site.archive.unlink()


def archive_is_cut(site: Installation, _prod: tuple[Server, str]) -> None:
    site.archive.write_bytes(site.archive.read_bytes()[:-1])


def no_room(site: Installation, _prod: tuple[Server, str]) -> None:
    write(site, "UPDATE archives SET size_bytes = 900000000000000")


def password_is_open(site: Installation, _prod: tuple[Server, str]) -> None:
    (site.folder / "repository.password").chmod(0o644)


def password_is_wrong(site: Installation, _prod: tuple[Server, str]) -> None:
    (site.folder / "repository.password").write_text("canary-wrong-one\n")


def repository_is_gone(site: Installation, _prod: tuple[Server, str]) -> None:
    shutil.rmtree(site.folder / "repository")


def restic_is_missing(site: Installation, _prod: tuple[Server, str]) -> None:
    site.file.write_text(site.file.read_text().replace('restic = "', 'restic = "/nowhere'))


def clock_was_set_back(site: Installation, _prod: tuple[Server, str]) -> None:
    later = (datetime.now(UTC) + timedelta(hours=3)).isoformat(timespec="microseconds")
    write(site, f"UPDATE runs SET requested_at = '{later}'")  # noqa: S608 -- an instant of ours


def last_success_is_old(site: Installation, _prod: tuple[Server, str]) -> None:
    before = (datetime.now(UTC) - timedelta(days=4)).isoformat(timespec="microseconds")
    write(site, f"UPDATE runs SET ended_at = '{before}', requested_at = '{before}'")  # noqa: S608 -- see above


def last_run_failed(site: Installation, _prod: tuple[Server, str]) -> None:
    site.fake_dump("exit 1")
    site.backup(expect=11)
    site.real_dump()


def address_of_alerts_is_gone(site: Installation, _prod: tuple[Server, str]) -> None:
    (site.folder / "here.url").unlink()


def target_is_production(site: Installation, prod: tuple[Server, str]) -> None:
    text = site.file.read_text()
    start = text.index("[databases.dev]\nurl = ")
    end = text.index("\n", start + 18)
    site.file.write_text(text[:start] + f'[databases.dev]\nurl = "{prod[0].url(prod[1])}"' + text[end:])


BREAKS: list[tuple[Callable[[Installation, Any], None], str, str]] = [
    (config_is_open, "config.mode", "chmod o-w"),
    (role_reads_not_all, "role.reads_all", 'GRANT pg_read_all_data TO "doctor_reads"'),
    (row_security_hides, "role.row_security", 'ALTER ROLE "doctor_reads" BYPASSRLS'),
    (somebody_elses_large_object, "role.large_objects", "GRANT "),
    (another_database_answers, "database.identity", "daybreak enrol prod"),
    (server_is_gone, "database.reachable", "is the server running"),
    (folder_is_open, "archive.mode", "chmod 2770"),
    (folder_is_gone, "archive.folder", "install -d -m 2770"),
    (archive_is_gone, "archive.manifest", "daybreak backup nightly"),
    (archive_is_cut, "archive.manifest", "daybreak archive read"),
    (no_room, "archive.room", "make room"),
    (password_is_open, "repository.reachable", "chmod o="),
    (password_is_wrong, "repository.reachable", ""),
    (repository_is_gone, "repository.reachable", ""),
    (restic_is_missing, "restic.version", ""),
    (clock_was_set_back, "clock", "timedatectl"),
    (last_success_is_old, "plan.last_success", "daybreak backup nightly"),
    (last_run_failed, "plan.failed", ""),
    (address_of_alerts_is_gone, "alerts.address", "make it"),
    (target_is_production, "refresh.rehearsal", "databases.dev"),
]


@pytest.mark.parametrize(("break_it", "id_", "fix"), BREAKS, ids=[one[0].__name__ for one in BREAKS])
def test_g5_one_piece_is_broken(
    site: Installation,
    prod: tuple[Server, str],
    break_it: Callable[[Installation, Any], None],
    id_: str,
    fix: str,
) -> None:
    break_it(site, prod)
    told = examine(site)
    found = ill(told)
    assert not told["well"]
    assert id_ in found, found
    assert fix in found[id_].partition(" → ")[2]


def test_a_lock_that_somebody_left_in_a_repository(site: Installation, restic: Path) -> None:
    """A lock of a dead process, older than restic's own limit, by a wrapped restic that tells it so."""
    wrapper = site.folder / "old-lock"
    old = (datetime.now(UTC) - timedelta(hours=5)).isoformat()
    lock = f'{{"time": "{old}", "exclusive": true, "hostname": "elsewhere", "username": "u", "pid": 4711}}'
    wrapper.write_text(
        f"#!/bin/sh\ncase \"$*\" in *'list locks'*) echo {'ab' * 32};; *'cat lock'*) echo '{lock}';; "
        f'*) exec {restic} "$@";; esac\n'
    )
    wrapper.chmod(0o755)
    site.file.write_text(site.file.read_text().replace(f'restic = "{restic}"', f'restic = "{wrapper}"'))
    found = ill(examine(site))
    assert "process 4711 of elsewhere has held it for 5 h 00 m" in found["repository.locks"]


def test_a_repository_of_the_old_format(site: Installation, restic: Path) -> None:
    shutil.rmtree(site.folder / "repository")
    words = [restic, "-r", site.folder / "repository", "init", "--repository-version=1"]
    env = {"RESTIC_PASSWORD_FILE": str(site.folder / "repository.password"), "HOME": str(site.folder)}
    subprocess.run(words, env=env, check=True, capture_output=True, timeout=60)
    told = examine(site)
    assert "upgrade_repo_v2" in ill(told, "warning")["repository.format"]


def test_a_message_that_did_not_arrive_and_nobody_to_tell(site: Installation, hook: Hook) -> None:
    hook.answers = "500"
    site.fake_dump("exit 1")
    site.backup(expect=11)
    site.real_dump()
    assert "500" in ill(examine(site))["alerts.delivered"]
    text = site.file.read_text()
    site.file.write_text(text[: text.index("[alerts.here]")])
    assert "nobody is told" in ill(examine(site), "warning")["alerts.configured"]


def test_a_held_target_and_a_busy_archive_are_told(site: Installation) -> None:
    site.json("hold", "dev", "--why", "a demo")
    site.fake_dump('sleep 20; exec "$real" "$@"')
    with site.start("backup") as running:
        wait_for(site.staged, what="the dump")
        warned = ill(examine(site), "warning")
        running.kill(group=True)
    assert "a demo" in warned["target.held"]
    assert "a run holds the archive just now" in warned["archive.lock"]


def test_what_others_may_see_is_to_be_mended_and_lets_tonight_work(site: Installation, hook: Hook) -> None:
    site.backups.chmod(0o2777)
    assert site.call("doctor").code == 1
    answer = site.call("doctor", "--tonight", "--alert")
    assert answer.code == 0, answer.out
    assert "! archive.mode nightly: " in answer.out
    assert hook.titles == []


def test_tonight_is_told_once_and_when_it_is_over(site: Installation, hook: Hook) -> None:
    password = site.folder / "repository.password"
    password.chmod(0o644)
    for _ in range(2):
        assert site.call("doctor", "--tonight", "--alert").code == 1
    assert hook.titles == ["one of nightly, weekly will fail tonight"]
    assert "repository.reachable local: " in hook.received[0][2]["message"]
    site.json("repair")  # what is computed at the end of a run does not end it
    password.chmod(0o600)
    answer = site.call("doctor", "--tonight", "--alert")
    assert answer.code == 0, answer.out
    assert hook.titles[1:] == ["one of nightly, weekly has recovered"]
    assert site.json("doctor", "--alert", expect=2)["code"] == "UsageError"


def test_the_look_at_tonight_has_a_schedule_and_leaves_a_run(site: Installation, hook: Hook) -> None:
    assert site.json("doctor", "--tonight", "--alert", "--slot", "now", expect=2)["code"] == "UsageError"  # no schedule
    site.file.write_text('doctor = "* * * * *"\n' + site.file.read_text())
    (plan,) = [one for one in site.json("schedule")["plans"] if one["kind"] == "doctor"]
    assert (plan["plan"], plan["schedule"]) == ("tonight", "* * * * *")
    (site.folder / "repository.password").chmod(0o644)
    site.json("doctor", "--tonight", "--alert", "--slot", "now", "--trigger", "scheduler", expect=1)
    assert hook.titles == ["one of nightly, weekly will fail tonight"]
    (run,) = [one for one in site.json("runs")["runs"] if one["kind"] == "doctor"]
    assert (run["state"], run["trigger"], run["well"]) == ("succeeded", "scheduler", False)
    assert "repository.reachable" in {one["id"] for one in run["findings"] if one["severity"] == "error"}
    slot = run["slot"]
    again = site.json("doctor", "--tonight", "--alert", "--slot", slot)
    assert again["state"] == "skipped"
    assert len(hook.titles) == 1
    assert site.json("doctor", "--slot", "now", expect=2)["code"] == "UsageError"


def write(site: Installation, sql: str) -> None:
    connection = sqlite3.connect(site.state / "catalog.sqlite3")
    with connection:
        connection.execute(sql)
    connection.close()
