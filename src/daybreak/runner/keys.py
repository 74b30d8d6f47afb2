"""Which run came of which click: the same key once more is the same run, also after a restart of the runner.

Shapes  `asked/` in the state folder has one file for each key, named by its sha256, with the run's id and the sha256
        of what was asked for. It is written before the run is started, so a runner that dies in between starts the same
        run, not another one. A change of the configuration begins no run: its file has, afterwards, the sha256 of the
        configuration that it made. Files older than a week go; so do the oldest where there are too many.
Errors  `Refused` for a key that was used for something else; `PublishError` for what the disk refuses.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

from daybreak import files
from daybreak.catalog.folder import make_folder
from daybreak.errors import Refused
from daybreak.runner.words import Act, Change, write_request

_FOLDER: Final = "asked"
_MOST: Final = 1000
_KEPT_S: Final = 7 * 86400.0


def run_of(state: Path, act: Act | Change) -> str | None:
    """The run that this key stands for; None for a key that is new. Raise Refused."""
    try:
        found: object = json.loads(_file(state, act).read_bytes())
    except (OSError, ValueError):  # not there, or cut by a crash before anything was started
        return None
    if not isinstance(found, dict):
        return None
    said = cast("dict[str, object]", found)
    if said.get("asked") != _digest(act):
        raise Refused("this form was sent before, with other words", hint="open the page again, and decide anew")
    return str(said.get("run", ""))


def keep(state: Path, act: Act | Change, run: str) -> None:
    """Remember which run a key stands for."""
    file = _file(state, act)
    make_folder(file.parent)
    content = json.dumps({"asked": _digest(act), "run": run}).encode()
    with files.disk_errors(file, "cannot write"):
        files.write_durable(file, content, group_of=file.parent)
    _tidy(file.parent)


def drop(state: Path, act: Act) -> None:
    """Forget a key: what it was for was refused before there was a run, and may be asked for with other words."""
    with contextlib.suppress(OSError):
        _file(state, act).unlink(missing_ok=True)


def _file(state: Path, act: Act | Change) -> Path:
    return state / _FOLDER / f"{sha256(act.key.encode()).hexdigest()[:32]}.json"


def _digest(act: Act | Change) -> str:
    return sha256(write_request(replace(act, key=""))).hexdigest()


def _tidy(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another one tidies as well
        found = sorted(((one.stat().st_mtime, one) for one in folder.iterdir()), reverse=True)
        for at, old in found:
            if at < time.time() - _KEPT_S:
                old.unlink(missing_ok=True)
        for _, old in found[_MOST:]:
            old.unlink(missing_ok=True)
