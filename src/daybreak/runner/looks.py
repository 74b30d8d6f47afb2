"""What is only looked at for whoever asks, or is done at once: nothing here becomes a run.

Shapes  objects, several where there is much: `Snapshots` and `Files` come in parts of `PART`, `Doctor` one by one.
        A server or a storage may let us wait, so a `{"event": "beat"}` comes in between, as long as nothing else does.
        A `{"event": "end"}` is last: there may be nothing else to say, and a list that breaks off is not a short one.
Errors  those of `site`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from daybreak.catalog.records import Enrolment
from daybreak.errors import Cancelled, DaybreakError
from daybreak.jobs.forget import seen_as
from daybreak.jobs.repository import Listed
from daybreak.model import Identity
from daybreak.restic import is_dead, show_lock
from daybreak.runner.words import (
    Doctor,
    Files,
    Identify,
    Locks,
    Look,
    LookAhead,
    LookAtChange,
    LookAtForgetting,
    LookAtSettings,
    NotifyTest,
    Snapshots,
    Unlock,
    Weigh,
)
from daybreak.site import Site
from daybreak.units import rfc3339

Reply = dict[str, Any]

#: So many snapshots or files stand in one answer.
PART: Final = 200
_LOOK_S: Final = 0.5


def look(site: Site, request: Look, stop: threading.Event, *, beat_s: float) -> Iterator[Reply]:
    """The answers, a beat in between, and the end; where nobody listens any more, the work ends."""
    said: queue.Queue[Reply | BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            for reply in _answers(site, request):
                said.put(reply)
            said.put(None)
        except BaseException as error:  # noqa: BLE001 -- is raised again by whoever reads
            said.put(error)

    worker = threading.Thread(target=work, name=f"look {request.ask}", daemon=True)
    worker.start()
    try:
        silent_s = 0.0
        while True:
            try:
                found = said.get(timeout=_LOOK_S)
            except queue.Empty:
                if stop.is_set():
                    raise Cancelled("the runner stops", hint="ask again") from None
                silent_s += _LOOK_S
                if silent_s >= beat_s:
                    silent_s = 0.0
                    yield {"event": "beat"}
                continue
            if found is None:
                yield {"event": "end"}
                return
            if isinstance(found, BaseException):
                raise found
            silent_s = 0.0
            yield found
    finally:
        site.cancel.set()  # ends what the worker waits for
        worker.join()


def _answers(site: Site, request: Look) -> Iterator[Reply]:
    if isinstance(request, LookAhead):
        yield site.look_ahead(request.plan).as_json()
    elif isinstance(request, Identify):
        yield _identified(site, request.database)
    elif isinstance(request, Doctor):
        for one in site.examine(tonight=request.tonight):
            yield one.as_json()
    elif isinstance(request, NotifyTest):
        for name, fault in site.notify_test(request.destination or None).items():
            yield {"destination": name, "sent": not fault, "fault": fault}
    elif isinstance(request, LookAtSettings):
        listed = site.options()
        for start in range(0, len(listed), PART):
            yield {"settings": [asdict(one) for one in listed[start : start + PART]]}
    elif isinstance(request, LookAtChange):
        found = site.look_at_setting(request.setting, request.value)
        obstacle = site.obstacle(request.setting, request.value)
        told = {"obstacle": obstacle.message, "remedy": obstacle.hint} if obstacle else {"obstacle": "", "remedy": ""}
        yield {**asdict(found), "file": str(site.file), **told}
    else:
        yield from _of_repository(site, request)


def _of_repository(
    site: Site, request: LookAtForgetting | Snapshots | Files | Weigh | Locks | Unlock
) -> Iterator[Reply]:
    name = request.repository
    if isinstance(request, LookAtForgetting):
        found = site.look_at_forgetting(name, plan=request.only or None, host=None)
        yield {"repository": name, "plans": [one.as_json() for one in found], "seen": seen_as(found)}
    elif isinstance(request, Snapshots):
        listed = site.snapshots(name)
        for start in range(0, len(listed), PART):
            yield {"snapshots": [_listed(one) for one in listed[start : start + PART]]}
    elif isinstance(request, Files):
        entries = site.snapshot_files(name, request.snapshot).entries
        for start in range(0, len(entries), PART):
            part = entries[start : start + PART]
            yield {"files": [{"path": one.path, "kind": one.kind, "size_bytes": one.size_bytes} for one in part]}
    elif isinstance(request, Weigh):
        stats = site.repository_stats(name)
        yield {"repository": name, "size_bytes": stats.size_bytes, "snapshots": stats.snapshots}
    elif isinstance(request, Locks):
        at = datetime.now(UTC)
        locks = [
            {
                "holder": show_lock(one, at),
                "host": one.host,
                "pid": one.pid,
                "exclusive": one.exclusive,
                "made_at": rfc3339(one.made_at),
                "dead": is_dead(one),
            }
            for one in site.locks(name)
        ]
        yield {"repository": name, "locks": locks}
    else:
        yield {"repository": name, "removed": list(site.unlock_repository(name).removed)}


def _identified(site: Site, name: str) -> Reply:
    """What is enrolled under a name, and what answers now; why not, where nothing does."""
    known = site.catalog.databases.enrolled(name)
    reply: Reply = {"database": name, "enrolled": _enrolled(known), "now": None, "why": "", "same": None}
    try:
        found = site.identify(site.database(name))
    except DaybreakError as error:
        return reply | {"why": f"{error.message} → {error.hint}" if error.hint else error.message}
    same = None if known is None else known.identity == found
    return reply | {"now": _identity(found), "same": same}


def _enrolled(known: Enrolment | None) -> Reply | None:
    return None if known is None else {**_identity(known.identity), "at": rfc3339(known.enrolled_at)}


def _identity(one: Identity) -> Reply:
    return {"database": one.database, "system_identifier": one.system_identifier, "oid": one.oid}


def _listed(one: Listed) -> Reply:
    return {
        "id": one.snapshot.id,
        "taken_at": rfc3339(one.snapshot.taken_at),
        "host": one.snapshot.host,
        "plan": one.snapshot.plan,
        "archive": one.snapshot.archive,
        "ours": one.ours,
        "quarantined": one.quarantined,
    }
