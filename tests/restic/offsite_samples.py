"""Made-up nights and real repositories for the off-site tests."""

from __future__ import annotations

import io
import os
import random
import stat
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from sealed import quicker

from daybreak.archive import (
    ArchiveWriter,
    Compression,
    Entry,
    Globals,
    Header,
    LargeObjects,
    Manifest,
    OffsetState,
    read_archive,
)
from daybreak.embedded.binaries import find_rclone
from daybreak.embedded.s3 import S3Server
from daybreak.jobs.parcel import Parcel
from daybreak.jobs.ship import Report, Shipped, require_all, ship_all
from daybreak.model import Keep, Repository, SecretSource, ShipForm
from daybreak.process import Runner
from daybreak.restic import Restic

NAME = "genjishimada-prod.dump"
HOST = "db1"
FIRST_NIGHT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def noise(size_bytes: int, seed: int) -> bytes:
    """Bytes that nothing can compress, the same for the same seed."""
    return random.Random(seed).randbytes(size_bytes)  # noqa: S311 -- data, not a key


def made_up_manifest(night: int, content: bytes, roles: bytes, *, plan: str) -> Manifest:
    """What the backup of that night would say of its archive."""
    return Manifest(
        id=f"a{night:03}",
        plan=plan,
        run=f"r{night:03}",
        taken_at=FIRST_NIGHT + timedelta(days=night),
        finished_at=FIRST_NIGHT + timedelta(days=night, seconds=9),
        sha256=sha256(content).hexdigest(),
        size_bytes=len(content),
        archive_format="1.16",
        compression="zstd",
        dump_version="18.6",
        server_version="18.6",
        database="genjishimada",
        encoding="UTF8",
        entries=0,
        tables=(),
        sequences=(),
        large_objects=LargeObjects(),
        globals=Globals(sha256=sha256(roles).hexdigest(), size_bytes=len(roles)),
    )


@dataclass(kw_only=True)
class Shelf:
    """The folder of a backup: archives come and go in it as the jobs would have them."""

    folder: Path
    plan: str = "nightly"

    def __post_init__(self) -> None:
        self.ship.mkdir(parents=True, exist_ok=True)
        self.locks.mkdir(parents=True, exist_ok=True)

    @property
    def ship(self) -> Path:
        return self.folder / "archives" / ".daybreak" / "ship"

    @property
    def locks(self) -> Path:
        return self.folder / "locks"

    def parcel(self, content: bytes = b"an archive", *, night: int = 0, quarantined: bool = False) -> Parcel:
        """What the backup of that night would hand over."""
        pins = self.folder / "archives" / ".daybreak" / "pins" / f"{self.plan}-{night}"
        pins.mkdir(parents=True)
        roles = b"CREATE ROLE genji;\n"
        manifest = made_up_manifest(night, content, roles, plan=self.plan)
        files = {"a": content, "a.json": manifest.to_json(), "a.globals.sql": roles}
        for name, written in files.items():
            (pins / name).write_bytes(written)
        return Parcel(
            plan=self.plan,
            name=NAME,
            dump=pins / "a",
            manifest=pins / "a.json",
            globals=pins / "a.globals.sql",
            quarantined=quarantined,
            form=ShipForm.FILE,
        )

    def send(
        self, parcel: Parcel, *restics: Restic, host: str = HOST, report: Report | None = None, **more: object
    ) -> list[Shipped]:
        """Ship to all of `restics`; the test fails where one fails."""
        return require_all(
            ship_all(
                parcel,
                restics,
                folder=self.ship,
                locks=self.locks,
                host=host,
                **({"report": report} if report else {}),
                **more,
            )
        )

    def leftovers(self) -> list[str]:
        """Files that a ship left behind, locks aside."""
        return sorted(path.name for path in self.ship.rglob("*") if path.is_file() and path.suffix != ".lock")


@dataclass(kw_only=True)
class Offsite:
    """Repositories on the S3 server; a new one is a copy of a template, for making one costs seconds."""

    s3: S3Server
    program: Path
    folder: Path
    template: Repository
    log: list[str] = field(default_factory=list[str])
    _made: int = 0

    def empty(self, **changes: object) -> Repository:
        """A repository of its own, just initialised."""
        self._made += 1
        path = f"{self.folder.name}-{self._made}"
        self._copy(f"template/{self.folder.name}", path)
        return replace(self.template, name="r2", url=f"{self.s3.bucket_url('offsite')}/{path}", **changes)

    def _copy(self, source: str, target: str) -> None:
        """Through the server: it does not notice what happens in its folder behind its back."""
        self._rclone("copy", "--transfers=16", f":s3:offsite/{source}", f":s3:offsite/{target}")

    def put(self, repository: Repository, name: str, content: bytes) -> None:
        """Store one object of a repository, whatever stood there."""
        path = repository.url.removeprefix(f"s3:{self.s3.endpoint}/")
        self._rclone("rcat", f":s3:{path}/{name}", content=content)

    def lose(self, path: Path) -> None:
        """Delete what the server keeps at `path`, as a client does: behind its back, it would list it for minutes."""
        self._rclone("deletefile", f":s3:{path.relative_to(self.s3.folder)}")

    def _rclone(self, *words: str, content: bytes = b"") -> None:
        settings = {
            "PROVIDER": "Rclone",
            "ENDPOINT": self.s3.endpoint,
            "ACCESS_KEY_ID": self.s3.key_id,
            "SECRET_ACCESS_KEY": self.s3.secret.reveal(),
            "NO_CHECK_BUCKET": "true",
        }
        env = {
            "RCLONE_CONFIG": "/dev/null",
            "PATH": os.environ["PATH"],
            **{f"RCLONE_S3_{name}": value for name, value in settings.items()},
        }
        subprocess.run([find_rclone(), *words], env=env, input=content, check=True, capture_output=True, timeout=60)

    def where(self, repository: Repository) -> Path:
        """The folder in which the S3 server keeps that repository."""
        return self.s3.folder / repository.url.removeprefix(f"s3:{self.s3.endpoint}/")

    def restic(self, repository: Repository | None = None, **more: object) -> Restic:
        """A client; of a new repository, if none is given."""
        return Restic(repository or self.empty(keep=None), Runner(log=self.log.append), **more)

    def wrapped(self, name: str, script: str) -> Path:
        """A restic that does something of its own before or after the real one, which the script calls $RESTIC."""
        wrapper = self.folder / name
        wrapper.write_text(f"#!/bin/sh\nRESTIC='{self.program}'\n{script}\n")
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        return wrapper


