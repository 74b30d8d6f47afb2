"""A whole server to throw away: this machine's own files under an overlay, in a container with its network.

Whatever is written in there, users and groups too, is gone with it. Programs, Python and this checkout are those of the
machine; only what a test binds in is shared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from containers import LIMITS
from daybreak.embedded.binaries import tools_folder

SUDO = () if os.geteuid() == 0 else ("sudo", "-n")
_STORAGE = ("--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--runtime=runc")


@dataclass(kw_only=True)
class Sandbox:
    """One such server. `folder` is shared with this machine, under the same name."""

    folder: Path

    @property
    def _podman(self) -> list[str]:
        program = shutil.which("podman") or pytest.fail("podman is not installed; ./run servers installs it")
        place = (f"--root={self.folder}/sandbox/images", f"--runroot={self.folder}/sandbox/run")
        return [*SUDO, program, *place, *_STORAGE]

    def start(self, *, binds: dict[Path, Path], docker: str) -> None:
        """Start it; docker in there is a client of the socket `docker`, for root alone."""
        volumes = [
            f"--volume={self.folder}:{self.folder}",
            *(f"--volume={here}:{there}" for here, there in binds.items()),
        ]
        words = ["run", "--detach", "--name=server", "--network=host", *LIMITS, *volumes, "--rootfs", "/:O"]
        self._call([*self._podman, *words, "sleep", "infinity"])
        client = tools_folder() / "docker/usr/bin/docker"
        self.root(
            f"""
            printf '#!/bin/sh\\nexec env DOCKER_HOST=%s %s "$@"\\n' '{docker}' '{client}' >/usr/local/bin/docker
            chmod 700 /usr/local/bin/docker
            ln -sf '{Path(sys.executable).with_name("daybreak")}' /usr/local/bin/daybreak
            mkdir -p /run/sshd
            for file in '{sys.base_prefix}' '{sys.prefix}'; do
                while [ "$file" != / ]; do chmod a+x "$file"; file=$(dirname "$file"); done
            done
            """
        )

    def root(self, text: str, *, expect: int | None = 0, stdin: str = "") -> str:
        """What a shell of root's says in there, stdout and stderr."""
        words = ["exec", "--interactive", "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        return self._call([*self._podman, *words, "server", "sh", "-euc", text], expect=expect, stdin=stdin)

    def as_user(self, user: str, text: str, *, expect: int | None = 0) -> str:
        """The same as somebody else, with the groups that he has."""
        return self.root(f"cd /; exec runuser -u {user} -- sh -euc '{text}'", expect=expect)

    def begin(self, text: str) -> None:
        """Start something in there that goes on; what it says goes into a file of its name."""
        name = text.split()[1] if text.startswith("daybreak") else Path(text.split(maxsplit=1)[0]).name
        shell = f"echo $$ >/run/{name}.pid; exec {text} >/run/{name}.said 2>&1"
        self._call([*self._podman, "exec", "--detach", "--env=PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin",
                    "server", "sh", "-c", shell])  # fmt: skip

    def remove(self) -> None:
        """Nothing of it is left."""
        self._call([*self._podman, "rm", "--force", "--time=0", "server"], expect=None)
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([one for one in mounted if one.startswith(f"{self.folder}/sandbox/")]):
            subprocess.run([*SUDO, "umount", place], check=False)
        subprocess.run([*SUDO, "rm", "-rf", self.folder / "sandbox"], check=False)

    def _call(self, argv: list[str], *, expect: int | None = 0, stdin: str = "") -> str:
        done = subprocess.run(
            argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=240
        )
        assert expect is None or done.returncode == expect, f"exit {done.returncode}: {done.stdout}"
        return done.stdout
