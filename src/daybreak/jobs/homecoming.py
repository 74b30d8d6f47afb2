"""What production needs to be production again: its roles, the properties of its database, and its name from a person.

Shapes  pure but for `plan_roles`, `roles` and `give_properties`, which write roles that are missing and a new database.
Errors  `ArchiveError` for globals that are not the archive's; those of the client.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from daybreak.archive import Entry, Manifest, parse_grantees
from daybreak.errors import ArchiveError, DaybreakError
from daybreak.jobs.case import Homecoming
from daybreak.jobs.rebuild import Rebuild
from daybreak.jobs.rehearsal import Rehearsal
from daybreak.jobs.run import RunContext
from daybreak.jobs.selection import CRON, CRON_SCHEMA, is_of_database
from daybreak.jobs.shelf import GLOBALS, Pinned
from daybreak.jobs.target import Ground
from daybreak.jobs.verdicts import codec_of, in_utf8
from daybreak.postgres import roles as pure
from daybreak.postgres import shadow
from daybreak.postgres.abilities import abilities_of
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.globals import setting_statements
from daybreak.postgres.sql import derived_name, identifier
from daybreak.units import show_count, show_instant

_DEADLINE: Final = timedelta(minutes=5)


def plan_roles(run: RunContext, server: Postgres, archive: Pinned) -> pure.RolePlan:
    """Which roles the server lacks, by the globals beside the archive. Raise ArchiveError for others than its own."""
    path, known = archive.path.with_name(archive.path.name + GLOBALS), archive.manifest.globals
    content = path.read_bytes() if path.exists() else b""
    if not content:
        run.warn("there are no globals beside the archive: roles that the server lacks cannot be made")
    elif known is None or hashlib.sha256(content).hexdigest() != known.sha256:
        raise ArchiveError(
            f"{path.name} is not the globals file of archive {archive.manifest.id}: its sha256 is not the manifest's",
            hint="fetch the archive again with all that belongs to it; without the file, make the roles by hand",
        )
    return pure.plan_roles(content, abilities_of(server, server.maintenance_db))


def needs(entries: Sequence[Entry], manifest: Manifest, plan: pure.RolePlan) -> Homecoming:
    """Every role that the archive names, and by what."""
    named: dict[str, str] = {}
    owners: set[str] = set()
    codec = codec_of(manifest.encoding)
    for entry in entries:
        if entry.owner:
            owner = in_utf8(entry.owner, codec)
            named.setdefault(owner, entry.label)
            owners.add(owner)
        if entry.kind in {"ACL", "DEFAULT ACL"}:
            for role in parse_grantees(in_utf8(entry.definition or "", codec)):
                named.setdefault(role, entry.label)
    facts, database = manifest.facts, f"the database {manifest.database}"
    if of_all := facts.get("owner"):
        named.setdefault(str(of_all), database)
        owners.add(str(of_all))
    for one in pure.database_acl(_texts(facts.get("acl"))):
        if one["grantee"] is not None:
            named.setdefault(one["grantee"], database)
    for role, _ in _settings(facts):
        if role is not None:
            named.setdefault(role, database)
    return Homecoming(named=named, coming=frozenset(plan.created), owners=frozenset(owners))


def facts_of_manifest(manifest: Manifest, plain: shadow.TargetFacts) -> shadow.TargetFacts:
    """The properties of production's database; `plain` ones where the manifest does not know them."""
    facts = manifest.facts
    if not facts:
        return plain
    acl = facts.get("acl")
    comment = facts.get("comment")
    return replace(
        plain,
        owner=str(facts.get("owner") or plain.owner),
        connection_limit=int(str(facts.get("connection_limit", -1))),
        acl=None if acl is None else tuple(pure.database_acl(_texts(acl))),
        comment=None if comment is None else str(comment),
        settings=tuple(_settings(facts)),
    )


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- JSON


def _settings(facts: Mapping[str, Any]) -> list[tuple[str | None, tuple[str, ...]]]:
    return [(one["role"], tuple(one["settings"])) for one in facts.get("settings") or ()]


