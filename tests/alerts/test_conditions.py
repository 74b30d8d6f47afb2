"""What is wrong by the catalog and the schedules alone; and that a message holds no row."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daybreak import files
from daybreak.catalog import Catalog, new_run_id
from daybreak.catalog.folder import KEPT
from daybreak.jobs.alerts import Alerts, message_of
from daybreak.jobs.conditions import COMPUTED, Condition, discreet, find_conditions
from daybreak.jobs.slots import look
from daybreak.jobs.status import status_of
from daybreak.model import (
    AlertEvent,
    BackupPlan,
    Database,
    Destination,
    Failure,
    RefreshPlan,
    Run,
    RunState,
    Schedule,
    SecretSource,
    Slot,
    SlotState,
    Timed,
)
from daybreak.notify import Message

NIGHT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)  # 02:00 in Chicago
PLAN = BackupPlan(
    name="nightly",
    database=Database(name="prod", conninfo={}),
    archive=Path("/x/prod.dump"),
    schedule=Schedule(spec="02:00", timezone="America/Chicago"),
)

assert PLAN.schedule is not None
TIMED = Timed(kind="backup", plan="nightly", schedule=PLAN.schedule)
HERE = Destination(name="here", url=SecretSource(env="HERE"))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path) as one:
        yield one


def add(
    catalog: Catalog,
    at: datetime,
    state: RunState,
    *,
    plan: str = "nightly",
    kind: str = "backup",
    code: str = "DumpError",
) -> Run:
    run = Run(
        id=new_run_id(at, random.Random(at.timestamp())),  # noqa: S311 -- a name, no secret
        plan=plan,
        kind=kind,
        state=state,
        trigger="cli",
        requested_at=at,
        ended_at=at + timedelta(minutes=1),
        failure=Failure(code=code, message="it broke", hint="mend it", exit_code=11)
        if state is RunState.FAILED
        else None,
    )
    catalog.runs.insert(run)
    return run


def test_a_clock_that_was_ahead_once_hides_no_failure(catalog: Catalog) -> None:
    """A run that is dated next year was the last one until then, and a good one: nobody heard of any other."""
    add(catalog, NIGHT - timedelta(days=1), RunState.SUCCEEDED)
    add(catalog, NIGHT + timedelta(days=400), RunState.SUCCEEDED)
    later = NIGHT + timedelta(hours=3)
    assert events(catalog, later) == [AlertEvent.LATE]
    add(catalog, NIGHT, RunState.FAILED)
    assert events(catalog, later) == [AlertEvent.FAILED]
    (status,) = status_of(catalog, [PLAN], [], later)
    assert (status.state, status.last_success_at) == ("failed", NIGHT - timedelta(days=1) + timedelta(minutes=1))


def test_a_run_that_died_is_told_where_nothing_makes_up_for_it(catalog: Catalog) -> None:
    minute = timedelta(minutes=1)
    died = add(catalog, NIGHT, RunState.LOST)
    noticed = NIGHT + minute
    assert events(catalog, noticed) == [AlertEvent.FAILED]
    catalog.slots.claim(TIMED, Slot(key="2026-11-24 02:00", due_at=NIGHT), run=died.id, trigger="serve", at=NIGHT)
    assert events(catalog, noticed) == [AlertEvent.FAILED]  # nobody keeps the schedule
    (catalog.folder / KEPT).parent.mkdir(exist_ok=True)
    with files.lock(catalog.folder / KEPT, wait=timedelta(0)):
        assert events(catalog, noticed) == []  # it will be begun again …
        assert events(catalog, noticed + 6 * minute) == [AlertEvent.FAILED]  # … and was not
    again = add(catalog, NIGHT + 6 * minute, RunState.RUNNING)
    assert events(catalog, noticed + 60 * minute) == []
    catalog.runs.set_state(again.id, RunState.FAILED, at=NIGHT + 90 * minute)
    assert events(catalog, noticed + 90 * minute) == [AlertEvent.FAILED]
    # What somebody was told is not over because it is tried again.
    add(catalog, NIGHT + 100 * minute, RunState.LOST)
    add(catalog, NIGHT + 101 * minute, RunState.RUNNING)
    assert events(catalog, NIGHT + 105 * minute) == []
    alerts = Alerts(catalog, [HERE], teller=lambda _to, _message: "")
    alerts.look([condition()], NIGHT + 91 * minute, events=COMPUTED)
    assert events(catalog, NIGHT + 105 * minute) == [AlertEvent.FAILED]


def events(catalog: Catalog, at: datetime) -> list[AlertEvent]:
    return [one.event for one in find_conditions(catalog, [PLAN], [], at, repositories=["r2"])]


def alive(_run: str) -> bool:
    return False


def test_a_slot_that_nobody_came_for_is_late(catalog: Catalog) -> None:
    assert events(catalog, NIGHT + timedelta(hours=3)) == []  # a plan that never ran: nobody expects anything yet
    add(catalog, NIGHT - timedelta(days=1), RunState.SUCCEEDED)
    assert events(catalog, NIGHT + timedelta(hours=1)) == []
    (late,) = find_conditions(catalog, [PLAN], [], NIGHT + timedelta(hours=3))
    assert late.event is AlertEvent.LATE
    assert late.since == NIGHT
    assert "nothing has started it" in late.text
    add(catalog, NIGHT + timedelta(hours=4), RunState.RUNNING)
    assert events(catalog, NIGHT + timedelta(hours=5)) == []


def test_a_slot_that_nothing_makes_up_for_is_missed_until_a_run_succeeds(catalog: Catalog) -> None:
    add(catalog, NIGHT - timedelta(days=1), RunState.SUCCEEDED)
    catalog.slots.watch(TIMED, since=NIGHT - timedelta(hours=1), at=NIGHT - timedelta(hours=1))
    back = NIGHT + timedelta(hours=13)  # the host was down until then; catch_up is 12 h
    assert look(catalog, alive, TIMED, back, waits_for="") is None
    (missed,) = find_conditions(catalog, [PLAN], [], back)  # and it is not told as late as well
    assert (missed.event, missed.since) == (AlertEvent.MISSED, NIGHT)
    assert "nobody came for it within 12 h" in missed.text
    assert missed.hint.startswith("daybreak backup nightly does it now")
    add(catalog, NIGHT + timedelta(days=1), RunState.FAILED)
    assert events(catalog, NIGHT + timedelta(days=1)) == [AlertEvent.FAILED, AlertEvent.MISSED]
    add(catalog, NIGHT + timedelta(days=1, hours=1), RunState.SUCCEEDED)
    assert events(catalog, NIGHT + timedelta(days=1, hours=1)) == []


def test_a_slot_that_a_later_one_makes_up_for_is_not_told(catalog: Catalog) -> None:
    add(catalog, NIGHT - timedelta(days=1), RunState.SUCCEEDED)
    catalog.slots.watch(TIMED, since=NIGHT - timedelta(hours=1), at=NIGHT - timedelta(hours=1))
    back = NIGHT + timedelta(days=1, hours=1)
    turn = look(catalog, alive, TIMED, back, waits_for="")
    assert turn is not None
    assert [one.state for one in catalog.slots.list(TIMED, until=back, limit=9)] == [SlotState.MISSED]
    assert events(catalog, back) == []


def test_who_heard_that_a_slot_is_late_is_not_told_that_it_is_over_when_it_is_missed(catalog: Catalog) -> None:
    add(catalog, NIGHT - timedelta(days=1), RunState.SUCCEEDED)
    catalog.slots.watch(TIMED, since=NIGHT - timedelta(hours=1), at=NIGHT - timedelta(hours=1))
    told: list[str] = []
    alerts = Alerts(catalog, [HERE], teller=lambda _, message: told.append(message.title.partition(": ")[2]) or "")
    for hours in (3, 13):
        at = NIGHT + timedelta(hours=hours)
        look(catalog, alive, TIMED, at, waits_for="")
        if hours == 3:  # whoever should take it, does not
            assert catalog.slots.get(TIMED, "2026-11-24 02:00") is None
        assert alerts.look(find_conditions(catalog, [PLAN], [], at), at, events=COMPUTED) == []
    assert told == ["nightly is late", "nightly was missed"]


def test_a_slot_that_was_left_out_on_purpose_is_not_late(catalog: Catalog) -> None:
    plan = RefreshPlan(name="weekly", backup=PLAN, target=Database(name="dev", conninfo={}), schedule=PLAN.schedule)
    timed = Timed(kind="refresh", plan="weekly", schedule=TIMED.schedule)
    add(catalog, NIGHT - timedelta(days=1), RunState.CANCELLED, plan="weekly", kind="refresh")
    catalog.slots.watch(timed, since=NIGHT - timedelta(hours=1), at=NIGHT - timedelta(hours=1))
    assert look(catalog, alive, timed, NIGHT, waits_for="waiting for a person: daybreak refresh weekly --first") is None
    assert find_conditions(catalog, [], [plan], NIGHT + timedelta(hours=3)) == []


def test_a_failure_is_not_over_because_many_were_skipped_or_others_checked_since(catalog: Catalog) -> None:
    add(catalog, NIGHT, RunState.FAILED)
    add(catalog, NIGHT + timedelta(seconds=9), RunState.FAILED, kind="check", plan="r2-check")
    for number in range(60):
        at = NIGHT + timedelta(minutes=1 + number)
        add(catalog, at, RunState.SKIPPED)
        add(catalog, at + timedelta(seconds=9), RunState.SUCCEEDED, kind="drill")
    assert events(catalog, at) == [AlertEvent.FAILED, AlertEvent.CHECK_FAILED]


def test_what_somebody_cancelled_or_skipped_says_nothing_of_the_plan(catalog: Catalog) -> None:
    add(catalog, NIGHT, RunState.FAILED)
    add(catalog, NIGHT + timedelta(minutes=5), RunState.CANCELLED)
    add(catalog, NIGHT + timedelta(minutes=9), RunState.SKIPPED)
    assert events(catalog, NIGHT + timedelta(minutes=30)) == [AlertEvent.FAILED]
    add(catalog, NIGHT + timedelta(minutes=20), RunState.SUCCEEDED)
    assert events(catalog, NIGHT + timedelta(minutes=30)) == []


def test_a_check_of_a_repository_that_failed(catalog: Catalog) -> None:
    add(catalog, NIGHT, RunState.FAILED, plan="r2-check", kind="check")
    (found,) = find_conditions(catalog, [PLAN], [], NIGHT, repositories=["r2"])
    assert (found.plan, found.event) == ("r2-check", AlertEvent.CHECK_FAILED)
    add(catalog, NIGHT + timedelta(days=7), RunState.SUCCEEDED, plan="r2-check", kind="check")
    assert find_conditions(catalog, [PLAN], [], NIGHT + timedelta(days=7), repositories=["r2"]) == []


@pytest.mark.parametrize("kind", ["backup", "check", "drill"])
def test_a_word_that_cannot_be_understood_says_nothing_of_the_plan(catalog: Catalog, kind: str) -> None:
    plan = "r2-check" if kind == "check" else "nightly"
    add(catalog, NIGHT, RunState.SUCCEEDED, kind=kind, plan=plan)
    slip = add(catalog, NIGHT + timedelta(minutes=9), RunState.FAILED, kind=kind, plan=plan, code="UsageError")
    assert find_conditions(catalog, [PLAN], [], NIGHT, repositories=["r2"]) == []
    if kind == "backup":
        (status,) = status_of(catalog, [PLAN], [], NIGHT)
        assert (status.state, status.attention) == ("succeeded", ())
    failed = add(catalog, NIGHT + timedelta(minutes=5), RunState.FAILED, kind=kind, plan=plan)
    (found,) = find_conditions(
        catalog, [PLAN], [], NIGHT, repositories=["r2"]
    )  # what was so before the slip is so still
    assert found.run == failed.id != slip.id


def test_a_drill_that_a_guard_refused_did_not_fail(catalog: Catalog) -> None:
    add(catalog, NIGHT, RunState.FAILED, kind="drill", code="Refused")
    (found,) = find_conditions(catalog, [PLAN], [], NIGHT)
    assert found.event is AlertEvent.REFUSED
    (status,) = status_of(catalog, [PLAN], [], NIGHT)
    assert status.attention[0].startswith("its last drill was refused: ")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("SqlError", 'prod: invalid input syntax for type integer: "canary@example.org"'),
        ("CommandError", "psql failed (exit status 1): Key (email)=(canary@example.org) already exists."),
        ("RefreshError", "pg_restore: DETAIL:  Key (email)=(canary@example.org) is duplicated."),
        ("DumpError", 'pg_dump ended: ERROR:  invalid value "canary@example.org"'),
        ("RefreshError", "the restore failed: COPY account, line 7, column email: canary@example.org"),
    ],
)
def test_a_message_holds_no_value_of_a_database(code: str, message: str) -> None:
    said = discreet(Failure(code=code, message=message, hint="", exit_code=15))
    assert "canary" not in said
    assert said


def test_a_reason_in_our_own_words_is_told_whole() -> None:
    said = discreet(Failure(code="SourceError", message="prod: the role lacks pg_read_all_data", hint="", exit_code=10))
    assert said == "prod: the role lacks pg_read_all_data"


@pytest.mark.parametrize(
    ("where", "more"),
    [
        ("postgres@127.0.0.1:5432/shop", ""),
        ("o'hara@/run/postgresql:5433/shop", " in container shop-db"),
        ("10.0.0.5:5432/shop", " on vps"),
        ("backup@service production/shop", ""),
    ],
)
def test_a_reason_names_a_database_and_not_its_address(where: str, more: str) -> None:
    message = f"dev ({where}{more}), t1 (cluster 77, oid 16385) was never refreshed (at all), 3/4 of it"
    said = discreet(Failure(code="Refused", message=message, hint="", exit_code=4))
    assert said == "dev, t1 (cluster 77, oid 16385) was never refreshed (at all), 3/4 of it"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'connection to server at "db.example" (10.0.0.5), port 5432 failed: Connection refused',
            "connection to server at … failed: Connection refused",
        ),
        (
            'connection to server on socket "/run/pg/.s.PGSQL.5433" failed: FATAL:  role "app_dump" does not exist',
            "connection to server on socket … failed: FATAL: role … does not exist",
        ),
        (
            'connection to server at "h", port 5432 failed: FATAL:  no pg_hba.conf entry for host "a", user "x"',
            "connection to server at … failed: FATAL: no pg_hba.conf entry for host …, user …",
        ),
        (
            'could not translate host name "db.example" to address: Name or service not known',
            "could not translate host name … to address: Name or service not known",
        ),
    ],
)
def test_a_server_that_lets_nobody_in_is_told_without_its_address(said: str, told: str) -> None:
    """What libpq says has host, port and user once more; it is the commonest reason of all."""
    message = f"prod (app_dump@db.example:5432/shop): {said}"
    assert discreet(Failure(code="SourceError", message=message, hint="", exit_code=10)) == f"prod: {told}"


def condition(event: AlertEvent = AlertEvent.FAILED) -> Condition:
    return Condition(plan="nightly", event=event, since=NIGHT, text="it broke", hint="mend it", run="r1", exit_code=11)


def test_every_event_of_a_plan_has_its_words() -> None:
    for event in AlertEvent:
        if event not in {AlertEvent.RECOVERED, AlertEvent.WEEKLY_ALL_IS_WELL}:
            assert "nightly " in message_of(condition(event)).title


def test_two_who_look_at_once_tell_it_once(catalog: Catalog) -> None:
    told: list[str] = []

    def teller(to: Destination, _message: Message) -> str:
        # Somebody else looks while the message is on its way.
        if len(told) < 5:
            told.append(to.name)
            alerts.look([condition()], NIGHT, events=COMPUTED)
        return ""

    alerts = Alerts(catalog, [Destination(name="here", url=SecretSource(env="X"))], teller=teller)
    alerts.look([condition()], NIGHT, events=COMPUTED)
    assert told == ["here"]


def test_what_is_not_looked_for_is_not_over(catalog: Catalog) -> None:
    told: list[str] = []

    def teller(_to: Destination, message: Message) -> str:
        told.append(message.title.partition(": ")[2])
        return ""

    alerts = Alerts(catalog, [Destination(name="here", url=SecretSource(env="X"))], teller=teller)
    tonight = condition(AlertEvent.TONIGHT_WILL_FAIL)
    alerts.look([tonight], NIGHT, events=[AlertEvent.TONIGHT_WILL_FAIL])
    alerts.look([], NIGHT, events=COMPUTED)
    assert told == ["nightly will fail tonight"]
    alerts.look([], NIGHT, events=[AlertEvent.TONIGHT_WILL_FAIL])
    assert told == ["nightly will fail tonight", "nightly has recovered"]
