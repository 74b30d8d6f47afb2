"""Which PostgreSQL tools a host has, and what a container says of its database.

A tool folder is one that holds `pg_dump`.
Errors  `ConfigError` where this host has no tools, `SourceError` where another one has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Final

from daybreak.errors import CommandError, ConfigError, SourceError
from daybreak.hosts.host import Host
from daybreak.hosts.reach import fault_of
from daybreak.process import Runner

_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
#: Debian's /usr/bin/pg_dump is a wrapper that picks a version by itself; the real folders come first.
_SURVEY: Final = r"""
one() { eval "file=\${$1_FILE-} value=\${$1-}"; [ -z "$file" ] || value=$(cat "$file"); printf '%s' "$value"; }
user=$(one POSTGRES_USER); name=$(one POSTGRES_DB)
printf '%s\0%s\0' "${user:-postgres}" "${name:-${user:-postgres}}"
if [ $# = 0 ]; then
    set -- /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql@*/bin
    first=$(command -v pg_dump) && set -- "$@" "$(dirname "$(readlink -f "$first")")"
fi
for folder; do
    [ ! -x "$folder/pg_dump" ] || printf '%s\0%s\0' "$folder" "$("$folder/pg_dump" --version 2>/dev/null)"
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found on a host."""

    folders: Mapping[int, PurePosixPath]  # major version -> folder of pg_dump, pg_restore and psql
    user: str  # POSTGRES_USER and POSTGRES_DB, as the official image understands them
    dbname: str


_known: Final[dict[tuple[Host, Path | None], Survey]] = {}


def survey(host: Host, configured: Path | None = None) -> Survey:
    """Look round on a host, once; with `configured` (`bin = "…"`), for the tools of that folder alone.

    Raise ConfigError (here) or SourceError (elsewhere) where there are none.
    """
    if (host, configured) not in _known:
        _known[host, configured] = _look(host, configured)
    return _known[host, configured]


def _look(host: Host, configured: Path | None) -> Survey:
    runner = Runner()
    places = [str(configured)] if configured else []
    command = host.command(("sh", "-c", _SURVEY, "sh", *places), deadline=timedelta(seconds=60))
    try:
        said = runner.run(command).stdout.decode("utf-8", "surrogateescape").split("\0")
    except CommandError as error:
        raise fault_of(error, host, runner) from error
    user, dbname, *found = said[:-1]
    folders: dict[int, PurePosixPath] = {}
    for folder, version in zip(found[::2], found[1::2], strict=True):
        if match := _VERSION.search(version):
            folders.setdefault(int(match[1]), PurePosixPath(folder))
    if not folders:
        where = str(configured) if configured else "PATH and /usr/lib/postgresql"
        if host.is_here:
            raise ConfigError(
                f"no pg_dump in {where}",
                hint='install the PostgreSQL client tools (apt install postgresql-client), or set bin = "/folder"',
            )
        raise SourceError(
            f"{host.name} has no pg_dump in {where}",
            hint='is it the right one? If its tools are elsewhere, set bin = "/folder"',
        )
    return Survey(folders=folders, user=user, dbname=dbname)
