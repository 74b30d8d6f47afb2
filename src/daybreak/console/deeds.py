"""What can be done from the console: each deed with its words, its role, its target, and what the runner is asked.

Shapes  a `Kind` is one address with its verb and role; it makes a `Deed` from the names in the address and a `Wish`,
        which is what a form or a document says beside them. Which target is meant follows from the configuration alone.
Errors  `UsageError` for names that are not there or wishes that cannot be understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from daybreak.console import targets
from daybreak.console.people import Role
from daybreak.console.targets import Target
from daybreak.console.views.freshness import is_undone
from daybreak.console.wishes import Drilling, Field, Forgetting, Holding, Nothing, Refreshing, Restoring, Typed
from daybreak.console.world import Look
from daybreak.errors import UsageError
from daybreak.jobs import hold as holding
from daybreak.model import ArchiveState
from daybreak.runner.words import (
    Accept,
    Act,
    Backup,
    Check,
    Drill,
    Fetch,
    Forget,
    HoldIt,
    Prune,
    Refresh,
    Release,
    Rescue,
    Restore,
    Ship,
    Undo,
    Unlock,
)
from daybreak.site.base import pick
from daybreak.units import rfc3339, show_bytes, show_count, show_instant

Names = Mapping[str, str]
AnyWish = Nothing | Typed | Refreshing | Restoring | Drilling | Holding | Forgetting
_Wish = TypeVar("_Wish", bound=AnyWish)


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One thing that somebody may do now."""

    title: str
    button: str
    text: tuple[str, ...]  # what will happen, in sentences
    asks: Act | HoldIt | Release | Unlock  # of the runner, without who and key
    subject: str  # for the audit
    back: str  # the page it belongs to
    target: Target | None = None  # what has to be typed, where a second look at the person is needed
    identify: str = ""  # the database that is asked who it is, before anybody decides
    fields: tuple[Field, ...] = ()
    also: tuple[tuple[str, str], ...] = ()  # other pages that may be meant, and what they are called


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One address where something is done; the names in its braces go to `make`."""

    path: str
    verb: str  # as tokens and the audit know it
    role: Role
    wish: type[AnyWish]
    summary: str
    make: Callable[[Look, Names, AnyWish], Deed]


def _kind(  # noqa: PLR0917 -- a table of one row each
    path: str, verb: str, role: Role, wish: type[_Wish], summary: str, make: Callable[[Look, Names, _Wish], Deed]
) -> Kind:
    def checked(look: Look, names: Names, given: AnyWish) -> Deed:
        assert isinstance(given, wish)
        return make(look, names, given)

    return Kind(path=path, verb=verb, role=role, wish=wish, summary=summary, make=checked)


def _backup(look: Look, names: Names, _wish: Nothing) -> Deed:
    plan = pick(look.settings.backups, names["plan"], "backup")
    there = ", ".join(one.name for one in plan.repositories)
    return Deed(
        title=f"Back up {plan.database.name} now",
        button=f"Back up {plan.database.name}",
        text=(
            f"{plan.database.name} is dumped and checked, and replaces the archive of {plan.name}.",
            f"It is sent to {there}." if there else "It is sent nowhere: the plan has no repository.",
            "Production is only read. A backup of this plan that runs already is joined.",
        ),
        asks=Backup(plan=plan.name),
        subject=f"backup {plan.name}",
        back="/",
    )


def _ship(look: Look, names: Names, _wish: Nothing) -> Deed:
    plan = pick(look.settings.backups, names["plan"], "backup")
    if not plan.repositories:
        raise UsageError(f"backup {plan.name} has no repository", hint=f"set backups.{plan.name}.repositories")
    there = ", ".join(one.name for one in plan.repositories)
    return Deed(
        title=f"Send {plan.name} off-site now",
        button=f"Send it to {there}",
        text=(f"The newest archive of {plan.name} is sent to {there} and read back.",),
        asks=Ship(plan=plan.name),
        subject=f"backup {plan.name}",
        back="/off-site",
    )


def _drill(look: Look, names: Names, wish: Drilling) -> Deed:
    plan = pick(look.settings.backups, names["plan"], "backup")
    sources = ("local", *(one.name for one in plan.repositories))
    if wish.source not in sources:
        raise UsageError(f"{plan.name} has no copy in {wish.source!a}", hint=f"choose one of: {', '.join(sources)}")
    return Deed(
        title=f"Prove the newest archive of {plan.name}",
        button="Restore it in a throw-away server",
        text=("It is restored in a server of its own, every table is compared, and the time is taken.",),
        asks=Drill(plan=plan.name, source=wish.source),
        subject=f"backup {plan.name}",
        back="/archives",
        fields=(Field(name="source", label="Which copy", kind="select", value=wish.source, options=sources),),
    )


def _check(look: Look, names: Names, _wish: Nothing) -> Deed:
    name = pick(look.settings.repositories, names["repository"], "repository").name
    return Deed(
        title=f"Check {name}",
        button=f"Check {name}",
        text=("restic checks its structure, and reads the part of its data whose turn it is.",),
        asks=Check(repository=name),
        subject=f"repository {name}",
        back=f"/off-site/{name}",
    )


def _prune(look: Look, names: Names, _wish: Nothing) -> Deed:
    name = pick(look.settings.repositories, names["repository"], "repository").name
    return Deed(
        title=f"Prune {name}",
        button=f"Prune {name}",
        text=("What no snapshot needs is removed from the storage. No snapshot is lost.",),
        asks=Prune(repository=name),
        subject=f"repository {name}",
        back=f"/off-site/{name}",
    )


def _unlock(look: Look, names: Names, _wish: Nothing) -> Deed:
    name = pick(look.settings.repositories, names["repository"], "repository").name
    return Deed(
        title=f"Unlock {name}",
        button="Remove the dead locks",
        text=("The locks that dead restics of this host left are removed; no other one is touched.",),
        asks=Unlock(repository=name),
        subject=f"the locks of repository {name}",
        back=f"/off-site/{name}/locks",
    )


def _forget(look: Look, names: Names, wish: Forgetting) -> Deed:
    repository = pick(look.settings.repositories, names["repository"], "repository")
    if wish.only:
        pick(look.settings.backups, wish.only, "backup")
    return Deed(
        title=f"Forget snapshots of {repository.name}",
        button=f"Forget what is listed from {repository.name}",
        text=("What the rules let go is forgotten, and cannot be had back. What it weighs goes with the next prune.",),
        asks=Forget(repository=repository.name, only=wish.only, seen=wish.seen),
        subject=f"repository {repository.name}",
        back=f"/off-site/{repository.name}",
        target=targets.repository_target(repository),
    )


def _fetch(look: Look, names: Names, _wish: Nothing) -> Deed:
    name, snapshot = pick(look.settings.repositories, names["repository"], "repository").name, names["snapshot"]
    return Deed(
        title=f"Fetch snapshot {snapshot[:8]} from {name}",
        button=f"Fetch {snapshot[:8]}",
        text=(
            "Its archive comes back as a file that is equal to its manifest, and is kept for a week.",
            "Nothing that is here is replaced.",
        ),
        asks=Fetch(repository=name, snapshot=snapshot),
        subject=f"snapshot {snapshot[:8]} of {name}",
        back=f"/off-site/{name}",
    )


def _refresh(look: Look, names: Names, wish: Refreshing) -> Deed:
    plan = pick(look.settings.refreshes, names["plan"], "refresh")
    never = not look.catalog.databases.was_refreshed(plan.target.name)
    first = Field(
        name="first",
        label=f"Daybreak never refreshed {plan.target.name}: I mean it, ALL its data will be replaced",
        kind="checkbox",
        value="yes" if wish.first else "",
    )
    held = look.catalog.holds.get(plan.target.name, at=look.at)
    warned = (
        (f"{plan.target.name} is {holding.hold_text(held)}. As long as it is, a refresh is skipped.",) if held else ()
    )
    return Deed(
        title=f"Refresh {plan.target.name} from {plan.backup.database.name}",
        button=f"Replace {plan.target.name} now",
        text=(
            *warned,
            f"{plan.target.name} gets the data of {plan.backup.database.name}, proven before the swap.",
            "What is there now is kept, until the next refresh, for undo. Its sessions are ended for a moment.",
        ),
        asks=Refresh(plan=plan.name, first=wish.first),
        subject=f"refresh {plan.name} of {plan.target.name}",
        back="/dev",
        target=targets.database_target(look, plan.target),
        identify=plan.target.name,
        also=((f"/dev/{plan.target.name}/release", f"Release {plan.target.name} first …"),) if held else (),
        fields=(first,) if never else (),
    )


def _undo(look: Look, names: Names, _wish: Typed) -> Deed:
    database = pick(look.settings.databases, names["database"], "database")
    again = is_undone(look, database.name)
    what = "what its last refresh brought" if again else "its data from before the last refresh"
    return Deed(
        title=f"Undo the undo of {database.name}" if again else f"Undo the last refresh of {database.name}",
        button=f"Bring back the refreshed {database.name}" if again else f"Bring back the {database.name} from before",
        text=(
            f"{database.name} has {what} again. What it has now is kept in its place,",
            "so that this can be undone. Its sessions are ended for a moment.",
        ),
        asks=Undo(database=database.name),
        subject=f"database {database.name}",
        back="/dev",
        target=targets.database_target(look, database),
        identify=database.name,
    )


def _hold(look: Look, names: Names, wish: Holding) -> Deed:
    database = pick(look.settings.databases, names["database"], "database")
    if database.protected:
        raise UsageError(f"{database.name} is production: nothing ever replaces it, so there is nothing to hold")
    zone = holding.zone_of(look.settings.refreshes.values(), database.name, look.settings.timezone)
    until = wish.instant(look.at, zone)
    held = look.catalog.holds.get(database.name, at=look.at)
    release = f"{database.name} is held by {held.by}: {held.why}. Release it …" if held is not None else ""
    return Deed(
        title=f"Hold {database.name}",
        button=f"Hold {database.name}",
        text=(
            "No refresh and no pull replaces it until then; a refresh that is due ends as skipped, with your reason.",
        ),
        asks=HoldIt(database=database.name, until=rfc3339(until) if until else "", why=wish.why),
        subject=f"database {database.name}",
        back="/dev",
        also=((f"/dev/{database.name}/release", release),) if release else (),
        fields=(
            Field(name="why", label="Why, for everybody who wonders", value=wish.why, required=True),
            Field(
                name="until",
                label="Until",
                value=wish.until,
                hint="3d, 2026-12-24, or an instant with its zone; empty: until it is released",
            ),
        ),
    )


def _release(look: Look, names: Names, _wish: Nothing) -> Deed:
    database = pick(look.settings.databases, names["database"], "database")
    held = look.catalog.holds.get(database.name, at=look.at)
    who = "" if held is None else f"It is held by {held.by}: {held.why}."
    until = "" if held is None or held.until is None else f"That would end on {show_instant(held.until)}."
    return Deed(
        title=f"Release {database.name}",
        button=f"Release {database.name}",
        text=tuple(one for one in (who or f"{database.name} is not held.", until) if one),
        asks=Release(database=database.name),
        subject=f"database {database.name}",
        back="/dev",
    )


def _accept(look: Look, names: Names, _wish: Nothing) -> Deed:
    record = look.catalog.archives.get(names["archive"])
    if record is None:
        raise UsageError(f"there is no archive {names['archive']!a}")
    one = record.archive
    if one.state is not ArchiveState.QUARANTINED:
        raise UsageError(f"archive {one.id} waits for nobody: it is {one.state}")
    return Deed(
        title=f"Accept archive {one.id}",
        button="I have looked, it is right: publish it",
        text=(
            f"It waits because: {record.quarantine_reason or 'somebody has to look at it'}.",
            f"It has {show_bytes(one.size_bytes)}, {show_count(one.rows, 'row')} in {show_count(one.tables, 'table')}.",
            f"It becomes the archive of {one.plan}, and the measure for those that come.",
        ),
        asks=Accept(archive=one.id),
        subject=f"archive {one.id}",
        back=f"/archives/{one.id}",
    )


def _restore(look: Look, names: Names, wish: Restoring) -> Deed:
    record = look.catalog.archives.get(names["archive"])
    if record is None:
        raise UsageError(f"there is no archive {names['archive']!a}")
    one = record.archive
    plan = look.settings.backups.get(one.plan)
    database = pick(look.settings.databases, wish.database or _usual(look, one.plan), "database")
    backup = plan.name if plan is not None else ""
    asks: Act
    if wish.tables:
        asks = Rescue(
            archive=one.id, backup=backup, database=database.name, tables=wish.names, schema=wish.schema.strip()
        )
        text = ("The tables come into a new schema beside what is there. Nothing that is there is touched.",)
    else:
        new = wish.new.strip()
        asks = Restore(archive=one.id, backup=backup, database=database.name, new=new, confirm=new)
        text = ("It becomes a new database on that server, proven. Nothing that is there is touched.",)
    listed = ", ".join(sorted(record.table_rows)[:6])
    said = {name: value for name in ("new", "tables", "schema") if (value := str(getattr(wish, name)))}
    return Deed(
        title=f"Restore archive {one.id}",
        button="Restore",
        text=(
            f"Taken {show_instant(one.taken_at)}: {show_count(one.rows, 'row')} in {show_count(one.tables, 'table')}.",
            *text,
        ),
        asks=asks,
        subject=f"archive {one.id} to {database.name}",
        back=f"/archives/{one.id}",
        target=targets.database_target(look, database),
        identify=database.name,
        # Each server has a page of its own, so that nobody decides before he sees which one is meant.
        also=tuple(
            (
                f"/archives/{one.id}/restore?{urlencode({'database': other, **said})}",
                f"On the server of {other} instead …",
            )
            for other in look.settings.databases
            if other != database.name
        ),
        fields=(
            Field(name="database", label="", kind="hidden", value=database.name),
            Field(name="new", label="Name of the new database", value=wish.new, hint="empty: named by the run"),
            Field(
                name="tables",
                label="Only these tables, one a line",
                kind="lines",
                value=wish.tables,
                hint=f"empty: all of it. There are: {listed}{', …' if len(record.table_rows) > 6 else ''}",  # noqa: PLR2004 -- as many as are listed
            ),
            Field(name="schema", label="Name of their new schema", value=wish.schema, hint="empty: named by the run"),
        ),
    )


def _usual(look: Look, plan: str) -> str | None:
    """Where a restore is harmless: the target of a refresh of this backup, else there is no usual place."""
    found = [one.target.name for one in look.settings.refreshes.values() if one.backup.name == plan]
    return found[0] if found else next(iter(look.settings.databases), None)


_OFF: str = "/off-site/{repository:str}"
KINDS: tuple[Kind, ...] = (
    _kind("/backups/{plan:str}/backup", "backup", Role.OPERATOR, Nothing, "Back up now", _backup),
    _kind("/backups/{plan:str}/ship", "ship", Role.OPERATOR, Nothing, "Send the newest archive off-site", _ship),
    _kind("/backups/{plan:str}/drill", "drill", Role.OPERATOR, Drilling, "Prove the newest archive", _drill),
    _kind(f"{_OFF}/check", "check", Role.OPERATOR, Nothing, "Check a repository", _check),
    _kind(f"{_OFF}/prune", "prune", Role.OPERATOR, Nothing, "Prune a repository", _prune),
    _kind(f"{_OFF}/unlock", "check", Role.OPERATOR, Nothing, "Remove the locks of the dead", _unlock),
    _kind(f"{_OFF}/forget", "forget", Role.ADMIN, Forgetting, "Forget by the rules what was looked at", _forget),
    _kind(f"{_OFF}/snapshots/{{snapshot:str}}/fetch", "fetch", Role.RESTORER, Nothing, "Fetch an archive", _fetch),
    _kind("/dev/{plan:str}/refresh", "refresh", Role.RESTORER, Refreshing, "Refresh a target", _refresh),
    _kind("/dev/{database:str}/undo", "undo", Role.RESTORER, Typed, "Undo the last refresh", _undo),
    _kind("/dev/{database:str}/hold", "hold", Role.OPERATOR, Holding, "Hold a target", _hold),
    _kind("/dev/{database:str}/release", "release", Role.OPERATOR, Nothing, "Release a target", _release),
    _kind("/archives/{archive:str}/accept", "accept", Role.RESTORER, Nothing, "Publish what waits", _accept),
    _kind("/archives/{archive:str}/restore", "restore", Role.RESTORER, Restoring, "Restore all, or tables", _restore),
)
