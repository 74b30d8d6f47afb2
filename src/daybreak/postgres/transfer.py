"""One schema from one database of a server into another, in one transaction there.

pg_dump's script goes through a pipe into psql: `COMMIT` is the last line, and only written when pg_dump ended well. Who
dies on the way, on either side, leaves nothing.

Errors  `SqlError`, `SourceError` as of the client; `CommandError` of a pg_dump that failed.
"""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Final

from daybreak.errors import CommandError, DaybreakError
from daybreak.postgres.client import Postgres
from daybreak.postgres.shadow import UNHEARD
from daybreak.postgres.sql import identifier, literal

#: Before 17 a multirange does not follow its range to an owner, and pg_dump has no line for it.
_MULTIRANGES: Final = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT m.oid::regtype AS name, pg_get_userbyid(r.typowner) AS owner
        FROM pg_type m JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND objid = m.oid AND deptype = 'i'
        JOIN pg_type r ON r.oid = refobjid AND refclassid = 'pg_type'::regclass AND r.typtype = 'r'
       WHERE m.typtype = 'm' AND m.typowner <> r.typowner
         AND m.typnamespace = (SELECT oid FROM pg_namespace WHERE nspname = {schema})
    LOOP
        EXECUTE format('ALTER TYPE %s OWNER TO %I', one.name, one.owner);
    END LOOP;
END $$;
COMMIT;
"""


def transfer(server: Postgres, schema: str, *, source: str, into: str, folder: Path, deadline: timedelta) -> None:
    """Copy `schema` of database `source`, with owners and without privileges, into database `into`."""
    pipe = folder / "transfer"
    os.mkfifo(pipe, 0o600)
    command = server.own_tools.pg_dump_schema(
        server.conninfo(source), identifier(schema), deadline=deadline, settings=server.settings()
    )
    faults: list[DaybreakError] = []

    def pump() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as out:
            out.write(f"{UNHEARD};\nBEGIN;\n".encode())
            try:
                with server.runner.stream(command) as dump:
                    while chunk := dump.read():
                        out.write(chunk)
            except DaybreakError as error:
                faults.append(error)
            else:
                out.write(_MULTIRANGES.format(schema=literal(schema)).encode())

    thread = threading.Thread(target=pump, name="transfer", daemon=True)
    thread.start()
    try:
        server.script(pipe, dbname=into, deadline=deadline, on_stderr=lambda _line: None)
    finally:
        # A psql that never read leaves a writer waiting for it.
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
        thread.join()
        pipe.unlink()
    if faults:
        raise server.explain(faults[0]) if isinstance(faults[0], CommandError) else faults[0]
