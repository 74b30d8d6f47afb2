"""The verbs that only look (`status`, `runs`, `archives`) and those with a second word."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from daybreak.cli import progress
from daybreak.cli.holding import hold_document, hold_line
from daybreak.cli.output import Door, fail, say, table, when
from daybreak.cli.shared import at_site, verb, who
from daybreak.documents import fault_document, run_document
from daybreak.errors import Cancelled, ConfigError, DaybreakError, UsageError
from daybreak.units import rfc3339, show_bytes, show_count, show_duration

if TYPE_CHECKING:
    from daybreak.model import Run, Step
    from daybreak.site import Site

_FOLLOW_S: Final = 1.0


# -- status, runs, archives -----------------------------------------------------------------------


@click.command()
@verb
def status(door: Door) -> None:
    """How every plan stands."""
    from datetime import UTC, datetime  # noqa: PLC0415 -- keeps the head of the module light

    with at_site(door, record="to look") as site:
        at = datetime.now(UTC)
        found, holds = site.status(at), site.holds(at)
        alerts, undelivered = site.open_alerts(), site.undelivered()
    rows = [
        [
            one.plan,
            one.kind,
            one.state,
            when(one.last_success_at),
            f"{show_duration(one.age_s)} ago" if one.age_s is not None else "—",
            when(one.next_at),
        ]
        for one in found
    ]
    lines = [table(["plan", "kind", "state", "last success", "", "next"], rows)]
    lines += [f"! {one.plan}: {said}" for one in found for said in one.attention]
    lines += [f"! {one.plan}: {one.below_floor}" for one in found if one.below_floor]
    lines += [f"! {one.destination} could not be told ({when(one.at)}): {one.fault}" for one in undelivered]
    lines += [f"{one.plan}: {one.proven_text}" for one in found if one.proven_text]
    lines += [hold_line(one) for one in holds]
    document = {
        "plans": [one.as_json() for one in found],
        "holds": [hold_document(one) for one in holds],
        "alerts": sorted({f"{one.plan}: {one.event}" for one in alerts}),
        "notify_failed": [
            {"destination": one.destination, "at": rfc3339(one.at), "what": one.what, "fault": one.fault}
            for one in undelivered
        ],
    }
    say(door, document, "\n".join(lines))


@click.command()
@click.option("--limit", default=20, show_default=True, help="How many.", type=click.IntRange(1, 100_000))
@verb
def runs(door: Door, limit: int) -> None:
    """The last runs, newest first."""
    with at_site(door, record="to look") as site:
        found = site.runs(limit)
    rows = [
        [one.id, one.kind, one.plan, one.state.value, when(one.requested_at), _took(one), one.reason[:80]]
        for one in found
    ]
    text = table(["run", "kind", "plan", "state", "asked for", "took", "reason"], rows) if rows else "no run yet"
    say(door, {"runs": [run_document(one) for one in found]}, text)


def _took(run: Run) -> str:
    if run.started_at is None or run.ended_at is None:
        return "—"
    return show_duration((run.ended_at - run.started_at).total_seconds())


@click.command()
@verb
def archives(door: Door) -> None:
    """Every archive, newest first, with what became of it."""
    with at_site(door, record="to look") as site:
        found = site.archives()
    documents = [
        {
            "id": one.archive.id,
            "plan": one.archive.plan,
            "state": one.archive.state.value,
            "taken_at": rfc3339(one.archive.taken_at),
            "proven_at": rfc3339(one.archive.proven_at) if one.archive.proven_at else None,
            "path": str(one.archive.path),
            "size_bytes": one.archive.size_bytes,
            "sha256": one.archive.sha256,
            "tables": one.archive.tables,
            "rows": one.archive.rows,
            "reason": one.quarantine_reason,
        }
        for one in found
    ]
    rows = [
        [
            one.archive.id,
            one.archive.plan,
            one.archive.state.value,
            when(one.archive.taken_at),
            "proven" if one.archive.proven_at else "checked",
            show_bytes(one.archive.size_bytes),
            show_count(one.archive.rows),
            str(one.archive.path) if one.archive.state.value != "replaced" else "",
        ]
        for one in found
    ]
    text = table(["archive", "plan", "state", "taken", "", "size", "rows", "path"], rows) if rows else "no archive yet"
    say(door, {"archives": documents}, text)


# -- run ------------------------------------------------------------------------------------------


@click.group()
def run() -> None:
    """One run: show it, follow it, cancel it."""


@run.command("show")
@click.argument("run_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Go on until the run has ended.")
@verb
def show_run(door: Door, run_id: str, *, follow: bool) -> None:
    """A run with its steps, its end and where its log is."""
    with at_site(door, record="to look") as site:
        found = site.run(run_id)
        if follow:
            found = _follow(door, site, found)
        log = site.log_path(found.id)
    document = {**run_document(found), "steps": [_step_document(step) for step in found.steps], "log": str(log)}
    if found.failure:
        document |= {"code": found.failure.code, "message": found.failure.message, "hint": found.failure.hint}
    say(door, document, _run_text(found, log))


def _step_document(step: Any) -> dict[str, Any]:  # noqa: ANN401 -- model.Step, imported lazily
    return {
        "name": step.name,
        "started_at": rfc3339(step.started_at),
        "ended_at": rfc3339(step.ended_at) if step.ended_at else None,
        "failed": step.failed,
        "facts": dict(step.facts),
    }


def _follow(door: Door, site: Site, found: Run) -> Run:
    """Show steps and progress as they come, until the run has ended or somebody interrupts."""
    seen = 0
    while True:
        current = site.run(found.id)
        if not door.json:
            for step in current.steps[seen:]:
                if step.ended_at is None:
                    break
                seconds = (step.ended_at - step.started_at).total_seconds()
                click.echo(progress.done_line(step.name, step.facts, seconds, failed=step.failed), err=True)
                seen += 1
            now = site.progress(found.id)
            if now is not None and not current.state.ended:
                click.echo(f"  … {now.step}: {progress.progress_text(now)}", err=True)
        if current.state.ended or door.cancel.is_set():
            return current
        time.sleep(_FOLLOW_S)


def _run_text(found: Run, log: Path) -> str:
    lines = [
        f"{found.kind} {found.plan}  {found.state.value}",
        f"run        {found.id}, asked for by {found.trigger}",
        f"asked for  {when(found.requested_at)}",
        f"began      {when(found.started_at)}",
        f"ended      {when(found.ended_at)}",
    ]
    lines += [_step_line(found, step) for step in found.steps]
    if found.failure:
        lines.append(f"why        {found.failure.message}")
        lines += [f"           → {found.failure.hint}"] if found.failure.hint else []
        lines.append(f"exit code  {found.failure.exit_code} ({found.failure.code})")
    elif found.reason:
        lines.append(f"reason     {found.reason}")
    lines.append(f"log        {log}")
    return "\n".join(lines)


def _step_line(found: Run, step: Step) -> str:
    if step.ended_at is not None:
        seconds = (step.ended_at - step.started_at).total_seconds()
        return progress.done_line(step.name, step.facts, seconds, failed=step.failed)
    if not found.state.ended:
        return f"  … {step.name:10} {'—':>8}  running"
    if found.state.value == "succeeded":
        return f"  ✓ {step.name:10} {'—':>8}  its end could not be recorded"
    return f"  ✗ {step.name:10} {'—':>8}  broke off"


@run.command("cancel")
@click.argument("run_id", metavar="ID")
@verb
def cancel_run(door: Door, run_id: str) -> None:
    """Ask a run to end; it ends within seconds and leaves what was there before."""
    with at_site(door) as site:
        found = site.cancel_run(run_id, by=who())
    say(door, {"run": found.id, "state": found.state.value, "cancel": "requested"}, f"run {found.id} was asked to end")


# -- archive --------------------------------------------------------------------------------------


@click.group()
def archive() -> None:
    """Look into an archive file."""


@archive.command("read")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@verb
def read_archive(door: Door, file: Path) -> int:
    """List what FILE holds and compare it with FILE.json, when that is there. Exit 12 on any difference."""
    from daybreak.archive import check_archive  # noqa: PLC0415 -- keeps --help fast

    manifest = Path(f"{file}.json")
    report = check_archive(file, manifest if manifest.exists() else None)
    document = report.to_dict()
    entries: Any = document["entries"]
    rows = [
        [
            str(one["kind"]),
            f"{one['schema']}.{one['name']}" if one["schema"] else str(one["name"]),
            _count(one["rows"]),
            _size(one["bytes"]),
            (one["sha256"] or "")[:16],
        ]
        for one in entries
    ]
    text = "\n".join(
        [
            table(["kind", "name", "rows", "bytes", "sha256"], rows),
            f"{file}: {show_bytes(report.scan.size_bytes)}, {show_count(report.scan.rows, 'row')}",
            f"format {document['format']}, {document['compression']}, PostgreSQL {document['server_version']}",
            f"sha256 {document['sha256']}",
            str(document["verdict"]),
        ]
    )
    if not report.differences:
        say(door, document, text)
        return 0
    if door.json:
        report.require_equal()
    say(door, document, text)
    report.require_equal()
    return 12


def _count(rows: int | None) -> str:
    return "" if rows is None else show_count(rows)


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else show_bytes(size_bytes)


# -- config ---------------------------------------------------------------------------------------


@click.group()
def config() -> None:
    """The configuration: check it, show it, begin one."""


@config.command("check")
@click.option("--connect", is_flag=True, help="Also reach every database and take note of which one it is.")
@verb
def check_config(door: Door, *, connect: bool) -> int:
    """Check the whole file; every fault at once. Dials nobody without --connect."""
    if connect:
        return _check_databases(door)
    from daybreak.site import load  # noqa: PLC0415 -- keeps --help fast

    settings = load(Path(door.config) if door.config else None)
    say(door, {"file": str(settings.path), "valid": True}, f"{settings.path} is good")
    return 0


def _check_databases(door: Door) -> int:
    """Reach every database, whatever the others said; the lowest exit code counts, so that a guard's is not hidden."""
    found: dict[str, str] = {}
    faults: dict[str, DaybreakError] = {}
    with at_site(door) as site:
        path = site.settings.path
        for name in site.settings.databases:
            try:
                found[name] = str(site.enrol_new(name))
            except Cancelled:
                raise
            except DaybreakError as error:
                if not error.message.startswith(f"{name} "):
                    error.message = f"{name}: {error.message}"
                faults[name] = error
    lines = [f"{path} is good", *(f"{name} is {identity}" for name, identity in found.items())]
    document = {"file": str(path), "valid": True, "databases": found}
    if not faults:
        say(door, document, "\n".join(lines))
        return 0
    first = min(faults.values(), key=lambda fault: fault.exit_code)
    told = {name: fault_document(fault) for name, fault in faults.items()}
    say(door, {**fault_document(first), **document, "faults": told}, "\n".join(lines))
    if not door.json:
        for fault in faults.values():
            fail(door, fault)
    return first.exit_code


