"""One thing is said as one: never `1 rows`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from daybreak.archive.join import describe
from daybreak.catalog.records import Progress
from daybreak.cli.progress import done_line, progress_text
from daybreak.cli.verbs import refresh_text
from daybreak.console.accounts.audit import Verdict
from daybreak.console.furnish import count, rough
from daybreak.gate import Weight, doubts
from daybreak.model import Run, RunState


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"rows": 1}, "1 row"),
        ({"rows": 1234}, "1,234 rows"),
        ({"jobs": 1}, "1 job"),
        ({"jobs": "dev"}, "dev jobs"),
        ({"compared": 1, "different": 0}, "1 table compared · 0 different"),
        ({"compared": 2, "different": 1}, "2 tables compared · 1 different"),
    ],
)
def test_a_step_counts_in_words(facts: dict[str, object], text: str) -> None:
    assert done_line("proof", facts, 1.0, failed=False).endswith(f"  {text}")


@pytest.mark.parametrize(
    "server", ["a container of postgres:17 (17.2)", "PostgreSQL from /usr/lib/postgresql/17/bin (17.2)"]
)
def test_a_server_is_named_once(server: str) -> None:
    assert done_line("server", {"server": server}, 1.0, failed=False).endswith(f" s  {server}")
    assert done_line("check", {"server": "17.2"}, 1.0, failed=False).endswith(" s  PostgreSQL 17.2")


def test_one_of_a_thing_is_one_everywhere() -> None:
    assert progress_text(Progress(at=datetime.now(UTC), step="dump", rows=1)) == "1 row"
    assert [count(1, "table"), count(2, "table"), count(None, "table")] == ["1 table", "2 tables", "—"]
    assert [rough(3600), rough(7200)] == ["1 hour", "2 hours"]
    few, many = (Weight(size_bytes=9, rows=rows, table_rows={}) for rows in (1, 100))
    assert doubts(few, [many]) == ["1 row is less than half of the usual 100"]
    archive = {"id": "a", "taken_at": "now", "tables": [{"rows": 1}]}
    assert describe({"archive": archive}, Path("out")).startswith("out: 1 table, 1 row, equal to")
    assert Verdict(rows=1, head="").text == "the one row of the audit log fits"


@pytest.mark.parametrize(("outage", "words"), [(2.5, "away for 2.5 ms;"), (None, "away for a time that nobody told;")])
def test_a_refresh_whose_outage_is_unknown_says_so(outage: float | None, words: str) -> None:
    proof = {"equal": 1, "reordered": 0, "different": 0, "compared": 1, "tables": 1, "details": []}
    result = {
        "target": "dev",
        "archive": {"id": "a", "taken_at": "2026-11-30T00:00:00+00:00"},
        "proof": proof,
        "outage_ms": outage,
    }
    result |= {"previous": "dev_previous", "checks": [], "left_out": []}
    at = datetime.now(UTC)
    run = Run(
        id="a", plan="weekly", kind="refresh", state=RunState.SUCCEEDED, trigger="cli", requested_at=at, result=result
    )
    assert f"dev was {words}" in refresh_text(run)
