"""Images that are not here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from daybreak.embedded.container import find_image, running_container
from daybreak.errors import ConfigError
from daybreak.process import Runner


def test_a_podman_without_registries_is_told_what_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = 'short-name "postgres:17" did not resolve to an alias and no unqualified-search registries are defined'
    podman = tmp_path / "podman"
    podman.write_text(f"#!/bin/sh\necho 'Error: {said}' >&2\nexit 125\n")
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    with pytest.raises(ConfigError, match="cannot be pulled") as caught:
        find_image("postgres:17", Runner())
    assert "write the whole name" in caught.value.hint


def podman_that(folder: Path, cases: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only runtime on PATH: a podman that does what `cases` of its verb say."""
    podman = folder / "podman"
    podman.write_text(f"#!/bin/sh\ncase $1 in {cases}; *) echo 'Error: no such container' >&2; exit 125;; esac\n")
    podman.chmod(0o755)
    monkeypatch.setattr("daybreak.embedded.container.RUNTIMES", ("podman",))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def take(folder: Path, runner: Runner) -> None:
    with running_container(
        "run", "postgres:17", socket=folder, state_folder=folder, settings=(), libraries=(), runner=runner
    ):
        pytest.fail("there is no container")


def test_a_container_that_never_was_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman_that(tmp_path, "image) ;; run) echo 'Error: no user postgres' >&2; exit 125;", monkeypatch)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="no user postgres"):
        take(tmp_path, Runner())
    assert time.monotonic() - began < 30
