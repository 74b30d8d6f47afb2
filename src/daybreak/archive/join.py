"""Join the shards of one Daybreak snapshot into an archive that pg_restore reads.

    python3 join.py OUT

Stands alone: Python 3.8 or newer and nothing else. It lies beside `manifest.json`, `toc`, `globals.sql` and `shards/`
in every snapshot, and Daybreak's own `fetch` uses the very same code.

Shapes  every sha256 in the manifest is checked, the manifest's own too. OUT appears when it is complete; a file that
        exists is not overwritten. The result has the archive's tables, rows and large objects in their order, and
        where the data of each stands, so that `pg_restore --jobs` can seek; it is not compressed, so its bytes are
        not those of the archive.
Units   bytes; one shard is in memory at a time.
Errors  `JoinError`; as a program: exit status 1 and one line on standard error.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

#: The first byte of a block of data in PostgreSQL's custom format, by the kind of its entry.
BLOCKS = {"TABLE DATA": 1, "BLOBS": 3}
#: What pg_dump puts behind the rows of a table.
TERMINATOR = b"\\.\n\n\n"
#: An integer of the format is a sign byte and four bytes; an offset is a state byte (2: known) and eight.
INTEGER = struct.Struct("<BI")
OFFSET = struct.Struct("<BQ")
KNOWN = 2
#: The digits of a sha256.
DIGITS = 64
READ_BYTES = 2**20
USAGE = "usage: python3 join.py OUT"


class JoinError(Exception):
    """The folder is not what its manifest says, or the result cannot be written."""


def join(folder: Path, out: Path) -> str:
    """Write the archive whose shards lie in `folder` as the new file `out`; say in one line what it is."""
    try:
        manifest = read_manifest(folder)
        require_new(out)
        for name, (sha256, size) in sorted(manifest["files"].items()):
            check(folder / name, sha256, size)
        require_room(out, sum(size for block in manifest["blocks"] for _, size in block["shards"]))
        partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
        try:
            with partial.open("xb") as file:
                write(folder, manifest, file)
                file.flush()
                os.fsync(file.fileno())
            require_new(out)
            partial.rename(out)
        finally:
            if partial.exists():
                partial.unlink()
        return describe(manifest, out)
    except OSError as fault:
        raise JoinError(f"{fault.filename or out}: {fault.strerror or fault}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, struct.error) as fault:
        raise JoinError(f"{folder / 'manifest.json'} is not a manifest that can be used: {fault!r}") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a snapshot, its own checksum compared, each shard as (sha256, size)."""
    path = folder / "manifest.json"
    raw = path.read_bytes()
    manifest = json.loads(raw.decode("ascii"))
    if (manifest["kind"], manifest["format"]) != ("daybreak shards", 1):
        raise JoinError(f"{path} is of another format; use the join.py that lies beside it")
    told = manifest["checksum"]
    if len(told) != DIGITS or hashlib.sha256(raw.replace(told.encode(), b"0" * DIGITS, 1)).hexdigest() != told:
        raise JoinError(f"{path} is damaged: it has not its own checksum")
    for block in manifest["blocks"]:
        block["shards"] = [shard(line) for line in block["shards"]]
    return manifest


def shard(line: str) -> tuple[str, int]:
    """`sha256 size` as the manifest writes it."""
    name, size = line.split(" ")
    if len(name) != DIGITS or set(name) - set("0123456789abcdef"):
        raise ValueError(f"not the name of a shard: {line[:DIGITS]}")
    return name, int(size)


def require_new(out: Path) -> None:
    """Overwrite nothing."""
    if os.path.lexists(out):
        raise JoinError(f"{out} exists already and is not overwritten")


def require_room(out: Path, needed: int) -> None:
    """Say so now rather than when the disk is full."""
    free = shutil.disk_usage(out.absolute().parent).free
    if free < needed:
        raise JoinError(f"{out} needs {needed} bytes and there are {free} free")


def check(path: Path, sha256: str, size: int) -> None:
    """Compare a file beside the manifest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(READ_BYTES), b""):
            digest.update(piece)
        found = file.tell()
    if found != size or digest.hexdigest() != sha256:
        raise JoinError(f"{path} is damaged: it has not the sha256 that the manifest says")


def write(folder: Path, manifest: dict[str, Any], file: BinaryIO) -> None:
    """The whole archive; its table of contents again at the end, when the places of all data are known."""
    contents = bytearray((folder / "toc").read_bytes())
    file.write(contents)
    for block in manifest["blocks"]:
        rows = block["kind"] == "TABLE DATA"
        OFFSET.pack_into(contents, block["toc_at"], KNOWN, file.tell())
        file.write(bytes([BLOCKS[block["kind"]]]) + INTEGER.pack(0, block["id"]))
        digest = hashlib.sha256()
        for name, size in block["shards"]:
            data = load(folder / "shards" / name[:2] / name, size)
            digest.update(data)
            if rows:  # large objects are in chunks already
                file.write(INTEGER.pack(0, size))
            file.write(data)
        if digest.hexdigest() != block["sha256"]:
            raise JoinError(f"the data of {block['label']} is not what the manifest says")
        if rows:
            file.write(INTEGER.pack(0, len(TERMINATOR)) + TERMINATOR)
        file.write(INTEGER.pack(0, 0))
    file.seek(0)
    file.write(contents)


def load(path: Path, size: int) -> bytes:
    """One shard, compared with its name; of a file that is larger than it should be not more is read."""
    with path.open("rb") as file:
        data = file.read(size + 1)
    if len(data) != size or hashlib.sha256(data).hexdigest() != path.name:
        raise JoinError(f"{path} is damaged: it has not the sha256 that is its name")
    return data


def describe(manifest: dict[str, Any], out: Path) -> str:
    """What was made, for people, in one line."""
    archive = manifest["archive"]
    tables = archive["tables"]
    found = f"{_count(len(tables), 'table')}, {_count(sum(table['rows'] for table in tables), 'row')}"
    return (
        f"{out}: {found}, equal to archive {archive['id']} of {archive['taken_at']} table by "
        "table (not byte by byte: it is not compressed); restore it with pg_restore --jobs 4"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def main(words: list[str]) -> int:
    """The program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal cannot show
    fault = USAGE
    if len(words) == 1 and not words[0].startswith("-"):
        try:
            sys.stdout.write(join(Path(__file__).absolute().parent, Path(words[0])) + "\n")
        except JoinError as error:
            fault = " ".join(str(error).split())
        except KeyboardInterrupt:
            fault = "interrupted; nothing was written"
        else:
            return 0
    sys.stderr.write(f"join.py: {fault}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
