"""Would the target take this archive? Judged before anything is made there. Pure.

Shapes  an archive's table of contents and a server's abilities go in; obstacles and notes come out. An obstacle stops
        the refresh and names the object, the reason and what solves it; a note is for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from daybreak.archive import (
    Manifest,
    parse_collation,
    parse_policy_roles,
    parse_settings,
)
from daybreak.jobs.case import Case, Homecoming, Obstacle
from daybreak.jobs.partitions import partitions
from daybreak.jobs.selection import CRON, Selection, label_providers
from daybreak.jobs.verdicts import codec_of, in_utf8
from daybreak.postgres.abilities import Abilities
from daybreak.postgres.sql import identifier, literal
from daybreak.units import show_bytes

#: Extensions whose library must be loaded when the server starts, or they cannot be created or used.
PRELOADED: Final = frozenset(
    {"citus", "pg_squeeze", "pg_stat_kcache", "pg_wait_sampling", "pgaudit", "pglogical", "pgsodium", "timescaledb"}
)
#: The format of an archive -> the oldest pg_restore that reads it.
READERS: Final = {"1.14": 12, "1.15": 16, "1.16": 17}
_ICU_SINCE: Final = 15
_BUILTIN_SINCE: Final = 17
#: A locale of PostgreSQL's own -> the version that learned it, where that is not the one that learned to have any.
_LEARNED_LATER: Final = {"PG_UNICODE_FAST": 18}
_BY_ANOTHER: Final = "restore by a superuser: a second table [databases.…] with the same server and another user"
#: Kinds that PostgreSQL lets nobody else make -> the key of a refresh that leaves them out, where there is one.
_BY_A_SUPERUSER: Final = {
    "EVENT TRIGGER": "event_triggers",
    "FOREIGN DATA WRAPPER": "foreign",
    "PUBLICATION TABLES IN SCHEMA": None,
}
#: What may be left out by name.
BEHIND_ROWS_ONLY: Final = "leave out what stands behind rows: a constraint, an index, a trigger, a view"
_NUMBER: Final = re.compile(r"\d+|\D+")


def obstacles(case: Case) -> list[Obstacle]:
    """Everything that stops this restore."""
    return [
        *_reader(case),
        *_extensions(case),
        *_locale(case),
        *_roles(case),
        *_settings(case),
        *_labels(case),
        *_rights(case),
        *partitions(case),
        *_disk(case),
        *_holders(case),
        *_left_out(case),
    ]


def notes(case: Case) -> list[str]:
    """What a person should know, and what stops nothing."""
    abilities, found = case.abilities, list[str]()
    missing = sorted(missing_tablespaces(case))
    if missing:
        others = sorted(named_tablespaces(case) - set(missing))
        also = f", and what lies in {', '.join(others)}," if others else ""
        found.append(
            f"the target has no tablespace {', '.join(missing)}: what lies there{also} goes to the default one"
        )
    facts = case.manifest.facts
    for key in ("lc_collate", "lc_ctype"):
        name = str(facts.get(key) or "C")
        if re.sub(r"utf-?8", "utf8", name.lower()) not in abilities.collations | {"c", "posix"}:
            found.append(f"the target may lack the locale {name}: it is none of those that it was made with")
            break
    if case.free_bytes is None:
        found.append("how much room the target's disk has cannot be seen from here")
    if reader := newer_reader(case):
        found.append(f"pg_restore {abilities.major} cannot read this archive: version {reader} restores it")
    found += [f"leave_out names {one!r}, which the archive does not have" for one in case.selection.unknown]
    return found


def newer_reader(case: Case) -> int | None:
    """The version of pg_restore to use where the target's own is too old for the archive."""
    oldest = READERS[case.manifest.archive_format]
    if case.abilities.major >= oldest:
        return None
    return min((one for one in case.tools if one >= oldest), default=None)


def named_tablespaces(case: Case) -> set[str]:
    """Tablespaces that the archive names."""
    return {entry.tablespace for entry in case.selection.restored if entry.tablespace}


