"""Which database is it really? Every job asks before it touches one.

Daybreak writes no marker into a database: it remembers, in the catalog, the cluster, the oid and the
name of each database of the configuration, and refuses what has changed since without its doing.

Errors  `Refused` (exit 4) with both identities and the command that enrols anew after a look.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from typing import Final

from daybreak.errors import Cancelled, DaybreakError, Refused
from daybreak.jobs.connect import connect
from daybreak.jobs.run import RunContext, now
from daybreak.model import Database, Identity
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import literal

_NOT_ALLOWED: Final = "42501"


def check_source(run: RunContext, server: Postgres) -> Identity:
    """See that `server` is the database that was enrolled under its name; enrol it the first time."""
    identity = server.identity()
    _require_enrolled(run, server.database, identity)
    return identity


def refuse_protected(target: Database, protected: Iterable[Database]) -> None:
    """Refuse production by what the configuration says, before anything is dialled. Raise Refused."""
    if target.protected:
        raise Refused(f"{target.name} is protected: it is never a target", hint="refresh another database")
    for one in protected:
        if same_address(target, one):
            raise Refused(
                f"{target.name} and {one.name} are one database by their addresses, and {one.name} is protected",
                hint=f"mend databases.{target.name} in the configuration",
            )


def refuse_production(run: RunContext, server: Postgres, protected: Iterable[Database]) -> Identity:
    """Refuse production by what really answers, whatever name led to it. Raise Refused; change nothing."""
    target = server.database
    refuse_protected(target, protected)
    identity = server.identity(target.conninfo.get("dbname"))
    _refuse_kin(run, target, identity, protected)
    return identity


def refuse_production_server(run: RunContext, server: Postgres, dbname: str, protected: Iterable[Database]) -> None:
    """The same for a target whose database is not there: nothing is made in production's cluster. Raise Refused."""
    target = server.database
    refuse_protected(target, protected)
    # No database has the oid 0.
    nobody = Identity(system_identifier=server.system_identifier(), oid=0, database=dbname)
    _refuse_kin(run, target, server.find(dbname) or nobody, protected)


def _refuse_kin(run: RunContext, target: Database, identity: Identity, protected: Iterable[Database]) -> None:
    """Refuse what is production, or in its cluster."""
    for one in protected:
        for production in _identities_of(run, one):
            if production.system_identifier != identity.system_identifier:
                continue
            if production.oid == identity.oid:
                raise Refused(
                    f"{target.name} is {one.name} under another name: {identity}. {one.name} is protected",
                    hint=f"mend databases.{target.name} in the configuration",
                )
            if target.shares_cluster_with != one.name:
                raise Refused(
                    f"{target.name} ({identity}) is in the cluster of {one.name} ({production}), "
                    "or in a file copy of it",
                    hint=f'if that is meant, set databases.{target.name}.shares_cluster_with = "{one.name}"',
                )


def check_target(run: RunContext, server: Postgres, protected: Iterable[Database]) -> Identity:
    """See that `server` may be written: never production, and the database that we know.

    Raise Refused before any statement that changes something. A swap that a dead run had announced
    is noted before this is asked (`target.mend`).
    """
    identity = refuse_production(run, server, protected)
    _require_enrolled(run, server.database, identity)
    return identity


def _require_enrolled(run: RunContext, database: Database, identity: Identity) -> None:
    if run.catalog.databases.enrolled(database.name) is None:
        run.catalog.databases.enrol(database.name, identity, at=now())
        run.log.write(f"enrolled {database.name} as {identity}")
    refuse_stranger(run, database, identity)


def refuse_stranger(run: RunContext, database: Database, identity: Identity) -> None:
    """Refuse what is not the database that was enrolled, if one was. Changes nothing."""
    known = run.catalog.databases.enrolled(database.name)
    if known is not None and known.identity != identity:
        raise Refused(
            f"{database.name} is not the database it was: enrolled as {known.identity}, now {identity}",
            hint=f"look which one is right; if the new one is, `daybreak enrol {database.name}`",
        )


def _identities_of(run: RunContext, protected: Database) -> set[Identity]:
    """Who production is: what answers now, and what was enrolled; both count, since the address may be wrong by now."""
    known = run.catalog.databases.enrolled(protected.name)
    enrolled: set[Identity] = set() if known is None else {known.identity}
    try:
        with connect(protected, run) as server:
            return {server.identity(), *enrolled}
    except Cancelled:
        raise
    except DaybreakError as error:
        if enrolled:
            return enrolled
        raise Refused(
            f"whether the target is {protected.name} cannot be told: that one was never enrolled, "
            f"and cannot be reached ({error.message})",
            hint="make it reachable once: `daybreak config check --connect`",
        ) from error


def same_address(one: Database, other: Database) -> bool:
    """Whether two conninfos lead to the same server and database, by what the addresses resolve to."""
    first, second = dict(one.conninfo), dict(other.conninfo)
    if (one.place.ssh, one.place.container) != (other.place.ssh, other.place.container):
        return False  # they may still be one: what really answers is asked before anything is written
    if first.get("service") or second.get("service"):
        return first == second
    if first.get("dbname", first.get("user")) != second.get("dbname", second.get("user")):
        return False
    return bool(_addresses(first) & _addresses(second))


def _addresses(conninfo: dict[str, str]) -> set[tuple[str, str]]:
    """Every address and port that a conninfo may lead to: libpq takes the next of several hosts when one is away."""
    hosts = (conninfo.get("hostaddr") or conninfo.get("host") or "").split(",")
    ports = conninfo.get("port", "").split(",")
    ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    return {(address, port or "5432") for host, port in zip(hosts, ports, strict=True) for address in _resolved(host)}


def _resolved(host: str) -> set[str]:
    if host.startswith("/") or not host:
        return {host or "/var/run/postgresql"}
    found = {host}
    with contextlib.suppress(OSError):
        found |= {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    return found


def end_dead_backends(run: RunContext, server: Postgres, *, everything: bool) -> int:
    """End the sessions that dead runs of this host left on `server`; return how many.

    On production only their pg_dump sessions; on a target `everything` but a swap, which always ends by itself.
    """
    rows = server.query(
        "SELECT pid, application_name AS name, datname = current_database() AS here FROM pg_stat_activity "
        "WHERE application_name LIKE 'daybreak:%' AND pid <> pg_backend_pid()",
        dbname=None if not everything else server.maintenance_db,
    )
    dead: list[tuple[int, str]] = []
    for row in rows:
        _, _, rest = str(row["name"]).partition(":")
        owner, _, part = rest.partition(":")
        ours = run.catalog.runs.get(owner) is not None and not run.engine.is_alive(owner)
        wanted = part != "swap" if everything else row["here"]
        if ours and wanted:
            dead.append((int(row["pid"]), str(row["name"])))
    ended = 0
    for pid, name in dead:
        try:
            server.execute(
                f"SELECT pg_terminate_backend({pid}) FROM pg_stat_activity WHERE pid = {pid} "
                f"AND application_name = {literal(name)}",
                dbname=None if not everything else server.maintenance_db,
            )
        except SqlError as error:
            if error.sqlstate != _NOT_ALLOWED:
                raise
            # Another role's: it mostly ends by itself within a second, and what it may still hold has its own message.
            run.warn(f"{server.where()}: this role may not end a session that a dead run left ({name}, pid {pid})")
        else:
            ended += 1
    return ended
