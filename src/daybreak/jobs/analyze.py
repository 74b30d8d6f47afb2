"""What the planner knows of a restored database: production's own statistics, and fresh ones for the rest (ADR 0057).

Shapes  `analyze` leaves nothing without statistics that production has them for.
Errors  `SqlError`, `SourceError` of the one program that always runs; production's statistics are taken or not, and
        what is wrong with them is no fault of the run.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from daybreak import files
from daybreak.archive.toc import PREAMBLE
from daybreak.errors import Cancelled, CommandError, DaybreakError
from daybreak.jobs.rebuild import Rebuild
from daybreak.postgres.tools import STATISTICS_SINCE

_DEADLINE: Final = timedelta(hours=2)
#: A crash takes the database along, and no command of psql's own can hide in an archive.
_HEAD: Final = "\\restrict {key}\nSET synchronous_commit = off;\n"
#: What its function answers when it could not take a value; the rest of the server's words are not for programs.
_DOUBTED: Final = "f"
#: How full a page is: production's may be half empty, those here were filled one after another.
_PAGES: Final = """
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT * FROM (
        SELECT n.nspname, c.relname, c.relpages,
               (pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint)::integer AS pages
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'i') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_') c
         WHERE c.pages <> c.relpages
    LOOP
        PERFORM pg_catalog.pg_restore_relation_stats(
            'schemaname', one.nspname::text, 'relname', one.relname::text, 'relpages', one.pages);
        COMMIT;  -- no transaction locks them all
    END LOOP;
END $$;
"""


def analyze(work: Rebuild) -> None:
    """Statistics for every table, so that the first queries of the morning are planned well."""
    server = work.held.server
    with work.run.step("analyze") as facts:
        taken = _take(work) if _may_take(work) else 0
        facts["statistics"] = taken
        command = server.own_tools.vacuumdb_analyze(
            server.conninfo(work.name),
            missing=taken > 0,
            jobs=work.jobs,
            deadline=_DEADLINE,
            settings=server.settings(),
        )
        try:
            work.run.runner.run(command)
        except CommandError as error:
            raise server.explain(error) from error


def _may_take(work: Rebuild) -> bool:
    """Whether production's statistics can be taken, are true of the rows, and tell nothing that the rows do not."""
    abilities = work.rehearsal.abilities
    return (
        abilities.major >= STATISTICS_SINCE
        and abilities.superuser  # only he may ask what is still missing afterwards
        and bool(work.rehearsal.selection.statistics)
        # A hook may mask what production's statistics hold: its most common values.
        and not any(hook.when.in_shadow for hook in work.how.hooks)
    )


def _take(work: Rebuild) -> int:
    """Take the archive's statistics: how many entries. 0 where the server doubts one of them, or refuses it.

    What it took before is made anew with the rest.
    """
    run, server, selection = work.run, work.held.server, work.rehearsal.selection
    entries = [*(one for one in selection.restored if one.kind in PREAMBLE), *selection.statistics]
    script = run.private / "statistics.sql"
    try:
        run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        with script.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(_HEAD.format(key=secrets.token_hex(16)))
            file.writelines(entry.definition or "" for entry in entries)
            file.write(_PAGES)
        answers = server.load(script, dbname=work.name, deadline=_DEADLINE).splitlines()
    except Cancelled:
        raise
    except (OSError, DaybreakError) as error:
        run.log.write(f"production's statistics were not taken: {type(error).__name__}")  # its words may quote a value
        return 0
    finally:
        files.discard(script)
    if doubted := answers.count(_DOUBTED):
        run.log.write(f"production's statistics were not taken: the server doubts {doubted} of them")
        return 0
    return len(selection.statistics)