def missing_tablespaces(case: Case) -> set[str]:
    """Those that the target lacks. Where there is one, pg_restore can be told to use none."""
    return named_tablespaces(case) - case.abilities.tablespaces.keys()


def _reader(case: Case) -> Iterator[Obstacle]:
    oldest = READERS[case.manifest.archive_format]
    if case.abilities.major < oldest and newer_reader(case) is None:
        yield Obstacle(
            what=f"pg_restore {case.abilities.major} cannot read the archive: its format "
            f"{case.manifest.archive_format} is that of pg_dump {oldest} and newer",
            remedy=f"install postgresql-client-{oldest} where the target is",
        )


def _extensions(case: Case) -> Iterator[Obstacle]:
    versions = case.manifest.facts.get("extensions")
    wanted = {name: str(version) for name, version in versions.items()} if isinstance(versions, dict) else {}
    abilities = case.abilities
    for entry in case.selection.restored:
        if entry.kind != "EXTENSION":
            continue
        name, version = entry.name, wanted.get(entry.name, "")
        has = abilities.extensions.get(name)
        if has is None:
            yield Obstacle(
                what=f"the target lacks the extension {name} {version}".rstrip(),
                remedy=f"install it on the target's server, version {version or 'as in production'} or newer",
            )
        elif name in PRELOADED and abilities.preloaded is not None and name not in abilities.preloaded:
            yield Obstacle(
                what=f"the extension {name} must be loaded when the target's server starts, and is not",
                remedy=f"add it to shared_preload_libraries there ({', '.join(sorted(abilities.preloaded)) or 'empty'} "
                "now) and restart it",
            )
        elif not has.anybody and not abilities.superuser:
            yield Obstacle(
                what=f"the extension {name} needs a superuser to create it, and the target's role is none",
                remedy="refresh with a superuser, or let one mark the extension as trusted",
            )
        elif _is_older(has.default, version) and version not in has.versions and name not in case.how.older_extensions:
            yield Obstacle(
                what=f"the target has the extension {name} in version {has.default}, production has {version}",
                remedy=f'install {version} there, or set older_extensions = ["{name}"] if the older one will do',
            )


def _is_older(one: str, other: str) -> bool:
    """Whether version `one` comes before `other`: numbers count as numbers."""
    return bool(other) and _parts(one) < _parts(other)


def _parts(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.findall(version) if part != "."]


def _locale(case: Case) -> Iterator[Obstacle]:
    facts = case.manifest.facts
    abilities, provider = case.abilities, facts.get("locale_provider", "c")
    if provider == "b":
        yield from _builtin(abilities, f"production's locale {facts.get('locale')}", str(facts.get("locale")))
    if provider == "i" and (abilities.major < _ICU_SINCE or not abilities.icu):
        yield Obstacle(
            what=f"production's locale {facts.get('locale')} is one of ICU, which the target's server cannot use",
            remedy="use a server of version 15 or newer that was built with ICU",
        )
    for entry in case.selection.restored:
        provider, locale = parse_collation(entry.definition or "") if entry.kind == "COLLATION" else (None, None)
        if provider == "icu" and not abilities.icu:
            yield Obstacle(
                what=f"{entry.label} is one of ICU, which the target's server cannot use",
                remedy="use a server that was built with ICU, or drop it in production where nothing needs it",
            )
        if provider == "builtin":
            yield from _builtin(abilities, entry.label, locale)


def _builtin(abilities: Abilities, what: str, locale: str | None) -> Iterator[Obstacle]:
    since = _LEARNED_LATER.get(locale or "", _BUILTIN_SINCE)
    if abilities.major < since:
        yield Obstacle(
            what=f"{what} is PostgreSQL's own, and the target is of version {abilities.major}",
            remedy=f"use a target of PostgreSQL {since} or newer",
        )


