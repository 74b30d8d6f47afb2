"""The asking end of the runner's socket.

Errors  `NoRunner` where nobody listens; `LineBroke` where the answers end too early: what was asked for may go on.
        A fault that the runner tells is raised as the fault that it is.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from daybreak.documents import read_fault
from daybreak.errors import ConfigError
from daybreak.runner.acts import BEAT_S, Reply
from daybreak.runner.words import SOCKET, Look, Request, write_request

#: A run begins within a minute, and whoever follows one hears something every ten seconds.
_PATIENCE_S: Final = 60.0 + 3 * BEAT_S
_LONGEST_REPLY: Final = 2**20


class NoRunner(Exception):  # noqa: N818 -- no fault: there is another way
    """Nobody listens at the socket."""


class LineBroke(Exception):  # noqa: N818 -- no fault: the run goes on
    """The runner went away, or says nothing any more."""


def ask(folder: Path, request: Request) -> Iterator[Reply]:
    """Ask the runner of a state folder, and give its answers as they come; a look's are all of them, or it raises."""
    path = folder / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_PATIENCE_S)
        try:
            line.connect(str(path))
        except PermissionError as error:
            raise ConfigError(
                f"the runner's socket {path} is not for this user",
                hint="put the user into the folder's group; `daybreak server setup` does",
            ) from error
        except OSError as error:  # not there, nobody behind it, a name that is too long
            raise NoRunner from error
        try:
            line.sendall(write_request(request))
            whole = False
            with line.makefile("rb") as answers:
                while answer := answers.readline(_LONGEST_REPLY):
                    reply = _reply(answer)
                    ended = reply.get("event") == "end"
                    whole = ended or not isinstance(request, Look)
                    if not ended:
                        yield reply
        except OSError as error:
            raise LineBroke from error
    if not whole:
        raise LineBroke


def _reply(answer: bytes) -> Reply:
    try:
        found: object = json.loads(answer)
    except ValueError as error:
        raise LineBroke from error
    if not isinstance(found, dict):
        raise LineBroke
    reply = cast("Reply", found)
    if isinstance(fault := reply.get("fault"), dict):  # of a test message it is a text, why that did not arrive
        raise read_fault(cast("Reply", fault))
    return reply
