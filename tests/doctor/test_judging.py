"""Judgements that need no broken machine: versions, clocks, mounts, room, zones, keys."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from daybreak.hosts.container import Mount
from daybreak.jobs.doctor import archives, floors, home, plans, repositories, servers
from daybreak.jobs.doctor.finding import Finding, Piece, Severity, is_ill, worst_first
from daybreak.model import BackupPlan, Database, RefreshPlan, Schedule

PIECE = Piece("some.piece", "nightly")
TODAY = date(2026, 11, 25)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "version", "severity", "said"),
    [
        ("client", "18.7", Severity.OK, "at or above the security floor 18.7"),
        ("client", "18.6", Severity.WARNING, "below 18.7 (CVE-2026-116314"),
        ("client", "17.9", Severity.WARNING, "below 17.12"),
        ("client", "17.12", Severity.OK, "17.12"),
        ("server", "16.15", Severity.OK, "16.15"),
        ("server", "16.14", Severity.WARNING, "below 16.15"),
        ("server", "14.25", Severity.WARNING, "no security fixes since 2026-11-12"),
        ("server", "12.22", Severity.WARNING, "no security fixes since 2024-11-21"),
        ("server", "19.0", Severity.OK, "nothing is known against it"),
    ],
)
def test_versions_against_floors(kind: str, version: str, severity: Severity, said: str) -> None:
    found = floors.judge(PIECE, kind, version, today=TODAY)
    assert (found.severity, said in found.text) == (severity, True), found


def test_the_floors_say_where_they_come_from_and_when() -> None:
    data = floors.known()
    looked_up = date.fromisoformat(data["looked_up"])
    for kind in ("client", "server"):
        one = data["postgresql"][kind]
        assert date.fromisoformat(one["published"]) <= looked_up
        assert one["source"]
        assert one["why"].startswith("CVE-")
        assert "looked up" in one["checked"]
        for major, floor in one["floors"].items():
            assert floor.partition(".")[0] == major
            assert major in data["postgresql"]["end_of_life"]
    assert floors.judge_age(PIECE, today=looked_up).severity is Severity.OK
    assert floors.judge_age(PIECE, today=looked_up + timedelta(days=300)).severity is Severity.WARNING
    assert floors.is_below("server", "16.9") == "16.15"
    assert floors.is_below("server", "16.15") == floors.is_below("server", "99.1") == ""


def test_clocks() -> None:
    for apart, severity in ((5, Severity.OK), (60, Severity.WARNING), (-900, Severity.ERROR)):
        assert servers.judge_clock(PIECE, NOW + timedelta(seconds=apart), NOW).severity is severity
    assert home.judge_clock(PIECE, NOW, NOW + timedelta(minutes=1)).severity is Severity.OK
    assert home.judge_clock(PIECE, NOW, NOW + timedelta(hours=3)).severity is Severity.ERROR
    assert home.judge_clock(PIECE, NOW, NOW + timedelta(days=3650)).severity is Severity.WARNING
    assert home.judge_clock(PIECE, datetime(1999, 1, 1, tzinfo=UTC), None).severity is Severity.ERROR


def test_mounts() -> None:
    folder = Path("/var/backups/shop")
    writable = Mount(source=PurePosixPath(folder), inside=PurePosixPath("/backups"), writable=True)
    read_only = Mount(source=PurePosixPath("/var/backups"), inside=PurePosixPath("/backups"), writable=False)
    judge = archives.judge_mounts
    assert judge(PIECE, (writable,), folder, is_target=True).severity is Severity.WARNING
    assert ":/backups:ro" in judge(PIECE, (writable,), folder, is_target=True).fix
    assert judge(PIECE, (writable,), folder, is_target=False).severity is Severity.OK
    assert judge(PIECE, (read_only,), folder, is_target=True).severity is Severity.OK
    assert judge(PIECE, (), folder, is_target=True).severity is Severity.WARNING
    assert judge(PIECE, (), folder, is_target=False).severity is Severity.OK


def test_room_and_modes(tmp_path: Path) -> None:
    for free, severity in ((99, Severity.ERROR), (250, Severity.WARNING), (300, Severity.OK)):
        assert archives.judge_room(PIECE, tmp_path, free, 100).severity is severity
    assert home.judge_state_room(PIECE, tmp_path, 10**6).severity is Severity.WARNING
    assert home.judge_state_room(PIECE, tmp_path, 10**9).severity is Severity.OK
    tmp_path.chmod(0o770)
    assert archives.judge_mode(PIECE, tmp_path).severity is Severity.WARNING  # the group is not handed on
    tmp_path.chmod(0o2770)
    assert archives.judge_mode(PIECE, tmp_path).severity is Severity.OK
    (tmp_path / "link").symlink_to("/nowhere")
    assert archives.judge_folder(PIECE, tmp_path / "link").severity is Severity.ERROR


def test_zone_data() -> None:
    chicago = Schedule(spec="02:00", timezone="America/Chicago")
    assert home.zone_data(PIECE, [chicago], year=2026).severity is Severity.OK
    assert home.zone_data(PIECE, [chicago], year=2040).severity is Severity.WARNING
    gone = home.zone_data(PIECE, [Schedule(spec="02:00", timezone="America/Atlantis")], year=2026)
    assert gone.severity is Severity.ERROR
    assert "tzdata" in gone.fix


def test_a_key_that_only_this_server_has() -> None:
    assert repositories.judge_key(PIECE, kept=True).severity is Severity.OK
    assert repositories.judge_key(PIECE, kept=False).severity is Severity.ERROR


def test_a_role_that_reads_every_table_of_today_only() -> None:
    rights = servers.Rights(role="r", superuser=False, reads_all=False)
    assert [one.severity for one in servers.judge_rights("prod", rights)] == [
        Severity.WARNING,
        Severity.OK,
        Severity.OK,
    ]
    many = servers.Rights(role="r", superuser=False, reads_all=True, unreadable=("a.b", "a.c", "a.d", "a.e"))
    assert "a.b, a.c, a.d and 1 more" in next(servers.judge_rights("prod", many)).text


def test_the_statement_for_a_role_can_be_typed_whatever_its_name() -> None:
    rights = servers.Rights(role="backup-user", superuser=False, reads_all=False, hidden=("a.b",), owners=("O'Neil",))
    assert [one.fix.partition(";")[0] for one in servers.judge_rights("prod", rights)] == [
        'GRANT pg_read_all_data TO "backup-user"',
        'ALTER ROLE "backup-user" BYPASSRLS',
        'GRANT "O\'Neil" TO "backup-user"',
    ]


def test_only_what_is_due_is_looked_at_tonight() -> None:
    database = Database(name="prod", conninfo={})
    nightly = BackupPlan(
        name="nightly", database=database, archive=Path("/x"), schedule=Schedule(spec="02:00", timezone="UTC")
    )
    weekly = RefreshPlan(
        name="weekly", backup=nightly, target=database, schedule=Schedule(spec="Sun 02:00", timezone="UTC")
    )
    by_hand = BackupPlan(name="by hand", database=database, archive=Path("/y"))
    assert plans.tonight([nightly, weekly, by_hand], NOW) == [nightly]  # a Wednesday
    assert plans.tonight([nightly, weekly, by_hand], NOW + timedelta(days=3)) == [nightly, weekly]
    assert plans.tonight([by_hand], NOW) == [by_hand]


def test_the_worst_comes_first() -> None:
    found: list[Finding] = [PIECE.ok("a"), PIECE.warning("b", "f"), PIECE.error("c", "f"), PIECE.ok("d")]
    assert [one.text for one in worst_first(found)] == ["c", "b", "a", "d"]
    assert is_ill(found)
    assert not is_ill(found[:2])
