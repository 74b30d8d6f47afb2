"""The script `run`: what it says when it cannot go on. What it does when it can, `.ci/run` sees."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare(tmp_path):
    """A checkout with nothing installed, and a PATH that has the shell's programs but no Python, apt-get or uv."""
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    checkout.mkdir()
    programs.mkdir()
    shutil.copy(ROOT / "run", checkout)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    for name in ("sh", "dirname", "cat", "cksum", "id", "ls", "cut", "grep", "tr", "awk", "printf", "tail"):
        (programs / name).symlink_to(shutil.which(name) or pytest.fail(f"this system has no {name}"))
    return checkout, programs


def call(checkout: Path, programs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(programs), "HOME": str(checkout)}
    return subprocess.run(
        [checkout / "run", *words],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_needs_nothing(bare):
    done = call(*bare)
    assert done.returncode == 0
    for verb in ("setup", "demo", "test", "servers"):
        assert f"./run {verb}" in done.stdout


def test_an_unknown_verb_is_refused(bare):
    done = call(*bare, "dance")
    assert done.returncode == 1
    assert "no verb dance" in done.stderr


def test_without_apt_it_says_what_to_install(bare):
    done = call(*bare, "setup")
    assert done.returncode == 1
    assert "please install" in done.stderr
    assert "python3" in done.stderr
    assert "no apt-get" in done.stderr


@pytest.mark.parametrize("sudo", [None, "exit 1"], ids=["no sudo", "sudo wants a password"])
def test_without_root_it_says_whom_to_ask(bare, sudo):
    checkout, programs = bare
    script(programs / "apt-get", "exit 0")
    (programs / "id").unlink()
    script(programs / "id", "echo 1000")
    if sudo:
        script(programs / "sudo", sudo)
    done = call(checkout, programs, "setup")
    assert done.returncode == 1
    assert "ask an administrator to install" in done.stderr


def test_without_a_network_it_says_so(bare):
    checkout, programs = bare
    script(programs / "id", "echo 0", replace=True)
    script(programs / "apt-cache", "exit 0")
    script(programs / "apt-get", "echo 'Temporary failure resolving' >&2; exit 100")
    done = call(checkout, programs, "setup")
    assert done.returncode == 1
    assert "Temporary failure resolving" in done.stderr
    assert "is there a network?" in done.stderr


def test_it_says_what_it_will_install_before_it_does(bare):
    checkout, programs = bare
    script(programs / "id", "echo 0", replace=True)
    script(programs / "apt-cache", "echo '  Candidate: 1'")
    script(programs / "env", "echo INSTALLING >&2; exit 1")
    script(programs / "apt-get", "exit 0")
    done = call(checkout, programs, "setup")
    assert done.returncode == 1
    announced, installing = done.stderr.index("installing Debian packages:"), done.stderr.index("INSTALLING")
    assert announced < installing
    assert "python3" in done.stderr[announced:installing]


def script(path: Path, body: str, *, replace: bool = False) -> None:
    """A program of one line."""
    if replace:
        path.unlink()
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
