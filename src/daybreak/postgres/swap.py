"""The exchange of two databases' names: one statement that the server runs to its end, whoever dies.

The statement is a DO block sent alone to the maintenance database. It closes the target and the
incoming database, commits, ends their sessions until nobody is left, and renames in one sub-block:
all renames and comments commit together or not at all. On every path the target is opened again.

Shapes  incoming -> target -> previous; a previous one that was there first steps aside. A swap that is taken back is
        a swap, too: previous -> target -> rejected, and the one that stepped aside is previous again.
Units   `within` bounds the ending of sessions, and the waiting for each lock; PostgreSQL's own waiting
        inside RENAME (5 s) comes on top. Only the opening of the target waits for as long as it takes.
Source  tried on PostgreSQL 15 to 18: COMMIT is allowed at the top level of a DO block that was sent
        alone, and a client's death does not end it (`client_connection_check_interval` is 0 here).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from daybreak.errors import DaybreakError
from daybreak.postgres.client import Postgres
from daybreak.postgres.sql import identifier, literal

#: What the session of a swap is called, behind its run: nobody of ours ever ends such a session.
SWAP: Final = ":swap"
_REPORT: Final = re.compile(r"daybreak swap: outage_ms=([\d.]+) ended=(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What is to be renamed, and the comments that go with the names."""

    target: str  # the name that users know
    incoming: str  # the database that gets it
    previous: str  # the name that the present target gets
    aside: str  # the name that an older `previous` gets; an undo finds its incoming database there
    target_comment: str | None  # the target's own, carried over
    previous_comment: str | None  # ours
    returning: str | None = None  # to take a swap back: what gets the incoming one's name, where it is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What the swap did."""

    outage_ms: float  # from the closing of the target to its opening, by the server's clock
    ended: int  # sessions that were ended


def statement(swap: Swap, within: timedelta) -> str:
    """The DO block. Pure.

    A logical slot or a subscription would stay with the old data, and go with it, or keep it from being dropped.
    A template could not be dropped any more when its turn has come.
    Sessions without a user are workers of the server (autovacuum): only a superuser may end them, and
    RENAME does so by itself.
    """
    target, incoming = literal(swap.target), literal(swap.incoming)
    previous, aside, returning = literal(swap.previous), literal(swap.aside), literal(swap.returning)
    # An undo brings the previous database back: by then it has stepped aside under another name.
    source = aside if swap.incoming == swap.previous else incoming
    block = f"""
DECLARE
    closed_at timestamptz;
    opened_at timestamptz;
    give_up_at timestamptz;
    ended integer := 0;
    batch integer;
    left_over integer;
    who text;
    fault text;
    fault_state text;
BEGIN
    SELECT string_agg(gid, ', ') INTO who FROM pg_prepared_xacts WHERE database IN ({target}, {incoming});
    IF who IS NOT NULL THEN
        RAISE EXCEPTION 'prepared transactions hold the database: %', who;
    END IF;
    SELECT string_agg(name, ', ') INTO who FROM (
        SELECT 'slot ' || slot_name AS name FROM pg_replication_slots WHERE database = {target}
        UNION ALL SELECT 'subscription ' || s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                   WHERE d.datname = {target}) AS held;
    IF who IS NOT NULL THEN
        RAISE EXCEPTION 'logical replication would be left behind in the old data: %', who;
    END IF;
    IF EXISTS (SELECT FROM pg_database WHERE datname = {target} AND datistemplate) THEN
        RAISE EXCEPTION 'the database is a template, and cannot be dropped later: ALTER DATABASE % IS_TEMPLATE false',
            {literal(identifier(swap.target))};
    END IF;
    closed_at := clock_timestamp();
    give_up_at := closed_at + {literal(f"{within.total_seconds()} s")}::interval;
    EXECUTE format('ALTER DATABASE %I ALLOW_CONNECTIONS false', {target});
    EXECUTE format('ALTER DATABASE %I ALLOW_CONNECTIONS false', {incoming});
    COMMIT;
    BEGIN
        LOOP
            PERFORM pg_stat_clear_snapshot();
            SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)), count(*),
                   string_agg(coalesce(nullif(application_name, ''), backend_type) || ' (pid ' || pid || ')', ', ')
              INTO batch, left_over, who
              FROM pg_stat_activity WHERE datname IN ({target}, {incoming}) AND pid <> pg_backend_pid()
               AND (usesysid IS NOT NULL OR current_setting('is_superuser') = 'on');
            EXIT WHEN left_over = 0;
            ended := greatest(ended, batch);
            IF clock_timestamp() > give_up_at THEN
                RAISE EXCEPTION 'sessions would not end: %', who;
            END IF;
            PERFORM pg_sleep(0.005);
        END LOOP;
        IF EXISTS (SELECT FROM pg_database WHERE datname = {previous}) THEN
            EXECUTE format('ALTER DATABASE %I RENAME TO %I', {previous}, {aside});
        END IF;
        EXECUTE format('ALTER DATABASE %I RENAME TO %I', {target}, {previous});
        EXECUTE format('ALTER DATABASE %I RENAME TO %I', {source}, {target});
        EXECUTE format('COMMENT ON DATABASE %I IS %L', {previous}, {literal(swap.previous_comment)});
        EXECUTE format('COMMENT ON DATABASE %I IS %L', {target}, {literal(swap.target_comment)});
        IF EXISTS (SELECT FROM pg_database WHERE datname = {returning}) THEN
            EXECUTE format('ALTER DATABASE %I RENAME TO %I', {returning}, {incoming});
        END IF;
    EXCEPTION WHEN query_canceled OR OTHERS THEN
        GET STACKED DIAGNOSTICS fault = MESSAGE_TEXT, fault_state = RETURNED_SQLSTATE;
    END;
    PERFORM set_config('lock_timeout', '0', false);
    EXECUTE format('ALTER DATABASE %I ALLOW_CONNECTIONS true', {target});
    COMMIT;
    opened_at := clock_timestamp();
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = fault, ERRCODE = fault_state;
    END IF;
    RAISE NOTICE 'daybreak swap: outage_ms=% ended=%',
        round(extract(epoch FROM opened_at - closed_at)::numeric * 1000, 1), ended;
END
"""
    return f"DO {literal(block)}"  # no dollar quotes: a comment of the target's owner could hold their end


def perform(server: Postgres, swap: Swap, within: timedelta) -> Swapped:
    """Swap the names. Raise SqlError when the server said no.

    Any other fault says nothing about the swap: it may go on without us, and has to be looked at.
    """
    said: list[str] = []
    heedless = {"client_connection_check_interval": "0"} if server.version_num >= 140000 else {}  # noqa: PLR2004 -- see NOTICE_DEATH
    server.execute(
        statement(swap, within),
        dbname=server.maintenance_db,
        deadline=within + timedelta(seconds=60),
        settings={**heedless, "client_min_messages": "notice", "lock_timeout": f"{within.total_seconds() * 1000:.0f}"},
        application=f"{server.application}{SWAP}",
        on_stderr=said.append,
    )
    for line in said:
        if match := _REPORT.search(line):
            return Swapped(outage_ms=float(match[1]), ended=int(match[2]))
    raise DaybreakError(f"the swap of {swap.target} ended without its report: {said[-1:]}")


def drop_statement(name: str) -> str:
    """Drop a database of ours, sessions and all."""
    return f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE)"
