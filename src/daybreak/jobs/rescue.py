"""Single tables of an archive, in a schema of their own, inside a development database.

    lock → guard → archive → rehearse → shadow → restore → proof → gather in one schema → transfer → proof → analyze

The tables are restored and proven in a throw-away database beside, moved there into the new schema with the types and
functions that they need, and brought over in one transaction. Nothing that exists in the target is touched.

Shapes  the run's result gets `target, schema, tables, archive, proof, left_out, notes`; the proof is the target's.
Errors  `UsageError` (2), `Refused` (4), `Busy` (5), `ArchiveError` (12), `RefreshError` (15), `ProofError` (18): the
        target is as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from daybreak import files
from daybreak.archive import read_restorable, table_data
from daybreak.errors import DaybreakError, ProofError, RefreshError, Refused, UsageError
from daybreak.jobs.backup import archive_of
from daybreak.jobs.choice import Choice, pinned
from daybreak.jobs.proof import prove
from daybreak.jobs.rebuild import Rebuild
from daybreak.jobs.rehearsal import rehearse
from daybreak.jobs.restore import AGAIN, WAIT, shadow_of
from daybreak.jobs.run import RunContext
from daybreak.jobs.selection import select
from daybreak.jobs.shelf import Pinned
from daybreak.jobs.tables import Rescue, moved, narrow, narrow_manifest
from daybreak.jobs.target import Held, hold_target
from daybreak.jobs.verdicts import codec_of
from daybreak.model import Database
from daybreak.postgres import shadow
from daybreak.postgres.client import Postgres
from daybreak.postgres.faults import SqlError
from daybreak.postgres.sql import derived_name, identifier, literal, qualified
from daybreak.postgres.transfer import transfer
from daybreak.replacement import Replacement
from daybreak.units import rfc3339

_LONGEST_NAME_BYTES: Final = 63
_TAKEN: Final = {"42P07", "42710", "42723"}  # a relation, a type, a function of that name
_DEADLINE: Final = timedelta(hours=2)
_BY_NAME: Final = (
    "names tables or functions in its text: it goes on meaning those of their own schemas, not the new one"
)


def rescue(
    run: RunContext,
    target: Database,
    *,
    choose: Callable[[RunContext], Choice],
    tables: Sequence[str],
    schema: str | None,
    protected: Iterable[Database],
    how: Callable[[Choice], Replacement],
) -> None:
    """Restore `tables` of the archive that `choose` finds into the new schema `schema` of `target`."""
    run.result["target"] = target.name
    if target.name in {one.name for one in protected}:
        raise Refused(
            f"{target.name} is protected: no table is ever restored into it",
            hint="restore them into development, look at them there, and bring over what is needed yourself; or all of "
            f"production beside: --to {target.name} --new NAME",
        )
    name = _schema_name(schema, run.id)
    choice = choose(run)
    with hold_target(run, target, protected, WAIT) as held:
        _require_free(held, name)
        run.begin()
        with pinned(run, choice) as archive:
            run.result.update(schema=name, archive=archive_of(run, archive.manifest))
            _rescue(run, held, archive, tables=tables, schema=name, how=how(choice))


def _schema_name(schema: str | None, run: str) -> str:
    name = f"rescue_{run.replace('-', '_')}" if schema is None else schema
    if not name or "\0" in name or name.startswith("pg_") or len(name.encode()) > _LONGEST_NAME_BYTES:
        raise UsageError(
            f"{name!r} cannot be the name of a schema",
            hint=f"PostgreSQL takes 1 to {_LONGEST_NAME_BYTES} bytes, and keeps pg_… to itself",
        )
    return name


def _require_free(held: Held, schema: str) -> None:
    sql = f"SELECT 1 AS one FROM pg_namespace WHERE nspname = {literal(schema)}"
    if held.server.query(sql, dbname=held.name):
        raise Refused(
            f"{held.name} has a schema {schema} already, and a restore overwrites nothing",
            hint="take another name: --as-schema NAME; without it the schema is named by the run",
        )


def _rescue(
    run: RunContext, held: Held, archive: Pinned, *, tables: Sequence[str], schema: str, how: Replacement
) -> None:
    server = held.server
    with run.step("rehearse") as facts:
        entries = read_restorable(archive.path)
        codec = codec_of(archive.manifest.encoding)
        wanted = narrow(select(entries, how, cron_here=False), tables, codec=codec)
        part = replace(archive, manifest=narrow_manifest(archive.manifest, wanted))
        rehearsal = rehearse(
            server, held.name, archive.path, part.manifest, how, narrow=lambda _: wanted.selection, replaces=False
        )
        rehearsal.require(AGAIN)
        _require_extensions(held, wanted)
        facts.update(tables=len(wanted.tables), items=len(wanted.selection.restored))
    notes = [*rehearsal.notes, *(f"{one} {_BY_NAME}" for one in wanted.by_name)]
    run.result.update(tables=list(wanted.asked), left_out=rehearsal.left_out, notes=notes)
    work = Rebuild(
        run=run,
        held=held,
        pinned=part,
        name=derived_name(held.name, f"shadow_{run.id}"),
        how=how,
        rehearsal=rehearsal,
        whole=False,
    )
    with shadow_of(work):
        with _names_explained(wanted):
            work.restore_and_prove()
        with run.step("gather"):
            _gather(work, wanted, schema)
            shadow.hand_over(server, work.name, how.owner or held.facts.owner)
        with run.step("transfer"):
            run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                transfer(server, schema, source=work.name, into=held.name, folder=run.private, deadline=how.deadline)
            except SqlError as error:
                raise RefreshError(
                    f"{error.message} ({held.name} is as it was)",
                    hint="what functions of the tables call by schema and name has to be in there as it is in "
                    "production; or restore all of the archive beside: --new NAME",
                ) from error
        with _kept_when_proven(run, server, held.name, schema), _names_explained(wanted):
            _prove(work, schema)
            with run.step("analyze"):
                _run_all(work, held.name, *(f"ANALYZE {qualified(schema, name)}" for _, name in wanted.names))
        said = f"{', '.join(wanted.asked)} of {rfc3339(archive.manifest.taken_at)}, archive {archive.manifest.id}"
        _comment(server.steadfast, held.name, schema, said)


@contextlib.contextmanager
def _names_explained(wanted: Rescue) -> Generator[None]:
    """Say what it is where rows name what is not there, or has another name in the new schema."""
    try:
        yield
    except (RefreshError, ProofError) as error:
        names = ((one, one.rpartition(".")[2]) for one in wanted.of_names)
        told = [one for one, name in names if f'table "{name}"' in error.message or f".{name}: " in error.message]
        if not told or (isinstance(error, RefreshError) and " does not exist" not in error.message):
            raise
        raise type(error)(
            error.message,
            hint=f"the target is as it was; a column of {', '.join(told)} is of regclass or the like: its values are "
            "names, which are other ones in another schema. Restore all of the archive beside: --new NAME",
        ) from error


def _require_extensions(held: Held, wanted: Rescue) -> None:
    """Nothing is made in the target but the schema: an extension that the tables need has to be there."""
    rows = held.server.query(
        "SELECT extname AS name, nspname AS schema FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace",
        dbname=held.name,
    )
    there = {str(row["name"]): str(row["schema"]) for row in rows}
    missing = sorted(wanted.extensions.keys() - there.keys())
    if missing:
        raise RefreshError(
            f"the tables need {', '.join(missing)}, which {held.name} does not have as extensions",
            hint=f"in {held.name}: {'; '.join(f'CREATE EXTENSION {identifier(one)}' for one in missing)}",
        )
    for name, schema in wanted.extensions.items():
        if schema and schema != there[name]:
            raise RefreshError(
                f"the tables need {name} in the schema {schema}, and {held.name} has it in {there[name]}",
                hint=f"in {held.name}: ALTER EXTENSION {identifier(name)} SET SCHEMA {identifier(schema)}; or restore "
                "all of the archive beside it: --new NAME",
            )


def _gather(work: Rebuild, wanted: Rescue, schema: str) -> None:
    """Move the tables, and what they need, into the schema: in the throw-away database."""
    server, tables = work.held.server, set(wanted.names)
    links = server.query(
        "SELECT cn.nspname AS schema, c.relname AS name, pn.nspname AS parent_schema, p.relname AS parent"
        " FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace"
        " JOIN pg_class p ON p.oid = inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace"
        " WHERE c.relkind = 'r' AND NOT c.relispartition",
        dbname=work.name,
    )
    pairs = (((row["schema"], row["name"]), (row["parent_schema"], row["parent"])) for row in links)
    try:
        _run_all(
            work,
            work.name,
            shadow.UNHEARD,
            f"CREATE SCHEMA {identifier(schema)}",
            f"COMMENT ON SCHEMA {identifier(schema)} IS {literal(f'run {work.run.id}: not compared yet')}",
            *(
                f"ALTER TABLE {qualified(*child)} NO INHERIT {qualified(*parent)}"
                for child, parent in pairs
                if child in tables and parent not in tables
            ),
            *(f"ALTER TABLE {qualified(*one)} SET SCHEMA {identifier(schema)}" for one in wanted.names),
        )
        shadow.gather(server, work.name, schema)
    except SqlError as error:
        if error.sqlstate not in _TAKEN:
            raise
        raise RefreshError(
            f"the tables do not fit into one schema: {error.message}",
            hint="two of their names are equal: restore them one after another, each with its --as-schema; or all of "
            "the archive beside: --new NAME",
        ) from error


def _run_all(work: Rebuild, dbname: str, *statements: str) -> None:
    """Run statements from a file: one for each of many partitions is more than a command line takes."""
    work.run.private.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = work.run.private / "statements.sql"
    path.write_bytes("".join(f"{one};\n" for one in statements).encode("utf-8", "surrogateescape"))
    try:
        work.held.server.script(path, dbname=dbname, deadline=_DEADLINE, on_stderr=lambda _line: None)
    finally:
        files.discard(path)


@contextlib.contextmanager
def _kept_when_proven(run: RunContext, server: Postgres, dbname: str, schema: str) -> Generator[None]:
    """Drop the schema, which this run made a moment ago, where the block fails."""
    try:
        yield
    except BaseException:
        try:
            server.steadfast.execute(f"DROP SCHEMA {identifier(schema)} CASCADE", dbname=dbname)
        except DaybreakError as error:
            run.warn(f"the schema {schema} in {dbname} is not proven and could not be dropped: {error.message}")
        raise


def _prove(work: Rebuild, schema: str) -> None:
    """Compare what arrived with the manifest. Raise ProofError."""
    pinned = work.pinned
    came_from = {one.name: one.schema for one in pinned.manifest.tables}
    with work.run.step("proof of the schema") as facts:
        proof = prove(
            work.held.server,
            work.held.name,
            moved(pinned.manifest, schema),
            archived=lambda _schema, name: table_data(pinned.path, came_from[name], name),
            jobs=work.jobs,
            deadline=work.how.deadline,
            alone=False,
        )
        summary = proof.summary()
        facts.update({key: value for key, value in summary.items() if key != "details"})
        work.run.result["proof"] = summary
        proof.require()


def _comment(server: Postgres, dbname: str, schema: str, text: str) -> None:
    shadow.quietly(server, dbname, f"COMMENT ON SCHEMA {identifier(schema)} IS {literal(text)}")
