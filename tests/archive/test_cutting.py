"""Shards: joined they are what was cut, and a change stays where it was made."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak.archive.cutting import AVERAGE_BYTES, SHARDS, Cutting, cut_objects, cut_rows
from daybreak.archive.primitives import Source, pack_oid

SMALL = Cutting.of_average(64)
rows = st.lists(st.binary(max_size=300).map(lambda raw: raw.replace(b"\n", b"\\n") + b"\n"), max_size=60)


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """The same bytes in pieces of changing size."""
    chance = random.Random(seed)  # noqa: S311 -- data, not a key
    at = 0
    while at < len(data):
        size = chance.randrange(1, 200)
        yield data[at : at + size]
        at += size


@given(rows, st.integers(0, 99))
def test_joined_they_are_the_rows_however_these_came(lines: list[bytes], seed: int) -> None:
    data = b"".join(lines)
    shards = list(cut_rows([data] if data else [], SMALL))

    assert b"".join(shards) == data
    assert all(shards)
    assert list(cut_rows(pieces(data, seed), SMALL)) == shards


@given(rows)
def test_a_shard_ends_with_a_row_and_keeps_within_its_bounds(lines: list[bytes]) -> None:
    longest = SMALL.maximum_bytes
    within = [line for line in lines if len(line) <= longest]

    shards = list(cut_rows([b"".join(within)], SMALL))

    assert all(shard.endswith(b"\n") and len(shard) <= longest for shard in shards)
    # Small only where a row that is larger than the rest of it follows.
    for shard, following in pairwise(shards):
        first = following.index(b"\n") + 1
        assert len(shard) >= SMALL.minimum_bytes or len(shard) + first > longest


@given(rows)
def test_a_row_that_is_larger_than_a_shard_has_shards_of_its_own(lines: list[bytes]) -> None:
    lines = [line.replace(b"w", b"v") for line in lines]
    wide = b"w" * (5 * SMALL.maximum_bytes + 7) + b"\n"

    shards = list(cut_rows([b"".join([*lines, wide, *lines])], SMALL))

    assert b"w" * SMALL.maximum_bytes in shards
    parts = [shard for shard in shards if b"w" in shard]
    assert b"".join(parts) == wide


def table(count: int, seed: int = 1) -> list[bytes]:
    """Rows of some 100 bytes, narrow and wide ones among them."""
    chance = random.Random(seed)  # noqa: S311 -- data, not a key
    return [b"%d\t%s\n" % (number, chance.randbytes(chance.randrange(5, 90)).hex().encode()) for number in range(count)]


def names(lines: list[bytes], cutting: Cutting) -> list[str]:
    """What the shards would be called."""
    return [sha256(shard).hexdigest() for shard in cut_rows([b"".join(lines)], cutting)]


@pytest.mark.parametrize("how", ["changed", "inserted", "deleted"])
def test_a_changed_row_changes_the_shard_that_it_is_in(how: str) -> None:
    cutting = Cutting.of_average(4096)
    lines = table(20_000)
    before = names(lines, cutting)
    chance = random.Random(2)  # noqa: S311 -- data, not a key
    counts: list[int] = []
    for _ in range(40):
        at = chance.randrange(len(lines))
        fresh = [b"%d\tnew\n" % at] if how != "deleted" else []
        after = names(lines[:at] + fresh + lines[at + (how != "inserted") :], cutting)
        counts.append(len(set(after) - set(before)))

    assert sorted(counts)[len(counts) // 2] == 1
    assert sum(counts) <= 2 * len(counts)
    assert max(counts) < 30  # of some 470: two streams always meet again


def test_what_stands_before_does_not_matter_for_long() -> None:
    cutting = Cutting.of_average(4096)
    lines = table(20_000)
    before = set(names(lines, cutting))

    counts = [len(set(names(table(count, seed=9) + lines, cutting)) - before) for count in (1, 10, 100, 1000)]

    assert [count - new for count, new in zip(counts, (0, 0, 3, 28), strict=True)] < [40] * 4
    assert max(counts) < 70


def test_rows_that_are_all_alike_are_one_shard_many_times() -> None:
    shards = list(cut_rows([b"same\tsame\n" * 100_000], Cutting.of_average(4096)))

    assert len(set(shards[:-1])) == 1
    assert len(shards) > 200


@pytest.mark.parametrize(
    ("data_bytes", "average"),
    [(0, 1), (AVERAGE_BYTES * SHARDS, 1), (AVERAGE_BYTES * SHARDS + 1, 2), (100 * 2**30, 64), (2**40, 512)],
)
def test_shards_grow_with_the_database_and_their_number_does_not(data_bytes: int, average: int) -> None:
    cutting = Cutting.for_size(data_bytes)

    assert cutting == Cutting.of_average(average * AVERAGE_BYTES)
    assert data_bytes / (average * AVERAGE_BYTES) <= SHARDS


def test_a_row_of_600_mb_takes_a_few_mb_of_memory() -> None:
    cutting = Cutting.of_average(AVERAGE_BYTES)
    count, size = 4800, 2**17
    tracemalloc.start()
    total = number = 0
    digest, told = sha256(), sha256()

    def one_row() -> Iterator[bytes]:
        for at in range(count):
            piece = b"%08d" % at * (size // 8)
            told.update(piece)
            yield piece
        told.update(b"\nnext\n")
        yield b"\nnext\n"

    for shard in cut_rows(one_row(), cutting):
        total, number = total + len(shard), number + 1
        digest.update(shard)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert total == count * size + 6 > 500 * 10**6
    assert digest.digest() == told.digest()
    assert peak < 4 * 2**20
    assert number == -(-(count * size + 1) // cutting.maximum_bytes) + 1


objects = st.lists(st.tuples(st.integers(1, 2**32 - 1), st.binary(max_size=300)), max_size=30, unique_by=lambda o: o[0])


def flow(found: list[tuple[int, bytes]], seed: int) -> Iterator[tuple[int, bytes]]:
    """Large objects as an archive gives them."""
    for oid, content in found:
        yield oid, b""
        for piece in pieces(content, seed):
            yield oid, piece


@given(objects, st.integers(0, 99))
def test_shards_of_large_objects_are_what_an_archive_has(found: list[tuple[int, bytes]], seed: int) -> None:
    shards = list(cut_objects(flow(found, seed), SMALL))
    source = Source(io.BytesIO(b"".join([*shards, pack_oid(0)])).read)

    read: list[tuple[int, bytes]] = []
    while oid := source.take_oid("test"):
        read.append((oid, b"".join(source.chunks("test"))))

    assert read == found
    assert all(0 < len(shard) <= SMALL.maximum_bytes for shard in shards)
    assert list(cut_objects(flow(found, seed + 1), SMALL)) == shards


def test_one_changed_large_object_changes_its_shard() -> None:
    cutting = Cutting.of_average(4096)
    chance = random.Random(1)  # noqa: S311 -- data, not a key
    found = [(16384 + 3 * number, chance.randbytes(chance.randrange(0, 9000))) for number in range(600)]
    before = set(cut_objects(flow(found, 1), cutting))
    counts: list[int] = []
    for at in range(20, 600, 30):
        changed = [*found[:at], (found[at][0], b"other"), *found[at + 1 :]]
        counts.append(len(set(cut_objects(flow(changed, 1), cutting)) - before))

    assert sorted(counts)[len(counts) // 2] <= 2
    assert max(counts) < 20
