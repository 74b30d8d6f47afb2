"""Installations whose archives are drilled and opened."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation

_NUMBERS = itertools.count(1)


@pytest.fixture(autouse=True)
def _a_place_of_its_own(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throw-away servers of a test have a folder for temporary files that nobody else uses."""
    folder = scratch / f"drill{next(_NUMBERS)}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.fixture
def small(servers) -> Iterator[str]:
    """A small database on production 18."""
    server = servers[18]
    name = server.fresh()
    server.psql(
        "CREATE TABLE account AS SELECT n AS id, md5(n::text) AS token FROM generate_series(1, 2000) AS n;"
        "CREATE SEQUENCE counter;",
        name,
    )
    yield name
    server.drop_database(name)


@pytest.fixture
def site(servers, small: str, tmp_path: Path) -> Installation:
    """The backup of a small database, made once."""
    server = servers[18]
    made = Installation(folder=tmp_path, url=server.url(small), bin=server.bin)
    made.backup()
    return made
