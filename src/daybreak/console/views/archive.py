"""One archive: its tables against the one before, and its chain from the dump to every restore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from daybreak.archive import Manifest, read_manifest
from daybreak.catalog.records import ArchiveRecord
from daybreak.console.views.archives import ArchiveLine, archive_line
from daybreak.console.views.keeping import kept_off_site
from daybreak.console.views.words import TONES, Fact, Tone, facts_of, line_of, plain
from daybreak.console.world import Look
from daybreak.errors import ArchiveError
from daybreak.jobs.shelf import JSON

#: A manifest that is larger is not read for a page.
_MANIFEST_BYTES: Final = 8 * 1024 * 1024
MOST_TABLES: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLine:
    """One table."""

    name: str
    rows: int
    size_bytes: int | None  # of its data, None where the manifest is not here
    before: int | None  # rows in the archive before; None: it had no such table
    change: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the chain."""

    at: datetime
    what: str
    tone: Tone
    word: str
    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePage:
    """One archive."""

    archive: ArchiveLine
    sha256: str
    dump_s: float
    before: str  # the archive that it is compared with
    tables: tuple[TableLine, ...]
    more_tables: int  # so many are not listed
    gone: tuple[str, ...]  # tables that the one before had
    chain: tuple[Link, ...]
    proof: tuple[Fact, ...]
    facts: tuple[Fact, ...]  # from the manifest
    can_accept: bool


def archive_page(look: Look, id: str) -> ArchivePage | None:  # noqa: A002 -- the word that records and doors use
    """One archive; None where there is none of this id."""
    record = look.catalog.archives.get(id)
    if record is None:
        return None
    its = record.archive
    before_id = look.catalog.history.before(its.plan, its.taken_at)
    before = look.catalog.archives.get(before_id) if before_id else None
    manifest = _manifest(record)
    tables = _tables(record, before, manifest)
    proof = {name: value for name, value in (record.proof or {}).items() if name != "details"}
    return ArchivePage(
        archive=archive_line(look, record, before, kept_off_site(look, [its.id])),
        sha256=its.sha256,
        dump_s=record.dump_s,
        before=before_id,
        tables=tables[:MOST_TABLES],
        more_tables=max(0, len(tables) - MOST_TABLES),
        gone=tuple(plain(one) for one in sorted(set(before.table_rows) - set(record.table_rows))) if before else (),
        chain=tuple(sorted(_chain(look, record), key=lambda one: one.at)),
        proof=facts_of(proof),
        facts=_facts(manifest),
        can_accept=its.state.value == "quarantined",
    )


def _manifest(record: ArchiveRecord) -> Manifest | None:
    """The manifest that lies beside the archive, if it is this archive's and can be read."""
    path: Path = record.archive.path.with_name(record.archive.path.name + JSON)
    try:
        if path.stat().st_size > _MANIFEST_BYTES:
            return None
        found = read_manifest(path)
    except (OSError, ArchiveError):
        return None
    return found if found.id == record.archive.id else None


def _tables(record: ArchiveRecord, before: ArchiveRecord | None, manifest: Manifest | None) -> tuple[TableLine, ...]:
    sizes: Mapping[str, int] = (
        {one.label: one.digest.size_bytes for one in manifest.tables} if manifest is not None else {}
    )
    lines: list[TableLine] = []
    for name, rows in record.table_rows.items():
        earlier = before.table_rows.get(name) if before is not None else None
        change = rows - earlier if earlier is not None else None
        lines.append(TableLine(name=plain(name), rows=rows, size_bytes=sizes.get(name), before=earlier, change=change))
    return tuple(sorted(lines, key=lambda one: (-(one.size_bytes or 0), -one.rows, one.name)))


def _chain(look: Look, record: ArchiveRecord) -> Iterator[Link]:
    its = record.archive
    made = look.catalog.runs.get(its.run)
    yield Link(
        at=its.taken_at,
        what="dump",
        tone=TONES[made.state] if made else Tone.OK,
        word=made.state.value if made else "done",
        text="taken from the database" if made else "taken by a run of which this catalog knows nothing",
        href=f"/runs/{its.run}" if made else "",
    )
    if made is not None:
        published = next((one for one in made.steps if one.name == "publish" and one.ended_at), None)
        if published is not None and published.ended_at is not None:
            yield Link(at=published.ended_at, what="publish", tone=Tone.OK, word="done", text="under its name", href="")
    for one in look.catalog.snapshots.list(archive=its.id, forgotten=True):
        run = look.catalog.runs.get(one.run)
        yield Link(
            at=run.ended_at if run is not None and run.ended_at is not None else one.taken_at,
            what="off-site",
            tone=Tone.NONE if one.forgotten_at else Tone.OK,
            word="forgotten" if one.forgotten_at else "stored",
            text=f"snapshot {one.id[:8]} in {one.repository}",
            href=f"/off-site/{one.repository}",
        )
    proofs = {one.run: one for one in look.catalog.history.proofs(archive=its.id)}
    for one in proofs.values():
        yield Link(
            at=one.at,
            what="proof",
            tone=Tone.OK if one.passed else Tone.BAD,
            word="proven equal" if one.passed else "did not pass",
            text=f"by {one.source}" + (f": {plain(one.why)}" if one.why else ""),
            href=f"/runs/{one.run}",
        )
    for run in look.catalog.history.users_of(its.id, its.taken_at):
        if run.id not in proofs or run.kind in {"refresh", "pull", "restore"}:
            line = line_of(look, run)
            yield Link(
                at=run.ended_at or run.requested_at,
                what=run.kind,
                tone=line.tone,
                word=line.state,
                text=f"{run.kind} {run.plan}",
                href=f"/runs/{run.id}",
            )


def _facts(manifest: Manifest | None) -> tuple[Fact, ...]:
    if manifest is None:
        return ()
    return facts_of(
        {
            "database": manifest.database,
            "encoding": manifest.encoding,
            "compression": manifest.compression,
            "written by": f"pg_dump {manifest.dump_version}",
            "data_bytes": manifest.data_bytes,
            "sequences": len(manifest.sequences),
            "large objects": len(manifest.large_objects),
        }
    )
