"""The names of runs: sortable by time, safe in a file name, a tag, a database name and a URL. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from random import Random
from typing import Final

RUN_ID: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


def new_run_id(now: datetime, random: Random) -> str:
    """`20261122-020000-3f9a`: the second in UTC, then 16 random bits. Raise ValueError for a naive `now`.

    An archive has the id of the run that dumped it.
    """
    if now.tzinfo is None:
        raise ValueError("an instant without a zone")
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{random.getrandbits(16):04x}"