def _roles(case: Case) -> Iterator[Obstacle]:
    missing: dict[str, str] = {}
    codec = codec_of(case.manifest.encoding)
    there = case.abilities.roles | (case.home.coming if case.home is not None else frozenset[str]())
    for entry in case.selection.restored:
        if entry.kind == "POLICY":
            for role in parse_policy_roles(in_utf8(entry.definition or "", codec)):
                if role not in there:
                    missing.setdefault(role, entry.label)
    for role, policy in missing.items():
        yield Obstacle(
            what=f"{policy} is for the role {role}, which the target's server lacks",
            remedy=f"CREATE ROLE {identifier(role)} NOLOGIN",
        )
    if case.home is not None:
        for role, what in case.home.named.items():
            if role not in there and role not in missing:
                yield Obstacle(
                    what=f"{what} names the role {role}, which the server lacks and the archive's globals do not bring",
                    remedy=f"CREATE ROLE {identifier(role)} NOLOGIN",
                )
    if case.how.owner is not None and case.how.owner not in case.abilities.roles:
        yield Obstacle(
            what=f"the role {case.how.owner}, to own what is restored, is not on the target's server",
            remedy=f"CREATE ROLE {identifier(case.how.owner)}, or mend owner",
        )


def _settings(case: Case) -> Iterator[Obstacle]:
    for entry in case.selection.restored:
        if entry.kind in {"FUNCTION", "PROCEDURE"}:
            for name in parse_settings(entry.definition or ""):
                if "." not in name and name not in case.abilities.settings:
                    yield Obstacle(
                        what=f"{entry.label} sets {name}, which PostgreSQL {case.abilities.major} does not know",
                        remedy="change it in production, or use a newer target",
                    )


def _labels(case: Case) -> Iterator[Obstacle]:
    """Only where production comes back: a copy does without them."""
    if case.home is None:
        return
    labelled = label_providers(case.selection.restored)
    for lacking in sorted(case.unknown_providers):
        of = [entry.label for entry in case.selection.restored if lacking in labelled.get(entry.id, ())]
        if of:
            yield Obstacle(
                what=f"{_some(of)}: the server has no provider of labels {lacking} loaded",
                remedy=f"ALTER ROLE {identifier(case.abilities.role)} SET session_preload_libraries = the library that "
                "brings it, or shared_preload_libraries and a restart where it asks for that",
            )


def _rights(case: Case) -> Iterator[Obstacle]:
    if case.abilities.superuser:
        return
    if not case.abilities.createdb:
        other = "refresh with a superuser"
        if not case.replaces:
            other = _BY_ANOTHER
        yield Obstacle(
            what=f"the role {case.abilities.role} may not create databases",
            remedy=f"ALTER ROLE {identifier(case.abilities.role)} CREATEDB, or {other}",
        )
    if case.home is not None:
        yield from _rights_at_home(case.abilities, case.home)
    else:
        owners = {one for one in (case.abilities.owner, case.how.owner) if one in case.abilities.roles}
        for owner in sorted(owners - case.abilities.memberships):
            yield Obstacle(
                what=f"{owner} is to own what is restored, and the role {case.abilities.role} is no member of it",
                remedy=f"GRANT {identifier(owner)} TO {identifier(case.abilities.role)}, or refresh with a superuser",
            )
    for entry in case.selection.restored:
        if entry.kind in _BY_A_SUPERUSER or (
            entry.kind == "PUBLICATION" and " FOR ALL TABLES" in (entry.definition or "")
        ):
            remedy = f"set {_BY_A_SUPERUSER.get(entry.kind)} = false to leave them out, or refresh with a superuser"
            yield Obstacle(
                what=f"{entry.label} needs a superuser, and the target's role is none",
                remedy=remedy if case.home is None else _BY_ANOTHER,  # publications come back only there
            )
    if case.replaces and case.abilities.in_cron(case.target):
        yield Obstacle(
            what=f"{CRON} lives in {case.target}: to make it again after the swap needs a superuser",
            remedy="refresh with a superuser",
        )


