"""Which entries of an archive are restored into a shadow: rules by entry, never by counting errors. Pure.

Shapes  a table of contents goes in, a `Selection` comes out: what is restored, what waits until the database has
        its name, what is left out and why. What needs a thing that is left out is left out with it.
Source  a shadow has another name than the target, and is one more database of a server that others use: whatever
        acts on its own (jobs, subscriptions), or reaches out (foreign servers), must not come to life in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from daybreak.archive import Entry, parse_label_providers
from daybreak.archive.toc import STATISTICS
from daybreak.replacement import Replacement

#: The extension whose launcher lives in one database of a server, and the schema that it makes for itself.
CRON: Final = "pg_cron"
CRON_SCHEMA: Final = "cron"
_PUBLICATION: Final = dict.fromkeys(
    ("PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA"), "a copy publishes nothing"
)
_SUBSCRIPTION: Final = dict.fromkeys(
    ("SUBSCRIPTION", "SUBSCRIPTION TABLE"), "a copy must not subscribe to what production subscribes to"
)
_SUBSCRIPTION_AT_HOME: Final = dict.fromkeys(
    _SUBSCRIPTION, "where it had come to, nobody knows: look at its publisher, then create it again"
)
_FOREIGN: Final = {"FOREIGN DATA WRAPPER", "SERVER", "USER MAPPING", "FOREIGN TABLE"}
_ROWS: Final = {"TABLE DATA", "SEQUENCE SET"}
_VIEW_DATA: Final = "MATERIALIZED VIEW DATA"
_LABEL: Final = "SECURITY LABEL"
#: Entries that say something about another entry, and need no line of their own.
_OF_ANOTHER: Final = {
    "COMMENT",
    "ACL",
    _LABEL,
    "DEFAULT",
    "SEQUENCE OWNED BY",
    "TABLE ATTACH",
    "INDEX ATTACH",
    STATISTICS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An entry that is not restored as it stands in the archive."""

    label: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What becomes of each entry."""

    restored: tuple[Entry, ...]
    deferred: tuple[Entry, ...]  # restored after the swap: they need what can live only under the target's name
    left_out: tuple[LeftOut, ...]  # for people
    has_cron: bool  # the archive has pg_cron
    no_data: Mapping[tuple[str, str], str]  # (schema, name) of tables and sequences not restored -> why
    unknown: tuple[str, ...] = ()  # what is to be left out by name, and is not in the archive
    lost: Mapping[str, str] = field(default_factory=dict[str, str])  # rows that would be left out by name -> by which

    @property
    def built(self) -> tuple[Entry, ...]:
        """What pg_restore restores: all but the contents of materialized views, and statistics."""
        return tuple(entry for entry in self.restored if entry.kind not in {_VIEW_DATA, STATISTICS})

    @property
    def views(self) -> tuple[Entry, ...]:
        """The contents of materialized views, which are filled when everything else is there."""
        return tuple(entry for entry in self.restored if entry.kind == _VIEW_DATA)

    @property
    def statistics(self) -> tuple[Entry, ...]:
        """What production's planner knew of what is restored."""
        return tuple(entry for entry in self.restored if entry.kind == STATISTICS)


def select(
    entries: Sequence[Entry],
    how: Replacement,
    *,
    cron_here: bool,
    is_copy: bool = True,
    unknown: Collection[str] = (),
) -> Selection:
    """Sort the entries. `cron_here`: pg_cron can live in the target, under its name only.

    Without `is_copy` it is production itself that comes back: it publishes as before. `unknown`: providers of security
    labels that the target has not loaded.
    """
    users = _users(entries)
    labels = {entry.id: entry.label for entry in entries}
    unlabelled = dict(_labels(entries, unknown)) if is_copy else {}
    out = {**dict(_rules(entries, how, is_copy=is_copy)), **unlabelled}
    cron = _cron(entries)
    why = (
        f"{CRON} can only live in the database that its launcher is set to; it comes after the swap"
        if cron_here
        else f"{CRON}'s launcher lives in another database of this server, or it is not loaded"
    )
    if not cron_here:
        out |= dict.fromkeys(cron, why)
    for root in list(out):
        for user in _dependents(users, {root}) - out.keys():
            out[user] = f"needs {labels[root]}, which is left out"
    later = _dependents(users, cron) - out.keys()
    told = [
        *(
            LeftOut(label=entry.label, why=out[entry.id])
            for entry in entries
            if _is_told(entry, out) or out.get(entry.id) == unlabelled.get(entry.id, "")
        ),
        *(
            LeftOut(label=entry.label, why=f"needs {CRON}: restored after the swap")
            for entry in entries
            if entry.id in later and entry.kind not in _OF_ANOTHER
        ),
    ]
    if cron and cron_here:
        told.insert(0, LeftOut(label=f"EXTENSION {CRON}", why=why))
    missing = out | dict.fromkeys(later, f"needs {CRON}, restored after the swap") | dict.fromkeys(cron, why)
    return Selection(
        restored=tuple(entry for entry in entries if entry.id not in missing),
        deferred=tuple(entry for entry in entries if entry.id in later and entry.kind != STATISTICS),
        left_out=tuple(told),
        has_cron=bool(cron),
        no_data={
            (entry.schema or "", entry.name): missing[entry.id]
            for entry in entries
            if entry.id in missing and entry.kind in _ROWS
        },
        unknown=tuple(one for one in how.quirks.leave_out if one not in labels.values()),
        lost=_lost(entries, users, how.quirks.leave_out),
    )


