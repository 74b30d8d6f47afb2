"""A complete but suspicious archive waits for a person; what stood there goes on standing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from installation import Installation

if TYPE_CHECKING:
    from conftest import Server


def quarantined(site: Installation) -> str:
    """A backup that ends in quarantine: the id of its archive."""
    before = site.fingerprint()
    told = site.backup(expect=12)
    assert told["code"] == "ArchiveError"
    assert "complete but suspicious and was not published" in told["message"]
    archive = told["archive"]["id"]
    assert f"daybreak accept {archive}" in told["hint"]
    assert site.fingerprint() == before
    aside = site.root / "quarantine" / f"{archive}.dump"
    assert told["archive"]["path"] == str(aside)
    assert site.manifest(aside).id == archive
    assert aside.stat().st_mode & 0o7777 == 0o640
    assert site.leftovers() == []
    return archive


def status(site: Installation) -> dict[str, object]:
    return site.json("status")["plans"][0]


def test_d15_a_shrunken_database_waits_for_a_person(site: Installation, prod: tuple[Server, str]) -> None:
    """D15: quarantine, 12, the previous archive; `accept` publishes; the next one of that size is believed."""
    server, name = prod
    first = site.backup()["archive"]["id"]
    server.psql("DELETE FROM account WHERE id > 10; DROP TABLE invoice", name)
    archive = quarantined(site)
    run = site.json("runs")["runs"][0]
    assert "tables that held rows are gone: public.invoice" in run["reason"]
    assert "rows are less than half" in run["reason"]
    assert status(site)["quarantined"] == archive
    assert status(site)["archive"] == first
    told = site.json("accept", archive)
    assert told["archive"]["id"] == archive
    assert told["archive"]["path"] == str(site.archive)
    assert site.manifest().id == archive
    assert (status(site)["quarantined"], status(site)["attention"]) == (None, [])
    assert list((site.root / "quarantine").iterdir()) == []
    assert site.backup()["state"] == "succeeded"


def test_the_same_shrunken_database_is_doubted_every_night_until_somebody_looks(
    site: Installation, prod: tuple[Server, str]
) -> None:
    server, name = prod
    site.backup()
    server.psql("DROP TABLE invoice", name)
    ids = [quarantined(site) for _ in range(4)]
    kept = sorted(path.stem for path in (site.root / "quarantine").glob("*.dump"))
    assert len(kept) == 3
    gone = next(one for one in ids if one not in kept)
    states = {one["id"]: one["state"] for one in site.json("archives")["archives"]}
    assert states[gone] == "replaced"
    assert {states[one] for one in kept} == {"quarantined"}
    assert "is not a quarantined archive" in site.json("accept", gone, expect=2)["message"]


def test_nobody_waits_any_more_once_a_newer_archive_was_published(site: Installation, prod: tuple[Server, str]) -> None:
    """Else forgetting off-site would pause for ever."""
    server, name = prod
    site.backup()
    server.psql("ALTER TABLE invoice RENAME TO hidden", name)
    archive = quarantined(site)
    server.psql("ALTER TABLE hidden RENAME TO invoice", name)
    site.backup()
    assert status(site)["quarantined"] is None
    told = site.json("accept", archive, expect=4)
    assert told["code"] == "Refused"
    assert "was published after" in told["message"]


def test_accept_of_what_is_not_there(site: Installation) -> None:
    site.backup()
    assert "there is no archive nonsense" in site.json("accept", "nonsense", expect=2)["message"]
    published = site.backup()["archive"]["id"]
    before = site.fingerprint()
    assert "is not a quarantined archive" in site.json("accept", published, expect=2)["message"]
    assert site.fingerprint() == before


def test_accept_of_what_has_changed_since(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    site.backup()
    server.psql("DROP TABLE invoice", name)
    archive = quarantined(site)
    aside = site.root / "quarantine" / f"{archive}.dump"
    whole = aside.read_bytes()
    before = site.fingerprint()
    aside.chmod(0o640)
    aside.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "has changed since it was put aside" in site.json("accept", archive, expect=12)["message"]
    aside.unlink()
    assert site.json("accept", archive, expect=12)["hint"]
    Path(f"{aside}.json").unlink()
    assert site.json("accept", archive, expect=12)["hint"]
    assert site.fingerprint() == before


def test_accept_keeps_the_one_before_as_an_older_one(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    site.configure(plan={"keep_local": 2})
    first = site.backup()["archive"]["id"]
    server.psql("DROP TABLE invoice", name)
    archive = quarantined(site)
    site.json("accept", archive)
    assert site.manifest().id == archive
    assert site.manifest(site.backups / f"prod-{first}.dump").id == first


def test_accept_that_was_killed_after_the_rename_is_finished_by_the_next_run(
    site: Installation, prod: tuple[Server, str]
) -> None:
    server, name = prod
    site.configure(plan={"keep_local": 3})
    site.backup()
    server.psql("DROP TABLE invoice", name)
    archive = quarantined(site)
    aside = site.root / "quarantine" / f"{archive}.dump"
    for suffix in ("", ".json", ".globals.sql"):  # as it stands between rename and record
        shutil.copy(f"{aside}{suffix}", f"{site.archive}{suffix}.new")
        Path(f"{site.archive}{suffix}.new").replace(f"{site.archive}{suffix}")
    site.json("repair")
    assert {one["id"]: one["state"] for one in site.json("archives")["archives"]}[archive] == "published"
    assert site.backup()["state"] == "succeeded"


def test_the_first_archive_is_always_believed(site: Installation, prod: tuple[Server, str]) -> None:
    server, name = prod
    server.psql("TRUNCATE account; TRUNCATE invoice", name)
    site.backup()


def test_a_lost_catalog_does_not_lose_the_measure(site: Installation, prod: tuple[Server, str]) -> None:
    """The published archive is adopted from its manifest, and so the gate still has something to compare with."""
    server, name = prod
    first = site.backup()["archive"]
    shutil.rmtree(site.state)
    server.psql("DROP TABLE invoice", name)
    quarantined(site)
    assert site.json("archives")["archives"][-1]["id"] == first["id"]
