"""`python -m daybreak.demo [--keep] [--folder DIR]`: see the package.

Errors  a fault ends with its own exit code and its words, with everything stopped and removed; Ctrl-C, TERM and
        HUP end in order, as a run does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from daybreak.demo.ending import how_to_go_on, show_table
from daybreak.demo.stage import open_folder, open_stage
from daybreak.demo.story import Story
from daybreak.demo.teller import Teller
from daybreak.errors import Cancelled, DaybreakError
from daybreak.units import show_duration

_SIGNALLED: Final = 128
_BUG: Final = 70
_DESCRIPTION: Final = (
    "Start a production and a development PostgreSQL server and an S3 server, fill production, and show a nightly "
    "backup, a weekly refresh and the off-site copies on them. Nothing outside one temporary folder is touched."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="daybreak.demo", description=_DESCRIPTION)
    parser.add_argument("--keep", action="store_true", help="leave the servers running at the end, until Ctrl-C")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="a new folder to play in, instead of a temporary one"
    )
    parser.add_argument("--scale", type=float, default=1.0, help=argparse.SUPPRESS)  # for the tests: 0.02 to 20
    chosen = parser.parse_args(arguments)
    strangers = [name for name in os.environ if name in {"DAYBREAK_STATE", "DAYBREAK_CONFIG", "DAYBREAK_HOST"}]
    for name in strangers:  # the demo has a configuration and a state of its own
        del os.environ[name]
    teller, cancel = Teller(), threading.Event()
    with _listening(cancel) as received:
        try:
            with open_folder(chosen.folder) as folder:
                _play(folder, teller, cancel, scale=chosen.scale, keep=chosen.keep, strangers=strangers)
        except Cancelled:
            teller.note("\ndemo: stopped; nothing is left")
            return _SIGNALLED + (received[0] if received else signal.SIGINT)
        except DaybreakError as error:
            teller.note(f"\ndemo: {error.message}" + (f"\n  → {error.hint}" if error.hint else ""))
            teller.note("demo: everything is stopped and removed")
            return error.exit_code
        except Exception:  # noqa: BLE001 -- a door: the one place where a bug becomes an exit code
            teller.note(f"\ndemo: a bug of Daybreak, please report it; everything is stopped\n{traceback.format_exc()}")
            return _BUG
    return 0


def _play(
    folder: Path, teller: Teller, cancel: threading.Event, *, scale: float, keep: bool, strangers: Sequence[str]
) -> None:
    began = time.monotonic()
    teller.chapter(f"Two PostgreSQL servers and an S3 server, below {folder}")
    with contextlib.ExitStack() as running:
        with teller.deed("servers") as deed:
            stage = running.enter_context(open_stage(folder, cancel))
            deed.result = f"production :{stage.prod.port}, development :{stage.dev.port}, S3 :{stage.s3.port}"
        story = Story(stage=stage, teller=teller, scale=scale, lines=[])
        try:
            _stop_if(cancel)
            story.play()
            _stop_if(cancel)
        except DaybreakError as error:
            _keep_logs(teller, folder, error)
            raise
        show_table(story.lines)
        teller.note(f"\nAll of it took {show_duration(time.monotonic() - began)}.")
        if not keep:
            teller.note(
                "The servers stop now and their folder goes; ./run demo --keep leaves them running to look around."
            )
            return
        teller.note(how_to_go_on(stage, strangers))
        cancel.wait()
        teller.note("stopping")


def _stop_if(cancel: threading.Event) -> None:
    if cancel.is_set():
        raise Cancelled("the demo was stopped")


def _keep_logs(teller: Teller, folder: Path, error: DaybreakError) -> None:
    """Copy the logs of the runs away: the folder goes."""
    if isinstance(error, Cancelled) or not (folder / "state" / "logs").is_dir():
        return
    with contextlib.suppress(OSError):
        kept = Path(tempfile.mkdtemp(prefix="daybreak-logs-"))
        shutil.copytree(folder / "state" / "logs", kept, dirs_exist_ok=True)
        for name in ("prod", "dev"):
            shutil.copyfile(folder / name / "server.log", kept / f"{name}.log")
        teller.note(f"\nthe logs of the runs and the servers are in {kept}")


@contextlib.contextmanager
def _listening(cancel: threading.Event) -> Generator[list[int]]:
    """Let INT, TERM and HUP end the demo in order; more of them change nothing, the end takes a few seconds."""
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if not received:
            received.append(number)
            cancel.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
