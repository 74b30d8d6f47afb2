"""Rows of the old development database that go on in the new one.

They are read from the present target, which is not changed, and loaded into the shadow in one transaction.
Errors  `RefreshError` (15) that names the table; the target is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import BinaryIO, Final

from daybreak import files
from daybreak.errors import CommandError, RefreshError
from daybreak.jobs.run import RunContext
from daybreak.jobs.target import Held
from daybreak.postgres.client import AS_IT_IS
from daybreak.postgres.faults import SqlError
from daybreak.postgres.kept import (
    COPY,
    END,
    Carried,
    Table,
    in_order,
    load_statements,
    match,
    read_statement,
    tables_of,
)
from daybreak.replacement import KeptRows
from daybreak.units import show_count

_FOREIGN_KEY: Final = "23503"
_UNIQUE: Final = "23505"
_HINTS: Final = {
    _FOREIGN_KEY: "keep what they refer to, and what refers to them, as well (their tables in keep), or narrow where",
    _UNIQUE: "another key than the one that rows are matched by says that they are the same; narrow where",
}


def carry_kept(run: RunContext, held: Held, *, incoming: str, wishes: Sequence[KeptRows], deadline: timedelta) -> None:
    """Carry what `wishes` name from the target into `incoming`."""
    if not wishes:
        return
    with run.step("keep") as facts:
        old = tables_of(held.server, held.name, wishes)
        new = tables_of(held.server, incoming, wishes)
        carried: list[tuple[Carried, Table]] = []
        for number, wish in enumerate(wishes):
            if number not in old:
                run.warn(f"keep: {held.name} has no table {wish.table}, so there is nothing to keep of it")
            elif number not in new:
                raise RefreshError(
                    f"keep: production has no table {wish.table} any more, and dev's rows of it would be lost",
                    hint="take it out of keep if that is meant; `daybreak undo` has the old rows for a week",
                )
            else:
                if any(one.table.oid == new[number].oid for one, _ in carried):
                    raise RefreshError(
                        f"keep names {new[number].label} twice, as {wish.table} and another way",
                        hint='say in one entry which rows are kept: where = "… OR …"',
                    )
                carried.append((match(wish, old[number], new[number]), old[number]))
        if carried:
            facts.update(_carry(run, held, incoming, carried, deadline))


def _carry(
    run: RunContext, held: Held, incoming: str, carried: Sequence[tuple[Carried, Table]], deadline: timedelta
) -> dict[str, str]:
    """Write all statements and their rows into one private file, load it, and say for each table what came of it."""
    olds = {one.table.oid: old for one, old in carried}
    ordered = in_order([one for one, _ in carried])
    run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = run.private / "kept.sql"
    waiting = iter(ordered)
    # Of SQL_ASCII nobody knows what its bytes mean: they go over as they are.
    encoding = held.server.execute("SELECT getdatabaseencoding()", dbname=incoming).strip()
    with path.open("wb") as file:
        file.write(f"{AS_IT_IS};\n".encode())
        for statement in load_statements(ordered, encoding=encoding):
            file.write(f"{statement};\n".encode("utf-8", "surrogateescape"))
            if statement.startswith(COPY):
                one = next(waiting)
                _read(held, one, read_statement(one, olds[one.table.oid], encoding=encoding), deadline, file)
                file.write(END)
    try:
        said = held.server.load(path, dbname=incoming, deadline=deadline)
    except SqlError as error:
        hint = _HINTS.get(error.sqlstate, "")
        raise RefreshError(f"dev's rows do not fit into production's data: {error.message}", hint=hint) from error
    finally:
        files.discard(path)
    return dict(_told(said, ordered))


def _read(held: Held, one: Carried, statement: str, deadline: timedelta, file: BinaryIO) -> None:
    server = held.server
    try:
        with server.stream(statement, dbname=held.name, deadline=deadline, settings={"row_security": "off"}) as stream:
            while chunk := stream.read():
                file.write(chunk)
    except CommandError as error:
        fault = server.explain(error)
        raise RefreshError(f"keep: {one.table.label} cannot be read: {fault.message}", hint=fault.hint) from error


def _told(said: str, ordered: Sequence[Carried]) -> Iterator[tuple[str, str]]:
    """What came of each table, by the lines `number|rows|conflicts`."""
    for line in said.splitlines():
        number, found, rest = line.partition("|")
        if not found:
            continue
        rows, _, conflicts = rest.partition("|")
        one = ordered[int(number)]
        won = "" if conflicts == "0" else f", {conflicts} of them in production too: {one.wish.conflict} wins"
        yield one.table.label, f"{show_count(int(rows), 'row')}{won}"