def make_offsite(s3: S3Server, program: Path, folder: Path, version: str) -> Offsite:
    """One restic with its template repository, which is made here."""
    home = folder / version
    home.mkdir(parents=True)
    password, env_file = home / "r2.password", home / "r2.env"
    for path, text in (
        (password, f"canary-password-{version}\n"),
        (env_file, "".join(f"{name}={value}\n" for name, value in s3.env.items())),
    ):
        path.touch(mode=0o600)
        path.write_text(text)
    template = Repository(
        name="template",
        url=f"{s3.bucket_url('offsite')}/template/{version}",
        password=SecretSource(file=password),
        env={"RESTIC_CACHE_DIR": str(home / "cache")},
        env_file=env_file,
        keep=Keep(last=100),
        restic=program,
        deadline=timedelta(minutes=5),
    )
    Restic(template, Runner()).init()
    made = Offsite(s3=s3, program=program, folder=home, template=template)
    (slow,) = (made.where(template) / "keys").iterdir()
    name, content = quicker(slow.read_bytes(), password.read_text().strip())
    made.put(template, f"keys/{name}", content)
    made.lose(slow)
    return made


def broken(repository: Repository, **env: str) -> Repository:
    """The same repository, reached with other settings of the environment."""
    return replace(repository, env={**repository.env, **env}, env_file=None)


__all__ = [
    "FIRST_NIGHT",
    "HOST",
    "NAME",
    "Offsite",
    "Shelf",
    "broken",
    "made_up_manifest",
    "make_offsite",
    "night_archive",
    "noise",
]


def night_archive(shelf: Shelf, night: int) -> Parcel:
    """A real archive of 3 MB in which each night changes a few rows, as the backup would hand it over for shards."""
    pins = shelf.folder / "archives" / ".daybreak" / "pins" / f"real-{night}"
    archive = pins / "a"
    if not archive.exists():
        pins.mkdir(parents=True)
        archive.write_bytes(_archive(night))
        found = read_archive(archive)
        roles = b"CREATE ROLE genji;\n"
        manifest = Manifest.from_scan(
            found,
            id=f"a{night:03}",
            plan=shelf.plan,
            run=f"r{night:03}",
            taken_at=FIRST_NIGHT + timedelta(days=night),
            finished_at=FIRST_NIGHT + timedelta(days=night, seconds=9),
            sha256=sha256(archive.read_bytes()).hexdigest(),
            size_bytes=archive.stat().st_size,
            globals=Globals(sha256=sha256(roles).hexdigest(), size_bytes=len(roles)),
        )
        (pins / "a.json").write_bytes(manifest.to_json())
        (pins / "a.globals.sql").write_bytes(roles)
    return Parcel(plan=shelf.plan, name=NAME, dump=archive, manifest=pins / "a.json", globals=pins / "a.globals.sql")


def _archive(night: int) -> bytes:
    """Two tables, one empty, and large objects, in the custom format."""
    rows = [b"%d\t%s\n" % (number, noise(40, number).hex().encode()) for number in range(30_000)]
    for changed in range(night):
        rows[7000 * changed + 100] = b"%d\tnew\n" % changed
    rows += [b"%d\tadded\n" % number for number in range(20 * night)]
    nothing = Entry(
        id=1,
        had_dumper=False,
        table_oid=0,
        oid=0,
        name="ENCODING",
        kind="ENCODING",
        section=2,
        definition="SET client_encoding = 'UTF8';\n",
        drop="",
        copy="",
        schema=None,
        tablespace=None,
        access_method=None,
        owner="",
        dependencies=(),
        state=OffsetState.NO_DATA,
    )
    data = replace(nothing, had_dumper=True, kind="TABLE DATA", section=3, schema="public", state=OffsetState.NOT_SET)
    entries = [
        nothing,
        replace(data, id=2, name="runs", copy="COPY public.runs (id, note) FROM stdin;\n"),
        replace(data, id=3, name="empty", copy="COPY public.empty (id) FROM stdin;\n"),
        replace(data, id=4, name="BLOBS", kind="BLOBS", schema=None),
    ]
    header = Header(
        minor=16,
        compression=Compression.ZSTD,
        created=(59, 30, 2, 22, 10, 126, 0),
        database="genjishimada",
        server_version="17.5",
        dump_version="17.5",
    )
    file = io.BytesIO()
    writer = ArchiveWriter(file, header, entries)
    writer.table(entries[1], [b"".join(rows)])
    writer.table(entries[2], [])
    writer.objects(entries[3], [(16401, b"paper" * 1000), (16402, b""), (16403, noise(200_000, 5))])
    writer.close()
    return file.getvalue()
