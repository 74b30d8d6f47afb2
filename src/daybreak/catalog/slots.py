"""Slots: since when they count for a plan, who took each, and what became of those that nobody took.

Shapes  a plan is meant by its kind and name. A slot without a row is open; so is one that is `due`, and one whose
        run was lost the first time. Every other row is final.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, delete, func, not_, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from daybreak.catalog.records import SlotRecord, Watched
from daybreak.catalog.schema import runs, schedules, slots
from daybreak.catalog.store import Store
from daybreak.model import RunState, Slot, SlotState, Timed
from daybreak.secret import mask

#: How many runs may take a slot: a second one where the first died with its host.
ATTEMPTS: Final = 2
#: What the scheduler is called where it says who came.
SCHEDULER: Final = "scheduler"
#: Slots beside the runs that took them.
JOINED: Final = slots.outerjoin(runs, slots.c.run == runs.c.id)
_OPEN: Final = or_(
    slots.c.state == SlotState.DUE,
    and_(slots.c.state == SlotState.CLAIMED, runs.c.state == RunState.LOST, slots.c.attempts < ATTEMPTS),
)


class Slots:
    """The slots of all plans, and which plans are watched."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- since when ---------------------------------------------------------------------------

    def watch(self, timed: Timed, *, since: datetime, at: datetime) -> Watched:
        """Let the slots of a plan count from `since` on, unless they do already; a changed schedule begins at `at`.

        In a zone further west, names of slots come again that were done in the one before: those rows are forgotten.
        """
        found = self.watched(timed)
        wanted = timed.schedule
        if found is not None and (found.spec, found.timezone) == (wanted.spec, wanted.timezone):
            return found
        values = {"spec": wanted.spec, "timezone": wanted.timezone, "note": ""}
        insert = upsert(schedules).values(kind=timed.kind, plan=timed.plan, since=since, **values)
        changed = insert.on_conflict_do_update(
            index_elements=["kind", "plan"],
            set_=values | {"since": at},
            where=or_(schedules.c.spec != wanted.spec, schedules.c.timezone != wanted.timezone),
        )
        with self._store.write() as connection:
            if connection.execute(changed).rowcount:
                reason = "the schedule was changed before anybody came for it"
                waiting = update(slots).where(_of(timed), slots.c.state == SlotState.DUE)
                connection.execute(waiting.values(state=SlotState.SKIPPED, reason=reason, at=at))
                if found is not None and found.timezone != wanted.timezone:
                    local = f"{at.astimezone(ZoneInfo(wanted.timezone)):%Y-%m-%d %H:%M}"
                    connection.execute(delete(slots).where(_of(timed), slots.c.key > local))
        made = self.watched(timed)
        assert made is not None
        return made

    def watched(self, timed: Timed) -> Watched | None:
        """Since when the slots of a plan count; None where nobody looked yet."""
        query = select(schedules).where(schedules.c.kind == timed.kind, schedules.c.plan == timed.plan)
        with self._store.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return Watched(spec=row["spec"], timezone=row["timezone"], since=row["since"], note=row["note"])

    def watch_only(self, plans: Collection[Timed]) -> None:
        """Forget since when the slots of all other plans count: they are not in the configuration any more."""
        kept = {(one.kind, one.plan) for one in plans}
        with self._store.write() as connection:
            for kind, plan in connection.execute(select(schedules.c.kind, schedules.c.plan)).all():
                if (kind, plan) not in kept:
                    connection.execute(delete(schedules).where(schedules.c.kind == kind, schedules.c.plan == plan))

    def mend_clock(self, timed: Timed, *, at: datetime, beyond: datetime, claimed_beyond: datetime, note: str) -> int:
        """Forget what a clock that was ahead left behind; how many slots that were.

        Slots due after `beyond` that nobody took, those after `claimed_beyond` also where somebody did.
        """
        ahead = or_(slots.c.due_at > claimed_beyond, and_(slots.c.due_at > beyond, slots.c.state != SlotState.CLAIMED))
        its = and_(schedules.c.kind == timed.kind, schedules.c.plan == timed.plan)
        with self._store.read() as connection:  # nearly always there is nothing to do
            found = connection.execute(select(func.count()).select_from(slots).where(_of(timed), ahead)).scalar_one()
            late = connection.execute(select(schedules.c.since).where(its, schedules.c.since > beyond)).first()
        if not found and late is None:
            return 0
        with self._store.write() as connection:
            connection.execute(delete(slots).where(_of(timed), ahead))
            connection.execute(update(schedules).where(its, schedules.c.since > beyond).values(since=at))
            connection.execute(update(schedules).where(its).values(note=mask(note)))
        return found

    # -- what became of them --------------------------------------------------------------------

    def settled_until(self, timed: Timed, *, until: datetime) -> datetime | None:
        """The newest slot, due at `until` or before, whose row is final: all before it have theirs, too."""
        query = select(func.max(slots.c.due_at)).select_from(JOINED).where(_of(timed), slots.c.due_at <= until)
        with self._store.read() as connection:
            return connection.execute(query.where(not_(func.coalesce(_OPEN, False)))).scalar()

    def get(self, timed: Timed, key: str) -> SlotRecord | None:
        """What became of a slot."""
        with self._store.read() as connection:
            return _get(connection, timed, key)

    def list(self, timed: Timed, *, until: datetime, limit: int) -> list[SlotRecord]:
        """The rows of the slots due at `until` or before, newest first."""
        query = _select(timed).where(slots.c.due_at <= until).order_by(slots.c.due_at.desc(), slots.c.key.desc())
        with self._store.read() as connection:
            return [record_of(row) for row in connection.execute(query.limit(limit)).mappings()]

    def missed(self) -> dict[tuple[str, str], int]:
        """By kind and plan: how many slots nothing made up for, of every plan that is watched."""
        its = and_(
            slots.c.kind == schedules.c.kind, slots.c.plan == schedules.c.plan, slots.c.state == SlotState.MISSED
        )
        query = (
            select(schedules.c.kind, schedules.c.plan, func.count(slots.c.key))
            .select_from(schedules.outerjoin(slots, its))
            .group_by(schedules.c.kind, schedules.c.plan)
        )
        with self._store.read() as connection:
            return {(kind, plan): count for kind, plan, count in connection.execute(query)}

    def last_claimed(self, timed: Timed, *, before: Slot) -> SlotRecord | None:
        """The newest slot before `before` that a run took."""
        earlier = or_(slots.c.due_at < before.due_at, and_(slots.c.due_at == before.due_at, slots.c.key < before.key))
        query = _select(timed).where(earlier, slots.c.state == SlotState.CLAIMED)
        with self._store.read() as connection:
            row = connection.execute(query.order_by(slots.c.due_at.desc()).limit(1)).mappings().first()
        return None if row is None else record_of(row)

    def settle(self, timed: Timed, slot: Slot, state: SlotState, reason: str, *, at: datetime) -> bool:
        """Write down what becomes of a slot that nobody took; False where its row is final, or says so already."""
        values = {"state": state, "reason": mask(reason), "at": at}
        row = _new(timed, slot, at=at) | values
        written = upsert(slots).values(row)
        changed = written.on_conflict_do_update(
            index_elements=["kind", "plan", "key"],
            set_=values,
            where=and_(
                slots.c.state == SlotState.DUE,
                or_(slots.c.state != written.excluded.state, slots.c.reason != written.excluded.reason),
            ),
        )
        with self._store.write() as connection:
            return connection.execute(changed).rowcount == 1

    def claim(
        self, timed: Timed, slot: Slot, *, run: str, trigger: str, reason: str = "", at: datetime
    ) -> tuple[bool, SlotRecord]:
        """Take a slot for a run, if it is open; whether that was so, and its row."""
        taken = {
            "state": SlotState.CLAIMED,
            "reason": mask(reason),
            "run": run,
            "trigger": trigger,
            "at": at,
        }
        with self._store.write() as connection:  # one writer at a time: what is read here stays so
            row = _new(timed, slot, at=at) | taken | {"attempts": 1}
            won = connection.execute(upsert(slots).values(row).on_conflict_do_nothing()).rowcount == 1
            if not won:
                found = _get(connection, timed, slot.key)
                assert found is not None
                if is_open(found):
                    again = taken | {"attempts": found.attempts + 1}
                    connection.execute(update(slots).where(_of(timed), slots.c.key == slot.key).values(again))
                    won = True
            record = _get(connection, timed, slot.key)
        assert record is not None
        return won, record

    def not_come(self, timed: Timed, *, limit: int) -> tuple[int, int]:
        """How many nobody from outside came for, and of how many: the last `limit` slots that ended and wanted it."""
        ended = slots.c.state.in_([SlotState.CLAIMED, SlotState.MISSED])
        query = _select(timed).where(slots.c.expected != "", ended)
        with self._store.read() as connection:
            found = connection.execute(query.order_by(slots.c.due_at.desc()).limit(limit)).mappings()
            records = [record_of(row) for row in found]
        return sum(1 for one in records if one.trigger in {"", SCHEDULER}), len(records)


