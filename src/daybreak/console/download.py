"""An archive as a file for whoever may take all of production home: only where the configuration says so.

What is sent is read back first: the file under the recorded name is opened once, compared with its sha256, and sent
from that very file, whatever is renamed over the name meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

from litestar import get
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from daybreak.console.asking import Asking, Note, world_of
from daybreak.console.guards import needs
from daybreak.console.people import Role
from daybreak.console.stepup import fresh
from daybreak.model import Archive

VERB: Final = "download"
_PIECE_BYTES: Final = 2**20
#: A file takes no place in the window: after the second look its archive's page begins it, and is what one sees.
_GUARDS: Final = [needs(Role.RESTORER, VERB), fresh(VERB, "/archives/{archive}?begin=download")]


def handlers(note: Note) -> list[ControllerRouterHandler]:
    """The file, for a browser and for a program."""

    def send(request: Asking, archive: FromPath[str]) -> Stream:
        world = world_of(request)
        if not world.console.downloads:
            raise NotFoundException("No archive leaves through the browser here (downloads of [console]).")
        record = world.look().catalog.archives.get(archive)
        if record is None:
            raise NotFoundException(f"There is no archive {archive}.")
        one = record.archive
        file = _opened(one)
        note(request, VERB, f"archive {one.id}", "begun")
        headers = {
            "Content-Disposition": f'attachment; filename="{one.plan}-{one.id}.dump"',
            "Content-Length": str(one.size_bytes),
            "X-Archive-Sha256": one.sha256,
        }
        return Stream(_pieces(file), media_type="application/octet-stream", headers=headers)

    def route(path: str) -> ControllerRouterHandler:
        return get(
            path,
            guards=_GUARDS,
            sync_to_thread=True,
            include_in_schema=path.startswith("/api"),
            tags=["look"],
            summary="The file of an archive, where the configuration lets it go",
            media_type="application/octet-stream",
        )(send)

    return [route("/archives/{archive:str}/download"), route("/api/archives/{archive:str}/download")]


def _opened(archive: Archive) -> BufferedReader:
    """The archive's file, compared with what is known of it, at its beginning."""
    try:
        file = _open(archive.path)
    except OSError as error:
        raise HTTPException(status_code=409, detail=f"Its file cannot be read here: {error.strerror}.") from error
    if not _is(file, archive):
        file.close()
        said = "What stands under its name is another file by now; its copies are off-site."
        raise HTTPException(status_code=409, detail=said)
    return file


def _is(file: BufferedReader, archive: Archive) -> bool:
    """Whether a file is that archive; afterwards it is at its beginning."""
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size != archive.size_bytes:
        return False
    same = hashlib.file_digest(file, "sha256").hexdigest() == archive.sha256
    file.seek(0)
    return same


def _open(path: Path) -> BufferedReader:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")


def _pieces(file: BufferedReader) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
