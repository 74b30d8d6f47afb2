"""The end of a forced command of ssh: one of a few plans is asked for and waited for, and nothing else is possible.

What came over ssh is compared, letter by letter, with what the key may ask for. It is never split, evaluated or handed
on: what is asked of the runner is made from the configuration's own names.

Errors  `Refused` for anything else, `ConfigError` for a forced command that names a plan that is not there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from daybreak.errors import Cancelled, ConfigError, Refused
from daybreak.runner.acts import Acts, Reply
from daybreak.runner.client import LineBroke, NoRunner, ask
from daybreak.runner.words import NOW, Follow, Start

_LONGEST_SHOWN = 60


def chosen(may: Sequence[str], asked: str, *, plans: Mapping[str, Sequence[str]], scripts: Mapping[str, Path]) -> Start:
    """The plan that is meant by `asked`, the content of SSH_ORIGINAL_COMMAND. Pure.

    `may` is what the key may ask for, `plans` the names that there are for each kind, `scripts` what stands for a verb.
    """
    requests: dict[str, Start] = {}
    for verb in may:
        kind, _, plan = verb.partition(":")
        if plan not in plans.get(kind, ()):
            raise ConfigError(
                f"daybreak gate: there is no {verb!a} in the configuration",
                hint="mend the forced command in authorized_keys: `daybreak server setup` writes it",
            )
        requests[verb] = Start(kind=kind, plan=plan, slot=NOW)
        if verb in scripts:
            requests[str(scripts[verb])] = requests[verb]
    if asked in requests:
        return requests[asked]
    listed = f"this key may ask for: {', '.join(may)}"
    if not asked:
        raise Refused("there is no shell here", hint=listed)
    shown = ascii(asked)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
    raise Refused(f"{shown} is not what this key may ask for", hint=listed)


def pass_through(folder: Path, acts: Acts, start: Start, person: str, stop: threading.Event) -> Iterator[Reply]:
    """Have a plan carried out and tell how it goes, from `{"event": "begun", …}` to `{"event": "ended", …}`.

    The runner is asked; where none listens, and where it goes away in the middle, `acts` does the same with the rights
    of this process. Raise Cancelled when `stop` is set: the run itself goes on.
    """
    through = "the runner"
    try:
        (begun,) = ask(folder, start)
    except (NoRunner, LineBroke):
        through = "this account"
        (begun,) = acts.answer(start, person, stop)
    run = str(begun["run"])
    yield {"event": "begun", "kind": start.kind, "plan": start.plan, "through": through, **begun}
    for reply in _followed(folder, acts, Follow(run=run), person, stop):
        yield reply
        if reply["event"] == "ended":
            return
    raise Cancelled(f"nobody waits any more; run {run} goes on", hint=f"daybreak run show {run} --follow")


def _followed(folder: Path, acts: Acts, follow: Follow, person: str, stop: threading.Event) -> Iterator[Reply]:
    seen = 0
    try:
        for reply in ask(folder, follow):
            if stop.is_set():
                return
            seen += reply["event"] == "step"
            yield reply
    except (NoRunner, LineBroke):
        pass
    steps = 0
    for reply in acts.answer(follow, person, stop):
        if reply["event"] == "step":
            steps += 1
            if steps <= seen:  # told already, by the runner that went away
                continue
        yield reply
