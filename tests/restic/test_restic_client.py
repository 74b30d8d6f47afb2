"""Each fault of a repository, made for real, is told apart; and waiting ends when it is vain."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from offsite_samples import FIRST_NIGHT, HOST, Offsite, broken, noise

from daybreak.embedded.scratch import free_port
from daybreak.errors import ConfigError, OffsiteError
from daybreak.model import Repository, SecretSource
from daybreak.restic import Progress

pytestmark = pytest.mark.restic

SOON = timedelta(seconds=4)


def fault_of(
    offsite: Offsite, repository: Repository, *, quick: timedelta = timedelta(seconds=60)
) -> tuple[OffsiteError, float]:
    """What opening that repository raises, and after how many seconds."""
    started = time.monotonic()
    with pytest.raises(OffsiteError) as caught:
        offsite.restic(repository, quick=quick).open()
    return caught.value, time.monotonic() - started


def test_an_open_repository(offsite: Offsite) -> None:
    restic = offsite.restic()

    restic.open()

    assert restic.version() >= (0, 14, 0)
    assert restic.snapshots() == ()
    assert restic.size_bytes() == 0


def test_a_repository_that_is_not_there(offsite: Offsite) -> None:
    repository = offsite.empty()
    gone = replace(repository, url=f"{repository.url}-gone")

    fault, seconds = fault_of(offsite, gone)

    assert fault.reason == "missing"
    assert "daybreak repository init r2" in fault.hint
    assert seconds < 20


def test_a_bucket_that_is_not_there(offsite: Offsite) -> None:
    fault, seconds = fault_of(offsite, replace(offsite.template, url=f"s3:{offsite.s3.endpoint}/nobucket/x"))

    assert fault.reason == "missing"
    assert "bucket does not exist" in fault.message
    assert seconds < 20


def test_a_wrong_password(offsite: Offsite, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not the password\n")

    fault, _ = fault_of(offsite, replace(offsite.template, password=SecretSource(file=wrong)))

    assert fault.reason == "password"


def test_a_wrong_secret_key_ends_in_seconds(offsite: Offsite) -> None:
    wrong = broken(offsite.template, AWS_ACCESS_KEY_ID=offsite.s3.key_id, AWS_SECRET_ACCESS_KEY="wrong")

    fault, seconds = fault_of(offsite, wrong)

    assert fault.reason == "denied"
    assert "signature" in fault.message
    assert "env_file" in fault.hint
    assert seconds < 20  # newer restics would go on for a quarter of an hour


def test_an_unknown_key_ends_in_seconds(offsite: Offsite) -> None:
    fault, seconds = fault_of(
        offsite, broken(offsite.template, AWS_ACCESS_KEY_ID="NOBODY", AWS_SECRET_ACCESS_KEY="wrong")
    )

    assert (fault.reason, seconds < 20) == ("denied", True)


def test_no_keys_at_all(offsite: Offsite) -> None:
    fault, _ = fault_of(offsite, broken(offsite.template))

    assert fault.reason == "denied"


def test_a_server_that_is_away(offsite: Offsite) -> None:
    away = replace(offsite.template, url=f"s3:http://127.0.0.1:{free_port()}/bucket/x")

    fault, seconds = fault_of(offsite, away, quick=SOON)

    assert fault.reason == "unreachable"
    assert "connection refused" in fault.message
    assert seconds < 30


def test_a_host_that_does_not_exist(offsite: Offsite) -> None:
    fault, _ = fault_of(offsite, replace(offsite.template, url="s3:http://nobody.invalid/bucket/x"), quick=SOON)

    assert fault.reason == "unreachable"


def test_a_lock_of_a_living_restic_is_waited_for_and_one_of_a_dead_is_removed(offsite: Offsite, tmp_path: Path) -> None:
    repository = offsite.empty()
    restic = offsite.restic(repository, lock_wait=timedelta(seconds=1))
    file = tmp_path / "file"
    file.write_bytes(noise(3_000_000, seed=7))
    restic.backup([file], tags=["x"], host=HOST, taken_at=FIRST_NIGHT)
    assert repository.password.file
    environment = {
        **os.environ,
        **offsite.s3.env,
        "RESTIC_REPOSITORY": repository.url,
        "RESTIC_PASSWORD_FILE": str(repository.password.file),
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }
    slow_check = [offsite.program, "check", "--read-data", "--limit-download", "20"]
    with subprocess.Popen(slow_check, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            until = time.monotonic() + 30
            while not list(offsite.where(repository).glob("locks/*")) and time.monotonic() < until:
                time.sleep(0.05)
            with pytest.raises(OffsiteError, match=f"PID {other.pid} on") as caught:
                restic.backup([file], tags=["x"], host=HOST, taken_at=FIRST_NIGHT)
            assert caught.value.reason == "locked"
            assert not restic.unlock_dead()
        finally:
            other.send_signal(signal.SIGKILL)

    restic.backup([file], tags=["y"], host=HOST, taken_at=FIRST_NIGHT)

    assert len(restic.snapshots()) == 2
    assert not restic.unlock_dead()  # there is none any more


def test_a_backup_tells_how_far_it_is(offsite: Offsite, tmp_path: Path) -> None:
    slow = 'if [ "$1" = backup ]; then exec "$RESTIC" --limit-upload 2000 "$@"; fi; exec "$RESTIC" "$@"'
    restic = offsite.restic(offsite.empty(restic=offsite.wrapped("slow-upload", slow)))
    file = tmp_path / "file"
    file.write_bytes(noise(8_000_000, seed=8))
    heard: list[Progress] = []

    summary = restic.backup([file], tags=["x"], host=HOST, taken_at=FIRST_NIGHT, on_progress=heard.append)

    assert summary.total_bytes == 8_000_000
    assert summary.added_bytes > 8_000_000
    assert heard
    done = [progress.done_bytes for progress in heard]
    assert done == sorted(done)
    assert max(done) <= 8_000_000


def test_a_restic_that_is_not_installed(newer: Offsite, tmp_path: Path) -> None:
    fault, _ = fault_of(newer, replace(newer.template, restic=tmp_path / "restic"))

    assert (fault.reason, fault.exit_code) == ("tool", 14)
    assert fault.hint == 'install it: apt install restic; or set restic = "/path" for the repository'


def test_a_restic_that_is_too_old_or_something_else(newer: Offsite) -> None:
    for name, script, words in (
        ("old", "echo restic 0.12.1 compiled with go", "0.12.1"),
        ("other", "echo hello", "did not say its version"),
    ):
        restic = newer.restic(replace(newer.template, restic=newer.wrapped(name, script)))
        with pytest.raises(OffsiteError, match=words) as caught:
            restic.version()
        assert caught.value.reason == "tool"


def test_an_unknown_exit_status_is_a_failure(newer: Offsite) -> None:
    fault, _ = fault_of(newer, replace(newer.template, restic=newer.wrapped("unknown", "exit 77")))

    assert fault.reason == "failed"
    assert "exit status 77" in fault.message


def test_a_restic_that_hangs_is_ended(newer: Offsite) -> None:
    fault, seconds = fault_of(
        newer, replace(newer.template, restic=newer.wrapped("hang", "exec sleep 600")), quick=timedelta(seconds=1)
    )

    assert (fault.reason, seconds < 20) == ("timeout", True)


def test_words_that_are_no_json_are_never_an_empty_list(newer: Offsite) -> None:
    restic = newer.restic(replace(newer.template, restic=newer.wrapped("chatty", "echo welcome; exit 0")))

    with pytest.raises(OffsiteError, match="cannot be read"):
        restic.snapshots()


def test_a_backup_without_a_summary_is_a_failure(newer: Offsite) -> None:
    restic = newer.restic(replace(newer.template, restic=newer.wrapped("mute", "exit 0")))

    with pytest.raises(OffsiteError, match="without a summary"):
        restic.backup([Path("/etc/hostname")], tags=["x"], host=HOST, taken_at=FIRST_NIGHT)


def test_a_password_from_the_environment(newer: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    assert newer.template.password.file
    monkeypatch.setenv("CANARY_PASSWORD", newer.template.password.file.read_text().strip())

    newer.restic(replace(newer.template, password=SecretSource(env="CANARY_PASSWORD"))).open()


def test_a_password_file_that_everybody_may_read_is_refused(newer: Offsite, tmp_path: Path) -> None:
    password = tmp_path / "open"
    password.write_text("canary-open\n")
    password.chmod(0o644)

    with pytest.raises(ConfigError, match=r"open"):
        newer.restic(replace(newer.template, password=SecretSource(file=password))).open()


def test_a_password_in_the_address_is_never_shown(newer: Offsite) -> None:
    address = f"rest:http://genji:canary%2Furl@127.0.0.1:{free_port()}/x"

    fault, _ = fault_of(newer, replace(newer.template, url=address), quick=SOON)

    assert fault.reason == "unreachable"
    everything = "\n".join([fault.message, fault.hint, *newer.log])
    assert "canary/url" not in everything
    assert "canary%2Furl" not in everything
    assert "RESTIC_REPOSITORY=***" in everything


@pytest.mark.parametrize("digits", [64, 8])
def test_a_snapshot_that_is_not_there(offsite: Offsite, tmp_path: Path, digits: int) -> None:
    """0.14 only mentions it and ends well, newer ones fail in two ways."""
    file = tmp_path / "file"
    file.write_bytes(b"something")
    restic = offsite.restic()
    restic.backup([file], tags=["x"], host=HOST, taken_at=FIRST_NIGHT)

    with pytest.raises(OffsiteError, match="no such snapshot") as caught:
        restic.ls("a" * digits)

    assert caught.value.reason == "absent"
    assert "repository snapshots r2" in caught.value.hint
