"""The server as GitHub sees it: an address, a host key, a key that it lets in; and a step of a workflow against it."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployment import commands_by_hand, the_step


@dataclass(kw_only=True)
class Server:
    """The server: `scripts` has what is in /opt/genji/scripts there, `environment` what its login files set."""

    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def scripts(self) -> Path:
        return self.folder / "scripts"

    @property
    def asked(self) -> list[str]:
        """Every command that came, in order."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def files_of_the_caller(self) -> str:
        """The temporary files that the last caller had, with their modes."""
        return (self.folder / "files-of-the-caller").read_text()

    def fingerprint(self, key: str) -> str:
        """The fingerprint of a key of this folder."""
        argv = ["ssh-keygen", "-l", "-f", f"{self.folder}/{key}.pub"]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.split()[1]

    @property
    def runner(self) -> Path:
        """The folder for temporary files of the machine that the workflow runs on."""
        return self.folder / "runner"

    @property
    def secrets(self) -> dict[str, str]:
        """What would be kept at GitHub; the host key as ops/README.md makes its line."""
        line = commands_by_hand(4)[0]
        for theirs, ours in {
            "203.0.113.7": f"[127.0.0.1]:{self.port}",
            "/etc/ssh/ssh_host_ed25519_key.pub": f"{self.folder}/host_key.pub",
        }.items():
            assert theirs in line
            line = line.replace(theirs, ours)
        known = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True, timeout=30).stdout
        return {
            "SERVER_HOST_IP": f"127.0.0.1:{self.port}",
            "SERVER_HOST_USER": getpass.getuser(),
            "SERVER_HOST_SSH_PRIVATE_KEY": (self.folder / "key").read_text().rstrip("\n"),
            "SERVER_HOST_KNOWN_HOSTS": known.rstrip("\n"),
        }

    def start_step(
        self, workflow: Path, secrets: Mapping[str, str] | None = None, *, shell: str = "sh"
    ) -> subprocess.Popen[str]:
        """Begin the very text of the workflow's step."""
        lines = "".join(f"export {name}='{value}'\n" for name, value in self.environment.items())
        (self.folder / "environment").write_text(lines)
        text = self.folder / "step"
        text.write_text(the_step(workflow)["run"])
        return subprocess.Popen(
            # As a runner starts it: what the tests' own caller ignores (nohup) no shell could trap.
            ["/usr/bin/env", "--default-signal=HUP,INT,TERM", shell, "-e", text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "TMPDIR": str(self.runner),
                **(self.secrets if secrets is None else secrets),
            },
        )

    def run_step(
        self, workflow: Path, secrets: Mapping[str, str] | None = None, *, shell: str = "sh", expect: int = 0
    ) -> tuple[str, str]:
        """Run it to its end; what it said on stdout and stderr. Nothing may be left of it."""
        with self.start_step(workflow, secrets, shell=shell) as step:
            out, err = step.communicate(timeout=240)
        assert step.returncode == expect, out + err
        assert not list(self.runner.iterdir())
        return out, err