def _lost(entries: Sequence[Entry], users: Mapping[int, list[int]], names: Collection[str]) -> Mapping[str, str]:
    """The rows that need what is to be left out by name."""
    roots = [entry for entry in entries if entry.label in names]
    found = {id_: root.label for root in roots for id_ in (root.id, *_dependents(users, {root.id}))}
    return {entry.label: found[entry.id] for entry in entries if entry.id in found and entry.kind in {*_ROWS, "BLOBS"}}


def _rules(entries: Iterable[Entry], how: Replacement, *, is_copy: bool) -> Iterable[tuple[int, str]]:
    for entry in entries:
        if entry.kind in _SUBSCRIPTION:
            yield entry.id, (_SUBSCRIPTION if is_copy else _SUBSCRIPTION_AT_HOME)[entry.kind]
        elif is_copy and entry.kind in _PUBLICATION:
            yield entry.id, _PUBLICATION[entry.kind]
        elif entry.kind in _FOREIGN and not how.foreign:
            yield entry.id, "it leads to another server (foreign = true restores it)"
        elif entry.kind == "EVENT TRIGGER" and not how.event_triggers:
            yield entry.id, "event_triggers = false"
        elif entry.label in how.quirks.leave_out:
            yield entry.id, "asked for by leave_out"


def label_providers(entries: Iterable[Entry]) -> Mapping[int, tuple[str, ...]]:
    """Whose labels there are in which entry. Those of a database itself no pg_restore of ours restores."""
    return {
        entry.id: parse_label_providers(entry.definition or "")
        for entry in entries
        if entry.kind == _LABEL and not is_of_database(entry)
    }


def is_of_database(entry: Entry) -> bool:
    """Whether it is a security label of the database itself."""
    return entry.kind == _LABEL and entry.name.startswith("DATABASE ")


def _labels(entries: Iterable[Entry], unknown: Collection[str]) -> Iterable[tuple[int, str]]:
    for number, providers in label_providers(entries).items():
        if lacking := [one for one in providers if one in unknown]:
            yield number, f"no provider of labels {', '.join(lacking)} is loaded there"


def _cron(entries: Sequence[Entry]) -> set[int]:
    """The extension itself, and what it makes by itself: its schema, tables and jobs."""
    if not any(entry.kind == "EXTENSION" and entry.name == CRON for entry in entries):
        return set()
    names = {CRON, f"EXTENSION {CRON}", f"SCHEMA {CRON_SCHEMA}"}
    return {
        entry.id for entry in entries if entry.schema == CRON_SCHEMA or (entry.schema is None and entry.name in names)
    }


def _users(entries: Iterable[Entry]) -> Mapping[int, list[int]]:
    """Who needs each entry."""
    users: dict[int, list[int]] = defaultdict(list)
    for entry in entries:
        for needed in entry.dependencies:
            users[needed].append(entry.id)
    return users


def _dependents(users: Mapping[int, list[int]], roots: set[int]) -> set[int]:
    """What needs one of `roots`, directly or by way of others; the roots themselves are not in it."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in found and user not in roots:
                found.add(user)
                waiting.append(user)
    return found


def _is_told(entry: Entry, out: Mapping[int, str]) -> bool:
    return entry.id in out and entry.kind not in _OF_ANOTHER and entry.kind != "TABLE DATA"


def use_list(entries: Iterable[Entry]) -> bytes:
    """The list that `pg_restore --use-list` takes."""
    # Only the number counts for pg_restore; the rest is for who looks into the file.
    return "".join(f"{entry.id}; {entry.label}\n" for entry in entries).encode("utf-8", "surrogateescape")
