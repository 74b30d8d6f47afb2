"""Integers, texts, offsets and chunks: what is written is read again, however the stream is cut into reads."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Callable

import pytest
from archive_samples import texts
from hypothesis import given
from hypothesis import strategies as st

from daybreak.archive.primitives import (
    OffsetState,
    Source,
    pack_int,
    pack_offset,
    pack_oid,
    pack_text,
)
from daybreak.errors import ArchiveError


def dribble(raw: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """A stream whose reads return as few bytes as `sizes` says, over and over."""
    file = io.BytesIO(raw)
    turns = itertools.cycle(sizes)
    return lambda count: file.read(min(count, next(turns)))


reads = st.lists(st.integers(1, 300), min_size=1, max_size=5)


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1)), reads)
def test_integers(numbers: list[int], sizes: list[int]) -> None:
    source = Source(dribble(b"".join(map(pack_int, numbers)), sizes))
    assert [source.take_int("a test") for _ in numbers] == numbers
    assert source.at_end()


@given(st.lists(st.one_of(st.none(), texts)), reads)
def test_texts_of_any_bytes(found: list[str | None], sizes: list[int]) -> None:
    source = Source(dribble(b"".join(map(pack_text, found)), sizes))
    assert [source.take_text("a test") for _ in found] == found
    assert source.at_end()


@given(st.sampled_from(OffsetState), st.integers(0, 2**63 - 1))
def test_offsets(state: OffsetState, offset: int) -> None:
    raw = pack_offset(state, offset)
    assert len(raw) == len(pack_offset(OffsetState.NOT_SET, 0))
    assert Source(io.BytesIO(raw).read).take_offset("a test") == (state, offset)


@given(st.integers(0, 2**32 - 1))
def test_oids_up_to_four_billion(oid: int) -> None:
    assert Source(io.BytesIO(pack_oid(oid)).read).take_oid("a test") == oid


@given(st.lists(st.binary(min_size=1, max_size=500)), reads)
def test_chunks_are_gathered_and_nothing_is_lost(chunks: list[bytes], sizes: list[int]) -> None:
    raw = b"".join(pack_int(len(chunk)) + chunk for chunk in chunks) + pack_int(0) + b"next"
    copied: list[bytes] = []
    source = Source(dribble(raw, sizes), copied.append)
    assert b"".join(source.chunks("a test")) == b"".join(chunks)
    assert source.position == len(raw) - 4
    assert source.take(4, "a test") == b"next"
    assert b"".join(copied) == raw


@pytest.mark.parametrize("raw", [b"\x02\1\0\0\0", b"\1\0\0\0\0", b"\0\0\0\0\x80"])
def test_an_integer_has_one_spelling(raw: bytes) -> None:
    with pytest.raises(ArchiveError, match="no integer"):
        Source(io.BytesIO(raw).read).take_int("a test")


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ArchiveError, match="does not fit"):
        pack_int(2**31)


def test_a_length_that_nobody_delivers_takes_no_memory() -> None:
    raw = pack_int(2**31 - 1) + b"little"
    for take in (lambda source: source.take_text("a test"), lambda source: list(source.chunks("a test"))):
        tracemalloc.start()
        with pytest.raises(ArchiveError, match=r"is cut: it ends at byte 11|is claimed"):
            take(Source(io.BytesIO(raw).read))
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
    text = pack_int(2**25) + b"little"
    with pytest.raises(ArchiveError, match="is cut: it ends at byte 11 inside a test"):
        Source(io.BytesIO(text).read).take_text("a test")
