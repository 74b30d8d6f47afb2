"""Archives as shards and back: real ones of every pg_dump, and folders that are damaged."""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from archive_samples import COMPRESSIONS, KINDS, Dump, Servers, build, environment, pack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daybreak.archive import Compression, Scan, check_archive, differences, join, read_archive
from daybreak.archive.cutting import AVERAGE_BYTES, Cutting
from daybreak.archive.shards import Shard, ShardManifest, cut_archive, joined, parse_shard_manifest
from daybreak.errors import ArchiveError

SMALL = Cutting.of_average(256)
LARGEST = {major: list(names)[-1] for major, names in COMPRESSIONS.items()}


def run(folder: Path, *words: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """`python3 join.py …` of that folder, alone: no module of ours can be imported."""
    argv = [python, "-I", "-W", "error", folder / "join.py", *words]
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd="/", env=env)


def contents(found: Scan) -> dict[str, int]:
    """The rows of each table. Not what a restore may print in another way, and partitions by hash as one set."""
    summed: dict[str, int] = {}
    for entry, digest in found.tables:
        if entry.label == "shop.car":  # a child whose parent got a column later: its columns change their order
            continue
        label = entry.root or entry.label
        summed[label] = (summed.get(label, 0) + int(digest.unordered or digest.sha256, 16)) % 2**128
    return summed


def every_python() -> list[str]:
    """Each Python 3.8 or newer that is installed here, ours at least."""
    found = {tuple(sys.version_info[:2]): sys.executable}
    for minor in range(8, 20):
        path = shutil.which(f"python3.{minor}")
        said = subprocess.run([path, "-c", "print(1)"], capture_output=True, check=False) if path else None
        if path and said is not None and said.returncode == 0:
            found.setdefault((3, minor), path)
    return list(found.values())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A snapshot's folder of a small archive of ours."""
    archive = tmp_path / "archive.dump"
    rows = [b"%d\t%s\n" % (number, random.Random(number).randbytes(20).hex().encode()) for number in range(200)]  # noqa: S311 -- data
    archive.write_bytes(build(tables={"first": rows, "second": [], "third": [b"w" * 2000 + b"\n"]}))
    pack(archive, tmp_path / "nightly", SMALL)
    return tmp_path / "nightly"


@pytest.mark.parametrize("major", COMPRESSIONS)
@pytest.mark.postgres
def test_a_real_archive_comes_back_and_restores_in_parallel(
    dump: Dump, servers: Servers, major: int, tmp_path: Path
) -> None:
    dumped, server = dump(major, LARGEST[major]), servers[major]
    made = pack(dumped.filled, tmp_path / "nightly", SMALL)
    out = tmp_path / "back.dump"

    done = run(tmp_path / "nightly", out)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "table by table (not byte by byte" in done.stdout
    found = read_archive(out)
    told = joined(made.archive, sha256=found.sha256 or "", size_bytes=found.size_bytes)
    assert list(differences(found, told)) == []
    assert any(block.kind == "BLOBS" for block in made.blocks)
    assert any(not block.shards for block in made.blocks)  # an empty table
    (tmp_path / "back.dump.json").write_bytes(told.to_json())
    assert check_archive(out, tmp_path / "back.dump.json").verdict == "equal to its manifest"
    name = f"joined_{major}"
    server.create_database(name, template="template0")
    argv = [server.bin / "pg_restore", "-j2", "--exit-on-error", "-d", server.conninfo(name), out]
    subprocess.run(argv, check=True, env=environment(), timeout=120, capture_output=True)
    again = tmp_path / "again.dump"
    argv = [server.bin / "pg_dump", "-Fc", "-Z0", "-f", again, server.conninfo(name)]
    subprocess.run(argv, check=True, env=environment(), timeout=120)
    server.drop_database(name)
    assert contents(read_archive(again)) == contents(found)


@pytest.mark.parametrize(("minor", "compression"), KINDS)
def test_every_format_and_compression(minor: int, compression: Compression, tmp_path: Path) -> None:
    archive, out = tmp_path / "archive.dump", tmp_path / "out.dump"
    archive.write_bytes(build(minor, compression))
    made = pack(archive, tmp_path / "nightly", SMALL)

    said = join.join(tmp_path / "nightly", out)

    found = read_archive(out)
    assert (
        list(differences(found, joined(made.archive, sha256=found.sha256 or "", size_bytes=len(out.read_bytes()))))
        == []
    )
    assert found.header.compression is Compression.NONE
    assert "2 tables, 3 rows, equal to archive a1" in said


def test_every_python_there_is_can_join(folder: Path, tmp_path: Path) -> None:
    pythons = every_python()
    for number, python in enumerate(pythons):
        done = run(folder, tmp_path / f"{number}.dump", python=python)
        assert (done.returncode, done.stderr) == (0, ""), python
    assert {(tmp_path / f"{number}.dump").read_bytes() for number in range(len(pythons))} == {
        (tmp_path / "0.dump").read_bytes()
    }