def is_open(record: SlotRecord) -> bool:
    """Whether a slot may still be taken."""
    lost = record.run_state is RunState.LOST and record.attempts < ATTEMPTS
    return record.state is SlotState.DUE or (record.state is SlotState.CLAIMED and lost)


def _of(timed: Timed) -> ColumnElement[bool]:
    return and_(slots.c.kind == timed.kind, slots.c.plan == timed.plan)


def _select(timed: Timed) -> Select[tuple[object, ...]]:
    columns = (slots, runs.c.state.label("run_state"), runs.c.reason.label("run_reason"))
    return select(*columns).select_from(JOINED).where(_of(timed))


def _get(connection: Connection, timed: Timed, key: str) -> SlotRecord | None:
    row = connection.execute(_select(timed).where(slots.c.key == key)).mappings().first()
    return None if row is None else record_of(row)


def _new(timed: Timed, slot: Slot, *, at: datetime) -> dict[str, object]:
    return {
        "kind": timed.kind,
        "plan": timed.plan,
        "key": slot.key,
        "due_at": slot.due_at,
        "state": SlotState.DUE,
        "reason": "",
        "run": None,
        "trigger": "",
        "expected": timed.schedule.trigger or "",
        "attempts": 0,
        "at": at,
    }


def record_of(row: RowMapping) -> SlotRecord:
    """A row as the noun that it is."""
    return SlotRecord(
        slot=Slot(key=row["key"], due_at=row["due_at"]),
        state=SlotState(row["state"]),
        reason=row["reason"],
        at=row["at"],
        run=row["run"],
        run_state=None if row["run_state"] is None else RunState(row["run_state"]),
        run_reason=row["run_reason"] or "",
        trigger=row["trigger"],
        expected=row["expected"],
        attempts=row["attempts"],
    )
