"""Archives: size and change, where each copy is, whether it was proven, and why it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from daybreak.catalog.records import ArchiveRecord
from daybreak.console.views.keeping import Kept, kept_off_site
from daybreak.console.views.words import Tone, plain
from daybreak.console.world import Look
from daybreak.model import ArchiveState

PER_PAGE: Final = 50
TONES: Final[Mapping[ArchiveState, Tone]] = {
    ArchiveState.PUBLISHED: Tone.OK,
    ArchiveState.QUARANTINED: Tone.WARN,
    ArchiveState.REPLACED: Tone.NONE,
    ArchiveState.REJECTED: Tone.BAD,
}
_HERE: Final[Mapping[ArchiveState, str]] = {
    ArchiveState.PUBLISHED: "here",
    ArchiveState.QUARANTINED: "here, put aside",
    ArchiveState.REPLACED: "not here",
    ArchiveState.REJECTED: "not usable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyLine:
    """A copy in a repository."""

    repository: str
    snapshot: str
    why: tuple[str, ...]  # what the rules say for it; () where they would let it go


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLine:
    """An archive on one line."""

    id: str
    plan: str
    run: str
    taken_at: datetime
    size_bytes: int
    change_bytes: int | None  # against the one before
    rows: int
    tables: int
    server_version: str
    state: str
    tone: Tone
    here: str  # in words
    why_here: str
    copies: tuple[CopyLine, ...]
    proven_at: datetime | None
    proof: str  # proven, differs, not proven
    quarantine_reason: str
    path: str  # "" for who may not see it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """One point of the chart."""

    id: str
    taken_at: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveList:
    """A page of archives."""

    plan: str
    plans: tuple[str, ...]
    page: int
    pages: int
    total: int
    archives: tuple[ArchiveLine, ...]
    sizes: tuple[Sized, ...]  # of one plan, oldest first


def archive_list(look: Look, plan: str, page: int) -> ArchiveList:
    """A page of archives, newest first."""
    history = look.catalog.history
    total = history.archive_count(plan)
    pages = max(1, -(-total // PER_PAGE))
    page = min(max(1, page), pages)
    records = look.catalog.archives.pick(history.archive_page(plan, limit=PER_PAGE + 1, offset=(page - 1) * PER_PAGE))
    kept = kept_off_site(look, [one.archive.id for one in records])
    before: dict[str, ArchiveRecord] = {}
    lines: list[ArchiveLine] = []
    for record in reversed(records):
        its = record.archive
        lines.append(archive_line(look, record, before.get(its.plan), kept))
        if its.state in {ArchiveState.PUBLISHED, ArchiveState.REPLACED}:
            before[its.plan] = record
    names = tuple(look.settings.backups)
    names = names if not plan or plan in names else (*names, plan)
    one = plan or (names[0] if len(names) == 1 else "")
    return ArchiveList(
        plan=plan,
        plans=names,
        page=page,
        pages=pages,
        total=total,
        archives=tuple(reversed(lines))[:PER_PAGE],
        sizes=_sizes(look, one),
    )


def archive_line(
    look: Look, record: ArchiveRecord, before: ArchiveRecord | None, kept: Mapping[str, list[Kept]]
) -> ArchiveLine:
    """An archive on one line; `before` is what it is compared with."""
    its = record.archive
    different = bool(record.proof and record.proof.get("different"))
    return ArchiveLine(
        id=its.id,
        plan=its.plan,
        run=its.run,
        taken_at=its.taken_at,
        size_bytes=its.size_bytes,
        change_bytes=its.size_bytes - before.archive.size_bytes if before else None,
        rows=its.rows,
        tables=its.tables,
        server_version=its.server_version,
        state=its.state.value,
        tone=TONES[its.state],
        here=_HERE[its.state],
        why_here=_why_here(look, record),
        copies=tuple(
            CopyLine(repository=one.repository, snapshot=one.snapshot, why=one.why) for one in kept.get(its.id, ())
        ),
        proven_at=its.proven_at,
        proof="proven" if its.proven_at else "differs" if different else "not proven",
        quarantine_reason=plain(record.quarantine_reason),
        path=str(its.path) if look.full else "",
    )


def _why_here(look: Look, record: ArchiveRecord) -> str:
    its = record.archive
    plan = look.settings.backups.get(its.plan)
    if its.state is ArchiveState.QUARANTINED:
        return "it waits for a person to look at it"
    if its.state is not ArchiveState.PUBLISHED:
        return ""
    if plan is not None and its.path == plan.archive:
        return "the newest one, under its stable name"
    if its.path.name == "proven.dump":
        return "the newest proven one"
    if plan is not None:
        return f"one of the last {plan.keep_local} (keep_local)"
    return "its plan is not in the configuration any more"


def _sizes(look: Look, plan: str) -> tuple[Sized, ...]:
    if not plan:
        return ()
    found = look.catalog.archives.sizes(plan, limit=90)
    return tuple(Sized(id=id_, taken_at=taken_at, size_bytes=size) for id_, taken_at, size in reversed(found))
