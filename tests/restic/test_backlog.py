"""Off-site is away for days, restic is killed, the storage lies: nothing is lost, nothing is said that is not so."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from nights import Host, night_at
from offsite_samples import HOST, Offsite, noise
from proxy import FAULTS, Proxy, fault_proxy

from daybreak import files
from daybreak.catalog import Catalog
from daybreak.embedded.s3 import S3Server
from daybreak.errors import ConfigError, DaybreakError, OffsiteError
from daybreak.jobs import backlog, offsite
from daybreak.jobs.accept import accept
from daybreak.jobs.adoption import adopt
from daybreak.jobs.fetch import fetch
from daybreak.jobs.parcel import Parcel
from daybreak.jobs.run import RunContext
from daybreak.jobs.status import status_of
from daybreak.model import BackupPlan, Keep, Repository, RunState
from installation import wait_for

pytestmark = pytest.mark.restic
#: `just campaign` asks for more.
RUNS = int(os.environ.get("DAYBREAK_STORMS", "15"))
KILLS = int(os.environ.get("DAYBREAK_RESTIC_KILLS", "5"))
SEED = int(os.environ.get("DAYBREAK_SEED", "") or random.SystemRandom().randrange(10**6))


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with fault_proxy(s3.port) as running:
        yield running


@pytest.fixture(autouse=True)
def _named_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_HOST", HOST)


def through(proxy: Proxy, offsite: Offsite, repository: Repository) -> Repository:
    """The same repository, reached through the proxy."""
    return replace(repository, url=repository.url.replace(offsite.s3.endpoint, proxy.endpoint))


def archives_in(offsite: Offsite, repository: Repository) -> list[str]:
    """The archives in a repository, oldest first, looked at without a proxy."""
    return [one.archive or "?" for one in offsite.restic(repository).snapshots(tags=["daybreak"])]


def test_days_without_a_repository_are_made_up_for_oldest_first(newer: Offsite, proxy: Proxy, tmp_path: Path) -> None:
    good, away = newer.empty(keep=Keep(last=100)), replace(newer.empty(keep=Keep(last=100)), name="b2")
    host = Host(
        folder=tmp_path,
        repositories=(through(proxy, newer, away), good),
        backlog=3,
        quick=timedelta(seconds=3),
    )
    host.night(0)
    with proxy.faulty(lambda _request: "cut"):
        for night in (1, 2, 3, 4):
            with pytest.raises(OffsiteError, match="published here, but not off-site: repository b2") as caught:
                host.night(night)
            assert (caught.value.exit_code, caught.value.reason) == (14, "unreachable")
    assert "3 archives wait here" in caught.value.hint
    assert host.waiting() == ["a002", "a003", "a004"]  # bounded: the oldest was let go, with a warning
    failed = host.catalog.runs.list(kind="backup", limit=1)[0]
    assert [(one.name, one.failed) for one in host.catalog.runs.get(failed.id).steps] == [("off-site", True)]
    assert failed.result["waiting"] == ["a002", "a003", "a004"]
    assert any("archive a001" in one and "let go" in one for one in failed.result["warnings"])
    [status] = status_of(host.catalog, [host.plan], [], night_at(5))
    assert status.as_json()["waiting"] == {one: ["b2"] for one in ("a002", "a003", "a004")}
    assert archives_in(newer, good) == ["a000", "a001", "a002", "a003", "a004"]  # one never stops the other

    run = host.night(5)

    assert archives_in(newer, away) == ["a000", "a002", "a003", "a004", "a005"]
    assert [one.taken_at for one in newer.restic(away).snapshots()] == [night_at(n) for n in (0, 2, 3, 4, 5)]
    sent = [(one["repository"], one["archive"]) for one in run.result["snapshots"]]
    assert sent == [("b2", "a002"), ("b2", "a003"), ("b2", "a004"), ("b2", "a005"), ("r2", "a005")]
    assert host.waiting() == []
    assert list((host.shelf.root / "backlog").iterdir()) == []
    back = fetch(newer.restic(away), to=tmp_path / "back", snapshot=newer.restic(away).snapshots()[1].id)
    assert back.path.read_bytes() == b"night 2"


def test_an_archive_whose_run_died_before_it_was_sent_is_sent_by_the_next(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty()
    host = Host(folder=tmp_path, repositories=())
    host.night(0)  # published; what a kill before the first byte off-site leaves
    host.repositories = (repository,)

    host.night(1)

    assert archives_in(newer, repository) == ["a000", "a001"]


class Killed(BaseException):
    """What a kill is to the lines behind it."""


@pytest.mark.parametrize("name", ["a001.dump.json", "a001.dump.globals.sql", "a001.dump"])
def test_a_kill_while_an_archive_is_put_among_those_that_wait_loses_nothing(
    name: str, newer: Offsite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = newer.empty()
    host = Host(folder=tmp_path, repositories=(repository,))
    host.night(0)
    link_over = files.link_over

    def dies(source: Path, link: Path) -> None:
        if (link.parent.name, link.name) == ("backlog", name):
            raise Killed
        link_over(source, link)

    monkeypatch.setattr(files, "link_over", dies)
    with pytest.raises(Killed):
        host.night(1)
    monkeypatch.setattr(files, "link_over", link_over)
    host.night(2)

    assert archives_in(newer, repository) == ["a000", "a001", "a002"]
    assert list((host.shelf.root / "backlog").iterdir()) == []


def test_an_archive_that_waits_without_its_manifest_gets_it(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty()
    host = Host(folder=tmp_path, repositories=())
    host.night(0)
    (host.shelf.root / "backlog" / "a000.dump").hardlink_to(host.plan.archive)
    host.repositories = (repository,)
    host.night(1)
    assert archives_in(newer, repository) == ["a000", "a001"]
    assert list((host.shelf.root / "backlog").iterdir()) == []


def test_what_another_run_lets_wait_meanwhile_goes_on_waiting(
    newer: Offsite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(folder=tmp_path, repositories=(newer.empty(),))
    host.night(0)
    lacks = backlog.lacks
    two = replace(host.plan, repositories=(*host.repositories, replace(newer.empty(), name="b2")))
    host.shelf.enlist(host.plan.archive, "z999")  # any that is there, so that something is asked about

    def meanwhile(catalog: Catalog, plan: BackupPlan, archive: str) -> tuple[Repository, ...]:
        host.shelf.enlist(plan.archive, "a000")
        return lacks(catalog, plan, archive)

    with monkeypatch.context() as patched:
        patched.setattr(backlog, "lacks", meanwhile)
        host.run("ship", lambda run: [run.begin(), backlog.settle(run, two, host.shelf)][0])
    assert (host.shelf.root / "backlog" / "a000.dump").exists()


def test_an_archive_that_the_disk_does_not_give_tonight_goes_on_waiting(
    newer: Offsite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = newer.empty()
    host = Host(folder=tmp_path, repositories=(replace(repository, url=f"{repository.url}-gone"),))
    assert host.try_night(0) is not None
    host.repositories = (repository,)
    read_bytes = Path.read_bytes

    def eio(path: Path) -> bytes:
        if path.name == "a000.dump.json" and path.parent.name == "backlog" and sending.is_set():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_bytes(path)

    sending = threading.Event()
    ship_all = offsite.ship_all

    def send(parcel: Parcel, *words: object, **named: object) -> object:
        sending.set()
        try:
            return ship_all(parcel, *words, **named)
        finally:
            sending.clear()

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", eio)
        patched.setattr(offsite, "ship_all", send)
        run = host.night(1)
    assert any("a000.dump.json cannot be read: Input/output error" in one for one in run.result["warnings"])
    assert archives_in(newer, repository) == ["a001"]
    assert host.waiting() == ["a000"]

    host.night(2)
    assert archives_in(newer, repository) == ["a000", "a001", "a002"]


def test_what_another_run_sent_meanwhile_does_not_wait(
    newer: Offsite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = newer.empty()
    host = Host(folder=tmp_path, repositories=(replace(repository, url=f"{repository.url}-gone"),))
    assert host.try_night(0) is not None
    host.repositories = (repository,)
    ship_all = offsite.ship_all

    def send(parcel: Parcel, *words: object, **named: object) -> object:
        with monkeypatch.context() as first:
            first.setattr(offsite, "ship_all", ship_all)
            if parcel.dump.name == "a000.dump":
                host.run("ship", lambda run: [run.begin(), offsite.send(run, host.plan, old, connect=host.connect)][0])
        return ship_all(parcel, *words, **named)

    old = host.catalog.archives.newest(host.plan.name)
    assert old is not None
    old = old.archive
    with monkeypatch.context() as patched:
        patched.setattr(offsite, "ship_all", send)
        run = host.night(1)
    assert run.result.get("warnings", []) == []
    assert archives_in(newer, repository).count("a000") == 1
    assert host.waiting() == []


def test_what_a_person_accepted_is_sent_as_a_good_one(newer: Offsite, tmp_path: Path) -> None:
    repository = newer.empty()
    host = Host(folder=tmp_path, repositories=(repository,))
    host.night(0)
    host.night(1, quarantined=True)
    host.run("accept", lambda run: accept(run, host.plan, "a001"))
    assert host.waiting() == ["a001"]

    host.night(2)

    sent = [(one.archive, "quarantined" in one.tags) for one in newer.restic(repository).snapshots(tags=["daybreak"])]
    assert sorted(sent) == [("a000", False), ("a001", False), ("a001", True), ("a002", False)]
    assert host.waiting() == []


def test_a_night_is_safe_where_what_was_forgotten_cannot_be_recorded(
    newer: Offsite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(folder=tmp_path, repositories=(newer.empty(keep=Keep(last=1)),))
    host.night(0)

    def full(*_words: object, **_named: object) -> int:
        raise ConfigError("the catalog cannot be written: the disk is full", hint="make room")

    monkeypatch.setattr(host.catalog.snapshots, "forget", full)
    run = host.night(1)
    assert run.state is RunState.SUCCEEDED
    assert any("what was forgotten there could not be recorded: the catalog" in one for one in run.result["warnings"])


def test_an_archive_that_decays_while_it_waits_is_let_go(newer: Offsite, tmp_path: Path) -> None:
    missing = newer.empty()
    host = Host(folder=tmp_path, repositories=(replace(missing, url=f"{missing.url}-gone"),))
    for night in (0, 1):
        assert host.try_night(night) is not None
    waiting = host.shelf.root / "backlog" / "a000.dump"
    waiting.unlink()
    waiting.write_bytes(b"decayed")
    host.repositories = (missing,)

    run = host.night(2)

    assert archives_in(newer, missing) == ["a001", "a002"]
    assert any("a000" in one and "let go" in one for one in run.result["warnings"])


def test_tonights_archive_comes_before_those_that_wait(newer: Offsite, tmp_path: Path) -> None:
    missing = newer.empty()
    host = Host(folder=tmp_path, repositories=(replace(missing, url=f"{missing.url}-gone"),))
    for night in (0, 1, 2):
        assert host.try_night(night) is not None

    make_room(host)

    assert host.waiting() == ["a002"]  # also the published one: letting it go would free nothing


def make_room(host: Host) -> None:
    """A backup that finds far too little room."""

    def job(run: RunContext) -> None:
        backlog.make_room(run, host.plan, host.shelf, 2**62, published=lambda: adopt(run, host.plan, host.shelf))

    host.run("backup", job)


def test_the_last_sound_archive_waits_on_though_there_is_no_room(newer: Offsite, tmp_path: Path) -> None:
    missing = newer.empty()
    host = Host(folder=tmp_path, repositories=(replace(missing, url=f"{missing.url}-gone"),))
    for night in (0, 1):
        assert host.try_night(night) is not None
    host.plan.archive.unlink()
    host.plan.archive.write_bytes(b"somebody's dump")

    make_room(host)

    assert host.waiting() == ["a001"]  # else a dump that fails would leave none at all


def test_an_older_archive_that_is_kept_here_goes_on_waiting(newer: Offsite, tmp_path: Path) -> None:
    missing = newer.empty()
    host = Host(folder=tmp_path, repositories=(replace(missing, url=f"{missing.url}-gone"),))
    for night in (0, 1):
        assert host.try_night(night) is not None
    host.shelf.keep_proven(host.shelf.root / "backlog" / "a000.dump")

    make_room(host)

    assert host.waiting() == ["a000", "a001"]  # letting them go would free nothing


def test_storms(newer: Offsite, proxy: Proxy, tmp_path: Path) -> None:
    """Cut, late, refused, throttled, broken, and successes that are none, in random order."""
    chance = random.Random(SEED)  # noqa: S311 -- a storm is repeated by its seed
    print(f"seed {SEED}, {RUNS} nights")  # noqa: T201 -- to repeat it
    direct = newer.empty(keep=None)
    host = Host(
        folder=tmp_path,
        repositories=(through(proxy, newer, direct),),
        backlog=1000,
        quick=timedelta(seconds=8),
        lock_wait=timedelta(seconds=2),
    )
    data = bytearray(noise(300_000, seed=SEED))
    written: dict[str, bytes] = {}
    ends: Counter[str] = Counter()
    for night in range(RUNS):
        at = chance.randrange(len(data) - 1000)
        data[at : at + 1000] = chance.randbytes(1000)
        written[f"a{night:03}"] = bytes(data)
        share = chance.choice((0.02, 0.1, 0.4))
        with proxy.faulty(proxy.random(chance, share)):
            fault = host.try_night(night, bytes(data))
        ends["success" if fault is None else getattr(fault, "reason", fault.code)] += 1
        if fault is None:
            assert host.waiting() == [], f"a success that left something behind (seed {SEED}, night {night})"
            assert archives_in(newer, direct)[-1] == f"a{night:03}", f"a false success (seed {SEED}, night {night})"
        else:
            assert fault.exit_code == 14, f"{fault.message} (seed {SEED}, night {night})"
            assert f"a{night:03}" in host.waiting()
    print(dict(ends), dict(Counter(fault for fault, _ in proxy.done if fault)))  # noqa: T201 -- what it was

    host.night(RUNS, b"the sky is clear")

    written[f"a{RUNS:03}"] = b"the sky is clear"
    restic = newer.restic(direct)
    sent = archives_in(newer, direct)
    # restic takes a 200 that holds an error for a folder without files: then nobody can know that it was sent before.
    lies = [one for fault, one in proxy.done if fault == "200" and "list-type" in one.path and "snapshots" in one.path]
    assert list(dict.fromkeys(sent)) == list(written), f"lost (seed {SEED})"
    assert len(sent) <= len(written) + len(lies), f"doubled (seed {SEED})"
    found = restic.check(read_data_subset="100%")
    assert found.sound, f"{found} (seed {SEED})"
    for one in chance.sample(restic.snapshots(), min(5, RUNS)):
        back = fetch(restic, to=tmp_path / f"back-{one.archive}", snapshot=one.id)
        assert back.path.read_bytes() == written[one.archive or ""], f"seed {SEED}"
    assert set(FAULTS) >= {fault for fault, _ in proxy.done if fault}


def test_restic_is_killed_at_any_instant(offsite: Offsite, tmp_path: Path) -> None:
    """The next run ships, makes nothing twice, and leaves a lock of somebody else alone."""
    chance = random.Random(SEED)  # noqa: S311 -- see above
    print(f"seed {SEED}, {KILLS} kills")  # noqa: T201 -- to repeat it
    number = offsite.folder / "restic.pid"
    note = f'[ "$1" = backup ] && echo $$ > "{number}.new" && mv "{number}.new" "{number}"'
    noted = offsite.wrapped("noted", f'{note}\nexec "$RESTIC" "$@"')
    repository = offsite.empty(keep=None, restic=noted)
    host = Host(folder=tmp_path, repositories=(repository,))
    lasts_s = 0.0

    def begun() -> int:
        """The number of the backup's process, which is one of this test's."""
        wait_for(number.exists, within_s=30, what="a backup")
        return int(number.read_text())

    def measure() -> None:
        nonlocal lasts_s
        one, began = begun(), time.monotonic()
        wait_for(lambda: not Path(f"/proc/{one}").exists(), within_s=30, what="the end of a backup")
        lasts_s = time.monotonic() - began

    def kill() -> None:
        one = begun()
        time.sleep(chance.uniform(0, lasts_s))
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.kill(one, signal.SIGKILL)

    def night(content: bytes, meanwhile: Callable[[], None]) -> DaybreakError | None:
        number.unlink(missing_ok=True)
        thread = threading.Thread(target=meanwhile)
        thread.start()
        try:
            return host.try_night(next(nights), content)
        finally:
            thread.join()

    nights = itertools.count()
    assert night(noise(1_500_000, seed=SEED), measure) is None
    wanted, killed, tries = (KILLS + 1) // 2, 0, 0  # of each of two restics
    while killed < wanted:
        tries += 1
        assert tries <= 10 * wanted, f"{killed} of {tries} kills hit a backup that takes {lasts_s:.2f} s"
        fault = night(noise(1_500_000, seed=SEED + tries), kill)
        killed += fault is not None
        assert fault is None or fault.exit_code == 14
        host.night(next(nights), b"after %d" % tries)
        assert archives_in(offsite, replace(repository, restic=offsite.program)) == [
            f"a{one:03}" for one in range(2 * tries + 1)
        ], f"seed {SEED}, kill {tries}"
    print(f"{killed} of {tries} hit a backup of {lasts_s:.2f} s")  # noqa: T201 -- what it was
    restic = offsite.restic(replace(repository, restic=offsite.program))
    assert restic.locks() == ()
    assert restic.check(read_data_subset="100%").sound