def _rights_at_home(abilities: Abilities, home: Homecoming) -> Iterator[Obstacle]:
    if home.coming and not abilities.createrole:
        lacks = ", ".join(sorted(home.coming))
        yield Obstacle(
            what=f"the role {abilities.role} may not create roles, and the server lacks {lacks}",
            remedy=f"ALTER ROLE {identifier(abilities.role)} CREATEROLE, or restore by a superuser",
        )
    for role in sorted(home.owners - home.coming - abilities.memberships):
        if role in abilities.roles:
            yield Obstacle(
                what=f"{role} owns a part of production, and the role {abilities.role} is no member of it",
                remedy=f"GRANT {identifier(role)} TO {identifier(abilities.role)}, or restore by a superuser",
            )


def forecast(manifest: Manifest, wal_bytes: int) -> int:
    """The room that the shadow needs: production's files once more, and the WAL of writing them."""
    known = manifest.facts.get("size_bytes")
    size = known if isinstance(known, int) else manifest.data_bytes
    return size + min(size, wal_bytes)


def spare_bytes(case: Case) -> int | None:
    """The room that the shadow leaves on the disk of the target's tables; None where nobody can say."""
    return None if case.free_bytes is None else case.free_bytes - forecast(case.manifest, case.abilities.wal_bytes)


def _disk(case: Case) -> Iterator[Obstacle]:
    need = forecast(case.manifest, case.abilities.wal_bytes)
    if case.free_bytes is not None and case.free_bytes + case.elsewhere_bytes < need:
        kept = f"; {case.target}_previous may be dropped, if it is there: it is kept for undo" if case.replaces else ""
        yield Obstacle(
            what=f"the restored database and its WAL need {show_bytes(need)} in {case.abilities.directory}"
            f"{' and its tablespaces' if case.elsewhere_bytes else ''}, "
            f"and {show_bytes(case.free_bytes + case.elsewhere_bytes)} are free",
            remedy=f"make room there{kept}",
        )


def _holders(case: Case) -> Iterator[Obstacle]:
    if not case.replaces:
        return
    if case.abilities.template:
        yield Obstacle(
            what=f"{case.target} is a template, and could not be dropped when it is the previous database",
            remedy=f"ALTER DATABASE {identifier(case.target)} IS_TEMPLATE false",
        )
    for gid in case.abilities.prepared:
        yield Obstacle(
            what=f"the prepared transaction {gid} holds {case.target}",
            remedy=f"COMMIT PREPARED {literal(gid)} or ROLLBACK PREPARED {literal(gid)} there",
        )
    for slot in case.abilities.slots:
        why = "is in use" if slot.active else "would be lost with the old data"
        yield Obstacle(
            what=f"the logical replication slot {slot.name} of {case.target} {why}",
            remedy=f"SELECT pg_drop_replication_slot({literal(slot.name)})",
        )
    for name in case.abilities.subscriptions:
        quoted = identifier(name)
        yield Obstacle(
            what=f"{case.target} has the subscription {name}, which would go on in the old data",
            remedy=f"ALTER SUBSCRIPTION {quoted} DISABLE; ALTER SUBSCRIPTION {quoted} SET (slot_name = NONE); "
            f"DROP SUBSCRIPTION {quoted}",
        )


def left_out_lines(selection: Selection) -> list[str]:
    """What is not restored as it stands, one line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for one in selection.left_out:
        by_reason.setdefault(one.why, []).append(one.label)
    return [f"{_some(labels)}: {why}" for why, labels in by_reason.items()]


def _some(labels: list[str], most: int = 10) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return f"{', '.join(labels[:most])}{more}"


def _left_out(case: Case) -> Iterator[Obstacle]:
    """What the configuration leaves out, where it is more than it seems."""
    for rows, name in case.selection.lost.items():
        yield Obstacle(what=f"leave_out: without {name} the rows of {rows} would be left out", remedy=BEHIND_ROWS_ONLY)
