"""The state folder cannot be written, or not even read: whoever only looks is answered all the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installation import Installation

#: What is shown from the catalog, and what is asked of a repository.
LOOKS = ("status", "runs", "archives", "schedule", "metrics", "repository snapshots", "repository stats")
OF_RUNS = {"plan.last_success", "plan.schedule", "refresh.rehearsal", "database.identity"}


@pytest.fixture
def disk(site: Installation) -> Iterator[Callable[[str], None]]:
    """The state folder on a small disk of its own, which becomes `full` or `read-only` when it is called."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    shutil.copytree(site.state, kept := site.folder / "kept")
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=4m,mode=2770", "tmpfs", site.state], check=True)
    try:
        shutil.copytree(kept, site.state, dirs_exist_ok=True)

        def spoil(how: str) -> None:
            for log in site.state.glob("catalog.sqlite3-*"):
                log.unlink()  # nobody has it open
            if how == "read-only":
                subprocess.run(["/usr/bin/mount", "-o", "remount,ro", site.state], check=True)
                return
            with contextlib.suppress(OSError), (site.state / "ballast").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

        yield spoil
    finally:
        subprocess.run(["/usr/bin/umount", "-l", site.state], check=True)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_who_only_looks_sees_what_was_written_before(
    site: Installation, disk: Callable[[str], None], how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {words: site.json(*words.split()) for words in ("runs", "archives")}
    run = before["runs"]["runs"][0]["run"]
    disk(how)
    monkeypatch.setenv("TMPDIR", str(site.state))  # the disk of /tmp is often the same one
    for words in (*LOOKS, f"run show {run}"):
        told = site.apart(*words.split(), "--json")
        assert told.expect(0), words
        assert str(site.state) in told.err, words
        assert ("the disk is full" if how == "full" else "read-only") in told.err, words
    assert {words: site.json(*words.split()) for words in before} == before
    assert site.json("run", "show", run)["log"] == str(site.state / "logs" / f"{run}.log")
    assert site.apart("fetch", "--to", str(tmp_path / "back.dump"), "--json").expect(0)["archive"] == run
    assert site.apart("hold", "dev", "--why", "x", "--json").expect(3)["code"] == "ConfigError"


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_the_doctor_says_so_and_looks_at_all_else(site: Installation, disk: Callable[[str], None], how: str) -> None:
    disk(how)
    told = site.apart("doctor", "--json").expect(1)
    found = {one["id"]: one for one in told["findings"]}
    broken = [one["id"] for one in told["findings"] if one["severity"] == "error"]
    assert broken == ["state.folder"]
    assert str(site.state) in found["state.folder"]["finding"]
    assert found["state.folder"]["fix"]
    assert set(found) >= {"database.reachable", "repository.reachable", "archive.manifest", *OF_RUNS}


def test_what_is_known_of_runs_is_left_out_where_nobody_can_read_it(site: Installation) -> None:
    (site.state / "catalog.sqlite3").write_bytes(b"no catalog")
    for log in site.state.glob("catalog.sqlite3-*"):
        log.unlink()
    told = site.apart("doctor", "--json").expect(1)
    found = {one["id"]: one for one in told["findings"]}
    assert [one["id"] for one in told["findings"] if one["severity"] == "error"] == ["state.folder"]
    assert "left out here" in found["state.folder"]["finding"]
    assert "move catalog.sqlite3 away" in found["state.folder"]["fix"]
    assert not set(found) & OF_RUNS
    assert found["repository.reachable"]["severity"] == "ok"
    assert site.apart("status", "--json").expect(3)["code"] == "ConfigError"
    assert site.apart("repository", "snapshots", "--json").expect(0)["snapshots"]


@pytest.mark.parametrize("stranger", [".ssh", ""])
def test_a_folder_that_is_open_is_closed_only_where_all_in_it_is_ours(site: Installation, stranger: str) -> None:
    """By `chmod 2770` a home lets nobody in by ssh any more, and /var/lib no program."""
    site.state.chmod(0o755)
    if stranger:
        (site.state / stranger).mkdir()
    told = site.call("doctor", "--json").json
    [found] = [one for one in told["findings"] if one["id"] == "state.folder"]
    assert (found["severity"], "open to every user" in found["finding"]) == ("warning", True)
    printed = "name another one with `state = …`" if stranger else f"sudo chmod 2770 {site.state}"
    assert found["fix"].startswith(printed)
