"""Every kind of address: a folder, S3, a rest-server, rclone, sftp; by both restics, from the ship to the way back."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from offsite_samples import Offsite, Shelf, noise

from daybreak.embedded.binaries import find_rclone
from daybreak.embedded.scratch import free_port
from daybreak.errors import OffsiteError
from daybreak.jobs import repository as jobs
from daybreak.jobs.fetch import fetch
from daybreak.model import Keep, Repository
from daybreak.process import Command, Runner
from daybreak.secret import Secret

sys.path.append(str(Path(__file__).parents[1] / "hosts"))
from sshd import sshd

pytestmark = pytest.mark.restic
LOGIN = ("daybreak", "canary/rest:password")


@dataclass(frozen=True)
class Address:
    """Where a repository is, and what it takes to get there."""

    url: str
    env_file: str = ""


@contextmanager
def rest_server(folder: Path, *words: str) -> Iterator[Address]:
    """`rclone serve restic` over a folder, with a login, while the block lasts."""
    port = free_port()
    env: dict[str, str | Secret] = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_USER": LOGIN[0],
        "RCLONE_PASS": Secret(LOGIN[1]),
    }
    argv = (str(find_rclone()), "serve", "restic", *words, "--addr", f"127.0.0.1:{port}", str(folder))
    with Runner().hold(Command(argv=argv, env=env, deadline=timedelta(hours=1))):
        wait_for(port)
        login = f"RESTIC_REST_USERNAME={LOGIN[0]}\nRESTIC_REST_PASSWORD={LOGIN[1]}\n"
        yield Address(f"rest:http://127.0.0.1:{port}/x", login)


def wait_for(port: int) -> None:
    """Until somebody listens on a port of this machine."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"nobody listens on {port}")


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offsite: Offsite) -> Iterator[Callable[[str], Address]]:
    """`at("sftp")` is an address of that kind."""
    with ExitStack() as stack:

        def address(kind: str) -> Address:
            if kind == "folder":
                return Address(str(tmp_path / "folder"))
            if kind == "s3":
                keys = "".join(f"{name}={value}\n" for name, value in offsite.s3.env.items())
                return Address(f"{offsite.s3.bucket_url('kinds')}/{tmp_path.name}", keys)
            if kind == "rest":
                return stack.enter_context(rest_server(tmp_path / "rest"))
            if kind == "rclone":
                monkeypatch.setenv("PATH", f"{find_rclone().parent}{os.pathsep}{os.environ['PATH']}")
                return Address(f"rclone::local:{tmp_path / 'rclone'}", "RCLONE_CONFIG=/dev/null\n")
            server = stack.enter_context(sshd(tmp_path / "sshd", env={"LANG": "C"}))
            monkeypatch.setenv("PATH", f"{server.bin}{os.pathsep}{os.environ['PATH']}")
            return Address(f"sftp:vps:{tmp_path / 'sftp'}")

        yield address


def repository_at(offsite: Offsite, address: Address, folder: Path) -> Repository:
    file = folder / "env"
    file.touch(0o600)
    file.write_text(address.env_file)
    return replace(offsite.template, name="away", url=address.url, env_file=file, keep=Keep(last=1))


@pytest.mark.parametrize("kind", ["folder", "s3", "rest", "rclone", "sftp"])
def test_a_night_goes_there_and_comes_back(
    offsite: Offsite, shelf: Shelf, tmp_path: Path, at: Callable[[str], Address], kind: str
) -> None:
    restic = offsite.restic(repository_at(offsite, at(kind), tmp_path), quick=timedelta(seconds=30))
    with pytest.raises(OffsiteError) as caught:
        restic.open()
    assert caught.value.reason == "missing"
    content = noise(300_000, seed=900)

    jobs.init(restic)
    [shipped] = shelf.send(shelf.parcel(content), restic)
    back = fetch(restic, to=tmp_path / "back.dump")

    assert back.path.read_bytes() == content
    assert restic.check(read_data_subset="100%").sound
    restic.forget([shipped.snapshot])
    assert "blobs" in restic.prune()
    stats = jobs.stats(restic)
    assert (stats.snapshots, stats.plans) == (0, {})
    assert not any(LOGIN[1] in line or "canary%2Frest" in line for line in offsite.log)


def test_a_rest_server_that_does_not_know_us(offsite: Offsite, tmp_path: Path) -> None:
    with rest_server(tmp_path / "rest") as address:
        stranger = repository_at(offsite, Address(address.url), tmp_path)
        with pytest.raises(OffsiteError) as caught:
            offsite.restic(stranger).open()
    assert caught.value.reason == "denied"


def test_an_sftp_server_whose_key_changed(newer: Offsite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sshd(tmp_path / "sshd", env={"LANG": "C"}) as server:
        server.know(server.other_key)
        monkeypatch.setenv("PATH", f"{server.bin}{os.pathsep}{os.environ['PATH']}")
        there = repository_at(newer, Address(f"sftp:vps:{tmp_path / 'sftp'}"), tmp_path)
        with pytest.raises(OffsiteError) as caught:
            newer.restic(there, quick=timedelta(seconds=20)).open()
    assert caught.value.reason in {"denied", "unreachable"}
    assert not (tmp_path / "sftp").exists()


def test_a_folder_that_may_not_be_entered(newer: Offsite, tmp_path: Path) -> None:
    missing = repository_at(newer, Address("/proc/1/nowhere"), tmp_path)
    with pytest.raises(OffsiteError) as caught:
        newer.restic(missing).open()
    assert caught.value.reason == "missing"
