"""A server for the time of a job: its host reached, its password read, handed over in private, and removed again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator
from dataclasses import replace
from typing import Final

from daybreak.credentials import passfile, read_secret
from daybreak.hosts import reach, shared, survey
from daybreak.jobs.run import RunContext
from daybreak.model import Database
from daybreak.postgres.client import Postgres

_numbers: Final = itertools.count(1)


@contextlib.contextmanager
def connect(database: Database, run: RunContext) -> Generator[Postgres]:
    """Reach `database` as this run, wherever it is.

    Raise ConfigError for a password that cannot be read, SourceError for a host or container that does not answer.
    """
    with contextlib.ExitStack() as stack:
        # Two servers of one run may be behind the same host: each has a folder for its socket.
        control = run.private / f"{database.name}.{next(_numbers)}"
        host = stack.enter_context(shared(reach(database.place, run.runner), run.runner, control))
        if host.place.container:
            # What the container's environment says, where the configuration says nothing else.
            inside = survey(host, database.bin)
            conninfo = {"user": inside.user, "dbname": inside.dbname, **database.conninfo}
            database = replace(database, conninfo=conninfo)
        secret = None if database.password is None else read_secret(database.password, run.runner)
        path = None
        if secret is not None and host.is_here:
            try:
                run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = stack.enter_context(passfile(secret, run.private))
            except OSError as error:  # the state folder's disk is full: the environment of the tools does as well
                run.log.write(f"no passfile in {run.private} ({error.strerror}): the tools get it in their environment")
        server = Postgres(
            database,
            runner=run.runner,
            run=run.id,
            host=host,
            passfile=path,
            password=None if path is not None else secret,
            keeps=True,
        )
        stack.callback(server.close)
        yield server
