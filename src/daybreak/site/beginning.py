"""`daybreak init`: from what runs on this host to a configuration. There is no site yet."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Sequence
from pathlib import Path

from daybreak import config
from daybreak.config.places import FILE_NAME, SYSTEM_FILE
from daybreak.hosts.search import SOCKETS, Found, search
from daybreak.jobs import begin
from daybreak.process import Runner

__all__ = ["look_round", "new_file", "write_configuration"]


def look_round(sockets: Sequence[Path]) -> Found:
    """The servers of this host."""
    user = str(os.geteuid())
    with contextlib.suppress(KeyError, OSError):  # a number without a name, in a container
        user = getpass.getuser()
    return search(Runner(), sockets=[*sockets, *SOCKETS], user=user)


def new_file(explicit: Path | None) -> Path:
    """Where the configuration goes: --config, else /etc/daybreak for root, else here. Raise Refused if it is there."""
    path = explicit or (SYSTEM_FILE if os.geteuid() == 0 else config.here_now() / FILE_NAME)
    begin.refuse_existing(path)
    return path


def write_configuration(path: Path, choice: begin.Choice) -> bool:
    """Write it, checked as any other. Whether the folder of the archives was made."""
    text = config.written(begin.tables_of(choice), {"timezone": choice.timezone, "doctor": "15:00"})
    config.check_content(path, text.encode())
    made = begin.make_folder(choice.folder)
    begin.place_file(path, text)
    return made
