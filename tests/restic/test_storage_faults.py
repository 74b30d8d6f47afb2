"""What storages, networks, clocks and caches do: told apart on restic 0.14 as on new ones, within a deadline."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from nights import Host
from offsite_samples import FIRST_NIGHT, HOST, Offsite, Shelf, noise
from proxy import BucketLock, Proxy, Request, fault_proxy
from sealed import open_key

from daybreak.embedded.s3 import S3Server
from daybreak.errors import ConfigError, OffsiteError
from daybreak.model import Keep, Repository, SecretSource
from daybreak.process import Runner
from daybreak.restic import Restic

pytestmark = pytest.mark.restic
PATIENT = timedelta(seconds=45)


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with fault_proxy(s3.port) as running:
        yield running


@pytest.fixture(autouse=True)
def _named_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_HOST", HOST)


def through(proxy: Proxy, offsite: Offsite, repository: Repository) -> Repository:
    return replace(repository, url=repository.url.replace(offsite.s3.endpoint, proxy.endpoint))


#: What a storage answers, and what it is told as: reason, words of the message, words of the hint.
ANSWERED = {
    "403": ("denied", "Access Denied", "env_file"),
    "expired": ("expired", "has expired", "make new keys"),
    "clock": ("clock", "clock", "NTP"),
    "429": ("throttled", "reduce your request rate", "limit_upload"),
    "500": ("trouble", "internal error", "status page"),
    "501": ("trouble", "not implemented", "status page"),
    "503": ("throttled", "reduce your request rate", "limit_upload"),
    "cut": ("unreachable", "", "network"),
}


def test_each_answer_of_a_storage_has_its_words(offsite: Offsite) -> None:
    """All at once, because restic's libraries try again for seconds before they say a word."""

    def open_one(fault: str) -> tuple[OffsiteError, float]:
        started = time.monotonic()
        with (
            fault_proxy(offsite.s3.port) as proxy,
            # A HEAD has no body to say why: the words come with the answers that have one.
            proxy.faulty(lambda request: fault if request.verb != "HEAD" or fault == "cut" else ""),
            pytest.raises(OffsiteError) as caught,
        ):
            offsite.restic(through(proxy, offsite, offsite.template), quick=PATIENT).open()
        return caught.value, time.monotonic() - started

    with ThreadPoolExecutor(len(ANSWERED)) as threads:
        found = dict(zip(ANSWERED, threads.map(open_one, ANSWERED), strict=True))

    assert {fault: one.reason for fault, (one, _) in found.items()} == {
        fault: reason for fault, (reason, _, _) in ANSWERED.items()
    }
    for fault, (_, words, hint) in ANSWERED.items():
        one, seconds = found[fault]
        assert one.exit_code == 14
        assert words.lower() in one.message.lower(), fault
        assert hint in one.hint, fault
        assert seconds < 2 * PATIENT.total_seconds()


def test_a_success_that_holds_an_error_is_no_success(offsite: Offsite, proxy: Proxy, shelf: Shelf) -> None:
    """Whatever kind of object the storage swallows, the night fails, and the next one is whole."""
    repository = offsite.empty(keep=None)
    restic = offsite.restic(through(proxy, offsite, repository), quick=timedelta(seconds=20))
    contents: dict[str, bytes] = {}
    for night, kind in enumerate(("data", "index", "snapshots")):
        contents[f"a{night:03}"] = noise(300_000, seed=500 + night)
        parcel = shelf.parcel(contents[f"a{night:03}"], night=night)

        def swallow(request: Request, kind: str = kind) -> str:
            return "200" if request.verb == "PUT" and request.kind == kind else ""

        with proxy.faulty(swallow), pytest.raises(OffsiteError) as caught:
            shelf.send(parcel, restic)
        assert caught.value.exit_code == 14, kind
        assert len(offsite.restic(repository).snapshots()) == night, kind
        [shipped] = shelf.send(replace(parcel, again=True), restic)
        assert shipped.archive == f"a{night:03}"
    assert offsite.restic(repository).check(read_data_subset="100%").sound


def test_a_run_that_died_after_the_storage_swallowed_leaves_no_trap(newer: Offsite, proxy: Proxy, shelf: Shelf) -> None:
    """The index names a pack that is not there; without a look the next backup would count on it."""
    repository = newer.empty(keep=None)
    content = noise(300_000, seed=600)
    swallowing = newer.restic(through(proxy, newer, repository))
    file = shelf.folder / "file"
    file.write_bytes(content)
    before = swallowing.indexes()
    with proxy.faulty(lambda request: "200" if request.verb == "PUT" and request.kind == "data" else ""):
        swallowing.backup([file], tags=["x"], host=HOST, taken_at=FIRST_NIGHT)
    note = shelf.locks / "repository-r2.stored"
    note.write_text(json.dumps({"sending": True, "version": 2, "indexes": sorted(before)}))  # what the dead run left

    shelf.send(shelf.parcel(content, night=1), newer.restic(repository))

    restic = newer.restic(repository)
    restic.forget([one.id for one in restic.snapshots(tags=["x"])])
    assert restic.check(read_data_subset="100%").sound
    assert json.loads(note.read_text())["sending"] is False


