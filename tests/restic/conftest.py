"""Both restics, each with repositories on the S3 server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from offsite_samples import Offsite, Shelf, make_offsite

from daybreak.embedded.s3 import S3Server


@pytest.fixture(scope="session")
def _offsites(
    s3: S3Server, restics: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Offsite]:
    folder = tmp_path_factory.mktemp("offsite")
    return {version: make_offsite(s3, program, folder, version) for version, program in restics.items()}


@pytest.fixture(params=["0.14", "newer"])
def offsite(request: pytest.FixtureRequest, _offsites: Mapping[str, Offsite]) -> Offsite:
    """Each restic in turn: a test that takes this runs twice."""
    found = _offsites[request.param]
    found.log.clear()
    return found


@pytest.fixture
def newer(_offsites: Mapping[str, Offsite]) -> Offsite:
    """The newer restic alone, where the version makes no difference."""
    return _offsites["newer"]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A backup's folder."""
    return Shelf(folder=tmp_path)
