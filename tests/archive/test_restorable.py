"""An archive written again for one restore: the same data, loaded frozen where COPY takes that."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from archive_samples import MATRIX, ROWS, Dump, Servers, build, entry, environment, table_entry

from daybreak.archive import Entry, OffsetState, freezable, parse_copy, read_contents, write_restorable
from daybreak.archive.toc import pack_toc
from daybreak.errors import ArchiveError

PLAIN = " FROM stdin;\n"
FREEZE = " FROM stdin WITH (FREEZE);\n"
#: Pages that have rows, and pages that the visibility map has as visible to all.
PAGES = """SELECT (SELECT count(DISTINCT (one.ctid::text::point)[0]) FROM ONLY {0} one), relallvisible
      FROM pg_class WHERE oid = '{0}'::regclass"""


def frozen(source: Path, target: Path, *, on_bytes: Callable[[int], object] = lambda _: None) -> int:
    """Write `source` as `target`, all that can be frozen."""
    with target.open("xb", buffering=0) as file:
        return write_restorable(source, file.fileno(), frozen=freezable(read_contents(source)[1]), on_bytes=on_bytes)


def sample(*, access_method: str | None = "heap", change: Callable[[Entry], Entry] = lambda each: each) -> list[Entry]:
    """A table and its data."""
    return [entry(10, "TABLE", "first", access_method=access_method), change(table_entry(11, "first"))]


@pytest.mark.postgres
@pytest.mark.parametrize("state", ["filled", "path"], ids=["offsets", "none"])
@pytest.mark.parametrize(("major", "compression"), MATRIX)
def test_the_data_is_the_same_and_stands_where_the_offsets_say(
    dump: Dump, tmp_path: Path, major: int, compression: str, state: str
) -> None:
    source: Path = getattr(dump(major, compression), state)
    size = frozen(source, tmp_path / "frozen")
    old, new = source.read_bytes(), (tmp_path / "frozen").read_bytes()
    header, entries = read_contents(source)
    data = len(old) - len(pack_toc(header, entries))
    assert new[-data:] == old[-data:]
    assert size == len(new)
    tables = freezable(entries)
    assert len(tables) > 20
    expected = [
        replace(
            one,
            copy=(one.copy or "").removesuffix(PLAIN).rstrip(" ") + FREEZE if one.id in tables else one.copy,
            offset=one.offset + size - len(old) if one.state is OffsetState.SET else one.offset,
        )
        for one in entries
    ]
    assert new[:-data] == pack_toc(header, tuple(expected))
    for before, after in zip(entries, expected, strict=True):
        if before.state is OffsetState.SET:
            assert new[after.offset : after.offset + 6] == old[before.offset : before.offset + 6]


@pytest.mark.postgres
@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_each_pg_restore_loads_it_and_its_pages_are_all_visible(
    dump: Dump, servers: Servers, tmp_path: Path, major: int
) -> None:
    server = servers[major]
    source = dump(major, "gzip").filled
    frozen(source, tmp_path / "frozen")
    entries = read_contents(source)[1]
    tables = [one for one in entries if one.id in freezable(entries)]
    name = server.create_database(f"frozen_{major}", template="template0")
    try:
        argv = [server.bin / "pg_restore", "-j2", "-e", f"--dbname={server.conninfo(name)}", tmp_path / "frozen"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment())
        assert done.returncode == 0, done.stderr
        server.psql("ANALYZE", name)
        seen = 0
        for one in tables:
            relation = parse_copy(one.copy or "").relation
            pages, visible = map(int, server.psql(PAGES.format(relation), name).split("|"))
            # pages of rows that were loaded plainly are visible to all only after a VACUUM
            assert visible == pages, relation
            seen += pages
        assert seen > 20
    finally:
        server.drop_database(name)


def test_a_table_that_the_restore_makes_itself() -> None:
    assert freezable(sample()) == {11}


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param(sample()[1:], id="an extension makes the table"),
        pytest.param(sample(access_method="columnar"), id="not a heap"),
        pytest.param(sample(access_method=None), id="nobody knows what it is"),
        pytest.param(
            sample(
                change=lambda one: entry(
                    11,
                    "TABLE DATA",
                    "first",
                    definition="-- load via partition root public.a",
                    copy=one.copy,
                    dependencies=(10,),
                )
            ),
            id="through a partition root",
        ),
        pytest.param([*sample(), entry(2, "EXTENSION", "timescaledb", schema=None)], id="COPY is an extension's"),
        pytest.param(
            [entry(10, "FOREIGN TABLE", "first", access_method="heap"), table_entry(11, "first")], id="a foreign table"
        ),
    ],
)
def test_what_copy_would_refuse_stays_as_it_is(entries: list[Entry]) -> None:
    assert freezable(entries) == frozenset()


def test_what_is_raised_while_it_is_copied_ends_it(tmp_path: Path) -> None:
    source = tmp_path / "archive.dump"
    source.write_bytes(build())
    heard: list[int] = []

    def stop(copied: int) -> None:
        heard.append(copied)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        frozen(source, tmp_path / "frozen", on_bytes=stop)
    assert len(heard) == 1


def test_an_archive_that_shrinks_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "archive.dump"
    source.write_bytes(build(tables={"first": [ROWS]}))
    monkeypatch.setattr("daybreak.archive.restorable.from_disk", lambda _fd: iter(()))
    with pytest.raises(ArchiveError, match="was cut while it was read"):
        frozen(source, tmp_path / "frozen")
