"""A real sshd on 127.0.0.1 that stands for the first user's server, and a step of a workflow that is run against it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from deployment import ON_THE_SERVER, SCRIPTS
from far import Server

from daybreak.command import Command
from daybreak.embedded.scratch import free_port
from daybreak.process import Runner

#: What the key may do, as ops/README.md has it, but that this server keeps its scripts elsewhere: it notes what was
#: asked for and which files the caller has, then runs the script of that name.
FORCED = """#!/bin/sh
printf '%s\\n' "$SSH_ORIGINAL_COMMAND" >>'{folder}/asked'
find '{folder}/runner' -type f -printf '%f %m\\n' | sort >'{folder}/files-of-the-caller'
. '{folder}/environment'
case $SSH_ORIGINAL_COMMAND in
'{scripts}'/*) exec '{folder}/scripts'/"${{SSH_ORIGINAL_COMMAND##*/}}" ;;
esac
exit 126
"""
CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


@pytest.fixture(scope="session")
def sshd(scratch: Path) -> Iterator[Server]:
    """The running sshd."""
    program = shutil.which("sshd", path="/usr/sbin:" + os.environ["PATH"])
    if program is None:
        pytest.fail("there is no sshd; install what the tests need with: ./run servers")
    folder = scratch / "ssh-server"
    for name in ("scripts", "runner"):
        (folder / name).mkdir(parents=True)
    for name in ("host_key", "key"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(argv, check=True, timeout=30)
    (folder / "forced").write_text(FORCED.format(folder=folder, scripts=ON_THE_SERVER))
    (folder / "forced").chmod(0o755)
    (folder / "authorized_keys").write_text(f'restrict,command="{folder}/forced" {(folder / "key.pub").read_text()}')
    server = Server(folder=folder, port=free_port())
    (folder / "sshd_config").write_text(CONFIG.format(port=server.port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where Debian's sshd locks its children in
    command = Command(argv=(program, "-D", "-e", "-f", str(folder / "sshd_config")), deadline=timedelta(days=1))
    with Runner().hold(command):
        _wait(server.port)
        yield server


@pytest.fixture
def server(sshd: Server) -> Server:
    """The same, with the scripts of `ops/` as they are, and nothing asked yet."""
    shutil.rmtree(sshd.scripts)
    sshd.scripts.mkdir()
    for script in SCRIPTS.values():
        shutil.copy(script, sshd.scripts)
    (sshd.folder / "asked").unlink(missing_ok=True)
    sshd.environment.clear()
    return sshd


def _wait(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    pytest.fail("sshd did not answer within 20 s")