def test_a_repository_of_a_newer_format(offsite: Offsite) -> None:
    repository = offsite.empty()
    assert repository.password.file
    where = offsite.where(repository)
    restic = offsite.restic(repository)
    restic.open()
    [file] = (where / "keys").iterdir()
    key = open_key(file.read_bytes(), repository.password.file.read_text().strip())
    plain = key.open((where / "config").read_bytes())
    offsite.put(repository, "config", key.seal(json.dumps(json.loads(plain) | {"version": 3}).encode()))

    with pytest.raises(OffsiteError) as caught:
        offsite.restic(repository).open()

    assert (caught.value.reason, caught.value.exit_code) == ("format", 14)
    assert "newer restic" in caught.value.hint


def test_a_bucket_lock_lets_backups_through_and_forgetting_is_no_alarm(
    offsite: Offsite, proxy: Proxy, tmp_path: Path
) -> None:
    repository = offsite.empty(keep=Keep(last=1))
    host = Host(folder=tmp_path, repositories=(through(proxy, offsite, repository),))
    with proxy.faulty(BucketLock()):
        runs = [host.night(night) for night in range(2)]
        pruned = host.prune()

    assert [run.state.value for run in runs] == ["succeeded", "succeeded"]
    [warning] = runs[1].result["warnings"]
    assert "the storage keeps what was to be deleted" in warning
    assert len(offsite.restic(repository).snapshots()) == 2
    assert host.catalog.snapshots.list()[1].forgotten_at is None
    assert offsite.restic(repository).locks() == ()
    assert pruned.state.value in {"skipped", "succeeded"}  # there is nothing to prune, or it may not


def test_an_answer_that_is_lost_under_a_bucket_lock_ends_well(offsite: Offsite, proxy: Proxy, shelf: Shelf) -> None:
    """The object is stored, the answer is lost, the retry may not overwrite it: restic takes that for a refusal."""
    repository = offsite.empty(keep=None)
    lock, lost = BucketLock(), set[str]()

    def choose(request: Request) -> str:
        fault = lock(request)
        if not fault and request.verb == "PUT" and request.kind == "data" and not lost:
            lost.add(request.path)
            return "cut after"
        return fault

    with proxy.faulty(choose):
        [shipped] = shelf.send(
            shelf.parcel(noise(300_000, seed=700)), offsite.restic(through(proxy, offsite, repository))
        )

    assert lost
    assert [one.id for one in offsite.restic(repository).snapshots()] == [shipped.snapshot]
    assert offsite.restic(repository).check(read_data_subset="100%").sound


@pytest.mark.parametrize("how", ["lost", "a file", "corrupt", "read-only", "full"])
def test_restic_works_without_its_cache(newer: Offsite, shelf: Shelf, tmp_path: Path, how: str) -> None:
    cache = tmp_path / "cache"
    repository = newer.empty(keep=None, env={"RESTIC_CACHE_DIR": str(cache)})
    shelf.send(shelf.parcel(night=0), newer.restic(repository))
    if how == "corrupt":
        for file in cache.rglob("*"):
            if file.is_file() and file.name != "version":
                file.chmod(0o600)
                file.write_bytes(b"corrupt")
    else:
        shutil.rmtree(cache)
    if how == "a file":
        cache.write_text("in the way")
    elif how == "read-only":
        repository = replace(repository, env={"RESTIC_CACHE_DIR": "/proc/cache"})
    elif how == "full":
        cache.symlink_to("/dev/full")

    [shipped] = shelf.send(shelf.parcel(night=1), newer.restic(repository))

    assert [one.archive for one in newer.restic(repository).snapshots()] == ["a000", "a001"]
    assert shipped.archive == "a001"


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_the_line_end_of_a_password_file_does_not_belong_to_it(offsite: Offsite, tmp_path: Path, ending: bytes) -> None:
    assert offsite.template.password.file
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_bytes(offsite.template.password.file.read_bytes().strip() + ending)

    offsite.restic(replace(offsite.template, password=SecretSource(file=file))).open()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [(None, 0, "is not there"), (b"", 0o600, "is empty"), (b"\n", 0o600, "is empty"), (b"x\n", 0o644, "open to every")],
)
def test_a_password_file_that_cannot_be_used(
    newer: Offsite, tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)

    with pytest.raises(ConfigError, match=words) as caught:
        newer.restic(replace(newer.template, password=SecretSource(file=file))).open()

    assert caught.value.exit_code == 3  # what the configuration causes


def test_limits_reach_restic_as_it_counts_them(newer: Offsite) -> None:
    log: list[str] = []
    limited = replace(newer.template, limit_upload=2 * 2**20, limit_download=1500)

    Restic(limited, Runner(log=log.append)).open()

    assert any("list --limit-upload 2048 --limit-download 1 locks" in line for line in log)
