"""What partitions ask of a target: locks enough, and that their rows stay there. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from daybreak.archive import parse_altered, parse_attached, parse_hashed
from daybreak.jobs.case import Case, Obstacle


def partitions(case: Case) -> Iterator[Obstacle]:
    """What stops a restore of partitioned tables."""
    yield from _locks(case)
    yield from _routed(case)


def _locks(case: Case) -> Iterator[Obstacle]:
    attached = Counter(
        parse_altered(entry.definition or "") for entry in case.selection.restored if entry.kind == "TABLE ATTACH"
    )
    for entry in case.selection.restored:
        if entry.kind != "FK CONSTRAINT":
            continue
        count = attached.get(parse_altered(entry.definition or ""), 0)
        if count > case.abilities.locks:
            yield Obstacle(
                what=f"{entry.label} locks {count} partitions at once, and the target has room for "
                f"{case.abilities.locks} locks",
                remedy="raise max_locks_per_transaction on the target's server and restart it",
            )


def _routed(case: Case) -> Iterator[Obstacle]:
    """Rows that would be written to another server, maybe production's own."""
    restored = case.selection.restored
    attached = [entry for entry in restored if entry.kind == "TABLE ATTACH"]
    above = {parse_attached(entry.definition or ""): parse_altered(entry.definition or "") for entry in attached}
    hashed = {parse_hashed(entry.definition or "") for entry in restored if entry.kind == "TABLE"}
    roots = {entry.root for entry in restored}
    foreign = {(entry.schema, entry.name): entry.label for entry in restored if entry.kind == "FOREIGN TABLE"}
    for entry in attached:
        if label := foreign.get((entry.schema, entry.name)):
            root, way = parse_altered(entry.definition or ""), dict(above)
            by_hash = root in hashed
            while root in way:
                root = way.pop(root)
                by_hash = by_hash or root in hashed
            if by_hash and root is not None and root in roots:
                yield Obstacle(
                    what=f"{label} is a partition of {root}, whose rows go by the hash of an enum: that is another one "
                    "in each database, and some of them would be written to the other server",
                    remedy="in production, detach it, or partition by a column that is no enum; then a new backup",
                )
