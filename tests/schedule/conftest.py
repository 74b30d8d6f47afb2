"""Sites with schedules."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from slot_world import World, configuration

from daybreak.cli.progress import Silent
from daybreak.site import open_site


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """`@pytest.mark.parametrize("world", [{"catch_up": "3h"}], indirect=True)` gives the plan other keys."""
    plan: dict[str, str] = dict(getattr(request, "param", {}))
    more = plan.pop("more", "")
    file = tmp_path / "daybreak.toml"
    file.write_text(configuration(tmp_path, **plan) + more)
    with open_site(file, Silent(), cancel=threading.Event()) as site:
        made = World(site=site, file=file)
        yield made
        made.close()
