"""Header and table of contents: read and written again they are the same bytes; everything else is refused by name."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from archive_samples import ENCODING, build, entry, header, scan_bytes, table_entry, texts
from hypothesis import given
from hypothesis import strategies as st

from daybreak.archive import Compression, Entry, Header, OffsetState, parse_copy, toc
from daybreak.archive.primitives import Source
from daybreak.archive.toc import encoding_of, pack_toc, read_header, read_toc
from daybreak.errors import ArchiveError

numbers = st.integers(0, 2**32 - 1)
maybe = st.one_of(st.none(), texts)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    minor = draw(st.sampled_from([14, 15, 16]))
    if minor == 14:
        level = draw(st.integers(-1, 9))
        compression = Compression.GZIP if level else Compression.NONE
    else:
        level, compression = 0, draw(st.sampled_from(Compression))
    at = draw(st.datetimes())
    return Header(
        minor=minor,
        compression=compression,
        level=level,
        created=(at.second, at.minute, at.hour, at.day, at.month - 1, at.year - 1900, draw(st.integers(-1, 1))),
        database=draw(texts),
        server_version=draw(texts),
        dump_version=draw(texts),
    )


@st.composite
def entries(draw: st.DrawFn, number: int, minor: int) -> Entry:
    has_data = draw(st.booleans())
    copy = "COPY public.t (a) FROM stdin;\n"
    return Entry(
        id=number,
        had_dumper=has_data,
        table_oid=draw(numbers),
        oid=draw(numbers),
        name=draw(texts),
        kind=draw(st.sampled_from(["TABLE DATA", "BLOBS"])) if has_data else draw(texts.filter(bool)),
        section=draw(st.integers(1, 4)),
        definition=draw(maybe),
        drop=draw(maybe),
        copy=copy if has_data else draw(maybe),
        schema=draw(maybe),
        tablespace=draw(maybe),
        access_method=draw(maybe),
        relkind=draw(st.integers(0, 255)) if minor == 16 else 0,
        owner=draw(maybe),
        dependencies=tuple(draw(st.lists(numbers, max_size=4))),
        state=draw(st.sampled_from([OffsetState.SET, OffsetState.NOT_SET])) if has_data else OffsetState.NO_DATA,
        offset=draw(st.integers(0, 2**63 - 1)),
    )


@given(st.data())
def test_a_table_of_contents_survives_reading_and_writing(data: st.DataObject) -> None:
    head = data.draw(headers())
    count = data.draw(st.integers(0, 4))
    made = tuple(data.draw(entries(number, head.minor)) for number in range(1, count + 1))
    raw = pack_toc(head, made)
    source = Source(io.BytesIO(raw).read)
    found = read_header(source)
    again = read_toc(source, found)
    assert (found, again) == (head, made)
    assert source.at_end()
    assert pack_toc(found, again) == raw


IDENTIFIERS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(IDENTIFIERS, min_size=2, max_size=6))
def test_copy_statements_with_any_names(names: list[str]) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    relation, columns = ".".join(quoted[:2]), ", ".join(quoted[2:])
    text = f"COPY {relation} ({columns}) FROM stdin;\n" if columns else f"COPY {relation}  FROM stdin;\n"
    found = parse_copy(text)
    assert (found.relation, found.names) == (relation, tuple(names[2:]))
    assert found.select_out == f"COPY (SELECT {columns} FROM {relation}) TO STDOUT"  # noqa: S608 -- compared, not run
    assert found.copy_out == (f"COPY {relation} ({columns}) TO STDOUT" if columns else f"COPY {relation} TO STDOUT")


@pytest.mark.parametrize(
    ("raw", "message", "hint"),
    [
        (b"", "it is empty", "pg_dump wrote nothing"),
        (b"--\n-- PostgreSQL database dump\n--\n", "starts with '--", "plain SQL"),
        (b"\x1f\x8b\x08\0rest", "not a PGDMP archive", "compressed"),
        (b"\x28\xb5\x2f\xfdrest", "not a PGDMP archive", "compressed"),
        (b"toc.dat".ljust(257, b"\0") + b"ustar  \0" + bytes(300), "starts with 'toc.dat", "tar file"),
        (b"Welcome to db1!\n" + build(), r"not a PGDMP archive \(starts with 'Welcome to db1!", "login banner"),
        (b"PGDM", r"not a PGDMP archive \(starts with 'PGDM'\)", "-Fc"),
        (b"something else", r"not a PGDMP archive \(starts with 'something else'\)", "-Fc"),
        (b"PGDMP\1\x0d\0\4\x08\1", "format 1.13-0", "pg_dump 12 to 18"),
        (b"PGDMP\1\x11\0\4\x08\1", "format 1.17-0", "newer Daybreak"),
        (b"PGDMP\2\x10\0\4\x08\1", "format 2.16-0", "newer Daybreak"),
        (b"PGDMP\1\x10\0\4\x08\3", "tar or directory format", "-Fc"),
        (b"PGDMP\1\x10\0\x08\x08\1", "integers of 8", "another kind of machine"),
        (b"PGDMP\1\x10\0\4\x08\1\x09", "compression number 9", "damaged"),
        (b"PGDMP\1\x0e\0\4\x08\1\0\x0a\0\0\0", "compression level 10", "damaged"),
        (b"PGDMP\1\x10", "is cut", "not complete"),
    ],
)
def test_what_is_no_archive_of_ours_is_named(raw: bytes, message: str, hint: str) -> None:
    with pytest.raises(ArchiveError, match=message) as caught:
        scan_bytes(raw)
    assert hint in caught.value.hint


def read_entries(*made: Entry) -> None:
    source = Source(io.BytesIO(pack_toc(header(), made)).read)
    read_toc(source, read_header(source))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (entry(0, "TABLE", "t"), "out of range"),
        (replace(table_entry(3, "t"), kind="STATISTICS DATA"), "'STATISTICS DATA' with data"),
        (replace(table_entry(3, "t"), copy=""), "INSERT statements"),
        (replace(table_entry(3, "t"), copy="COPY t FROM '/etc/passwd';"), "not a COPY statement"),
        (replace(table_entry(3, "t"), state=OffsetState.NO_DATA), "contradicts itself"),
        (replace(table_entry(3, "t"), section=7), "none that pg_dump writes"),
    ],
)
def test_an_entry_that_pg_dump_does_not_write_is_refused(made: Entry, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        read_entries(made)


def test_an_id_that_comes_twice_is_refused() -> None:
    with pytest.raises(ArchiveError, match="entry 5 twice"):
        read_entries(entry(5, "TABLE", "a"), entry(5, "TABLE", "b"))


def test_the_encoding_is_known() -> None:
    assert encoding_of((ENCODING,)) == "UTF8"
    with pytest.raises(ArchiveError, match="encoding"):
        encoding_of((entry(5, "TABLE", "a"),))


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ("SELECT pg_catalog.setval('public.ids', 77, true);\n", (77, True)),
        ("SELECT pg_catalog.setval('audit.\"Never, Called\"', -9223372036854775808, false);\n", (-(2**63), False)),
    ],
)
def test_a_sequence_tells_its_value(definition: str, value: tuple[int, bool]) -> None:
    assert entry(4, "SEQUENCE SET", "ids", definition=definition).sequence_state == value


def test_a_sequence_without_a_value_is_damaged() -> None:
    with pytest.raises(ArchiveError, match=r"SEQUENCE SET public\.ids cannot be read"):
        _ = entry(4, "SEQUENCE SET", "ids", definition="SELECT 1").sequence_state


def test_the_root_of_a_partition() -> None:
    made = replace(table_entry(3, "t"), definition="-- load via partition root public.whole")
    assert made.root == "public.whole"
    assert table_entry(3, "t").root is None


def test_names_are_safe_to_print() -> None:
    made = replace(table_entry(3, "t"), name="a\x1b[2J\n" + b"\xff".decode("utf-8", "surrogateescape") + "b" * 5000)
    assert made.label.startswith("public.a�[2J��bbb")
    assert len(made.label) == 200
    made.label.encode()


def test_a_table_of_contents_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toc, "TOC_BYTES", 5000)
    for made in (
        [entry(number, "TABLE", "t" * 100) for number in range(1, 40)],
        [entry(1, "TABLE", "t", dependencies=(7,) * 900)],
    ):
        with pytest.raises(ArchiveError, match="goes on behind byte 5000"):
            read_entries(*made)
