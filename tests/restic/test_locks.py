"""Locks: only those of dead restics of this host are ever removed, and a person is told whose the others are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from offsite_samples import FIRST_NIGHT, HOST, Offsite, Shelf, noise
from sealed import Key, open_key

from daybreak.errors import OffsiteError
from daybreak.jobs import repository as jobs
from daybreak.model import Repository

pytestmark = pytest.mark.restic


def put_lock(offsite: Offsite, repository: Repository, said: Mapping[str, object] | None, *, raw: bytes = b"") -> str:
    """Put a lock into a repository as some restic would have; return its name."""
    content = raw if said is None else key_of(offsite, repository).seal(json.dumps(said).encode())
    name = sha256(content).hexdigest()
    offsite.put(repository, f"locks/{name}", content)
    return name


def key_of(offsite: Offsite, repository: Repository) -> Key:
    assert repository.password.file
    [file] = (offsite.where(repository) / "keys").iterdir()
    return open_key(file.read_bytes(), repository.password.file.read_text().strip())


def lock_of(host: str, pid: int, *, age: timedelta = timedelta(minutes=3), exclusive: bool = True) -> dict[str, object]:
    at = (datetime.now(UTC) - age).isoformat()
    return {"time": at, "exclusive": exclusive, "hostname": host, "username": "root", "pid": pid, "uid": 0, "gid": 0}


def dead_pid() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    return ended.pid


def test_a_lock_of_another_host_is_waited_for_and_then_told(offsite: Offsite, shelf: Shelf) -> None:
    repository = offsite.empty()
    name = put_lock(offsite, repository, lock_of("db2", 4711))
    restic = offsite.restic(repository, lock_wait=timedelta(seconds=3))
    started = time.monotonic()

    with pytest.raises(OffsiteError) as caught:
        shelf.send(shelf.parcel(), restic)

    assert time.monotonic() - started >= 3
    assert (caught.value.reason, caught.value.exit_code) == ("locked", 14)
    assert "PID 4711 on db2, since " in caught.value.message
    assert re.search(r"\(3 m \d+ s\)", caught.value.message)
    with pytest.raises(OffsiteError, match=r"no lock was removed: PID 4711 on db2.*nobody here can tell"):
        jobs.unlock(restic, at=datetime.now(UTC))
    assert (offsite.where(repository) / "locks" / name).exists()


def test_one_foreign_lock_protects_those_of_the_dead(newer: Offsite) -> None:
    repository = newer.empty()
    here = os.uname().nodename
    pid = dead_pid()
    names = {
        put_lock(newer, repository, lock_of(here, pid, exclusive=False)),
        put_lock(newer, repository, lock_of("db2", pid, exclusive=False, age=timedelta(hours=9))),
    }
    assert not newer.restic(repository).unlock_dead()
    assert {path.name for path in (newer.where(repository) / "locks").iterdir()} == names
    assert not any(" unlock" in line for line in newer.log)


def test_the_lock_of_a_dead_restic_of_this_host_is_removed(offsite: Offsite, shelf: Shelf) -> None:
    repository = offsite.empty()
    put_lock(offsite, repository, lock_of(os.uname().nodename, dead_pid()))
    [shipped] = shelf.send(shelf.parcel(), offsite.restic(repository))
    assert shipped.snapshot
    assert offsite.restic(repository).locks() == ()
    assert not any("remove-all" in line for line in offsite.log)


def test_a_number_that_came_back_counts_as_alive(newer: Offsite) -> None:
    repository = newer.empty()
    put_lock(newer, repository, lock_of(os.uname().nodename, os.getpid(), age=timedelta(days=2)))

    with pytest.raises(OffsiteError, match="its process lives"):
        jobs.unlock(newer.restic(repository), at=datetime.now(UTC))

    assert len(newer.restic(repository).locks()) == 1


def test_unlock_says_what_it_removed(newer: Offsite) -> None:
    repository = newer.empty()
    restic = newer.restic(repository)
    assert jobs.unlock(restic, at=datetime.now(UTC)).removed == ()
    pid = dead_pid()
    put_lock(newer, repository, lock_of(os.uname().nodename, pid))
    [removed] = jobs.unlock(restic, at=datetime.now(UTC)).removed
    assert removed.startswith(f"PID {pid} on ")
    assert restic.locks() == ()


@pytest.mark.parametrize("content", [b"", b"no lock at all, but longer than a header of restic's would be"])
def test_a_lock_that_cannot_be_read_is_a_persons_business(offsite: Offsite, shelf: Shelf, content: bytes) -> None:
    repository = offsite.empty()
    name = put_lock(offsite, repository, None, raw=content)
    started = time.monotonic()

    with pytest.raises(OffsiteError, match=f"lock {name} cannot be read") as caught:
        shelf.send(shelf.parcel(), offsite.restic(repository))

    assert (caught.value.reason, caught.value.exit_code) == ("locked", 14)
    assert f"locks/{name} below {repository.url}" in caught.value.hint
    assert time.monotonic() - started < 60  # today's restics try for a quarter of an hour
    with pytest.raises(OffsiteError, match="cannot be read"):
        jobs.unlock(offsite.restic(repository), at=datetime.now(UTC))
    assert (offsite.where(repository) / "locks" / name).exists()
    assert offsite.restic(replace(repository)).snapshots() == ()


def test_two_hosts_ship_to_one_repository_at_once(offsite: Offsite, tmp_path: Path) -> None:
    repository = offsite.empty()
    shelves = {host: Shelf(folder=tmp_path / host) for host in ("db1", "db2")}
    faults: list[OffsiteError] = []

    def send(host: str) -> None:
        try:
            for night in range(2):
                content = noise(200_000, seed=night) + host.encode()
                shelves[host].send(shelves[host].parcel(content, night=night), offsite.restic(repository), host=host)
        except OffsiteError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=send, args=[host]) for host in shelves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    restic = offsite.restic(repository)
    assert {host: len(restic.snapshots(host=host)) for host in shelves} == {"db1": 2, "db2": 2}
    assert restic.check(read_data_subset="100%").sound
    assert {one.taken_at for one in restic.snapshots(host="db2")} == {FIRST_NIGHT, FIRST_NIGHT + timedelta(days=1)}
    assert HOST == "db1"
