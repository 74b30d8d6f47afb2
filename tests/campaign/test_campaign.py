"""The campaign in small, on real servers; and that it can fail: its looks see damage, half data, orphans, leftovers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import blows  # noqa: E402 -- bench/ is a folder of scripts, no package
import crowd  # noqa: E402 -- see above
import ground  # noqa: E402 -- see above
import invariants  # noqa: E402 -- see above
from blows import Field  # noqa: E402 -- see above
from crowd import Knock  # noqa: E402 -- see above

SEED = 20261122


@pytest.mark.timeout(900)  # two minutes; a busy machine is no fault
def test_a_small_campaign_sees_no_violation() -> None:
    done = subprocess.run(
        # clients that never pause would take the processors from every test beside this one
        [sys.executable, BENCH / "campaign.py", "--quick", "--seed", str(SEED), "--pause-ms", "100"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"--seed {SEED}" in done.stdout
    assert "found by reading the archive | 20 of 20" in done.stdout
    assert done.stdout.count("of them failed | 0 |") == 2
    assert "**Violations: none.**" in done.stdout


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    """Both servers, one refresh done, nothing running."""
    with ground.prepare("looks", 18, {"fsync": "off"}) as place:
        archive = place.archives / "genji.dump"
        config = place.config("looks", source=blows.SOURCE, target=blows.TARGET, archive=archive)
        made = Field(ground=place, config=config, archive=archive, chance=blows.random.Random(SEED))
        assert blows.begin(made).violations == []
        yield made


def test_a_damaged_archive_is_seen(field: Field) -> None:
    good = field.archive.read_bytes()
    manifest = field.archive.with_name("genji.dump.json")
    assert invariants.archive_faults(field.archive) == (False, [])
    assert not invariants.damage_is_found(field.archive, manifest)
    assert not invariants.pin_is_refused(field.archive)
    try:
        blows._replace(field.archive, good[:-1] + bytes([good[-1] ^ 1]))
        assert invariants.archive_faults(field.archive)[1]
        assert invariants.damage_is_found(field.archive, manifest)
        assert invariants.pin_is_refused(field.archive)
        blows._replace(field.archive, good[: len(good) // 2])
        assert invariants.archive_faults(field.archive)[1]
        field.archive.unlink()
        assert invariants.archive_faults(field.archive)[1] == ["genji.dump is gone"]
    finally:
        blows._replace(field.archive, good)


def test_a_manifest_that_waits_for_its_name_is_no_damage(field: Field) -> None:
    named = field.archive.with_name("genji.dump.json")
    kept = named.with_name("kept")
    named.rename(kept)
    try:
        assert invariants.archive_faults(field.archive) == (True, [])
    finally:
        kept.rename(named)


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM app.events WHERE id = 1",
        "UPDATE app.notes SET version = version - 1 WHERE id = 7",
        "DROP INDEX app.notes_words",
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata LIMIT 1",
    ],
)
def test_half_data_in_the_target_is_seen(field: Field, harm: str) -> None:
    assert invariants.target_faults(field.dev, field.known, {field.there}) == (field.there, [])
    with psycopg.connect(field.dev) as connection:  # one transaction, looked at by itself and taken back
        connection.execute(harm)
        row = connection.execute(invariants.FINGERPRINT).fetchone()
        connection.rollback()
    assert row is not None
    assert row[1] != field.known[field.there]


def test_a_target_of_another_version_and_one_that_is_closed_are_seen(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "only [0] can be" in invariants.target_faults(field.dev, field.known, {0})[1][0]
    field.ground.psql(field.ground.dev, "postgres", "-c", f"ALTER DATABASE {blows.TARGET} ALLOW_CONNECTIONS false")
    monkeypatch.setattr(invariants.fingerprint, "__defaults__", (0.2,))
    try:
        assert "no answer" in invariants.target_faults(field.dev, field.known, {field.there})[1][0]
        assert f"left closed: database {blows.TARGET}" in leftovers(field)
    finally:
        field.ground.psql(field.ground.dev, "postgres", "-c", f"ALTER DATABASE {blows.TARGET} ALLOW_CONNECTIONS true")


def leftovers(field: Field) -> list[str]:
    return invariants.leftovers(field.ground, field.archive, blows.SOURCE, blows.TARGET)


def test_orphans_are_seen(field: Field) -> None:
    assert invariants.orphans(field.ground, 5.0)[1] == []
    process = field.ground.begin(["sleep", "60"])
    try:
        assert any(f"process {process.pid}" in one for one in invariants.orphans(field.ground, 0.2)[1])
    finally:
        ground.end_all(field.ground)
        process.communicate()
    with psycopg.connect(field.ground.prod.conninfo("genji"), application_name="daybreak:dead"):
        assert any("daybreak:dead" in one for one in invariants.orphans(field.ground, 0.2)[1])
    assert invariants.orphans(field.ground, 5.0)[1] == []


def test_what_a_run_leaves_behind_is_seen(field: Field) -> None:
    assert leftovers(field) == []
    shelf = invariants.Shelf(field.archive)
    for left in (shelf.staged("dead"), shelf.root / "pins" / "dead.dump", field.ground.state / "private" / "dead"):
        left.write_text("left")
        assert any(left.name in one for one in leftovers(field)), left
        left.unlink()
    field.ground.psql(field.ground.dev, "postgres", "-c", 'CREATE DATABASE "genji_dev_shadow_dead"')
    try:
        assert leftovers(field) == ["left behind: database genji_dev_shadow_dead"]
    finally:
        field.ground.psql(field.ground.dev, "postgres", "-c", 'DROP DATABASE "genji_dev_shadow_dead"')


def test_processor_time_and_memory_are_measured(field: Field) -> None:
    work = "SELECT count(*) FROM generate_series(1, 3000000)"
    argv = [str(field.ground.prod.bin / "psql"), "-Xqd", field.ground.prod.conninfo(), "-c", work]
    assert field.ground.measure(argv).server_cpu_s > 0.05
    eater = "import time; kept = bytes(range(256)) * 400_000; sum(range(3_000_000)); time.sleep(0.1)"
    done = field.ground.measure([sys.executable, "-c", eater])
    assert done.peak_bytes > 100_000_000
    assert done.client_cpu_s > 0.05


def test_the_clients_gap_is_from_the_last_old_answer_to_the_first_new_one() -> None:
    knocks = [Knock(0, 1.0, 1.1, 4), Knock(1, 1.0, 1.2, 4), Knock(0, 1.2, 1.3, -1), Knock(1, 1.3, 1.5, 5)]
    knocks.append(Knock(0, 1.5, 1.6, 5))
    gap, each, faults = crowd.judge(knocks, 4, 5)
    assert gap == pytest.approx(0.3)
    assert sorted(each) == pytest.approx([0.3, 0.5])
    assert faults == []
    assert crowd.judge([*knocks, Knock(1, 1.7, 1.8, 4)], 4, 5)[2] == [
        "client 1 got old data after new, 0.200 s later",
    ]
    assert "no client saw the new data" in crowd.judge(knocks[:2], 4, 5)[2]
    assert "a client saw version 9, not 4 or 5" in crowd.judge([*knocks, Knock(1, 1.7, 1.8, 9)], 4, 5)[2]


def test_a_kill_of_everything_leaves_nothing_alive(field: Field) -> None:
    process = field.ground.begin(["sh", "-c", "setsid sleep 60 & setsid sleep 60 & wait"])
    until = time.monotonic() + 5
    while len(field.ground.our_processes()) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(field.ground.our_processes()) == 3
    ground.end_all(field.ground)
    process.communicate()
    assert field.ground.our_processes() == []
    assert os.getpid() not in field.ground.our_processes()


@pytest.mark.timeout(900)  # half a minute; a busy machine is no fault
def test_ten_refreshes_in_a_row_under_load_fail_never_and_leave_nothing(field: Field) -> None:
    outcome = crowd.clients(field, 10, 0.1, in_a_row=True)
    assert outcome.violations == []
    assert outcome.figures["refreshes in a row"] == "10"
    assert outcome.figures["of them failed"] == "0"
    assert "median" in outcome.figures["outage by the server's clock"]  # recorded, not judged
    assert leftovers(field) == []


def test_what_a_refresh_leaks_is_seen(field: Field) -> None:
    before = crowd.standing(field)
    field.ground.psql(field.ground.dev, "postgres", "-c", "CREATE ROLE leaked")
    (field.archive.parent / "leaked").touch()
    after = crowd.standing(field)
    field.ground.psql(field.ground.dev, "postgres", "-c", "DROP ROLE leaked")
    (field.archive.parent / "leaked").unlink()
    assert {what for what in after if after[what] != before[what]} == {
        "the list of roles",
        "the number of files beside the archive",
    }
