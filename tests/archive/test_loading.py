"""What pg_restore is given: a copy that loads tables frozen where that is worth it, else the archive itself."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import pytest
from archive_samples import ROWS, build, entry, manifest_of, scan_bytes

from daybreak import files
from daybreak.archive import Entry, read_contents, read_restorable
from daybreak.catalog import Catalog
from daybreak.errors import Cancelled, RefreshError
from daybreak.jobs.loading import Loading, loading
from daybreak.jobs.run import Engine, RunContext
from daybreak.jobs.shelf import Pinned
from silent import Silent


@dataclass(kw_only=True)
class Ground:
    """An archive that a run has pinned."""

    folder: Path
    pinned: Pinned
    entries: tuple[Entry, ...]
    cancel: threading.Event
    spare_bytes: int | None = None
    search_path: tuple[str, ...] = ()
    log: str = ""

    def load(self, look: Callable[[Loading], None], *, here: bool = True) -> None:
        """Let `look` see what pg_restore would be given."""
        catalog = Catalog.open(self.folder / "state")

        def job(run: RunContext) -> None:
            with loading(
                run, self.pinned, self.entries, search_path=self.search_path, here=here, spare_bytes=self.spare_bytes
            ) as found:
                look(found)

        try:
            run = Engine(catalog, self.folder / "state", Silent()).execute(
                plan="", kind="refresh", trigger="test", job=job, cancel=self.cancel
            )
        finally:
            catalog.close()
        self.log = (self.folder / "state" / "logs" / f"{run.id}.log").read_text()

    @property
    def copies(self) -> list[Path]:
        """What was made beside the pin, and in private folders."""
        return [*self.folder.rglob("*.load")]

    def is_plain(self) -> bool:
        """Whether the archive itself is taken, and nothing is left."""
        seen: list[Loading] = []
        self.load(seen.append)
        assert self.copies == []
        return seen[0].path == self.pinned.path and seen[0].frozen == 0


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """An archive of two tables on a shelf."""
    raw = build(tables={"first": [ROWS * 1000], "second": [ROWS]})
    pins = tmp_path / "pins"
    pins.mkdir()
    path = pins / "x.dump"
    path.write_bytes(raw)
    return Ground(
        folder=tmp_path,
        pinned=Pinned(path=path, manifest=manifest_of(scan_bytes(raw), raw), folder=pins),
        entries=read_contents(path)[1],
        cancel=threading.Event(),
    )


def test_the_copy_lies_beside_the_pin_for_as_long_as_it_is_used(ground: Ground) -> None:
    def look(found: Loading) -> None:
        assert found.path.parent == ground.pinned.folder
        assert ground.copies == [found.path]
        assert found.frozen == 2
        assert found.size_bytes == found.path.stat().st_size
        assert found.path.stat().st_mode & 0o777 == files.FILE_MODE  # a container that mounts the folder reads it

    ground.load(look)
    assert ground.copies == []


def test_of_a_file_by_itself_the_copy_is_private(ground: Ground) -> None:
    ground.pinned = replace(ground.pinned, folder=None)

    def look(found: Loading) -> None:
        assert found.path.parent.parent == ground.folder / "state" / "private"
        assert found.path.stat().st_mode & 0o777 == 0o600

    ground.load(look)
    assert ground.copies == []


def test_elsewhere_it_is_known_by_its_sha256(ground: Ground) -> None:
    def look(found: Loading) -> None:
        assert found.sha256 == sha256(found.path.read_bytes()).hexdigest()

    ground.load(look, here=False)


def test_tonights_archive_has_to_fit_beside_it(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    size = ground.pinned.manifest.size_bytes
    monkeypatch.setattr(files, "free_bytes", lambda _: 2 * size)
    assert not ground.is_plain()
    monkeypatch.setattr(files, "free_bytes", lambda _: 2 * size - 1)
    assert ground.is_plain()
    assert "tables are not loaded frozen" in ground.log


def test_what_is_restored_has_to_fit_on_the_same_disk(ground: Ground) -> None:
    ground.spare_bytes = ground.pinned.manifest.size_bytes
    assert not ground.is_plain()
    ground.spare_bytes -= 1
    assert ground.is_plain()


def test_a_small_table_of_a_large_archive_is_not_worth_a_copy(ground: Ground) -> None:
    manifest = ground.pinned.manifest
    loaded = sum(one.digest.size_bytes for one in manifest.tables)
    ground.pinned = replace(ground.pinned, manifest=replace(manifest, size_bytes=loaded + 2**20))
    assert not ground.is_plain()
    ground.pinned = replace(ground.pinned, manifest=replace(manifest, size_bytes=loaded + 2**20 + 1))
    assert ground.is_plain()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_is_no_fault(ground: Ground, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("daybreak.archive.restorable._write", refuse)
    assert ground.is_plain()
    assert os.strerror(code) in ground.log


def test_who_cancels_does_not_wait_for_the_copy(ground: Ground) -> None:
    ground.cancel.set()
    with pytest.raises(Cancelled):
        ground.load(lambda _: pytest.fail("nobody wants it any more"))
    assert ground.copies == []


def test_what_goes_wrong_in_the_restore_leaves_nothing(ground: Ground) -> None:
    def fail(_: Loading) -> NoReturn:
        raise LookupError

    with pytest.raises(LookupError):
        ground.load(fail)
    assert ground.copies == []


FUNCTION = entry(2, "FUNCTION", "f(integer)", definition="CREATE FUNCTION public.f(i integer) RETURNS boolean\n")


def checked(entries: list[Entry]) -> list[Entry]:
    """Both tables with a check that calls a function."""
    items = "(\n    id integer,\n    CONSTRAINT c CHECK (public.f(id))\n);\n"
    return [
        FUNCTION,
        *(
            replace(one, definition=f"CREATE TABLE public.{one.name} {items}") if one.kind == "TABLE" else one
            for one in entries
        ),
    ]


@pytest.fixture
def late(ground: Ground) -> Ground:
    """The same with checks that call a function."""
    raw = build(tables={"first": [ROWS * 1000], "second": [ROWS]}, change=checked)
    ground.pinned.path.write_bytes(raw)
    ground.pinned = replace(ground.pinned, manifest=manifest_of(scan_bytes(raw), raw))
    ground.entries = read_restorable(ground.pinned.path)
    return ground


def kinds(file: Loading) -> list[str]:
    return [one.kind for one in file.entries]


def test_where_there_is_no_copy_checks_are_made_with_their_tables(
    late: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(found: Loading) -> None:
        assert kinds(found).count("CHECK CONSTRAINT") == 2
        assert "CHECK" not in (next(one for one in found.entries if one.kind == "TABLE").definition or "")

    late.load(look)
    monkeypatch.setattr(files, "free_bytes", lambda _: 0)

    def plainly(found: Loading) -> None:
        assert found.path == late.pinned.path
        assert list(found.entries) == list(read_contents(found.path)[1])

    late.load(plainly)
    assert "checks are made with them" in late.log


def test_a_check_that_is_left_out_and_a_search_path_need_a_copy(late: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda _: 0)
    everything = late.entries
    late.entries = everything[:-1]  # one of the checks is left out
    late.load(lambda found: kinds(found).remove("CHECK CONSTRAINT"))
    late.entries, late.search_path = everything, ("app", 'odd "one"')

    def look(found: Loading) -> None:
        assert found.path != late.pinned.path

    late.load(look)

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("daybreak.archive.restorable._write", refuse)
    with pytest.raises(RefreshError, match=r"needs a copy of the archive: [^ ]+: the disk is full"):
        late.load(look)
    assert late.copies == []
