"""A simulated week: the scheduler is killed and started again at random instants, and every slot is done exactly once.

The clock, the jobs and the kills are the test's; scheduler, slots and catalog are the real ones.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from slot_world import World, at

from daybreak.errors import SlotFailed
from daybreak.jobs.run import Skip
from daybreak.jobs.slots import Turn
from daybreak.model import RunState
from daybreak.scheduler import Scheduler

HOURS = {"schedule": "30 */4 * * *", "timezone": "America/Chicago"}
KILLS = 30


class Killed(BaseException):
    """kill -9 of the scheduler: nothing of its own runs after it."""


@dataclass
class Job:
    """A process that takes its slot a little after it was begun and works for a while, whoever lives."""

    turn: Turn
    takes_at: datetime
    ends_at: datetime
    pid: int
    run: str = ""
    status: int | None = None

    def ended(self) -> int | None:
        return self.status


@dataclass
class Simulation:
    """The clock, the jobs that live in it, and where the next kill strikes."""

    world: World
    chance: random.Random
    now: datetime
    jobs: list[Job] = field(default_factory=list[Job])
    said: list[str] = field(default_factory=list[str])
    kill_at: datetime | None = None
    where: int = 0

    def start(self) -> Scheduler:
        return Scheduler(self.world.site, self.begin, self.said.append)

    def begin(self, turn: Turn) -> Job:
        if self.kill_at is not None and self.now >= self.kill_at and self.where == 1:
            raise Killed  # decided, and not begun
        takes_at = self.now + timedelta(seconds=self.chance.uniform(0.2, 60))
        job = Job(turn, takes_at, takes_at + timedelta(seconds=self.chance.uniform(1, 7200)), pid=len(self.jobs) + 1)
        self.jobs.append(job)
        if self.kill_at is not None and self.now >= self.kill_at and self.where == 2:
            raise Killed  # begun, and nobody knows
        return job

    def go_to(self, then: datetime) -> None:
        """Let the jobs do what they do until then."""
        due: list[tuple[datetime, int]] = []
        while True:
            due = [(one.takes_at, n) for n, one in enumerate(self.jobs) if not one.run and one.status is None]
            due += [(one.ends_at, n) for n, one in enumerate(self.jobs) if one.run and one.status is None]
            when, number = min(due, default=(then + timedelta(1), -1))
            if when > then:
                break
            job = self.jobs[number]
            if job.run:
                self.world.end(job.run, when)
                job.status = 0
                continue
            try:
                job.run = self.world.begin(job.turn.timed, job.turn.slot, when, trigger="scheduler")
            except (Skip, SlotFailed):
                job.status = 0
        self.now = then


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("world", [HOURS], indirect=True)
def test_killed_thirty_times_in_a_week_and_every_slot_is_done_once(world: World, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 -- a choice of instants, no secret
    begin, end = at("2026-03-05T20:00:00Z"), at("2026-03-12T20:00:00Z")  # the clocks go forward on the 8th
    # Half of them just when a slot is due, where it matters.
    slots = [begin + timedelta(hours=2, minutes=30) + timedelta(hours=4 * n) for n in range(40)]
    kills = sorted(
        [begin + timedelta(seconds=chance.uniform(0, 6 * 86400)) for _ in range(KILLS // 2)]
        + [chance.choice(slots[:34]) + timedelta(seconds=chance.uniform(0, 30)) for _ in range(KILLS // 2)]
    )
    simulated = Simulation(world, chance, begin)
    scheduler = simulated.start()
    killed = 0
    while simulated.now < end:
        simulated.kill_at = kills[killed] if killed < len(kills) else None
        simulated.where = killed % 3
        try:
            pause = scheduler.tick(simulated.now)
            if simulated.kill_at is not None and simulated.now >= simulated.kill_at and simulated.where == 0:
                raise Killed  # noqa: TRY301 -- it strikes here
            # A coarser look than the real one, which is at least every 20 s: a test has not a week.
            simulated.go_to(simulated.now + max(pause, timedelta(seconds=chance.choice([1, 20, 300, 1200]))))
        except Killed:
            killed += 1
            scheduler = simulated.start()
            simulated.go_to(simulated.now + timedelta(seconds=chance.choice([1, 30, 300, 3600])))
            continue
        if simulated.where and simulated.kill_at is not None and simulated.now > simulated.kill_at + timedelta(hours=5):
            killed += 1  # it had nothing to begin: a kill at rest
            scheduler = simulated.start()
    assert killed == len(kills)
    simulated.go_to(end + timedelta(hours=3))
    rows = world.site.catalog.slots.list(world.timed(), until=datetime(2099, 1, 1, tzinfo=UTC), limit=1000)
    assert len(rows) == 42  # six a day, and the clocks that move take none away
    done = Counter(job.turn.slot.key for job in simulated.jobs if job.run)
    made = {row.slot.key for row in rows if row.run_state is RunState.SUCCEEDED}
    assert made == {row.slot.key for row in rows}, [row for row in rows if row.run_state is not RunState.SUCCEEDED]
    assert done == dict.fromkeys(made, 1)


def test_a_job_that_never_takes_its_slot_is_begun_again_with_pauses(world: World) -> None:
    begun: list[datetime] = []

    def begin(turn: Turn) -> Job:
        begun.append(now)
        return Job(turn, now, now, pid=1, status=3)

    scheduler = Scheduler(world.site, begin, [].append)
    now = at("2026-11-21T20:00:00Z")
    scheduler.tick(now)
    now = at("2026-11-22T08:00:00Z")
    while now < at("2026-11-22T08:50:00Z"):
        scheduler.tick(now)
        now += timedelta(seconds=20)
    minutes = [(later - earlier).total_seconds() / 60 for earlier, later in pairwise(begun)]
    assert [int(one) for one in minutes] == [1, 2, 4, 8, 15, 15]
    scheduler.tick(at("2026-11-22T20:00:01Z"))
    assert world.rows() == ["2026-11-22 02:00 missed"]


def test_a_fault_is_said_once_and_ends_nothing(world: World) -> None:
    said: list[str] = []
    scheduler = Scheduler(world.site, lambda turn: Job(turn, turn.slot.due_at, turn.slot.due_at, pid=1), said.append)
    for second in range(5):
        scheduler.tick(at("1970-01-01T00:00:00Z") + timedelta(seconds=second))
    assert len(said) == 1
    assert "set the clock" in said[0]
    scheduler.tick(at("2026-11-21T20:00:00Z"))
    scheduler.tick(at("2026-11-22T08:00:00Z"))
    assert "backup nightly begins for the slot 2026-11-22 02:00" in said[-1]


def test_a_job_that_has_not_taken_its_slot_yet_is_not_begun_twice(world: World) -> None:
    begun: list[Turn] = []

    def begin(turn: Turn) -> Job:
        begun.append(turn)
        return Job(turn, turn.slot.due_at, turn.slot.due_at, pid=1)

    scheduler = Scheduler(world.site, begin, [].append)
    scheduler.tick(at("2026-11-21T20:00:00Z"))
    for second in (0, 1, 21):
        assert scheduler.tick(at("2026-11-22T08:00:00Z") + timedelta(seconds=second)) <= timedelta(seconds=20)
    assert len(begun) == 1
    assert scheduler.running == ["backup nightly (process 1)"]
    assert scheduler.outlook(at("2026-11-22T08:01:00Z")).endswith("next: backup nightly at 2026-11-23 08:00 UTC")
