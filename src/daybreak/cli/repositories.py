"""The verbs of a restic repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.cli.output import Door, say, table, when
from daybreak.cli.shared import at_site, slotted, verb, work
from daybreak.units import parse_instant, rfc3339, show_bytes, show_count

if TYPE_CHECKING:
    from daybreak.model import Run
    from daybreak.secret import Secret

_FILE: Final = click.Path(path_type=Path, readable=False)


@click.group()
def repository() -> None:
    """A restic repository: make it, look after it, list it."""


@repository.command("init")
@click.argument("name", required=False)
@verb
def init_repository(door: Door, name: str | None) -> None:
    """Make the repository, with the password that is configured."""
    with at_site(door) as site:
        chosen, number = site.init_repository(name)
    warning = "without its password everything in it is lost: keep a copy elsewhere"
    text = f"repository {chosen} is made ({number[:8]}); {warning}"
    say(door, {"repository": chosen, "id": number}, text)


@repository.command("add")
@click.argument("name")
@click.option("--url", required=True, metavar="URL", help="Where it is, as restic writes it, without a password.")
@click.option("--password-file", metavar="FILE", type=_FILE, help="Its password; one that is there is used as it is.")
@click.option("--env-file", metavar="FILE", type=_FILE, help="File with the keys of the storage, NAME=value lines.")
@click.option("--backup", "backups", multiple=True, metavar="BACKUP", help="Send this backup to it; more than once.")
@click.option("--check", metavar="WHEN", default="Sun 05:00", show_default=True, help="When it is checked.")
@click.option("--prune", metavar="WHEN", default="Sun 06:00", show_default=True, help="When it is pruned, or never.")
@click.option("--written-down", is_flag=True, help="Do not ask: I copy the password from the file to a safe place.")
@verb
def add_repository(
    door: Door,
    name: str,
    *,
    url: str,
    password_file: Path | None,
    env_file: Path | None,
    backups: tuple[str, ...],
    check: str,
    prune: str,
    written_down: bool,
) -> None:
    """Put a repository into the configuration, with a new password, and make it."""
    values = {"url": url, "check": check, "prune": prune}
    if env_file is not None:
        values["env_file"] = str(env_file)
    with at_site(door) as site:
        added = site.add_repository(
            name,
            values,
            password_file=password_file,
            backups=backups,
            confirm=None if written_down else lambda password: _typed_back(door, password),
        )
    document = {
        "repository": added.repository,
        "id": added.id,
        "config": str(added.config),
        "password_file": str(added.password_file),
        "made_password": added.made_password,
    }
    lines = [f"repository {added.repository} is made ({added.id[:8]}) and stands in {added.config}"]
    if added.made_password and written_down:
        lines.append(f"its password is in {added.password_file}: copy it to another place NOW, or all may be lost")
    if not backups:
        lines.append(f'nothing is sent to it yet: add "{name}" to the repositories of a backup')
    say(door, document, "\n".join(lines))


def _typed_back(door: Door, password: Secret) -> bool:
    """Show a password once, on the terminal, and ask for its last block."""
    if door.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    shown = password.reveal()
    click.echo(
        "The password of the new repository. Write it down on paper, or into a password store elsewhere:", err=True
    )
    click.echo(f"\n    {shown}\n\nIt is not shown again. Without it every snapshot is lost for ever.", err=True)
    for _ in range(3):
        said = click.prompt("Its last block, from what you wrote", err=True, default="", show_default=False)
        if said.strip().lower() == shown.rpartition("-")[2]:
            return True
    return False


@repository.command("check")
@click.argument("name", required=False)
@click.option("--read", "read", default="", metavar="PART", help="Read this instead: 1/7, 5%, 500M or 100%.")
@verb
@slotted
def check_repository(door: Door, name: str | None, *, read: str, slot: str | None) -> None:
    """Check the repository, and read the part of its data whose turn it is."""

    def text(run: Run) -> str:
        if run.state.value == "skipped":
            return f"nothing to do: {run.reason}"
        said: Any = run.result
        parts = ", ".join(one["part"] for one in said["parts"])
        size, snapshots = show_bytes(said["size_bytes"]), show_count(said["snapshots"], "snapshot")
        return f"repository {said['repository']}: no fault found in part {parts}; {snapshots}, {size}"

    work(door, lambda site: site.check_repository(name, read=read, slot=slot), text, alarm=_alarm("check", name))


@repository.command("prune")
@click.argument("name", required=False)
@verb
@slotted
def prune_repository(door: Door, name: str | None, *, slot: str | None) -> None:
    """Remove from the storage what no snapshot needs any more."""

    def text(run: Run) -> str:
        said: Any = run.result
        if run.state.value == "skipped":
            return f"nothing was pruned: {run.reason}"
        freed = said["freed"] or "an unknown amount"
        return f"repository {said['repository']}: {freed} removed, {show_bytes(said['size_bytes'])} left"

    work(door, lambda site: site.prune_repository(name, slot=slot), text, alarm=_alarm("prune", name))


def _alarm(what: str, name: str | None) -> str:
    """What a run that cannot even begin is called in an alert."""
    return f"{what} of repository {name or ''}".strip()


@repository.command("forget")
@click.argument("name", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be kept and removed, and why; change nothing.")
@click.option("--plan", metavar="BACKUP", help="Of this backup alone; else of each that goes to the repository.")
@click.option("--host", metavar="HOST", help="Snapshots of this host instead of our own.")
@click.option("--seen", metavar="WORD", default="", help="Only if that goes which --dry-run --json called so.")
@verb
def forget_snapshots(
    door: Door, name: str | None, *, dry_run: bool, plan: str | None, host: str | None, seen: str
) -> None:
    """Forget by the repository's rules what is ours; only the ids of snapshots are ever given to restic."""
    if not dry_run:

        def text(run: Run) -> str:
            said: Any = run.result
            if run.state.value == "skipped":
                return f"nothing was forgotten: {run.reason}"
            return _outlook_text(said["plans"], done=True)

        work(door, lambda site: site.forget_snapshots(name, plan=plan, host=host, seen=seen), text)
        return
    from daybreak.jobs.forget import seen_as  # noqa: PLC0415 -- keeps --help fast

    with at_site(door) as site:
        outlooks = site.look_at_forgetting(name, plan=plan, host=host)
    found = [one.as_json() for one in outlooks]
    say(door, {"plans": found, "seen": seen_as(outlooks)}, _outlook_text(found, done=False))


