"""Real containers for the tests: podman with a storage of its own, below a folder that is removed afterwards.

The image is Debian's PostgreSQL 15 with pg_cron, unpacked by debootstrap (`./run servers`), with an entry point that
reads POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD as the official image does.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from daybreak.embedded.binaries import tools_folder

IMAGE = "localhost/debian-with-postgresql:12"
#: What a container may ask for at most, on machines that may not raise their limits.
LIMITS = ("--ulimit=nofile=16384:16384", "--ulimit=nproc=4096:4096")
ENTRY = Path(__file__).parent / "entrypoint.sh"


@dataclass(frozen=True, kw_only=True)
class Podman:
    """One podman with images and containers of its own."""

    folder: Path

    @property
    def path(self) -> Path:
        """A folder for PATH: its `podman` is this one."""
        return self.folder / "bin"

    def __call__(self, *words: object, stdin: bytes = b"", ok: bool = True, timeout_s: float = 120) -> str:
        """Call it; what it said on stdout. The test fails where it fails, unless not `ok`."""
        argv = [self.path / "podman", *map(str, words)]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=timeout_s)
        if ok and done.returncode != 0:
            pytest.fail(f"podman {' '.join(map(str, words))}: {(done.stdout + done.stderr).decode()}")
        return done.stdout.decode()

    def start(
        self, name: str, *, env: Mapping[str, str], volumes: Iterable[str] = (), command: Iterable[str] = ()
    ) -> None:
        """A container of PostgreSQL 15 that sees nothing of the network; it is not ready yet."""
        given = [f"--env={key}={value}" for key, value in env.items()]
        mounted = [f"--volume={volume}" for volume in (f"{ENTRY}:/entry:ro", *volumes)]
        words = ("--detach", "--name", name, "--network=none", "--entrypoint=/entry", *LIMITS, *given, *mounted)
        self("run", *words, IMAGE, *command)

    def sql(self, name: str, text: str, database: str = "genjishimada") -> str:
        """What psql in a container answers."""
        script = 'exec psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U "$POSTGRES_USER" -d "$1"'
        return self("exec", "--interactive", name, "sh", "-c", script, "sh", database, stdin=text.encode()).strip()


def make_podman(folder: Path) -> Podman:
    """A podman with its storage below `folder`, and our image in it."""
    program = shutil.which("podman") or pytest.fail("podman is not installed; ./run servers installs it")
    system = tools_folder() / "containers" / "debian-12.tar"
    if not system.is_file():
        pytest.fail(f"there is no {system}; make it with: ./run servers")
    podman = Podman(folder=folder)
    podman.path.mkdir(parents=True)
    storage = "--storage-driver=overlay --cgroup-manager=cgroupfs --runtime=runc"
    (podman.path / "podman").write_text(
        f'#!/bin/sh\nexec {program} --root={folder}/images --runroot={folder}/run {storage} "$@"\n'
    )
    (podman.path / "podman").chmod(0o755)
    podman("import", "--quiet", system, IMAGE)
    return podman


def remove(podman: Podman) -> None:
    """End its containers and remove everything that it stored."""
    podman("rm", "--all", "--force", "--time=0", ok=False)
    podman("rmi", "--all", "--force", ok=False)  # an ordinary user's files in there belong to others
    shutil.rmtree(podman.folder, ignore_errors=True)
