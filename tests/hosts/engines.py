"""Real container runtimes and the containers that tests put databases into.

Each engine has storage of its own in the scratch folder, so names are as free as on a bare machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from containers import ENTRY, IMAGE, LIMITS
from daybreak.command import Command
from daybreak.process import Runner

ENVIRONMENT: Final = {
    "POSTGRES_USER": "genji",
    "POSTGRES_DB": "genjishimada",
    "POSTGRES_PASSWORD": "canary-in-the-container",
}
_LONG: Final = timedelta(hours=3)
SUDO: Final = () if os.geteuid() == 0 else ("sudo", "-n")


@dataclass(kw_only=True)
class Engine:
    """One runtime: `runtime` is what Daybreak calls, found first on PATH in `bin`."""

    label: str
    runtime: str
    bin: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    def environment(self) -> dict[str, str]:
        """For a Daybreak that is to find this runtime."""
        return {**self.env, "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def call(self, *words: str, check: bool = True, timeout_s: float = 120) -> str:
        """What the runtime says; the test fails where it fails."""
        done = subprocess.run(
            [self.bin / self.runtime, *words],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{self.label} {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def start(
        self,
        name: str,
        *,
        mounts: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        settings: Sequence[str] = (),
        ready: bool = True,
    ) -> Box:
        """A container with a database of its own, ready to be asked."""
        words = ["run", "-d", "--name", name, "--network", "none", *LIMITS]
        for key, value in (ENVIRONMENT if env is None else env).items():
            words += ["-e", f"{key}={value}"]
        for mount in (*mounts, f"{ENTRY}:/entrypoint.sh:ro"):
            words += ["-v", mount]
        self.call(*words, *options, "--entrypoint", "/entrypoint.sh", IMAGE, *settings)
        box = Box(engine=self, name=name)
        if ready:
            box.await_ready()
        return box


@dataclass(kw_only=True)
class Box:
    """A container with a database."""

    engine: Engine
    name: str

    def await_ready(self) -> None:
        """Wait until its server answers."""
        until = time.monotonic() + 60
        while "accepting connections" not in self.sh("pg_isready", check=False):
            if time.monotonic() > until:
                pytest.fail(f"{self.name} is not ready:\n{self.engine.call('logs', self.name, check=False)}")
            time.sleep(0.1)

    def sh(self, text: str, *words: str, check: bool = True) -> str:
        """What a shell in it says."""
        return self.engine.call("exec", self.name, "sh", "-c", text, "sh", *words, check=check)

    def psql(self, sql: str, dbname: str = "genjishimada", *, user: str = "genji") -> str:
        """What psql in it says."""
        words = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", dbname, "-c", sql)
        password = 'PGPASSWORD=$POSTGRES_PASSWORD exec "$@"'
        return self.engine.call("exec", self.name, "sh", "-c", password, "sh", *words).removesuffix("\n")

    def processes(self) -> list[str]:
        """The command lines of all that runs in it but the server."""
        lines = self.sh('for p in /proc/[0-9]*; do tr "\\0" " " <"$p/cmdline" 2>/dev/null; echo; done').splitlines()
        return [
            line
            for line in lines
            if line and not line.startswith(("postgres:", "/usr/lib/postgresql/15/bin/postgres "))
        ]

    def ours(self) -> list[str]:
        """What Daybreak started in it and is still there; the last seconds of a watchdog do not count."""
        return [line for line in self.processes() if "pg_" in line or "daybreak-" in line or "psql" in line]

    def remove(self) -> None:
        """It and its data are gone."""
        self.engine.call("rm", "-f", "-v", self.name, check=False)


class Dockerd:
    """A docker daemon of our own that can be killed and comes back."""

    def __init__(self, folder: Path, tools: Path) -> None:
        self._folder = folder
        self._tools = tools / "docker" / "usr"
        self._socket = folder / "docker.sock"
        self._stack = contextlib.ExitStack()
        bin_folder = folder / "bin"
        bin_folder.mkdir(parents=True)
        _program(bin_folder / "docker", [*SUDO, self._tools / "bin" / "docker"])
        self.engine = Engine(
            label="docker", runtime="docker", bin=bin_folder, env={"DOCKER_HOST": f"unix://{self._socket}"}
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        path = f"{self._tools / 'bin'}:{self._tools / 'sbin'}:{os.environ['PATH']}:/usr/sbin:/sbin"
        off = ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy")
        words = [*SUDO, "env", f"PATH={path}", "dockerd", *(f"--{word}=false" for word in off), "--bridge=none"]
        words += ["--storage-driver=overlay2", "--oom-score-adjust=0", "-H", f"unix://{self._socket}"]
        words += ["--data-root", f"{self._folder}/data", "--exec-root", f"{self._folder}/exec"]
        words += ["--pidfile", f"{self._folder}/pid"]
        self._stack.enter_context(Runner().hold(Command(argv=tuple(words), deadline=_LONG)))
        until = time.monotonic() + 30
        while not self.engine.call("version", "--format", "{{.Server.Version}}", check=False).strip():
            if time.monotonic() > until:
                pytest.fail("dockerd did not come up")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it with all that it runs, at once, and start it again."""
        for pid in self._processes():
            subprocess.run([*SUDO, "kill", "-9", str(pid)], check=False)
        self._stack.close()
        # Where nobody reaps the dead, their numbers seem to live.
        pids = [self._folder / "pid", self._folder / "exec" / "containerd" / "containerd.pid"]
        subprocess.run([*SUDO, "rm", "-f", *pids], check=False)
        self.start()

    def _processes(self) -> list[int]:
        """dockerd and its containerd; the containers live on without them, and are taken over again or ended."""
        found: list[int] = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if str(self._folder) in line and line.startswith(("dockerd", "containerd ")):
                    found.append(int(place.name))
        return found

    def close(self) -> None:
        """End it and all of its containers; its folder is gone."""
        left = self.engine.call("ps", "-aq", check=False).split()
        if left:
            self.engine.call("rm", "-f", "-v", *left, check=False)
        self._stack.close()
        subprocess.run([*SUDO, "umount", self._folder / "data"], check=False, capture_output=True)
        subprocess.run([*SUDO, "rm", "-rf", self._folder], check=False)