def test_the_program_is_python_3_8_and_imports_nothing_of_ours() -> None:
    text = Path(join.__file__).read_text("utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
    assert text.isascii()


def test_nothing_is_overwritten_and_words_that_make_no_sense_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "there.dump"
    out.write_text("precious")
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")

    for words in ([out], [dangling], [], ["a", "b"], ["--help"], [tmp_path / "no" / "folder"], [tmp_path]):
        done = run(folder, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert out.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    assert list(tmp_path.glob("*.partial")) == []


def test_a_full_disk_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join.shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(join.JoinError, match=r"needs \d+ bytes and there are 1000 free"):
        join.join(folder, tmp_path / "out.dump")
    monkeypatch.undo()
    real = join.write

    def fails(*words: object) -> None:
        real(*words)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(join, "write", fails)
    with pytest.raises(join.JoinError, match="No space left on device"):
        join.join(folder, tmp_path / "out.dump")
    assert list(tmp_path.glob("out*")) == []


def damage(folder: Path, chance: random.Random) -> str:
    """Break one thing that join.py depends on; say what."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "join.py")
    path = chance.choice(files)
    content = path.read_bytes()
    how = chance.choice(["flip", "cut", "longer", "gone", "folder", "swap", "empty"])
    if how == "flip" and content:
        at = chance.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
    elif how == "cut" and content:
        path.write_bytes(content[: chance.randrange(len(content))])
    elif how == "longer":
        path.write_bytes(content + chance.randbytes(chance.randrange(1, 9)))
    elif how == "empty" and content:
        path.write_bytes(b"")
    elif how == "swap" and (other := chance.choice(files)).read_bytes() != content:
        path.write_bytes(other.read_bytes())
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
    return f"{how} {path.name}"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 10**9))
def test_whatever_is_damaged_is_found_and_leaves_nothing(folder: Path, tmp_path: Path, seed: int) -> None:
    broken, out = tmp_path / "broken", tmp_path / "out.dump"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(folder, broken)
    what = damage(broken, random.Random(seed))  # noqa: S311 -- not a key

    with pytest.raises(join.JoinError) as caught:
        join.join(broken, out)

    assert str(caught.value), what
    assert list(tmp_path.glob("out.dump*")) == []
    if seed % 20 == 0:
        done = run(broken, out)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), what


def rewritten(folder: Path, **changes: object) -> None:
    """Change the manifest and give it its own checksum again."""
    found = json.loads((folder / "manifest.json").read_bytes()) | changes | {"checksum": "0" * 64}
    raw = json.dumps(found).encode()
    digest = sha256(raw).hexdigest()
    (folder / "manifest.json").write_bytes(raw.replace(b"0" * 64, digest.encode(), 1))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"format": 2}, "of another format"),
        ({"kind": "something"}, "of another format"),
        ({"blocks": 5}, "is not a manifest that can be used"),
        ({"blocks": [{"shards": ["../../etc/passwd 5"]}]}, "not the name of a shard"),
        ({"files": {"toc": 1}}, "is not a manifest that can be used"),
        ({"archive": {}}, "is not a manifest that can be used"),
    ],
)
def test_a_manifest_that_is_none_of_ours(folder: Path, tmp_path: Path, changes: dict[str, object], fault: str) -> None:
    rewritten(folder, **changes)

    with pytest.raises(join.JoinError, match=fault):
        join.join(folder, tmp_path / "out.dump")
    with pytest.raises(ArchiveError):
        parse_shard_manifest((folder / "manifest.json").read_bytes(), "manifest.json")


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    archive = tmp_path / "archive.dump"
    archive.write_bytes(build())
    made = pack(archive, tmp_path / "nightly", Cutting.of_average(AVERAGE_BYTES))
    raw = made.to_json()

    assert parse_shard_manifest(raw, "manifest.json") == made
    assert isinstance(made, ShardManifest)
    with pytest.raises(ArchiveError, match="not its own checksum"):
        parse_shard_manifest(raw.replace(b'"label"', b'"labe1"', 1), "manifest.json")


def test_the_same_archive_gives_the_same_shards_whatever_its_compression(tmp_path: Path) -> None:
    made: list[list[str]] = []
    for compression in Compression:
        archive = tmp_path / f"{compression}.dump"
        archive.write_bytes(build(16, compression))
        made.append([shard.sha256 for shard in pack(archive, tmp_path / compression, SMALL).shards])

    assert made[1:] == made[:-1]


def test_an_archive_that_is_not_its_manifests_is_not_cut(tmp_path: Path) -> None:
    archive, other = tmp_path / "archive.dump", tmp_path / "other.dump"
    archive.write_bytes(build(tables={"first": [b"1\tone\n"]}))
    other.write_bytes(build(tables={"first": [b"1\ttwo\n"]}))
    made = pack(archive, tmp_path / "nightly", SMALL)
    with pytest.raises(ArchiveError, match=r"the data of public\.first is not what the manifest says"):
        cut_archive(other, made.archive, SMALL, lambda _shard, _data: None)


def test_a_table_that_is_known_is_not_read(tmp_path: Path) -> None:
    kept = [b"%d\t%s\n" % (number, b"k" * (number % 90)) for number in range(3000)]
    first, second = tmp_path / "first.dump", tmp_path / "second.dump"
    first.write_bytes(build(tables={"kept": kept, "grown": [b"1\tone\n"]}))
    second.write_bytes(build(tables={"kept": kept, "grown": [b"1\tone\n2\ttwo\n"]}))
    before, whole = pack(first, tmp_path / "before", SMALL), pack(second, tmp_path / "whole", SMALL)
    known = {block.sha256: block.shards for block in before.blocks if block.kind == "TABLE DATA"}
    put: list[Shard] = []

    blocks, toc = cut_archive(second, whole.archive, SMALL, lambda shard, _data: put.append(shard), known=known.get)

    assert blocks == whole.blocks
    assert toc == (tmp_path / "whole" / "toc").read_bytes()
    assert [shard for block in blocks if block.label != "public.kept" for shard in block.shards] == put
