"""What the catalog knows beyond `model.py`: frozen records, no behaviour beyond themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from daybreak.model import Archive, Identity, RunState, Slot, SlotState


class Role(StrEnum):
    """What a database that Daybreak made, or renamed away, is for."""

    SHADOW = "shadow"  # being built; becomes the target by the swap, or is dropped
    PREVIOUS = "previous"  # was the target; kept for undo


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Which database a name of the configuration meant when a person last looked."""

    name: str
    identity: Identity
    enrolled_at: datetime
    next_oid: int | None = None  # the database that a swap under way will make this target
    next_run: str | None = None  # the run that announced it


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """A shadow or previous database that is ours; open until dropped or promoted."""

    id: int
    target: str  # the name of the target's table in the configuration
    system_identifier: str
    oid: int | None  # None: announced, and not yet known whether it was created
    database: str  # its name when it was recorded; a swap may have renamed it since
    run: str
    role: Role
    created_at: datetime
    dropped_at: datetime | None = None
    promoted_at: datetime | None = None  # it became the target


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person's wish that nothing replaces a database."""

    database: str  # the name of its table in the configuration
    until: datetime | None  # None: until somebody releases it
    why: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Since when the slots of a plan count, and by which schedule."""

    spec: str
    timezone: str
    since: datetime  # what was due before is neither missed nor caught up
    note: str = ""  # what happened to its slots that nobody would guess, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRecord:
    """What became of one slot."""

    slot: Slot
    state: SlotState
    reason: str
    at: datetime  # when this was written
    run: str | None = None  # the run that took it
    run_state: RunState | None = None  # how that one stands
    run_reason: str = ""
    trigger: str = ""  # who came for it
    expected: str = ""  # who was expected, where that was somebody from outside
    attempts: int = 0  # how many runs took it; a second one only where the first was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAlert:
    """Something that a destination was told, or is to be told, and that is not over yet."""

    plan: str
    event: str
    destination: str
    opened_at: datetime
    claimed_at: datetime  # when somebody last took it on himself to tell
    told_at: datetime | None  # None: nobody could be told yet
    run: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the last message to a destination, or the last ping of a plan, went."""

    destination: str
    at: datetime
    what: str  # what was to be said, in a few words
    fault: str  # why it did not arrive; "" when it did


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a server's statistics had counted in one database."""

    reset_at: str | None  # when they were last reset, as the server says it
    tables: Mapping[int, int]  # oid of the table -> rows inserted, updated and deleted
    busy: int = 0  # sessions that may have done what they have not told yet; no part of a baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was counted in a database when it became the target."""

    system_identifier: str
    oid: int  # of the database
    at: datetime
    counted: Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRecord:
    """An archive with what the gate, the proof and a person want to know about it."""

    archive: Archive
    dump_s: float
    table_rows: Mapping[str, int] = field(default_factory=dict[str, int])  # {"schema.table": rows}
    quarantine_reason: str = ""  # in words; stays after `accept`, so that one can see what was accepted
    proof: Mapping[str, object] | None = None  # the result of the last proof, as in --json


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRecord:
    """One restore whose tables were compared with the manifest, or an archive that was too damaged for one."""

    run: str
    plan: str
    archive: str  # its id; empty where it was not even known which archive came back
    taken_at: datetime | None  # of the archive
    at: datetime
    source: str  # refresh, pull, open, `drill local`, or `drill` and the name of a repository
    passed: bool
    why: str = ""  # in words, where it did not pass
    fetch_s: float | None = None
    restore_s: float | None = None
    proof_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """One snapshot that was read back after it was shipped."""

    id: str  # restic's, 64 hexadecimal digits
    repository: str
    plan: str
    archive: str
    run: str
    taken_at: datetime
    size_bytes: int
    added_bytes: int  # what the repository grew by
    forgotten_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is just now; the last one written counts."""

    at: datetime
    step: str
    text: str = ""  # one line for a person
    table: str | None = None
    rows: int | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Somebody asked for the end of a run."""

    run: str
    at: datetime
    by: str
