"""A target that is held is left alone; an undo says what it takes away."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from couples import Couple, contents, oid_of
from daybreak.cli import main
from installation import PROGRAM, wait_for


def status(site: Couple) -> dict[str, Any]:
    return site.json("status")


def test_a_hold_keeps_refreshes_away_until_it_is_released(refreshed: Couple) -> None:
    oid = oid_of(refreshed.dev, refreshed.dev_db)
    refreshed.prod.psql("UPDATE version SET n = 2", refreshed.prod_db)
    made = refreshed.json("hold", "dev", "--until", "3d", "--why", "the demo  is on Thursday")
    assert made["why"] == "the demo is on Thursday"
    said = refreshed.refresh("--fresh")  # skipped is no failure: a schedule goes on
    assert (said["state"], said["exit_code"]) == ("skipped", 0)
    assert "the demo is on Thursday" in said["reason"]
    told = refreshed.call("refresh")
    assert (told.code, "the demo is on Thursday" in told.out) == (0, True)
    assert oid_of(refreshed.dev, refreshed.dev_db) == oid
    assert [one["plan"] for one in refreshed.json("runs")["runs"] if one["kind"] == "backup"] == ["nightly"]  # no dump
    assert [one["why"] for one in status(refreshed)["holds"]] == ["the demo is on Thursday"]
    assert "the demo is on Thursday (daybreak release dev)" in refreshed.call("status").out
    assert "held" in str(refreshed.json("refresh", "--plan"))
    refreshed.json("undo", expect=0)  # what a person asks for by name is done all the same
    refreshed.json("undo")
    released = refreshed.json("release", "dev")
    assert released["released"]["why"] == "the demo is on Thursday"
    assert refreshed.json("release", "dev")["released"] is None
    assert status(refreshed)["holds"] == []
    assert refreshed.refresh("--fresh")["state"] == "succeeded"
    assert oid_of(refreshed.dev, refreshed.dev_db) != oid


@pytest.mark.parametrize(
    ("plan", "until"),
    [('schedule = "02:00"\ntimezone = "America/Chicago"', "2126-12-24T06:00"), ("", "2126-12-23T23:00")],
    ids=["of the refresh", "of the file"],
)
def test_a_date_is_meant_in_the_zone_of_the_refresh_that_is_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str, until: str
) -> None:
    file = tmp_path / "daybreak.toml"
    file.write_text(
        f'state = "{tmp_path}/state"\ntimezone = "Europe/Berlin"\n'
        '[databases.prod]\nurl = "dbname=prod"\nprotected = true\n[databases.dev]\nurl = "dbname=dev"\n'
        f'[backups.nightly]\ndatabase = "prod"\narchive = "{tmp_path}/a/a.dump"\n'
        f'[refreshes.weekly]\nbackup = "nightly"\ntarget = "dev"\n{plan}\n'
    )
    assert main.run(["--config", str(file), "hold", "dev", "--until", "2126-12-24", "--why", "it", "--json"]) == 0
    said = datetime.fromisoformat(json.loads(capsys.readouterr().out)["until"])
    assert said == datetime.fromisoformat(f"{until}+00:00")


def test_a_hold_ends_by_itself(refreshed: Couple) -> None:
    refreshed.json("hold", "dev", "--until", "1s", "--why", "a moment")
    time.sleep(1.1)
    assert status(refreshed)["holds"] == []
    assert refreshed.refresh()["state"] == "succeeded"


def test_a_hold_that_comes_while_the_restore_runs_counts(refreshed: Couple) -> None:
    oid = oid_of(refreshed.dev, refreshed.dev_db)
    refreshed.fake_tool("pg_restore", f'"$real" "$@" && touch {refreshed.folder}/restored && sleep 3')
    with refreshed.start("refresh", "--json") as run:
        wait_for((refreshed.folder / "restored").exists, within_s=60, what="the restore")
        refreshed.json("hold", "dev", "--why", "somebody debugs")
        said = run.end().expect(0)
    assert said["state"] == "skipped"
    assert "somebody debugs" in said["reason"]
    assert oid_of(refreshed.dev, refreshed.dev_db) == oid
    refreshed.wait_until_clean()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dev", "--until", "yesterday", "--why", "x"), "no date, instant or duration"),
        (("dev", "--until", "2020-01-01", "--why", "x"), "over already"),
        (("dev", "--until", "2999-01-01T10:00", "--why", "x"), "in which zone"),
        (("dev", "--until", "9999-12-31T23:59:59-05:00", "--why", "x"), "longer than anything"),
        (("dev", "--until", "9999-12-31T23:00Z", "--why", "x"), "longer than anything"),  # no instant in the east
        (("dev", "--why", " "), "needs a reason"),
        (("prod", "--why", "x"), "is production"),
        (("dve", "--why", "x"), "dev"),
    ],
)
def test_a_hold_that_means_nothing_is_refused(words: tuple[str, ...], said: str, site: Couple) -> None:
    answer = site.json("hold", *words, expect=2)
    assert said in answer["message"] + answer["hint"]
    assert status(site)["holds"] == []


def write(site: Couple, *statements: str) -> None:
    """As an application does: in a session that ends, so that the server has counted it."""
    for statement in statements:
        with psycopg.connect(site.dev.conninfo(site.dev_db), autocommit=True) as session:
            session.execute(statement)
    wait_for(
        lambda: not site.dev.psql(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{site.dev_db}'"),  # noqa: S608 -- ours
        what="the end of the sessions",
    )


def test_an_undo_says_how_much_was_written_since(refreshed: Couple) -> None:
    write(
        refreshed,
        "UPDATE account SET token = 'mine' WHERE id <= 7",
        "DELETE FROM account WHERE id = 8",
        "INSERT INTO version VALUES (9), (9)",
        "CREATE TABLE more AS SELECT generate_series(1, 5)",
    )
    said = refreshed.json("undo")
    assert (said["rows_written_since"], said["tables_dropped_since"]) == (7 + 1 + 2 + 5, 0)
    assert said["written"].startswith(f"15 rows were written to {refreshed.dev_db} since 20")
    again = refreshed.json("undo")  # nobody wrote into the old data
    assert again["rows_written_since"] == 0
    assert refreshed.dev.psql("SELECT count(*) FROM account WHERE token = 'mine'", refreshed.dev_db) == "7"
    write(refreshed, "DROP TABLE more")
    assert refreshed.json("undo")["tables_dropped_since"] is not None


def test_a_session_at_work_may_have_written_more_than_is_counted(refreshed: Couple) -> None:
    with psycopg.connect(refreshed.dev.conninfo(refreshed.dev_db), autocommit=True) as session:
        session.execute("UPDATE account SET token = 'mine' WHERE id = 1")
        code, said = answered(refreshed, b"n\n", "undo")
    assert code == 130
    assert "; a session has been at work within the last seconds, and it may be more" in " ".join(said.split())


def test_statistics_that_were_reset_are_not_taken_for_nothing(refreshed: Couple) -> None:
    write(refreshed, "UPDATE account SET token = 'mine'", "SELECT pg_stat_reset()")
    said = refreshed.json("undo")
    assert said["rows_written_since"] is None
    assert "is not known" in said["written"]


def answered(site: Couple, reply: bytes, *words: str) -> tuple[int, str]:
    """Call Daybreak at a terminal of its own and type a reply to its question."""
    ours, theirs = pty.openpty()
    argv = [*PROGRAM, "--config", str(site.file), *words]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        said, until = b"", time.monotonic() + 60
        try:
            while time.monotonic() < until:
                if not select.select([ours], [], [], 0.2)[0]:
                    continue
                piece = os.read(ours, 4096)
                if b"[y/N]" in said + piece and b"[y/N]" not in said:
                    os.write(ours, reply)
                said += piece
        except OSError:  # the other end is closed: it has ended
            return process.wait(timeout=60), said.decode()
        finally:
            os.close(ours)
            if process.poll() is None:
                process.kill()
    pytest.fail(f"it waits: {said.decode()}")


def test_a_person_is_asked_before_an_undo_and_may_say_no(refreshed: Couple) -> None:
    write(refreshed, "UPDATE account SET token = 'mine' WHERE id <= 3")
    oid, before = oid_of(refreshed.dev, refreshed.dev_db), contents(refreshed.dev, refreshed.dev_db)
    code, said = answered(refreshed, b"n\n", "undo")
    assert code == 130
    assert "3 rows were written" in said
    assert (oid_of(refreshed.dev, refreshed.dev_db), contents(refreshed.dev, refreshed.dev_db)) == (oid, before)
    code, said = answered(refreshed, b"", "undo", "--yes")
    assert code == 0
    assert "[y/N]" not in said
    assert oid_of(refreshed.dev, refreshed.dev_db) != oid
    code, said = answered(refreshed, b"", "undo")  # nothing was written: nothing to ask
    assert code == 0
    assert "[y/N]" not in said
    write(refreshed, "UPDATE account SET token = 'mine' WHERE id <= 2")
    code, said = answered(refreshed, b"y\n", "undo")
    assert code == 0
    assert "2 rows were written" in said
