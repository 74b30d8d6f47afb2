"""Making, checking and listing repositories: real restics, a real S3 server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from offsite_samples import FIRST_NIGHT, HOST, Offsite, Shelf

from daybreak.errors import ConfigError, Refused
from daybreak.jobs import repository as jobs
from daybreak.model import SecretSource

pytestmark = pytest.mark.restic


def test_init_uses_the_password_as_it_is_and_a_second_one_is_refused(offsite: Offsite) -> None:
    repository = replace(offsite.template, name="r2", url=f"{offsite.template.url}-new")
    assert repository.password.file
    before = repository.password.file.read_bytes()
    restic = offsite.restic(repository)

    made = jobs.init(restic)

    assert len(made) >= 10
    restic.open()
    assert repository.password.file.read_bytes() == before
    with pytest.raises(Refused, match="exists already, and the configured password opens it"):
        jobs.init(restic)


def test_init_of_a_repository_with_another_password_is_refused(offsite: Offsite, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch(mode=0o600)
    other.write_text("another password\n")

    with pytest.raises(Refused, match="is not its password"):
        jobs.init(offsite.restic(offsite.empty(password=SecretSource(file=other))))


def test_init_without_a_password_file_says_how_to_make_one(newer: Offsite, tmp_path: Path) -> None:
    missing = tmp_path / "r2.password"

    with pytest.raises(ConfigError, match="is not there") as caught:
        jobs.init(
            newer.restic(replace(newer.template, url=f"{newer.template.url}-none", password=SecretSource(file=missing)))
        )

    assert "openssl rand" in caught.value.hint
    assert "somewhere else" in caught.value.hint
    assert not missing.exists()


def test_init_in_a_bucket_that_is_not_there_makes_it(newer: Offsite) -> None:
    restic = newer.restic(replace(newer.template, url=f"s3:{newer.s3.endpoint}/newbucket/x"))

    jobs.init(restic)

    restic.open()


def test_the_list_marks_ours_among_others(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = newer.restic()
    foreign = tmp_path / "foreign"
    foreign.write_text("x")
    restic.backup([foreign], tags=["zerobyte"], host=HOST, taken_at=FIRST_NIGHT)
    [sent] = shelf.send(shelf.parcel(night=1, quarantined=True), restic)

    ours, other = jobs.snapshots(restic)

    assert (ours.ours, ours.quarantined, ours.snapshot.id, ours.snapshot.archive) == (True, True, sent.snapshot, "a001")
    assert (other.ours, other.quarantined, other.snapshot.tags) == (False, False, ("zerobyte",))
