"""A real sshd on loopback, the client's configuration for it, and a line between them that can be cut."""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

import pytest
from engines import require

from daybreak.command import Command
from daybreak.embedded.scratch import free_port
from daybreak.process import Runner

_LONG: Final = timedelta(hours=3)


@dataclass(kw_only=True)
class Sshd:
    """A server, and a folder of programs in which `ssh` knows it as `vps`."""

    folder: Path
    port: int

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def connect_to(self, port: int) -> None:
        """Let the client go to another port: a line in between, another server."""
        (self.folder / "config").write_text(
            f"Host vps\n  HostName 127.0.0.1\n  HostKeyAlias vps\n  Port {port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder / 'client'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        )

    def know(self, key: Path | None = None) -> None:
        """Put a host key into known_hosts; None: nothing is known."""
        text = "" if key is None else "vps " + key.with_suffix(".pub").read_text()
        self.known_hosts.write_text(text)

    @property
    def host_key(self) -> Path:
        return self.folder / "host"

    @property
    def other_key(self) -> Path:
        return self.folder / "other"

    def fingerprint(self, key: Path) -> str:
        said = subprocess.run([require("ssh-keygen"), "-lf", key], capture_output=True, text=True, check=True).stdout
        return said.split()[1]

    def sessions(self) -> list[int]:
        """The server's processes that serve a session."""
        # -ww: pytest's COLUMNS would cut the lines before the path by which the listener is known.
        said = subprocess.run(
            [require("ps"), "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
        ).stdout
        lines = [line.split(None, 2) for line in said.splitlines()[1:]]
        children: dict[int, list[int]] = {}
        for pid, parent, _ in lines:
            children.setdefault(int(parent), []).append(int(pid))
        listener = [int(pid) for pid, _, args in lines if str(self.folder / "sshd_config") in args and "sshd" in args]
        return [child for one in listener for child in children.get(one, []) if child not in listener]


@contextlib.contextmanager
def sshd(folder: Path, *, env: Mapping[str, str], force: str = "") -> Iterator[Sshd]:
    """An sshd whose sessions have `env`; `force` is a command that it runs instead of what is asked for."""
    program = require("sshd")
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = Sshd(folder=folder, port=free_port())
    for name in ("host", "other", "client"):
        subprocess.run([require("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized_keys").write_bytes((folder / "client.pub").read_bytes())
    # A home of its own: what this user's shell reads at each login here may take longer than what a test asks for.
    (folder / "home").mkdir()
    variables = " ".join(f"{name}={value}" for name, value in {"HOME": str(folder / "home"), **env}.items())
    (folder / "sshd_config").write_text(
        f"Port {server.port}\nListenAddress 127.0.0.1\nHostKey {server.host_key}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nStrictModes no\nPermitRootLogin yes\nMaxStartups 100\n"
        f"PasswordAuthentication no\nSubsystem sftp internal-sftp\nSetEnv {variables}\n"
        + (f"ForceCommand {force}\n" if force else "")
    )
    server.bin.mkdir()
    (server.bin / "ssh").write_text(f'#!/bin/sh\nexec {require("ssh")} -F {folder / "config"} "$@"\n')
    (server.bin / "ssh").chmod(0o755)
    server.connect_to(server.port)
    server.know(server.host_key)
    words = (program, "-D", "-E", str(folder / "log"), "-f", str(folder / "sshd_config"))
    with Runner().hold(Command(argv=words, deadline=_LONG)):
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
                break
            if time.monotonic() > until:
                pytest.fail("sshd did not come up")
            time.sleep(0.05)
        yield server


class Line:
    """A line to a port that passes bytes until it is cut or falls silent."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._silent = threading.Event()
        self._stop = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.passed = 0  # bytes from the server
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def _accept(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed at the end
            while not self._stop.is_set():
                ready, _, _ = select.select([self._listener], [], [], 0.1)
                if ready:
                    near, _ = self._listener.accept()
                    far = socket.create_connection(("127.0.0.1", self._target))
                    self._pairs.append((near, far))
                    thread = threading.Thread(target=self._pass, args=(near, far), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with contextlib.suppress(OSError, ValueError):
            while not self._stop.is_set():
                if self._silent.is_set():
                    time.sleep(0.05)
                    continue
                ready, _, _ = select.select([near, far], [], [], 0.1)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        near.close()
                        far.close()
                        return
                    other[one].sendall(data)
                    self.passed += len(data) if one is far else 0

    def reset(self) -> None:
        """Cut every connection with RST."""
        for pair in self._pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.close()

    def fall_silent(self) -> None:
        """Pass nothing any more, and tell nobody."""
        self._silent.set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join(5)
