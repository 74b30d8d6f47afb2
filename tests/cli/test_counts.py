"""One thing is said as one: never `1 rows`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from daybreak.archive.join import describe
from daybreak.catalog.records import Progress
from daybreak.cli.progress import done_line, progress_text
from daybreak.console.accounts.audit import Verdict
from daybreak.console.furnish import count, rough
from daybreak.gate import Weight, doubts


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
