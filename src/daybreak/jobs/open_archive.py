"""Open: an archive in a throw-away server, for a person or a program to look into; gone when they are done.

Shapes  `use` is handed an `Opened` while the server runs; the run ends when it returns.
Errors  those of a drill; a restore that differs is a warning here, since somebody may be looking for just that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from daybreak.errors import RefreshError, SourceError
from daybreak.jobs.analyze import analyze
from daybreak.jobs.backup import archive_of
from daybreak.jobs.choice import Choice, pinned
from daybreak.jobs.restored import Restored, restored
from daybreak.jobs.run import RunContext
from daybreak.jobs.throwaway import Wish, tcp_url, url
from daybreak.postgres.faults import SqlError
from daybreak.postgres.globals import setting_statements
from daybreak.process import Runner
from daybreak.replacement import Replacement


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An archive that can be looked into now."""

    archive: str
    taken_at: str
    database: str
    server: str  # for people
    url: str  # by the socket, which only this user reaches; it holds no password
    tcp_url: str | None  # by 127.0.0.1, the password in a file that it names
    proof: object  # as in --json
    psql: tuple[str, ...]
    environment: Mapping[str, str]  # for a program that is to find the database
    runner: Runner


def open_archive(
    run: RunContext, choice: Choice, *, wish: Wish, how: Replacement, use: Callable[[Opened], None]
) -> None:
    """Restore an archive, prove it, and hand it over until `use` returns."""
    run.begin()
    with pinned(run, choice) as held, restored(run, held, wish, how, source="open", forgive=True) as one:
        _settle(run, one)
        ready, manifest = one.ready, held.manifest
        info = ready.held.server.conninfo()
        address = url(ready)
        run.result["archive"] = archive_of(run, manifest)
        run.progress(f"open at {address}")
        use(
            Opened(
                archive=manifest.id,
                taken_at=manifest.taken_at.isoformat(timespec="milliseconds"),
                database=ready.name,
                server=ready.where,
                url=address,
                tcp_url=tcp_url(ready),
                proof=run.result["proof"],
                psql=ready.psql,
                environment={
                    "DATABASE_URL": address,
                    "PGHOST": str(ready.socket),
                    "PGPORT": info.get("port", "5432"),
                    "PGUSER": info["user"],
                    "PGDATABASE": ready.name,
                },
                runner=run.runner,
            )
        )


def _settle(run: RunContext, one: Restored) -> None:
    """Give the database production's own settings (its search_path above all), and fresh statistics."""
    server, name = one.ready.held.server, one.ready.name
    found = one.work.pinned.manifest.facts.get("settings")
    try:
        for entry in cast("list[dict[str, Any]]", found or []):
            if entry["role"] is None:
                server.execute(*setting_statements(name, None, entry["settings"]))
        analyze(one.work)
    except (SqlError, SourceError, RefreshError) as error:
        run.warn(f"the database lacks some of production's settings: {error.message}")
