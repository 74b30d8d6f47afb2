"""Images that are not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybreak.embedded.container import find_image
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
