"""The numbers of every plan, from the catalog alone: a restart resets none, and a failure refreshes none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

from daybreak.catalog import Catalog
from daybreak.jobs.status import PlanStatus, has_swapped, status_of
from daybreak.metrics import Measure
from daybreak.model import BackupPlan, RefreshPlan, Run, RunState
from daybreak.units import parse_instant

_TURNED_OUT: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.LOST})


def measure(
    catalog: Catalog,
    backups: Iterable[BackupPlan],
    refreshes: Iterable[RefreshPlan],
    at: datetime,
    *,
    ageing: bool = True,
) -> list[Measure]:
    """All measures at an instant. Without `ageing` none that is wrong when it is read later, from a file."""
    refreshes = list(refreshes)
    found = [
        Measure(name="daybreak_info", value=1, labels={"version": version("daybreak")}),
        Measure(name="daybreak_measured_timestamp_seconds", value=at.timestamp()),
    ]
    for one in status_of(catalog, backups, refreshes, at):
        found += _runs(catalog, one, at, ageing=ageing)
        found += _archive(catalog, one) if one.kind == "backup" else ()
    for plan in refreshes:
        found += _target(catalog, plan, [one.name for one in refreshes if one.target.name == plan.target.name])
    for (kind, plan), count in catalog.slots.missed().items():
        found.append(Measure(name="daybreak_slots_missed", value=count, labels={"plan": plan, "kind": kind}))
    open_now = {(one.plan, one.event) for one in catalog.alerts.list() if one.plan}
    for plan, event in sorted(open_now):
        found.append(Measure(name="daybreak_alert_open", value=1, labels={"plan": plan, "event": event}))
    for delivery in catalog.alerts.deliveries():
        labels = {"destination": delivery.destination}
        found.append(Measure(name="daybreak_notify_failed", value=bool(delivery.fault), labels=labels))
    return found


def _runs(catalog: Catalog, one: PlanStatus, at: datetime, *, ageing: bool) -> Iterator[Measure]:
    labels = {"plan": one.plan, "kind": one.kind}
    runs = catalog.runs.list(plan=one.plan, kind=one.kind, limit=50, at=at)
    good = catalog.runs.list(plan=one.plan, kind=one.kind, state=RunState.SUCCEEDED, limit=1, at=at)
    success = next(iter(good), None)
    turned_out = next((run for run in runs if run.state in _TURNED_OUT), None)
    numbers: dict[str, float | None] = {
        "last_success_timestamp_seconds": one.last_success_at.timestamp() if one.last_success_at else None,
        "last_success_age_seconds": one.age_s if ageing else None,
        "last_success_duration_seconds": _took(success),
        "last_run_timestamp_seconds": runs[0].requested_at.timestamp() if runs else None,
        "last_run_failed": None if turned_out is None else turned_out.state is not RunState.SUCCEEDED,
        "run_active": any(not run.state.ended for run in runs),
        "next_slot_timestamp_seconds": one.next_at.timestamp() if ageing and one.next_at else None,
    }
    for name, value in numbers.items():
        if value is not None:
            yield Measure(name=f"daybreak_{name}", value=value, labels=labels)


def _target(catalog: Catalog, plan: RefreshPlan, plans: Iterable[str]) -> Iterator[Measure]:
    """What the target has: of the last run that replaced it, whoever asked and whatever followed.

    `plans` are all refreshes of that target: what another one of them brought is what this one's target has.
    """
    labels = {"plan": plan.name}
    kinds = (*(("refresh", name) for name in plans), ("pull", plan.target.name), ("undo", plan.target.name))
    swapped = [run for kind, name in kinds for run in catalog.runs.list(plan=name, kind=kind) if has_swapped(run)]
    refreshed = [run for run in swapped if (run.kind, run.plan) == ("refresh", plan.name)]
    last = max(swapped, key=lambda run: run.requested_at, default=None)
    outage: Any = refreshed[0].result["outage_ms"] if refreshed else None
    if outage is not None:  # the report of a swap may be lost
        yield Measure(name="daybreak_refresh_outage_seconds", value=outage / 1000, labels=labels)
    archive: Any = last.result.get("archive") if last else None
    if archive and "taken_at" in archive:  # an undo brings back what nobody knows the time of
        taken_at = parse_instant(str(archive["taken_at"]))
        yield Measure(name="daybreak_refresh_data_timestamp_seconds", value=taken_at.timestamp(), labels=labels)


def _took(run: Run | None) -> float | None:
    if run is None or run.started_at is None or run.ended_at is None:
        return None
    return (run.ended_at - run.started_at).total_seconds()


def _archive(catalog: Catalog, one: PlanStatus) -> Iterator[Measure]:
    plan = {"plan": one.plan}
    yield Measure(name="daybreak_archive_quarantined", value=one.quarantined is not None, labels=plan)
    for shipment in one.shipments:
        labels = {**plan, "repository": shipment.repository}
        taken = shipment.taken_at.timestamp()
        yield Measure(name="daybreak_offsite_taken_timestamp_seconds", value=taken, labels=labels)
        yield Measure(name="daybreak_offsite_growth_bytes", value=shipment.added_bytes, labels=labels)
        yield Measure(name="daybreak_offsite_size_bytes", value=shipment.size_bytes, labels=labels)
    if one.archive is None:
        return
    archive = one.archive.archive
    numbers: dict[str, float] = {
        "taken_timestamp_seconds": archive.taken_at.timestamp(),
        "size_bytes": archive.size_bytes,
        "rows": archive.rows,
        "tables": archive.tables,
        "proven": archive.proven_at is not None,
        "dump_seconds": one.archive.dump_s,
    }
    recent = catalog.archives.recent_published(one.plan, limit=2)
    if len(recent) == 2:  # noqa: PLR2004 -- this one and the one before
        numbers["growth_bytes"] = archive.size_bytes - recent[1].archive.size_bytes
    for name, value in numbers.items():
        yield Measure(name=f"daybreak_archive_{name}", value=value, labels=plan)
