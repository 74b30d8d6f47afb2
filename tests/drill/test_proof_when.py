"""When archives are proven by themselves, and what becomes of off-site copies and older archives meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from drills import left, spoil

from daybreak.jobs.proven import is_due
from daybreak.model import BackupPlan, Database, ProofWhen
from installation import Installation

if TYPE_CHECKING:
    from daybreak.embedded.s3 import S3Server

NOW = datetime(2026, 3, 8, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "proven", "due"),
    [
        (ProofWhen.REFRESH, None, False),
        (ProofWhen.NIGHTLY, NOW, True),
        (ProofWhen.WEEKLY, None, True),
        (ProofWhen.WEEKLY, NOW - timedelta(days=7), False),
        (ProofWhen.WEEKLY, NOW - timedelta(days=7, seconds=1), True),
    ],
)
def test_when_a_drill_is_due(when: ProofWhen, proven: datetime | None, *, due: bool):
    plan = BackupPlan(
        name="nightly", database=Database(name="prod", conninfo={}), archive=Path("/a/b.dump"), proof=when
    )
    assert is_due(plan, proven, NOW) is due


def kinds(site: Installation) -> list[str]:
    return [one["kind"] for one in site.json("runs")["runs"]]


def test_nightly_every_backup_is_drilled_as_a_run_of_its_own(site: Installation):
    site.configure(plan={"proof": "nightly"})
    for _ in range(2):
        told = site.backup()
        assert told["drill"]["proof"]["different"] == 0
        assert told["drill"]["source"] == "local"
        runs = site.json("runs")["runs"]
        assert [one["kind"] for one in runs[:2]] == ["drill", "backup"]
        assert runs[0]["trigger"] == f"run {told['run']}"
        (plan,) = site.json("status")["plans"]
        assert plan["newest_proven"]["archive"] == told["archive"]["id"]
    assert not (site.root / "proven.dump").exists()
    assert left() == site.leftovers() == []


def test_weekly_the_first_backup_is_drilled_and_the_next_is_not(site: Installation):
    site.configure(plan={"proof": "weekly"})
    first = site.backup()
    assert "drill" in first
    assert "drill" not in site.backup()
    assert (site.root / "proven.dump").exists()
    assert site.manifest(site.root / "proven.dump").id == first["archive"]["id"]
    site.json("drill")
    assert not (site.root / "proven.dump").exists()  # the newest is proven now
    assert [kind for kind in kinds(site) if kind == "drill"] == ["drill", "drill"]


def test_refresh_is_the_default_and_drills_nothing(site: Installation):
    assert "drill" not in site.backup()
    assert set(kinds(site)) == {"backup"}


def test_a_backup_whose_drill_fails_is_published_and_says_so(site: Installation, tmp_path: Path, monkeypatch):
    tools = tmp_path / "client"
    tools.mkdir()
    for program in site.bin.iterdir():
        if program.name not in {"postgres", "initdb"}:
            (tools / program.name).symlink_to(program)
    site.configure(database={"bin": str(tools)}, plan={"proof": "nightly"})
    monkeypatch.setenv("DAYBREAK_TOOLS", str(tmp_path / "nothing"))
    before = site.manifest().id
    told = site.backup(expect=3)
    assert told["message"].startswith(f"archive {told['archive']['id']} is published, but its drill failed")
    assert site.manifest().id == told["archive"]["id"] != before
    (plan,) = site.json("status")["plans"]
    assert any("is published, but its drill failed" in one for one in plan["attention"])


# -- off-site ----------------------------------------------------------------------------------------


@pytest.fixture
def offsite(site: Installation, s3: S3Server, restic: Path) -> Installation:
    """The same with a repository that keeps one snapshot, and the archive in it."""
    bucket = f"drills{datetime.now(UTC):%H%M%S%f}"
    secrets = site.folder / "r2.password"
    secrets.write_text("canary-restic\n")
    keys = site.folder / "r2.env"
    keys.write_text("".join(f"{name}={value}\n" for name, value in s3.env.items()))
    for file in (secrets, keys):
        file.chmod(0o600)
    site.more = (
        f'\n[repositories.r2]\nurl = "{s3.bucket_url(bucket)}"\npassword_file = "{secrets}"\n'
        f'env_file = "{keys}"\nrestic = "{restic}"\nkeep = {{ last = 1 }}\n'
    )
    site.configure(plan={"repositories": ["r2"]})
    site.json("repository", "init")
    site.backup()
    return site


def snapshots(site: Installation) -> list[dict[str, Any]]:
    return site.json("repository", "snapshots")["snapshots"]


def test_a_drill_from_a_repository_goes_the_whole_way(offsite: Installation):
    newest = offsite.manifest().id
    told = offsite.json("drill", "nightly", "--from", "r2")
    assert (told["source"], told["archive"]["id"]) == ("r2", newest)
    assert told["fetch_s"] > 0
    assert told["snapshot"] == snapshots(offsite)[0]["id"]
    assert told["proof"]["equal"] == 1
    (plan,) = offsite.json("status")["plans"]
    assert plan["newest_proven"]["source"] == "drill r2"
    assert plan["newest_proven"]["fetch_s"] == told["fetch_s"]
    assert "fetched in" in offsite.call("status").out
    assert left() == offsite.leftovers() == []
    # What is here does not matter to it.
    for file in offsite.backups.glob("prod.dump*"):
        file.unlink()
    assert offsite.json("drill", "--from", "r2")["archive"]["id"] == newest
    assert offsite.json("drill", expect=12)["code"] == "ArchiveError"


def test_a_repository_that_does_not_open_is_14(offsite: Installation):
    (offsite.folder / "r2.password").write_text("wrong\n")
    told = offsite.json("drill", "--from", "r2", expect=14)
    assert told["code"] == "OffsiteError"
    assert left() == []
    assert "there is no repository" in offsite.json("drill", "--from", "r3", expect=2)["message"]


def test_nothing_is_forgotten_while_the_last_proof_did_not_pass(offsite: Installation):
    kept = snapshots(offsite)
    assert len(kept) == 2  # the one that waited went with the next, and no run forgets what it has just sent
    spoil(offsite)
    offsite.json("drill", expect=18)
    offsite.backup()
    assert len(snapshots(offsite)) == 3
    offsite.json("drill")
    offsite.backup()
    assert not {one["id"] for one in kept} & {one["id"] for one in snapshots(offsite)}
