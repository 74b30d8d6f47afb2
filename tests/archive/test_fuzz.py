"""Damaged archives and manifests: an ArchiveError or a faithful read, never anything else.

The number of cases and the seed are fixed; `DAYBREAK_FUZZ_CASES` and `DAYBREAK_FUZZ_SEED` change them. A failure
prints the seed and the number of the case.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from archive_samples import KINDS, Dump, build, manifest_of, scan_bytes

from daybreak.archive import Compression, differences, parse_manifest, sequence_records, table_records
from daybreak.archive.toc import pack_toc
from daybreak.errors import ArchiveError

CASES = int(os.environ.get("DAYBREAK_FUZZ_CASES", "400"))
SEED = int(os.environ.get("DAYBREAK_FUZZ_SEED", "20261122"))


def flip(chance: random.Random, raw: bytearray, at: int) -> None:
    raw[at] ^= 1 << chance.randrange(8)


def overwrite(chance: random.Random, raw: bytearray, at: int) -> None:
    raw[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", chance.randbytes(4)])


def cut(_: random.Random, raw: bytearray, at: int) -> None:
    del raw[at:]


def remove(chance: random.Random, raw: bytearray, at: int) -> None:
    del raw[at : at + chance.randrange(1, 64)]


def insert(chance: random.Random, raw: bytearray, at: int) -> None:
    raw[at:at] = chance.randbytes(chance.randrange(1, 64))


def repeat(chance: random.Random, raw: bytearray, at: int) -> None:
    raw[at:at] = raw[at : at + chance.randrange(1, 4096)]


MUTATIONS: tuple[Callable[[random.Random, bytearray, int], None], ...] = (
    flip,
    flip,
    overwrite,
    cut,
    remove,
    insert,
    repeat,
)


def attack(name: str, raw: bytes, cases: int) -> int:
    """Damage `raw` so many times; return how often the reader noticed by itself."""
    found = scan_bytes(raw)
    told = manifest_of(found, raw)
    chance = random.Random(f"{SEED} {name}")  # noqa: S311 -- repeatable, not secret
    noticed = 0
    for number in range(cases):
        case = f"{name}: case {number} of seed {SEED}"
        mutated = bytearray(raw)
        # half of the damage goes into header and table of contents, where the structure is
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            end = max(1, min(len(mutated), found.toc_bytes if chance.random() < 0.5 else len(mutated)))
            chance.choice(MUTATIONS)(chance, mutated, chance.randrange(end))
            if not mutated:
                break
        try:
            again = scan_bytes(bytes(mutated))
            table_records(again)
            sequence_records(again)
            told_apart = list(differences(replace(again, sha256=sha256(mutated).hexdigest()), told))
        except ArchiveError as fault:
            noticed += 1
            if not fault.message or not fault.hint:
                pytest.fail(f"{case}: an error that does not say what happened or what to do: {fault!r}")
            continue
        except Exception as fault:  # noqa: BLE001 -- whatever it is, it must not be
            pytest.fail(f"{case}: {fault!r}")
        # what was accepted is read faithfully, and the manifest tells it from the archive that it was
        assert pack_toc(again.header, again.entries) == mutated[: again.toc_bytes], case
        assert again.size_bytes == len(mutated), case
        assert told_apart or mutated == raw, case
    return noticed


@pytest.mark.parametrize(("minor", "compression"), KINDS)
def test_damage_to_small_archives(minor: int, compression: Compression) -> None:
    raw = build(minor, compression, objects=[(7, b"seven" * 400), (8, b"")])
    assert attack(f"small 1.{minor} {compression}", raw, CASES) > CASES // 3


@pytest.mark.postgres
@pytest.mark.parametrize(("major", "compression"), [(15, "gzip"), (16, "lz4"), (17, "none"), (18, "zstd")])
def test_damage_to_real_archives(dump: Dump, major: int, compression: str) -> None:
    raw = dump(major, compression).filled.read_bytes()
    assert attack(f"real {major} {compression}", raw, CASES // 2) > CASES // 8


def test_damage_to_manifests() -> None:
    raw = build()
    whole = manifest_of(scan_bytes(raw), raw).to_json()
    chance = random.Random(SEED)  # noqa: S311 -- repeatable, not secret
    values = [None, True, -1, 0, 2**70, 1.5, "", "x", "\0", [], [[]], {}, {"a": 1}]
    for number in range(CASES):
        mutated = bytearray(whole)
        if number % 2:
            chance.choice(MUTATIONS)(chance, mutated, chance.randrange(len(mutated)))
        else:
            root = json.loads(whole)
            at = chance.choice([root, root["archive"], root["large_objects"], root["tables"][0], root["sequences"][0]])
            at[chance.choice(list(at))] = chance.choice(values)
            mutated = bytearray(json.dumps(root).encode())
        try:
            parse_manifest(bytes(mutated), "fuzzed.json")
        except ArchiveError:
            continue
        except Exception as fault:  # noqa: BLE001 -- whatever it is, it must not be
            pytest.fail(f"case {number} of seed {SEED}: {fault!r}")
