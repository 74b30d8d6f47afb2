"""`daybreak [--config FILE] [--json] VERB [NAME] [options]`.

Everything slow is imported inside the verbs, so that `--help` answers at once.
Errors  every `DaybreakError` ends with its own exit code, in words on stderr or as one JSON object on
        stdout; anything else is a bug of ours: exit 70, the trace in a file.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final, TypeGuard

import click

from daybreak.cli.output import Door, bug, fail, say, unwritten
from daybreak.cli.verbs import VERBS
from daybreak.errors import Cancelled, DaybreakError, PublishError, UsageError

_SIGNALLED: Final = 128

_EPILOG: Final = """\b
Exit codes: 0 done · 2 usage · 3 configuration · 4 refused by a guard · 5 busy · 10 source · 11 dump ·
12 archive · 13 disk · 14 not off-site · 15 refresh failed, target unchanged · 16 rolled back ·
17 target needs a person · 18 proof failed · 19 refreshed, unfinished · 30 timed out · 70 a bug · 130 cancelled.
"""


def _version(context: click.Context, _option: click.Parameter, asked: bool) -> None:  # noqa: FBT001 -- click's way
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 -- keeps --help fast

        release = version("daybreak")
        say(context.ensure_object(Door), {"version": release}, f"daybreak {release}")
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.option(
    "--config", "config_file", metavar="FILE", help="The configuration file.", type=click.Path(readable=False)
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, and nothing else.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(context: click.Context, config_file: str | None, as_json: bool) -> None:  # noqa: FBT001 -- click's way
    """Keep a production Postgres safe every night and its development database fresh every week."""
    door = context.ensure_object(Door)
    door.config = config_file or door.config
    door.json = door.json or as_json


for verb in VERBS:
    cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that is no text where we are must not end what tells of it
            stream.reconfigure(errors="backslashreplace")
    end = _End()
    atexit.register(end)  # before all that a verb imports, so it is called after what that registers
    end.code = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(end.code)


@dataclass
class _End:
    """The end of the process, after threads and exit functions: nobody need take apart what goes with it anyway.

    Python does that object by object, which takes a fifth of a second of a call that takes one.
    """

    code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        code = self.code
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:  # pyright: ignore[reportUnnecessaryComparison] -- it is where it was closed
                    stream.flush()
            except ValueError:  # it was closed
                pass
            except OSError as error:  # what could not be written stands in the buffer still; mostly that was told
                code = code or (_SIGNALLED + signal.SIGPIPE if error.errno == errno.EPIPE else PublishError.exit_code)
        os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return the exit code."""
    door = Door(json="--json" in arguments)
    received: list[int] = []
    restore = _listen(door.cancel, received)
    try:
        code = _call(door, arguments)
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.UsageError as error:
        code = fail(door, UsageError(error.format_message(), hint=_help(error)))
    except (click.Abort, KeyboardInterrupt):
        code = fail(door, Cancelled("stopped"))
    except DaybreakError as error:
        code = fail(door, error)
    except SystemExit:  # click's answer to a reader that went away (EPIPE)
        code = _SIGNALLED + signal.SIGPIPE
    except Exception as error:  # noqa: BLE001 -- the one place where a bug becomes a sentence
        code = fail(door, unwritten(error)) if _is_of_the_output(error) else bug(door, error)
    finally:
        restore()
    return _SIGNALLED + received[0] if received and code == Cancelled.exit_code else code


def _call(door: Door, arguments: Sequence[str]) -> int:
    try:
        answer = cli.main(args=list(arguments), prog_name="daybreak", standalone_mode=False, obj=door)
    except click.exceptions.NoArgsIsHelpError as asked:
        if door.json:
            raise UsageError("which verb?", hint=_help(asked)) from asked
        return _call(door, [*arguments, "--help"])
    return answer if isinstance(answer, int) else 0


def _is_of_the_output(error: Exception) -> TypeGuard[OSError]:
    """Whether an answer could not be written that click gives by itself, as to `--help`."""
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, OSError) and last.f_globals.get("__name__") == click.echo.__module__


def _help(error: click.UsageError) -> str:
    """The command that explains the verb that was meant."""
    return f"{error.ctx.command_path if error.ctx else 'daybreak'} --help"


def _listen(cancel: threading.Event, received: list[int]) -> Callable[[], None]:
    """Let INT, TERM and HUP end a run in order; a second one ends the program at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        cancel.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


if __name__ == "__main__":
    main()
