"""What one night finds stored the next one need not ask for, and nothing is counted on that nobody looked at."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from offsite_samples import FIRST_NIGHT, HOST, Offsite, Shelf, noise
from proxy import Proxy, Request, fault_proxy

from daybreak.embedded.s3 import S3Server
from daybreak.errors import OffsiteError
from daybreak.files import write_durable
from daybreak.jobs import stored
from daybreak.model import Repository

pytestmark = pytest.mark.restic


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with fault_proxy(s3.port) as running:
        yield running


def note_of(shelf: Shelf) -> Path:
    return shelf.locks / "repository-r2.stored"


def send(shelf: Shelf, offsite: Offsite, repository: Repository, night: int) -> list[str]:
    """Send a night that nothing can compress; the calls of restic that this took."""
    offsite.log.clear()
    content = noise(200_000, seed=900 + night)
    shelf.send(shelf.parcel(content, night=night), offsite.restic(repository))
    return offsite.log


def behind(proxy: Proxy, offsite: Offsite, repository: Repository) -> Repository:
    return replace(repository, url=repository.url.replace(offsite.s3.endpoint, proxy.endpoint))


def asked(log: list[str], *words: str) -> int:
    """How many calls have all these words."""
    return sum(all(f" {word}" in line for word in words) for line in log)


def test_the_next_night_asks_for_less(offsite: Offsite, shelf: Shelf) -> None:
    repository = offsite.empty(keep=None)

    first = list(send(shelf, offsite, repository, 0))
    second = list(send(shelf, offsite, repository, 1))

    assert (asked(first, "cat", "config"), asked(first, "list", "index")) == (1, 2)
    assert (asked(second, "cat", "config"), asked(second, "list", "index")) == (0, 1)
    assert asked(second, "list", "packs") == asked(second, "cat", "index") == 1  # what came is looked for, as ever
    assert len(offsite.restic(repository).snapshots()) == 2


def test_what_others_sent_meanwhile_is_looked_for_too(newer: Offsite, proxy: Proxy, shelf: Shelf) -> None:
    """Their lost pack may be one that our next snapshot counts on."""
    repository = newer.empty(keep=None)
    send(shelf, newer, repository, 0)
    through = newer.restic(behind(proxy, newer, repository))
    theirs = shelf.folder / "theirs"
    theirs.write_bytes(noise(200_000, seed=901))  # what we send next

    def swallow(request: Request) -> str:
        return "200" if request.verb == "PUT" and request.kind == "data" else ""

    with proxy.faulty(swallow):
        through.backup([theirs], tags=["theirs"], host="elsewhere", taken_at=FIRST_NIGHT)

    with pytest.raises(OffsiteError, match="does not hold what was sent") as caught:
        send(shelf, newer, repository, 1)
    assert caught.value.reason == "partial"
    assert not note_of(shelf).exists()

    send(shelf, newer, repository, 2)
    restic = newer.restic(repository)
    restic.forget([one.id for one in restic.snapshots(tags=["theirs"])])
    assert restic.check(read_data_subset="100%").sound
    assert {one.host for one in restic.snapshots()} == {HOST}


def test_after_a_prune_and_in_another_repository_it_asks_again(newer: Offsite, shelf: Shelf) -> None:
    repository = newer.empty(keep=None)
    send(shelf, newer, repository, 0)
    send(shelf, newer, repository, 1)
    restic = newer.restic(repository)
    restic.forget([restic.snapshots()[0].id])
    restic.prune()  # every index is a new one now
    assert asked(send(shelf, newer, repository, 2), "cat", "config") == 0
    assert not note_of(shelf).exists()
    assert asked(send(shelf, newer, repository, 3), "cat", "config") == 1
    assert note_of(shelf).exists()

    other = newer.empty(keep=None)  # as if the old one were lost and made anew: the note is of the old one
    assert asked(send(shelf, newer, other, 4), "cat", "config") == 0
    assert len(newer.restic(other).snapshots()) == 1
    assert not note_of(shelf).exists()
    assert asked(send(shelf, newer, other, 5), "cat", "config") == 1


def test_after_many_of_others_it_asks_again(newer: Offsite, shelf: Shelf) -> None:
    """Each index that it does not know costs a call."""
    repository = newer.empty(keep=None)
    send(shelf, newer, repository, 0)
    theirs = shelf.folder / "theirs"
    for number in range(4):
        theirs.write_bytes(noise(1000, seed=950 + number))
        newer.restic(repository).backup([theirs], tags=["theirs"], host="elsewhere", taken_at=FIRST_NIGHT)

    assert asked(send(shelf, newer, repository, 1), "cat", "index") == 5
    assert asked(send(shelf, newer, repository, 2), "cat", "index") == 1


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"sending": false}',
        b'{"sending": false, "version": 1, "indexes": []}',
        b'{"sending": false, "version": 2, "indexes": 7}',
        json.dumps({"sending": True, "version": 2, "indexes": ["a" * 64]}).encode(),
    ],
)
def test_a_note_that_says_nothing_is_as_none(newer: Offsite, shelf: Shelf, left: bytes) -> None:
    repository = newer.empty(keep=None)
    send(shelf, newer, repository, 0)
    note_of(shelf).write_bytes(left)

    assert asked(send(shelf, newer, repository, 1), "cat", "config") == 1
    assert len(newer.restic(repository).snapshots()) == 2


def test_a_night_that_cannot_note_what_it_found_was_a_good_one(
    newer: Offsite, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = newer.empty(keep=None)
    written: list[str] = []

    def write(path: Path, data: bytes, **more: object) -> None:
        if path == note_of(shelf):
            written.append(data.decode())
            if len(written) > 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_durable(path, data, **more)

    monkeypatch.setattr(stored, "write_durable", write)

    send(shelf, newer, repository, 0)

    assert [json.loads(one)["sending"] for one in written] == [True, False]
    assert json.loads(note_of(shelf).read_text())["sending"] is True
    monkeypatch.undo()
    assert asked(send(shelf, newer, repository, 1), "cat", "config") == 1


def test_a_failed_night_leaves_nothing_to_count_on(newer: Offsite, proxy: Proxy, shelf: Shelf) -> None:
    repository = newer.empty(keep=None)
    send(shelf, newer, repository, 0)

    def refuse(request: Request) -> str:
        return "403" if request.verb == "PUT" and request.kind == "data" else ""

    with proxy.faulty(refuse), pytest.raises(OffsiteError):
        send(shelf, newer, behind(proxy, newer, repository), 1)

    assert json.loads(note_of(shelf).read_text())["sending"] is True
    shutil.rmtree(shelf.folder / "archives" / ".daybreak" / "pins")
    assert asked(send(shelf, newer, repository, 2), "cat", "config") == 1