def _outlook_text(plans: list[dict[str, Any]], *, done: bool) -> str:
    gone = "removed" if done else "remove"
    rows = [
        [
            one["id"][:8],
            when(parse_instant(one["taken_at"])),
            plan["plan"],
            "keep" if one["keep"] else gone,
            ", ".join(one["reasons"]) or ("no rule keeps it" if not plan["paused"] else "paused"),
        ]
        for plan in plans
        for one in plan["snapshots"]
    ]
    lines = [table(["snapshot", "taken", "plan", "", "because"], rows) if rows else "no snapshot of ours"]
    lines += [f"! {plan['plan']}: nothing is forgotten now: {why}" for plan in plans for why in plan["paused"]]
    return "\n".join(lines)


@repository.command("unlock")
@click.argument("name", required=False)
@verb
def unlock_repository(door: Door, name: str | None) -> None:
    """Remove the locks that dead restics of this host left; say whose the others are."""
    with at_site(door) as site:
        found = site.unlock_repository(name)
    lines = [f"removed the lock of {one}: its process is gone" for one in found.removed] or ["there is no lock"]
    say(door, {"repository": found.repository, "removed": list(found.removed)}, "\n".join(lines))


@repository.command("stats")
@click.argument("name", required=False)
@verb
def repository_stats(door: Door, name: str | None) -> None:
    """What the repository weighs, and whose snapshots it holds."""
    with at_site(door, record="anyhow") as site:
        found = site.repository_stats(name)
    document = {
        "repository": found.repository,
        "size_bytes": found.size_bytes,
        "snapshots": found.snapshots,
        "plans": {
            name: {
                "snapshots": one.snapshots,
                "oldest_at": rfc3339(one.oldest_at),
                "newest_at": rfc3339(one.newest_at),
            }
            for name, one in found.plans.items()
        },
    }
    rows = [[name, str(one.snapshots), when(one.oldest_at), when(one.newest_at)] for name, one in found.plans.items()]
    lines = [
        f"repository {found.repository}: {show_bytes(found.size_bytes)}, {show_count(found.snapshots, 'snapshot')}"
    ]
    lines += [table(["plan", "snapshots", "oldest", "newest"], rows)] if rows else []
    say(door, document, "\n".join(lines))


@repository.command("snapshots")
@click.argument("name", required=False)
@verb
def list_snapshots(door: Door, name: str | None) -> None:
    """Everything that the repository holds, newest first."""
    with at_site(door, record="anyhow") as site:
        found = site.snapshots(name)
    documents = [
        {
            "id": one.snapshot.id,
            "taken_at": rfc3339(one.snapshot.taken_at),
            "host": one.snapshot.host,
            "plan": one.snapshot.plan,
            "archive": one.snapshot.archive,
            "ours": one.ours,
            "quarantined": one.quarantined,
            "tags": list(one.snapshot.tags),
            "paths": list(one.snapshot.paths),
        }
        for one in found
    ]
    rows = [
        [
            one.snapshot.id[:8],
            when(one.snapshot.taken_at),
            one.snapshot.host,
            one.snapshot.plan or "—",
            one.snapshot.archive or ", ".join(one.snapshot.paths),
            "quarantined" if one.quarantined else "" if one.ours else "not Daybreak's",
        ]
        for one in found
    ]
    text = table(["snapshot", "taken", "host", "plan", "archive", ""], rows) if rows else "no snapshot yet"
    say(door, {"snapshots": documents}, text)