@config.command("show")
@verb
def show_config(door: Door) -> None:
    """The configuration as Daybreak understands it, with every default; secrets are only named."""
    import tomllib  # noqa: PLC0415 -- keeps --help fast

    from daybreak.config import show  # noqa: PLC0415 -- keeps --help fast
    from daybreak.site import load  # noqa: PLC0415 -- keeps --help fast

    text = show(load(Path(door.config) if door.config else None))
    say(door, tomllib.loads(text), text.rstrip())


@config.command("set")
@click.argument("setting", required=False)
@click.argument("value", required=False)
@click.option("--default", "to_default", is_flag=True, help="Take the key out of the file: its default counts.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@verb
def set_config(door: Door, setting: str | None, value: str | None, *, to_default: bool, dry_run: bool) -> None:
    """Change one key of the file, as the console does; without a SETTING list those that can be."""
    from dataclasses import asdict  # noqa: PLC0415 -- keeps --help fast

    if setting is not None and (value is None) is not to_default:
        raise UsageError(f"what is {setting} to be?", hint="give a VALUE, or --default")
    with at_site(door) as site:
        if setting is None:
            listed = site.options()
            lines = [
                f"{one.setting} = {one.value or one.default}{'' if one.value else '  (default)'}" for one in listed
            ]
            say(door, {"settings": [asdict(one) for one in listed]}, "\n".join(lines))
            return
        prospect = site.look_at_setting(setting, value or "")
        if prospect.faults:
            told = "\n".join(f"  {fault}" for fault in prospect.faults)
            raise ConfigError(f"nothing is changed:\n{told}", hint="choose another value", problems=prospect.faults)
        wanted = prospect.difference and not dry_run
        changed = site.change_setting(setting, value or "", base=prospect.base) if wanted else None
    document = {**asdict(prospect), "file": str(site.file), "changed": changed is not None}
    lines = [*prospect.difference]
    if changed is not None:
        lines.append(f"{site.file} is changed; what it was is in {changed.kept}")
        lines.append("a daybreak serve that runs takes it with: systemctl reload daybreak daybreak-console")
    say(door, document, "\n".join(lines) or f"{setting} is that already")


@config.command("example")
@verb
def example_config(door: Door) -> None:
    """A complete configuration to begin with, every key explained."""
    from daybreak.config import example  # noqa: PLC0415 -- keeps --help fast

    text = example()
    say(door, {"example": text}, text.rstrip())


@config.command("schema")
@verb
def config_schema(door: Door) -> None:
    """JSON Schema of the file, for editors."""
    import json  # noqa: PLC0415 -- keeps --help fast

    from daybreak.config import schema  # noqa: PLC0415 -- keeps --help fast

    found = schema()
    say(door, found, json.dumps(found, indent=2))
