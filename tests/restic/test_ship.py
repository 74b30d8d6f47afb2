"""Archives go off-site and come back: real restics, a real S3 server."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from nights import Host
from offsite_samples import FIRST_NIGHT, HOST, NAME, Offsite, Shelf, broken, made_up_manifest, noise

from daybreak.errors import ArchiveError, Busy, Cancelled, OffsiteError, PublishError, Refused
from daybreak.files import lock
from daybreak.jobs.fetch import fetch, fetch_here
from daybreak.jobs.ship import NotShipped, Shipped, require_all, ship_all
from daybreak.model import Keep, Run
from daybreak.process import Runner
from daybreak.restic import Restic

pytestmark = pytest.mark.restic

MEGABYTE = 2**20


def test_a_night_goes_off_site_is_read_back_and_the_next_one_adds_less(
    offsite: Offsite, shelf: Shelf, tmp_path: Path
) -> None:
    restic = offsite.restic()
    monday = noise(12 * MEGABYTE, seed=1)
    tuesday = monday[: 6 * MEGABYTE] + noise(20_000, seed=2) + monday[6 * MEGABYTE + 20_000 :]
    heard: list[str] = []

    [first] = shelf.send(shelf.parcel(monday, night=0), restic, report=lambda event, _facts: heard.append(event))
    [second] = shelf.send(shelf.parcel(tuesday, night=1), restic)

    assert second.added_bytes < 0.8 * first.added_bytes
    assert first.added_bytes > 12 * MEGABYTE
    assert len(first.snapshot) == 64
    assert first.taken_at == FIRST_NIGHT
    assert heard[-1] == "shipped"
    assert shelf.leftovers() == []
    stored = restic.snapshots()
    assert [snapshot.id for snapshot in stored] == [first.snapshot, second.snapshot]
    assert stored[0].tags == ("daybreak", "plan=nightly", "archive=a000")
    assert stored[0].host == HOST
    folder = shelf.ship / "nightly"
    assert (
        set(stored[0].paths)
        == set(stored[1].paths)
        == {str(folder / (NAME + suffix)) for suffix in ("", ".json", ".globals.sql")}
    )

    back = fetch(restic, to=tmp_path / "back.dump", plan="nightly")
    older = fetch(restic, to=tmp_path / "older.dump", snapshot=first.snapshot[:10])

    assert back.path.read_bytes() == tuesday
    assert older.path.read_bytes() == monday
    assert (back.archive, back.snapshot, back.sha256) == ("a001", second.snapshot, sha256(tuesday).hexdigest())
    assert sorted(path.name for path in tmp_path.glob("*.dump*")) == [
        f"{name}.dump{suffix}" for name in ("back", "older") for suffix in ("", ".globals.sql", ".json")
    ]
    assert (tmp_path / "back.dump").stat().st_mode & 0o777 == 0o640


def test_a_file_that_vanishes_before_restic_reads_it_makes_no_snapshot(offsite: Offsite, shelf: Shelf) -> None:
    vanish = 'for word do case "$word" in *.json) [ "$1" = backup ] && rm -f "$word";; esac; done; exec "$RESTIC" "$@"'
    repository = offsite.empty(restic=offsite.wrapped("vanish", vanish))

    with pytest.raises(OffsiteError) as caught:
        shelf.send(shelf.parcel(), offsite.restic(repository))

    assert caught.value.reason == "partial"
    assert shelf.leftovers() == []


def test_a_snapshot_that_holds_less_is_found_and_forgotten(offsite: Offsite, shelf: Shelf) -> None:
    drop = (
        'if [ "$1" = backup ]; then\n'
        '  for word do shift; case "$word" in *.globals.sql) ;; *) set -- "$@" "$word";; esac; done\n'
        "fi\n"
        'exec "$RESTIC" "$@"'
    )
    repository = offsite.empty(restic=offsite.wrapped("drop", drop))

    with pytest.raises(OffsiteError, match=r"genjishimada-prod\.dump\.globals\.sql is missing") as caught:
        shelf.send(shelf.parcel(), offsite.restic(repository))

    assert caught.value.reason == "partial"
    assert "daybreak repository check r2" in caught.value.hint
    assert offsite.restic(replace(repository, restic=offsite.program)).snapshots() == ()


def test_a_file_that_is_shorter_off_site_is_found(newer: Offsite, shelf: Shelf) -> None:
    cut = (
        'for word do case "$word" in *.dump) [ "$1" = backup ] && rm "$word" && echo cut > "$word";; esac; done\n'
        'exec "$RESTIC" "$@"'
    )
    repository = newer.empty(restic=newer.wrapped("cut", cut))

    with pytest.raises(OffsiteError, match=r"genjishimada-prod\.dump has 4 B of 10 B") as caught:
        shelf.send(shelf.parcel(), newer.restic(repository))

    assert caught.value.reason == "partial"


def test_a_quarantined_archive_is_sent_and_is_nobodys_latest(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = newer.restic()

    [doubtful] = shelf.send(shelf.parcel(b"doubtful", night=1, quarantined=True), restic)

    assert "quarantined" in restic.snapshots(ids=[doubtful.snapshot])[0].tags
    with pytest.raises(OffsiteError, match="no snapshot of plan nightly") as caught:
        fetch(restic, to=tmp_path / "back", plan="nightly")
    assert caught.value.reason == "missing"
    assert fetch(restic, to=tmp_path / "back", snapshot=doubtful.snapshot[:8]).path.read_bytes() == b"doubtful"


def test_what_an_earlier_run_sent_is_not_sent_again(offsite: Offsite, shelf: Shelf) -> None:
    restic = offsite.restic()
    parcel = replace(shelf.parcel(night=1), again=True)
    [first] = shelf.send(parcel, restic)

    [again] = shelf.send(parcel, restic)
    [accepted] = shelf.send(replace(parcel, quarantined=True), restic)

    assert (again.snapshot, again.added_bytes) == (first.snapshot, 0)
    assert accepted.snapshot != first.snapshot  # other tags: another statement about it


def test_one_repository_that_fails_does_not_stop_the_others(newer: Offsite, shelf: Shelf) -> None:
    good, missing = newer.empty(), replace(newer.empty(), name="lost")
    missing = replace(missing, url=f"{missing.url}-gone")

    results = ship_all(
        shelf.parcel(), [newer.restic(missing), newer.restic(good)], folder=shelf.ship, locks=shelf.locks, host=HOST
    )

    assert [type(result) for result in results] == [NotShipped, Shipped]
    with pytest.raises(
        OffsiteError, match="published here, but not off-site: repository lost: there is no repository"
    ) as caught:
        require_all(results)
    assert (caught.value.reason, caught.value.exit_code) == ("missing", 14)
    assert "daybreak repository init lost" in caught.value.hint
    assert len(newer.restic(good).snapshots()) == 1
    assert not newer.where(missing).exists()  # never made by the way


def test_an_archive_that_is_not_what_its_manifest_says_is_not_sent(newer: Offsite, shelf: Shelf) -> None:
    restic = newer.restic()
    parcel = shelf.parcel(b"as it was checked")
    parcel.dump.write_bytes(b"as it was changed")

    with pytest.raises(ArchiveError, match="not what its manifest says"):
        shelf.send(parcel, restic)

    assert restic.snapshots() == ()
    assert shelf.leftovers() == []


def test_globals_of_another_night_are_not_sent(newer: Offsite, shelf: Shelf) -> None:
    parcel = shelf.parcel()
    assert parcel.globals
    parcel.globals.write_text("CREATE ROLE somebody_else;")

    with pytest.raises(ArchiveError, match="globals file"):
        shelf.send(parcel, newer.restic())


def test_what_a_killed_run_left_is_not_sent(newer: Offsite, shelf: Shelf) -> None:
    left = shelf.ship / "nightly"
    left.mkdir()
    (left / NAME).write_text("half of an older night")
    (left / "older.dump").write_text("and one under another name")

    [shipped] = shelf.send(shelf.parcel(b"tonight"), newer.restic())

    assert shipped.total_bytes > len(b"tonight")
    assert shelf.leftovers() == []


def test_a_ship_folder_that_cannot_be_used_says_so(newer: Offsite, shelf: Shelf) -> None:
    (shelf.ship / "nightly").write_text("a file where a folder must be")

    with pytest.raises(OffsiteError, match="cannot prepare"):
        shelf.send(shelf.parcel(), newer.restic())


def test_a_busy_repository_is_told_apart(newer: Offsite, shelf: Shelf) -> None:
    restic = newer.restic()
    with lock(shelf.locks / "repository-r2.lock", wait=timedelta(0), cancel=threading.Event(), holder="run 42"):
        [result] = ship_all(
            shelf.parcel(), [restic], folder=shelf.ship, locks=shelf.locks, host=HOST, wait=timedelta(seconds=0.2)
        )

    assert isinstance(result, NotShipped)
    assert isinstance(result.fault, Busy)
    with pytest.raises(OffsiteError, match="run 42 holds"):
        require_all([result])


def test_a_cancelled_run_ends_restic_and_leaves_the_ship_folder_empty(newer: Offsite, shelf: Shelf) -> None:
    slow = 'if [ "$1" = backup ]; then exec sleep 60; fi; exec "$RESTIC" "$@"'
    runner = Runner()
    restic = Restic(newer.empty(restic=newer.wrapped("slow", slow)), runner)
    threading.Timer(3, runner.cancel.set).start()
    started = time.monotonic()

    with pytest.raises(Cancelled):
        shelf.send(shelf.parcel(), restic)

    assert time.monotonic() - started < 20
    assert shelf.leftovers() == []


def test_no_secret_stands_in_a_command_line_a_log_or_a_message(offsite: Offsite, shelf: Shelf) -> None:
    repository = offsite.empty(keep=Keep(last=1))
    secrets = [offsite.s3.secret.reveal(), f"canary-password-{offsite.folder.name}"]
    seen: set[str] = set()
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(0.02):
            for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(cmdline.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
                except OSError:
                    continue  # it ended meanwhile

    sampler = threading.Thread(target=sample)
    sampler.start()
    messages: list[str] = []
    try:
        for night in range(2):
            shelf.send(
                shelf.parcel(night=night),
                offsite.restic(repository),
                report=lambda event, facts: messages.append(f"{event} {facts}"),
            )
        wrong = broken(repository, AWS_ACCESS_KEY_ID=offsite.s3.key_id, AWS_SECRET_ACCESS_KEY="wrong-canary")
        with pytest.raises(OffsiteError) as caught:
            offsite.restic(wrong).open()
    finally:
        stop.set()
        sampler.join()

    ran = [line for line in seen if str(offsite.program) in line]
    assert any(" backup " in line for line in ran)
    everything = "\n".join([*ran, *offsite.log, *messages, caught.value.message, caught.value.hint])
    assert not any(secret in everything for secret in secrets)


def test_fetch_never_overwrites(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = newer.restic()
    shelf.send(shelf.parcel(), restic)
    to = tmp_path / "mine.dump"
    to.with_name("mine.dump.json").write_text("mine")

    with pytest.raises(Refused, match=r"mine\.dump\.json exists already"):
        fetch(restic, to=to)

    assert to.with_name("mine.dump.json").read_text() == "mine"
    assert not to.exists()


def test_fetch_compares_what_came_back(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    repository = newer.empty()
    shelf.send(shelf.parcel(b"as it was sent"), newer.restic(repository))
    change = 'case "$1 $4" in "dump "*.dump) echo changed;; *) exec "$RESTIC" "$@";; esac'
    changed = newer.restic(replace(repository, restic=newer.wrapped("change", change)))

    with pytest.raises(ArchiveError, match="not what its manifest says"):
        fetch(changed, to=tmp_path / "back.dump")

    assert [path.name for path in tmp_path.iterdir() if "back" in path.name] == []


def test_latest_passes_by_a_file_that_is_not_all_there(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    short = (
        'for word do case "$word" in *.dump) [ "$1" = backup ] && rm "$word" && echo cut > "$word";; esac; done\n'
        'if [ "$1" = forget ]; then echo "unable to remove it: Access Denied" >&2; exit 1; fi\nexec "$RESTIC" "$@"'
    )
    repository = newer.empty(keep=None)
    restic = newer.restic(repository)
    shelf.send(shelf.parcel(night=0), restic)
    with pytest.raises(OffsiteError, match=r"has 4 B of 10 B"):
        shelf.send(shelf.parcel(night=1), newer.restic(replace(repository, restic=newer.wrapped("short", short))))
    assert len(restic.snapshots()) == 2

    assert fetch(restic, to=tmp_path / "back.dump").archive == "a000"


def test_latest_is_not_what_a_clock_that_was_ahead_has_dated(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    """It was the newest until that day came, and brought back older and older data as the latest."""
    restic = newer.restic()
    shelf.send(shelf.parcel(b"ahead", night=20_000), restic)
    assert fetch(restic, to=tmp_path / "only", plan="nightly").path.read_bytes() == b"ahead"
    shelf.send(shelf.parcel(b"good", night=0), restic)

    assert fetch(restic, to=tmp_path / "back", plan="nightly").path.read_bytes() == b"good"


def test_fetch_says_which_snapshot_it_cannot_find(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = newer.restic()
    with pytest.raises(OffsiteError, match="has no snapshot of plan nightly"):
        fetch(restic, to=tmp_path / "x", plan="nightly")
    shelf.send(shelf.parcel(night=0), restic)
    shelf.send(shelf.parcel(night=1), restic)

    with pytest.raises(OffsiteError, match="no snapshot whose id begins with 'xyz'"):
        fetch(restic, to=tmp_path / "x", snapshot="xyz")
    with pytest.raises(OffsiteError, match="no snapshot of plan weekly"):
        fetch(restic, to=tmp_path / "x", plan="weekly")


def test_a_plan_that_is_a_path_is_refused(newer: Offsite, tmp_path: Path) -> None:
    """Whoever has the repository's password can tag a snapshot with what he likes."""
    repository = newer.empty(keep=None)
    host = Host(folder=tmp_path / "host", repositories=(repository,))
    host.night(0)
    restic, outside = newer.restic(repository), tmp_path / "cron.d"
    outside.mkdir()
    theirs = tmp_path / "a.dump"
    theirs.write_bytes(b"* * * * * root sh")
    manifest = made_up_manifest(1, theirs.read_bytes(), b"", plan="x")
    theirs.with_name("a.dump.json").write_bytes(manifest.to_json())
    tags = ["daybreak", f"plan={outside / 'x'}", "archive=a001"]
    sent = [theirs, theirs.with_name("a.dump.json")]
    restic.backup(sent, tags=tags, host=HOST, taken_at=FIRST_NIGHT + timedelta(days=9))
    (planted,) = [one for one in restic.snapshots() if one.archive == "a001"]

    def here(snapshot: str) -> Run:
        return host.run("fetch", lambda run: fetch_here(run, restic, tmp_path / "fetched", snapshot=snapshot))

    with pytest.raises(Refused, match="no backup's name"):
        here(planted.id)
    assert list(outside.iterdir()) == []
    assert here("latest").result["fetched"] == "a000"


