"""`restore`, and how what it did reads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from daybreak.cli import progress
from daybreak.cli.output import Door, run_document, say
from daybreak.cli.shared import at_site, quirks_said, verb
from daybreak.units import parse_instant, show_count, show_instant

if TYPE_CHECKING:
    from daybreak.model import Run
    from daybreak.replacement import Quirks


@click.command()
@click.argument("archive")
@click.option("--to", "to", required=True, metavar="DATABASE", help="On whose server; with --table, into which one.")
@click.option("--new", metavar="NAME", help="What the new database is called there.")
@click.option(
    "--table", "tables", multiple=True, metavar="SCHEMA.TABLE", help="Only this table; may be said several times."
)
@click.option("--as-schema", metavar="NAME", help="With --table: the new schema; else it is named by the run.")
@click.option("--backup", metavar="NAME", help="Whose archives; may be left out where there is one.")
@click.option("--confirm", metavar="NAME", help="For production: the new name once more, I mean it.")
@quirks_said
@verb
def restore(
    door: Door,
    archive: str,
    *,
    quirks: Quirks,
    to: str,
    new: str | None,
    tables: tuple[str, ...],
    as_schema: str | None,
    backup: str | None,
    confirm: str | None,
) -> None:
    """Restore an archive (its id, latest, or a file) into a new database, or single tables into a new schema."""
    if tables and new is not None:
        raise click.UsageError("--new is the name of a new database; single tables go into --as-schema NAME")
    if as_schema is not None and not tables:
        raise click.UsageError("--as-schema goes with --table")
    with at_site(door, progress.choose()) as site:
        if tables:
            run = site.rescue(archive, to, backup=backup, tables=tables, schema=as_schema, quirks=quirks)
        else:
            run = site.restore(archive, to, backup=backup, new=new, confirm=_confirm(door, confirm), quirks=quirks)
    say(door, run_document(run), _text(run))


def _confirm(door: Door, said: str | None) -> Callable[[str], str | None]:
    """The name that a person confirms: by option, or typed at a terminal."""

    def confirm(question: str) -> str | None:
        if said is not None or door.json or not sys.stdin.isatty():
            return said
        typed = click.prompt(f"{question}.\nType its name to go on", default="", show_default=False, err=True)
        return str(typed)

    return confirm


def _text(run: Run) -> str:
    result: Any = run.result
    archive, proof = result["archive"], result["proof"]
    found = f"{proof['equal']} equal, {proof['reordered']} equal in another order, {proof['different']} different"
    where = f"{result['target']}, schema {result['schema']}," if "schema" in result else result["database"]
    what = f"{', '.join(result['tables'])}" if "schema" in result else "the data"
    lines = [
        f"{where} has {what} of {show_instant(parse_instant(archive['taken_at']))} (archive {archive['id']})",
        f"proof: {proof['compared']} of {show_count(proof['tables'], 'table')} compared, {found}",
        *(f"left out: {one}" for one in result["left_out"]),
        *(f"note: {one}" for one in result["notes"]),
        *(f"not compared: {one['name']} ({one['why']})" for one in proof["details"] if one["result"] == "skipped"),
    ]
    return "\n".join([*lines, *_home_lines(result)])


def _home_lines(result: Any) -> list[str]:  # noqa: ANN401 -- the result of a run, as in --json
    """What a person has to know and do for production."""
    if "sql" not in result:
        return []
    roles, lines = result["roles"], list[str]()
    if roles["created"]:
        lines.append(f"roles made: {', '.join(roles['created'])}")
    lines += [f"not made: {one}" for one in roles["left_out"]]
    if roles["no_password"]:
        lines.append(f"without a password, give them one: {', '.join(roles['no_password'])}")
    if result["sql"]:
        lines.append("production's name is given by you, on its server, when nobody is connected to either:")
        lines += [f"    {one}" for one in result["sql"]]
    return [*lines, *(f"then: {one}" for one in result["then"])]
