"""How much was written to a target since it got its data, by the statistics that its server keeps.

Shapes  counted are the rows that were inserted, updated and deleted in each table, large objects included; not
        counted: temporary tables, extensions' own, what TRUNCATE and changes of the schema do.
Source  PostgreSQL's cumulative statistics. A session tells what it did within seconds, or when it ends; a crash or
        pg_stat_reset() makes the counts smaller than they were, and then nothing is known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from daybreak.catalog.records import Baseline, Counted
from daybreak.errors import DaybreakError
from daybreak.jobs.run import RunContext, now
from daybreak.jobs.target import Held
from daybreak.postgres.client import Postgres
from daybreak.units import show_count, show_instant

#: A session of ours that ended a moment ago has told what it did when it is not in the list any more.
_SETTLES_WITHIN_S: Final = 2.0
_COUNTS: Final = """
SELECT (SELECT stats_reset::text FROM pg_stat_database WHERE datname = current_database()) AS reset_at,
       current_setting('track_counts')::boolean AS counting,
       (SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()) AS sessions,
       (SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
           AND (state IS DISTINCT FROM 'idle' OR state_change > now() - interval '15 seconds')) AS busy,
       (SELECT json_object_agg(c.oid, pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)
                                      + pg_stat_get_tuples_deleted(c.oid))
          FROM pg_class c
         WHERE c.relkind = 'r' AND c.relpersistence <> 't'
           AND (c.oid >= 16384 OR c.oid = 'pg_catalog.pg_largeobject'::regclass)
           AND NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
       AS tables"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written to a database since an instant."""

    since: datetime
    rows: int
    gone: int  # tables that were there and are not any more
    busy: int = 0  # sessions that may have written what is not counted yet

    @property
    def anything(self) -> bool:
        """Whether there is, or may be, anything that an undo takes away."""
        return bool(self.rows or self.gone or self.busy)


def count_writes(server: Postgres, dbname: str, *, settle: bool = False) -> Counted | None:
    """What the server has counted in one database by now; None where it does not say.

    With `settle`, after the sessions in it have ended: for a database that only we use.
    """
    until = time.monotonic() + _SETTLES_WITHIN_S
    try:
        while True:
            row = server.query(_COUNTS, dbname=dbname)[0]
            if not settle or not row["sessions"] or time.monotonic() > until:
                break
            time.sleep(0.05)
    except DaybreakError:
        return None
    if not row["counting"]:
        return None
    tables = {int(oid): count for oid, count in row["tables"].items()}
    return Counted(reset_at=row["reset_at"], tables=tables, busy=row["busy"])


def remember_writes(run: RunContext, held: Held, oid: int, counted: Counted | None) -> None:
    """Record what was counted in the database that is the target now; without it an undo knows nothing."""
    if counted is None:
        run.log.write("what is written from now on will not be known: the server's statistics could not be read")
        return
    baseline = Baseline(system_identifier=held.identity.system_identifier, oid=oid, at=now(), counted=counted)
    run.best_effort(lambda: run.catalog.databases.set_baseline(held.server.database.name, baseline))


def written_since(run: RunContext, held: Held) -> Written | None:
    """What was written to a target since it got its data; None where nobody can tell."""
    baseline = run.catalog.databases.baseline(held.server.database.name, held.identity)
    present = count_writes(held.server, held.name)
    return None if baseline is None or present is None else compare(baseline, present)


def compare(then: Baseline, present: Counted) -> Written | None:
    """The difference between two counts of one database; None where the statistics were lost between. Pure."""
    before, after = then.counted.tables, present.tables
    if then.counted.reset_at != present.reset_at or any(after[oid] < before.get(oid, 0) for oid in after):
        return None
    rows = sum(count - before.get(oid, 0) for oid, count in after.items())
    return Written(since=then.at, rows=rows, gone=len(before.keys() - after.keys()), busy=present.busy)


def written_text(name: str, found: Written | None) -> str:
    """What an undo takes away, for people."""
    if found is None:
        return f"how much was written to {name} since it got its data is not known"
    rows = f"{show_count(found.rows, 'row')} {'was' if found.rows == 1 else 'were'} written to {name}"
    gone = (
        f", and {show_count(found.gone, 'table')} {'was' if found.gone == 1 else 'were'} dropped," if found.gone else ""
    )
    busy = ""
    if found.busy:
        who = "a session has" if found.busy == 1 else f"{found.busy} sessions have"
        busy = f"; {who} been at work within the last seconds, and it may be more"
    return f"{rows}{gone} since {show_instant(found.since)}{busy}"