def test_what_a_killed_fetch_left_goes_with_the_next_one(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic, to = newer.restic(), tmp_path / "into" / "back [1].dump"
    to.parent.mkdir()
    shelf.send(shelf.parcel(), restic)
    heard: list[str] = []

    def hear(name: str) -> None:
        heard.append(name)
        if len(heard) > 1:  # the archive has come, what belongs to it has not
            os.kill(os.getpid(), signal.SIGKILL)

    killed = multiprocessing.get_context("fork").Process(
        target=fetch, args=(restic,), kwargs={"to": to, "on_file": hear}
    )
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    (left,) = to.parent.iterdir()
    assert (left / "file").stat().st_size > 0

    in_use = left.with_name(left.name.replace(str(killed.pid), "1"))
    in_use.mkdir()
    handle = os.open(in_use, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    fetch(restic, to=to)
    in_use.rmdir()  # it is there: somebody else was at work
    os.close(handle)
    assert sorted(path.name for path in to.parent.iterdir()) == [
        to.name,
        f"{to.name}.globals.sql",
        f"{to.name}.json",
    ]


def test_two_fetches_of_one_file_in_the_same_instant_leave_each_other_their_folders(
    newer: Offsite, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one looks for what kills left while the first has made its folder and not locked it yet."""
    restic, to = newer.restic(), tmp_path / "into" / "back.dump"
    to.parent.mkdir()
    shelf.send(shelf.parcel(), restic)
    real, calls = fcntl.flock, list[int]()

    def flock(handle: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 4_000_000)
                fetch(restic, to=to)
            for suffix in ("", ".json", ".globals.sql"):
                to.with_name(to.name + suffix).unlink(missing_ok=True)
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert fetch(restic, to=to).size_bytes == to.stat().st_size
    assert not list(to.parent.glob(".*.fetch"))


def test_fetch_into_a_folder_that_is_not_there(newer: Offsite, shelf: Shelf, tmp_path: Path) -> None:
    restic = newer.restic()
    shelf.send(shelf.parcel(), restic)

    with pytest.raises(PublishError, match="no such folder"):
        fetch(restic, to=tmp_path / "nowhere" / "x.dump")
