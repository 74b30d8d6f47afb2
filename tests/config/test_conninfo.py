"""Connection strings mean to us what they mean to libpq."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daybreak.config.conninfo import KEYWORDS, parse_conninfo, to_conninfo


class _Option(ctypes.Structure):
    """PQconninfoOption."""

    _fields_ = [
        ("keyword", ctypes.c_char_p),
        ("envvar", ctypes.c_char_p),
        ("compiled", ctypes.c_char_p),
        ("val", ctypes.c_char_p),
        ("label", ctypes.c_char_p),
        ("dispchar", ctypes.c_char_p),
        ("dispsize", ctypes.c_int),
    ]


@cache
def _libpq() -> Any:
    library = ctypes.CDLL("libpq.so.5")
    library.PQconninfoParse.restype = ctypes.POINTER(_Option)
    library.PQconninfoParse.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)]
    return library


def libpq_parse(text: str) -> dict[str, str] | None:
    """What libpq itself reads; None where it refuses, or where it is not text."""
    error = ctypes.c_char_p()
    options = _libpq().PQconninfoParse(text.encode(), ctypes.byref(error))
    if not options:
        return None
    found: dict[str, str] = {}
    number = 0
    while (option := options[number]).keyword:
        if option.val is not None:
            try:
                found[option.keyword.decode()] = option.val.decode()
            except UnicodeDecodeError:  # libpq takes any bytes; we take text
                return None
        number += 1
    _libpq().PQconninfoFree(options)
    return found


def ours(text: str) -> dict[str, str] | None:
    """What we read and the configuration then accepts."""
    try:
        found = parse_conninfo(text)
    except ValueError:
        return None
    return found if set(found) <= KEYWORDS else None


EXAMPLES = [
    "postgresql://",
    "postgresql://localhost",
    "postgres://user@host:5432/name",
    "postgresql://user:canary@host/name?sslmode=require&connect_timeout=5",
    "postgresql://host1:1,host2,[::1]:3/name?target_session_attrs=any",
    "postgresql://[2001:db8::1]:5433/name",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/name",
    "postgresql:///name?host=/var/run&port=5433",
    "postgresql://us%40er:p%3Aw@host/na%20me",
    "postgresql://user@/name",
    "postgresql://:canary@host/name",
    "postgresql://@host",
    "postgresql://user:@host",
    "postgresql://host/",
    "postgresql://host?",
    "postgresql://host/?sslmode=prefer&",
    "postgresql://host/name?ssl=true",
    "postgresql://host/name?dbname=other",
    "postgresql://host:/name",
    "postgresql://[::1/name",
    "postgresql://[]/name",
    "postgresql://[::1]x/name",
    "postgresql://host/%zz",
    "postgresql://host/%00",
    "postgresql://host/name?nothing",
    "postgresql://host/name?user=a=b",
    "postgresql://host/name?canary=1",
    "postgresql://user:a@b@host/name",
    "postgresql://host/a/b?user=x",
    "host=localhost port=5432 dbname=name user='o''x'",
    "host = localhost   port= 5432",
    "dbname='it\\'s a \\\\ name' user=a\\ b",
    "user='' dbname=",
    "password=canary\\",
    "",
    "   ",
    "canary",
    "host",
    "=x",
    "host='canary",
    "host=a host=b",
    "canary=1",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_read_as_libpq_reads_them(text: str) -> None:
    assert ours(text) == libpq_parse(text)


_PIECES = st.sampled_from(
    [*"aB1:/?#[]@!$&'()*+,;=%\\ \t\"<>é", "%20", "%2F", "host", "user=", "port=", "dbname", "postgresql://", "[::1]"]
)
#: libpq since 17.5 refuses some blanks in a URI that 15 accepts; which ones is not what is compared here.
_IN_URI = _PIECES.filter(lambda piece: piece not in " \t")


@given(st.lists(_PIECES, max_size=12).map("".join))
@example("host= 'a'b=c")
def test_any_keyword_string_reads_as_libpq_reads_it(text: str) -> None:
    assert ours(text) == libpq_parse(text) or text.startswith(("postgresql://", "postgres://"))


@given(st.lists(_IN_URI, max_size=12).map(lambda pieces: "postgresql://" + "".join(pieces)))
def test_any_uri_reads_as_libpq_reads_it(text: str) -> None:
    assert ours(text) == libpq_parse(text)


_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.dictionaries(st.sampled_from(sorted(KEYWORDS)), _VALUES))
def test_what_is_written_is_read_again(keywords: dict[str, str]) -> None:
    assert parse_conninfo(to_conninfo(keywords)) == keywords


@given(st.dictionaries(st.sampled_from(["host", "user", "dbname", "password", "sslcert"]), _VALUES))
def test_what_is_written_is_read_by_libpq(keywords: dict[str, str]) -> None:
    assert libpq_parse(to_conninfo(keywords)) == keywords


@pytest.mark.parametrize("text", [text for text in EXAMPLES if "canary" in text and libpq_parse(text) is None])
def test_no_fault_repeats_the_string(text: str) -> None:
    try:
        assert not set(parse_conninfo(text)) <= KEYWORDS
    except ValueError as error:
        assert "canary" not in str(error)  # noqa: PT017 -- some of them are only refused by their keyword


def test_a_zero_byte_is_refused_both_ways() -> None:
    with pytest.raises(ValueError, match="zero byte"):
        parse_conninfo("host=a\0b")
    with pytest.raises(ValueError, match="zero byte in user"):
        to_conninfo({"user": "a\0"})
