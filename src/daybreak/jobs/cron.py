"""pg_cron through a refresh: away from the shadow, back under the target's name, its launcher alive.

Shapes  `remember` looks before the swap, `bring_back` works after it; between the two dev has no jobs. Who is killed
        there leaves them in the new database, and the next run brings them back (`target.mend`).
Errors  those of the client; what fails after the swap is for the caller to name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from daybreak.archive import Entry, copy_data, parse_copy, read_contents
from daybreak.command import Command
from daybreak.errors import DaybreakError, SourceError
from daybreak.jobs.run import RunContext
from daybreak.jobs.selection import CRON_SCHEMA
from daybreak.jobs.shelf import Pinned
from daybreak.jobs.target import Ground
from daybreak.postgres import cron, grants
from daybreak.replacement import RESTART_CONTAINER, CronJobs, Replacement

#: A launcher that comes back by itself does so after one second; then it takes a connection.
_BY_ITSELF_S: Final = 15.0
_AFTER_RESTART_S: Final = 90.0
_RESTART_DEADLINE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What waits in the new database for the extension."""

    switched_off: int  # jobs that were active where they come from


def remember(
    run: RunContext, held: Ground, pinned: Pinned, how: Replacement, *, incoming: str, owner: str, in_archive: bool
) -> Jobs | None:
    """Set aside in `incoming` the jobs that there will be, and who may do what with pg_cron in the target.

    None where neither production nor the target has pg_cron. What a dead run had set aside in the target counts as the
    target's own.
    """
    server = held.server
    on_target = cron.has_cron(server, held.name)
    aside = not on_target and cron.has_aside(server, held.name)
    if not (on_target or aside or in_archive):
        return None
    run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = run.private / "cron.copy"
    path.write_bytes(b"")
    columns: tuple[str, ...] = ("jobid", "active")
    changed: dict[str, str] = {}
    if how.cron is CronJobs.DEV and (on_target or aside):
        columns = cron.save_jobs(server, held.name, path, table=cron.JOBS if on_target else cron.ASIDE)
        changed = cron.own_jobs()
    elif how.cron is CronJobs.PRODUCTION:
        _, entries = read_contents(pinned.path)
        entry = next((one for one in entries if _is_jobs(one)), None)
        if entry is not None:
            with path.open("wb") as file:
                for piece in copy_data(pinned.path, entry):
                    file.write(piece)
            columns, changed = parse_copy(entry.copy or "").names, cron.productions_jobs(held.name, owner)
    rights: list[str] = []
    if on_target:
        rights = grants.statements_of(server, held.name, CRON_SCHEMA)
    elif aside:
        rights = cron.rights_aside(server, held.name)
    return Jobs(switched_off=cron.set_aside(server, incoming, path, columns, changed=changed, rights=rights))


def _is_jobs(entry: Entry) -> bool:
    return entry.kind == "TABLE DATA" and (entry.schema, entry.name) == (CRON_SCHEMA, "job")


def bring_back(run: RunContext, held: Ground, how: Replacement, jobs: Jobs) -> None:
    """Make the extension in the new database, with what was set aside there."""
    with run.step("pg_cron") as facts:
        cron.make(held.server, held.name)
        facts["jobs"] = how.cron.value
        if how.cron is CronJobs.PRODUCTION:
            facts["switched_off"] = jobs.switched_off
        elif jobs.switched_off:
            run.warn(f"{jobs.switched_off} jobs of pg_cron lead to another server, and are switched off")


def require_launcher(run: RunContext, held: Ground, how: Replacement) -> None:
    """See that pg_cron's launcher is at work again; restart the server where that is needed and allowed."""
    server = held.server
    with run.step("launcher") as facts:
        if _comes(held, _BY_ITSELF_S if cron.comes_back(server) else 0.0):
            facts["launcher"] = "alive"
        elif how.restart is None:
            facts["launcher"] = "away"
            run.warn(
                f"pg_cron's launcher did not come back, no job runs on {held.name}: restart its server when you can "
                '(pg_cron 1.6.1 and newer come back by themselves; restart = "container" lets Daybreak do it)'
            )
        else:
            began = time.monotonic()
            server.runner.run(_restart(held, how.restart))
            _await_server(held)
            facts["restart_ms"] = round((time.monotonic() - began) * 1000)
            facts["launcher"] = "alive" if _comes(held, _AFTER_RESTART_S) else "away"
            if facts["launcher"] == "away":
                run.warn(f"pg_cron's launcher is not at work on {server.where()}, also after a restart: see its log")
        run.result["cron"] = dict(facts)


def _comes(held: Ground, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while not cron.has_launcher(held.server, held.name):
        if time.monotonic() > until:
            return False
        time.sleep(0.25)
    return True


def _restart(held: Ground, words: tuple[str, ...]) -> Command:
    host = held.server.host
    if words == RESTART_CONTAINER:
        words = (host.place.runtime, "restart", host.place.container)
        return host.outer.command(words, deadline=_RESTART_DEADLINE)
    return Command(argv=words, deadline=_RESTART_DEADLINE)


def _await_server(held: Ground) -> None:
    until = time.monotonic() + _AFTER_RESTART_S
    while True:
        try:
            held.server.execute("SELECT 1")
        except DaybreakError as error:
            if time.monotonic() > until:
                raise SourceError(
                    f"the server of {held.name} did not come back after its restart: {error.message}",
                    hint="look at its log",
                ) from error
            time.sleep(0.25)
        else:
            return
