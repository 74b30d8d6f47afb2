"""Messages to the outside: alerts through Apprise, and pings of a dead-man's switch. Each in bounded time.

A message is carried by a process of its own (`courier.py`): a destination that hangs ends with it.

Shapes  what went wrong is returned as words, never raised: no destination may harm the run that it is told of.
Units   `DEADLINE` bounds one message, all tries together; several go at once.
Errors  none.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import unquote

from daybreak.credentials import read_secret
from daybreak.errors import CommandError, DaybreakError, TimedOut
from daybreak.model import SecretSource
from daybreak.process import Command, Runner
from daybreak.secret import Secret, mask

DEADLINE: Final = timedelta(seconds=25)
#: Parts of an address that are long enough to be a token; words of small letters and hosts are none.
_TOKEN: Final = re.compile(r"[^/?&=#@:,]{8,}")
_WORD: Final = re.compile(r"[a-z]+|[a-z0-9-]+([.][a-z0-9-]+)+")
_LONGEST_FAULT: Final = 300
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a person is told."""

    title: str
    body: str
    kind: str = "info"  # Apprise's: info, success, warning, failure


def tell(source: SecretSource, message: Message, runner: Runner) -> str:
    """Send one message through Apprise. Return why it did not arrive, "" when it did."""
    return _carry(source, "", {"title": message.title, "body": message.body, "kind": message.kind}, runner)


def ping(source: SecretSource, suffix: str, runner: Runner) -> str:
    """Call an address with `suffix` behind it. Return as `tell` does."""
    return _carry(source, suffix, {}, runner)


def all_at_once(calls: Sequence[Callable[[], str]]) -> list[str]:
    """Make the calls side by side; their answers in the same order."""
    if not calls:
        return []
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(calls))) as pool:
        return [one.result() for one in [pool.submit(call) for call in calls]]


def _carry(source: SecretSource, suffix: str, message: Mapping[str, str], runner: Runner) -> str:
    try:
        url = read_secret(source, runner, what="address").reveal()
    except DaybreakError as error:
        return _brief(error.message)
    for part in _TOKEN.findall(url):
        for form in {part, unquote(part)}:
            if _WORD.fullmatch(form) is None:
                Secret(form)  # from now on masked wherever somebody repeats it
    sealed = Secret(json.dumps({"url": url + suffix, **{key: mask(text) for key, text in message.items()}}))
    command = Command(
        argv=(sys.executable, "-P", "-m", "daybreak.courier"),
        deadline=DEADLINE,
        env={"DAYBREAK_MESSAGE": sealed, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        return _brief(str(json.loads(runner.run(command).stdout)["fault"]))
    except TimedOut:
        return f"no answer within {DEADLINE.total_seconds():.0f} s"
    except (CommandError, ValueError, KeyError) as error:
        return _brief(f"the message could not be carried: {error}")
    except DaybreakError as error:
        return _brief(error.message)


def _brief(text: str) -> str:
    return mask(" ".join(text.split()))[:_LONGEST_FAULT]
