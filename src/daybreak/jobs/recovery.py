"""The recovery kit: one page that brings a database back with restic, python3 and PostgreSQL alone.

Shapes  `page` is pure: paragraphs, and commands that a shell takes as they stand; `write_kit` asks each repository
        which key the password opens and writes the page as text and as HTML.
Errors  `PublishError` for what the disk refuses. A repository that does not answer costs its key's name only.

The page names the address and where the password is kept, and holds no secret. The key is named by restic's own id of
it, which shows whether one has the right password and helps nobody to guess it.
"""

from __future__ import annotations

import html
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from daybreak.errors import DaybreakError, PublishError
from daybreak.files import disk_errors, write_durable
from daybreak.jobs.parcel import OURS
from daybreak.model import BackupPlan, Repository, SecretSource, ShipForm
from daybreak.restic import Restic
from daybreak.units import rfc3339

NAME: Final = "daybreak-recovery"
#: Where the password goes on the new machine, if it is in no file here.
_PASSWORD: Final = Path("/etc/restic.password")
_STYLE: Final = (
    "body{max-width:50em;margin:2em auto;font:16px/1.5 sans-serif}pre{background:#eee;padding:1em;overflow:auto}"
)


@dataclass(frozen=True, slots=True)
class Heading:
    """A line above what follows."""

    text: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines for a shell, as they stand."""

    lines: tuple[str, ...]


#: A paragraph is a text.
Part = Heading | Commands | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What was written."""

    files: tuple[Path, ...]
    not_asked: tuple[str, ...]  # why the key of a repository could not be named


def write_kit(
    plans: Sequence[BackupPlan], to: Path, *, connect: Callable[[Repository], Restic], host: str, at: datetime
) -> Kit:
    """Write the page for `plans` into the folder `to`; the page that was there before is replaced."""
    keys: dict[str, str] = {}
    not_asked: list[str] = []
    for repository in {one.name: one for plan in plans for one in plan.repositories}.values():
        try:
            keys[repository.name] = connect(repository).key()
        except DaybreakError as fault:
            not_asked.append(f"{repository.name}: {fault.message}")
    if not to.is_dir():
        there = "name a folder with --to" if to.exists() else f"make it: mkdir -p {shlex.quote(str(to))}"
        raise PublishError(f"{to} is not a folder", hint=there)
    parts = list(page(plans, keys, host=host, at=at))
    files = {to / f"{NAME}.txt": as_text(parts), to / f"{NAME}.html": as_html(parts)}
    with disk_errors(to, "cannot write"):
        for path, text in files.items():
            write_durable(path, text.encode(), group_of=to)
    return Kit(files=tuple(files), not_asked=tuple(not_asked))


def page(plans: Sequence[BackupPlan], keys: Mapping[str, str], *, host: str, at: datetime) -> Iterator[Part]:
    """The page. `keys` has the id of the key by the repository's name."""
    yield Heading("Bring the database back")
    yield (
        f"Written by Daybreak on {host} at {rfc3339(at)}. Daybreak itself is not needed: a machine with restic 0.14 or "
        "newer, python3 (3.8 or newer) and a PostgreSQL server that is not older than the one that was dumped. "
        "Work as root, in an empty folder with room for all rows, twice. The commands stand as they are to be typed."
    )
    for plan in plans:
        for repository in plan.repositories:
            yield from _section(plan, repository, keys.get(repository.name), host)


def _section(plan: BackupPlan, repository: Repository, key: str | None, host: str) -> Iterator[Part]:
    yield Heading(f"{plan.name}, from {repository.name}")
    kept, password = _kept(repository.password, host)
    named = f"The key that it opens is {key}." if key else "Which key it opens could not be asked."
    yield f"1. The password of the repository. {kept} Without it nothing can be read. {named}"
    lines = [f"export RESTIC_REPOSITORY={shlex.quote(_without_password(repository.url))}"]
    lines += [f"export RESTIC_PASSWORD_FILE={shlex.quote(str(password))}"]
    lines += [
        f"export {name}={shlex.quote(value)}"
        for name, value in repository.env.items()
        if name not in {"RESTIC_CACHE_DIR", "RESTIC_COMPRESSION"}
    ]
    if repository.env_file:
        file = shlex.quote(str(repository.env_file))
        yield f"The storage's keys were in {repository.env_file} on {host}: put them there again, or new ones."
        lines.append(f"set -a; . {file}; set +a")
    yield Commands(tuple(lines))
    yield "2. What there is, and that the password is the right one:"
    yield Commands(("restic key list", f"restic snapshots --tag {OURS},plan={plan.name}"))
    yield (
        "3. Take the newest. If the list says that it is quarantined, put the id of the one before in the place of "
        "`latest`, in the next line."
    )
    chosen = f"latest --tag {OURS},plan={plan.name}"
    yield Commands(
        (f"restic restore {chosen} --host {shlex.quote(host)} --target recovery", *_to_archive(plan, "recovery"))
    )
    yield (
        "4. Into the server, as its superuser. First the roles: `already exists` is no fault. Then the database, with "
        "its name, owner and grants; it must not exist yet."
    )
    yield Commands(
        ("psql -d postgres -f recovery/globals.sql", "pg_restore --create --jobs 4 -d postgres recovery/archive.dump")
    )


def _without_password(url: str) -> str:
    """The address; the password that a rest-server's may hold is not written down."""
    password = urlsplit(url.partition(":")[2] if "://" in url else "").password
    return url.replace(f":{password}@", ":PASSWORD@", 1) if password else url


def _to_archive(plan: BackupPlan, folder: str) -> tuple[str, ...]:
    """From what restic restored to an archive and its globals, whose names do not depend on the plan."""
    if plan.ship is ShipForm.SHARDS:
        sent = shlex.quote(f"{folder}/{plan.name}")
        return f"python3 {sent}/join.py {folder}/archive.dump", f"cp {sent}/globals.sql {folder}/globals.sql"
    below = plan.archive.parent / ".daybreak" / "ship" / plan.name / plan.archive.name
    sent = shlex.quote(f"{folder}{PurePosixPath(below)}")
    return f"mv {sent} {folder}/archive.dump", f"cp {sent}.globals.sql {folder}/globals.sql"


def _kept(source: SecretSource, host: str) -> tuple[str, Path]:
    """Where the password is kept, in words; and the file that the commands read it from."""
    if source.file:
        return f"It is in {source.file} on {host}, and where you wrote it down: put it there again.", source.file
    where = f"the variable {source.env}" if source.env else f"what `{shlex.join(source.command or ())}` prints"
    return f"It is {where} on {host}, and where you wrote it down: put it into {_PASSWORD}.", _PASSWORD


def as_text(parts: Sequence[Part]) -> str:
    """The page as text: commands are the lines that begin with four blanks."""
    lines: list[str] = []
    for part in parts:
        match part:
            case Heading(text=text):
                lines += [text, "=" * len(text), ""]
            case Commands(lines=commands):
                lines += [*(f"    {line}" for line in commands), ""]
            case str(text):
                lines += [text, ""]
    return "\n".join(lines)


def as_html(parts: Sequence[Part]) -> str:
    """The same page for a browser and a printer; it loads nothing."""
    body: list[str] = []
    for part in parts:
        match part:
            case Heading(text=text):
                body.append(f"<h1>{html.escape(text)}</h1>")
            case Commands(lines=commands):
                body.append("<pre>" + html.escape("\n".join(commands)) + "</pre>")
            case str(text):
                body.append(f"<p>{html.escape(text)}</p>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Recovery</title><style>{_STYLE}</style>'
    return "\n".join([head, *body, "</html>", ""])