def question(server: Postgres, manifest: Manifest, plan: pure.RolePlan, name: str) -> str:
    """What a person confirms."""
    made = f" and the roles {', '.join(plan.created)}" if plan.created else ""
    return (
        f"this makes the database {name}{made} on {server.where()}, from archive {manifest.id}, taken "
        f"{show_instant(manifest.taken_at)}, {show_count(manifest.rows, 'row')}"
    )


@contextlib.contextmanager
def roles(run: RunContext, server: Postgres, plan: pure.RolePlan) -> Generator[None]:
    """Make the missing roles, all or none, and give back what our role needed of them when the block ends."""
    left_out = list(plan.left_out)
    run.result["roles"] = {"created": list(plan.created), "left_out": left_out, "no_password": list(plan.locked_out)}
    if not plan.script:
        yield
        return

    def hear(line: str) -> None:
        if said := pure.told(plan, line):
            left_out.append(said)

    with run.step("roles") as facts:
        run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = run.private / "roles.sql"
        path.touch(mode=0o600)
        path.write_bytes(plan.script)
        server.script(path, dbname=server.maintenance_db, deadline=_DEADLINE, on_stderr=hear)
        facts.update(created=list(plan.created), left_out=left_out)
    try:
        yield
    except DaybreakError:
        if plan.created:
            run.warn(f"the roles that were made for it stay for the next try: {', '.join(plan.created)}")
        raise
    finally:
        try:
            if ended := pure.give_back(plan):
                server.steadfast.execute(*ended, dbname=server.maintenance_db)
        except DaybreakError as error:
            run.warn(f"our role still is a member of {', '.join(plan.borrowed)}: {error.message}")


def give_properties(work: Rebuild) -> None:
    """Privileges, limit and settings of production's database; a setting that is refused here is a warning."""
    server, facts = work.held.server, work.held.facts
    with work.run.step("properties"):
        shadow.carry_over(server, work.name, replace(facts, settings=()))
        for role, pairs in facts.settings:
            for statement in setting_statements(work.name, role, list(pairs)):
                try:
                    server.execute(statement, dbname=server.maintenance_db)
                except SqlError as error:
                    work.run.warn(f"not set: {statement.replace(work.name, work.held.name)} ({error.message})")


def what_is_left_to_do(ground: Ground, name: str, rehearsal: Rehearsal) -> dict[str, object]:
    """What only a person does: `sql`, the lines that give production's name, and `then`, in words."""
    database, then = ground.server.database.name, list[str]()
    sql: list[str] = []
    if name != ground.name:
        if ground.exists:
            sql.append(f"ALTER DATABASE {identifier(ground.name)} RENAME TO {identifier(_aside(ground))};")
        sql.append(f"ALTER DATABASE {identifier(name)} RENAME TO {identifier(ground.name)};")
    then.append(f"daybreak enrol {database}: until then backups refuse a database that they do not know")
    if rehearsal.selection.has_cron:
        if rehearsal.abilities.in_cron(name):
            then.append(
                f"{CRON}'s jobs are there, switched off: SELECT cron.alter_job(jobid, active := true) FROM cron.job"
            )
        else:
            then.append(
                f"{CRON} is not in it: CREATE EXTENSION {CRON} when it has the name that cron.database_name says, then "
                f"pg_restore --data-only --schema={CRON_SCHEMA} --dbname=… ARCHIVE brings the jobs"
            )
    codec = codec_of(rehearsal.case.manifest.encoding)
    labels = [
        in_utf8(one.definition or "", codec).strip() for one in rehearsal.selection.restored if is_of_database(one)
    ]
    if labels:
        then.append(f"pg_restore puts no security label on a database itself: {' '.join(labels)}")
    return {"sql": sql, "then": then}


def _aside(ground: Ground) -> str:
    """A free name for what is production now."""
    taken = {one.name for one in shadow.databases(ground.server)}
    names = (derived_name(ground.name, f"broken{number or ''}") for number in range(len(taken) + 1))
    return next(one for one in names if one not in taken)
