"""Archives, databases and snapshots: what a job writes, the next one reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daybreak.catalog import ArchiveRecord, Catalog, Enrolment, Role, Shipment
from daybreak.catalog.records import ProofRecord
from daybreak.model import Archive, ArchiveState, Identity

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DEV = Identity(system_identifier="7", oid=100, database="genjishimada")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path) as opened:
        yield opened


def an_archive(name: str, *, day: int = 0, state: ArchiveState = ArchiveState.PUBLISHED) -> ArchiveRecord:
    archive = Archive(
        id=name,
        plan="nightly",
        run=name,
        path=Path("/var/backups/prod.dump"),
        taken_at=NOW + day * DAY,
        size_bytes=2**33,
        sha256=name * 64,
        tables=2,
        rows=2**33,
        server_version="17.6",
        state=state,
    )
    return ArchiveRecord(archive=archive, dump_s=1.5, table_rows={'public."odd . name"': 3, "public.user": 0})


def test_an_archive_comes_back_as_it_was(catalog: Catalog) -> None:
    record = replace(an_archive("a"), quarantine_reason="half the rows are gone", proof={"tables": 2, "equal": 2})
    catalog.archives.add(record)
    assert catalog.archives.get("a") == record
    assert catalog.archives.get("b") is None
    assert catalog.archives.find_sha256("a" * 64) == record
    assert catalog.archives.find_sha256("b" * 64) is None


def test_archives_newest_first_by_state_and_proof(catalog: Catalog) -> None:
    states = [ArchiveState.REPLACED, ArchiveState.REPLACED, ArchiveState.QUARANTINED, ArchiveState.PUBLISHED]
    for day, state in enumerate(states):
        catalog.archives.add(an_archive("abcd"[day], day=day, state=state))
    catalog.archives.add(an_archive("e", day=4, state=ArchiveState.REJECTED))

    def names(records: Sequence[ArchiveRecord]) -> str:
        return "".join(record.archive.id for record in records)

    assert names(catalog.archives.list("nightly")) == "edcba"
    assert names(catalog.archives.list("nightly", limit=2)) == "ed"
    assert catalog.archives.list("weekly") == []
    assert names(catalog.archives.list()) == "edcba"
    assert names(catalog.archives.recent_published("nightly")) == "dba"
    assert names(catalog.archives.recent_published("nightly", 2)) == "db"
    newest = catalog.archives.newest("nightly")
    assert newest is not None
    assert newest.archive.id == "d"
    assert catalog.archives.newest("weekly") is None
    assert catalog.archives.newest("nightly", proven=True) is None
    catalog.archives.set_proven("b", at=NOW, proof={"equal": 2})
    assert names(catalog.archives.list(proven=True)) == "b"


def test_what_becomes_of_an_archive(catalog: Catalog) -> None:
    catalog.archives.add(an_archive("a"))
    quarantined = Path("/var/backups/.daybreak/quarantine/a.dump")
    catalog.archives.set_state("a", ArchiveState.QUARANTINED, path=quarantined, reason="half the rows are gone")
    found = catalog.archives.get("a")
    assert found is not None
    assert (found.archive.state, found.archive.path) == (ArchiveState.QUARANTINED, quarantined)
    catalog.archives.set_state("a", ArchiveState.PUBLISHED, path=Path("/x.dump"))
    catalog.archives.set_path("a", Path("/y.dump"))
    catalog.archives.set_proven("a", at=NOW, proof={"equal": 2})
    found = catalog.archives.get("a")
    assert found is not None
    assert (found.archive.state, found.archive.path) == (ArchiveState.PUBLISHED, Path("/y.dump"))
    assert found.quarantine_reason == "half the rows are gone"  # what was accepted stays readable
    assert (found.archive.proven_at, found.proof) == (NOW, {"equal": 2})
    with pytest.raises(LookupError):
        catalog.archives.set_path("b", Path("/z"))


def test_an_enrolled_database_is_known_again(catalog: Catalog) -> None:
    assert catalog.databases.enrolled("dev") is None
    catalog.databases.enrol("dev", DEV, at=NOW)
    assert catalog.databases.enrolled("dev") == Enrolment(name="dev", identity=DEV, enrolled_at=NOW)
    moved = replace(DEV, oid=200)
    catalog.databases.announce_next("dev", 300, "run-1")
    catalog.databases.enrol("dev", moved, at=NOW + DAY)
    assert catalog.databases.list() == [Enrolment(name="dev", identity=moved, enrolled_at=NOW + DAY)]


def test_a_refresh_and_its_undo_keep_the_books(catalog: Catalog) -> None:
    books = catalog.databases
    books.enrol("dev", DEV, at=NOW)
    shadow = books.add_creation(
        target="dev", system_identifier="7", database="dev_shadow", run="run-1", role=Role.SHADOW, at=NOW
    )
    assert shadow.oid is None
    assert books.open_creations("dev") == [shadow]
    books.set_oid(shadow.id, 200)
    books.announce_next("dev", 200, "run-1")
    announced = books.enrolled("dev")
    assert announced is not None
    assert (announced.identity.oid, announced.next_oid, announced.next_run) == (100, 200, "run-1")

    assert not books.was_refreshed("dev")
    after = books.accept_next("dev", previous="genjishimada_previous", at=NOW + DAY)
    assert books.was_refreshed("dev")
    assert not books.was_refreshed("qa")
    assert after == Enrolment(name="dev", identity=replace(DEV, oid=200), enrolled_at=NOW)
    assert books.enrolled("dev") == after
    assert books.find_creation("7", 200) is None  # it is the target now, not ours to drop
    previous = books.find_creation("7", 100)
    assert previous is not None
    assert (previous.role, previous.database, previous.run) == (Role.PREVIOUS, "genjishimada_previous", "run-1")
    assert books.open_creations("dev", role=Role.PREVIOUS) == [previous]
    with pytest.raises(LookupError, match="no swap was announced"):
        books.accept_next("dev", previous="genjishimada_previous", at=NOW + DAY)

    books.announce_next("dev", 100, "run-2")  # undo: the previous comes back
    assert books.accept_next("dev", previous="genjishimada_previous", at=NOW + 2 * DAY).identity == DEV
    assert books.find_creation("7", 100) is None
    (undone,) = books.open_creations("dev")
    assert (undone.oid, undone.role, undone.run) == (200, Role.PREVIOUS, "run-2")
    books.mark_dropped(undone.id, at=NOW + 3 * DAY)
    assert books.open_creations() == []


def test_a_swap_that_did_not_happen_is_withdrawn_by_its_run_alone(catalog: Catalog) -> None:
    catalog.databases.enrol("dev", DEV, at=NOW)
    catalog.databases.announce_next("dev", 200, "run-2")
    catalog.databases.withdraw_next("dev", "run-1")
    assert catalog.databases.enrolled("dev") == Enrolment(
        name="dev", identity=DEV, enrolled_at=NOW, next_oid=200, next_run="run-2"
    )
    catalog.databases.withdraw_next("dev", "run-2")
    assert catalog.databases.enrolled("dev") == Enrolment(name="dev", identity=DEV, enrolled_at=NOW)


def test_an_oid_that_came_back_belongs_to_the_newest_record(catalog: Catalog) -> None:
    books = catalog.databases
    first = books.add_creation(
        target="dev", system_identifier="7", database="x", run="1", role=Role.SHADOW, at=NOW, oid=5
    )
    second = books.add_creation(
        target="dev", system_identifier="7", database="y", run="2", role=Role.SHADOW, at=NOW + DAY
    )
    other = books.add_creation(
        target="qa", system_identifier="8", database="x", run="3", role=Role.SHADOW, at=NOW, oid=5
    )
    assert books.find_creation("7", 5) == first
    books.set_oid(second.id, 5)
    books.set_oid(second.id, 5)  # twice is once
    assert books.find_creation("7", 5) == replace(second, oid=5)
    assert books.open_creations() == [replace(second, oid=5), other]
    assert books.find_creation("9", 5) is None


def test_a_database_that_was_never_written_down_is_a_slip_of_ours(catalog: Catalog) -> None:
    with pytest.raises(LookupError):
        catalog.databases.announce_next("dev", 1, "run")
    with pytest.raises(LookupError):
        catalog.databases.accept_next("dev", previous=None, at=NOW)
    with pytest.raises(LookupError):
        catalog.databases.mark_dropped(1, at=NOW)
    with pytest.raises(LookupError):
        catalog.databases.set_oid(1, 5)


def test_snapshots_are_listed_until_they_are_forgotten(catalog: Catalog) -> None:
    one = Shipment(
        id="1" * 64,
        repository="r2",
        plan="nightly",
        archive="a",
        run="a",
        taken_at=NOW,
        size_bytes=10,
        added_bytes=5,
    )
    two = replace(one, id="2" * 64, taken_at=NOW + DAY, archive="b")
    elsewhere = replace(one, repository="nas", taken_at=NOW + 2 * DAY)
    for shipment in (one, two, elsewhere, one):
        catalog.snapshots.add(shipment)
    assert catalog.snapshots.list() == [elsewhere, two, one]
    assert catalog.snapshots.list(repository="r2", plan="nightly", limit=1) == [two]
    assert catalog.snapshots.list(archive="a") == [elsewhere, one]
    assert catalog.snapshots.forget("r2", [one.id, "f" * 64], at=NOW + DAY) == 1
    assert catalog.snapshots.forget("r2", [one.id], at=NOW + 2 * DAY) == 0
    assert catalog.snapshots.list() == [elsewhere, two]
    assert catalog.snapshots.list(forgotten=True, repository="r2") == [two, replace(one, forgotten_at=NOW + DAY)]
    assert catalog.snapshots.newest("nightly") == [elsewhere, two]
    catalog.snapshots.forget("r2", [two.id], at=NOW)
    assert catalog.snapshots.newest("nightly") == [elsewhere]
    assert catalog.snapshots.newest("weekly") == []


def test_the_newest_proof_that_passed_is_of_the_archive_that_was_taken_last(catalog: Catalog) -> None:
    def proof(run: str, archive: str, *, taken: int, at: int, passed: bool = True) -> ProofRecord:
        return ProofRecord(
            run=run,
            plan="nightly",
            archive=archive,
            taken_at=NOW + taken * DAY,
            at=NOW + at * DAY,
            source="drill",
            passed=passed,
            restore_s=1.0,
        )

    assert catalog.proofs.newest_passed("nightly") is None
    first, second = proof("1", "a", taken=0, at=9), proof("2", "b", taken=1, at=2)
    for one in (first, second, proof("3", "c", taken=2, at=3), proof("4", "c", taken=2, at=4, passed=False)):
        catalog.proofs.add(one)
    assert catalog.proofs.newest_passed("nightly") == second
    again = proof("5", "c", taken=2, at=5)
    catalog.proofs.add(again)
    assert catalog.proofs.newest_passed("nightly") == again
    assert catalog.proofs.newest_passed("weekly") is None