@contextlib.contextmanager
def dockerd(folder: Path, tools: Path) -> Iterator[Dockerd]:
    """A docker daemon with the image."""
    daemon = Dockerd(folder, tools)
    try:
        daemon.start()
        daemon.engine.call("import", str(tools / "containers" / "debian-12.tar"), IMAGE)
        yield daemon
    finally:
        daemon.close()


@contextlib.contextmanager
def docker_over_podman(folder: Path, tools: Path, below: Engine) -> Iterator[Engine]:
    """The docker client, speaking to podman's service."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    socket = folder / "podman.sock"
    _program(bin_folder / "docker", [*SUDO, tools / "docker" / "usr" / "bin" / "docker"])
    engine = Engine(
        label="docker over podman", runtime="docker", bin=bin_folder, env={"DOCKER_HOST": f"unix://{socket}"}
    )
    words = (str(below.bin / "podman"), "system", "service", "--time", "0", f"unix://{socket}")
    with Runner().hold(Command(argv=words, deadline=_LONG)):
        until = time.monotonic() + 30
        while not engine.call("version", "--format", "{{.Server.Version}}", check=False).strip():
            if time.monotonic() > until:
                pytest.fail("podman's service did not come up")
            time.sleep(0.1)
        yield engine


def _program(path: Path, words: Sequence[str | Path]) -> None:
    quoted = " ".join(f"'{word}'" for word in words)
    path.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    path.chmod(0o755)


def require(program: str) -> str:
    """The path of a program; the test fails without it."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return found or pytest.fail(f"there is no {program}; install what the tests need with: ./run servers")
