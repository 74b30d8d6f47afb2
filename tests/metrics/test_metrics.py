"""Metrics: true, not reset by a restart, not refreshed by a failure; and what ops/ builds on them exists."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from daybreak.catalog import Catalog
from daybreak.errors import PublishError
from daybreak.jobs.measure import measure
from daybreak.jobs.status import status_of
from daybreak.metrics import FAMILIES, Measure, render, write_file
from daybreak.model import BackupPlan, Database, Failure, RefreshPlan, Run, RunState, Schedule, Slot, SlotState, Timed
from installation import Installation

ROOT = Path(__file__).parents[2]


def numbers(text: str) -> dict[tuple[str, str], float]:
    """(name, plan) -> value."""
    return {
        (sample.name, sample.labels.get("plan", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_backup_is_measured_and_a_failure_refreshes_nothing(site: Installation) -> None:
    file = site.folder / "daybreak.prom"
    site.file.write_text(f'metrics_file = "{file}"\n' + site.file.read_text())
    told = site.backup()
    first = numbers(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o644
    assert first["daybreak_archive_size_bytes", "nightly"] == told["archive"]["size_bytes"]
    assert first["daybreak_archive_rows", "nightly"] == 50
    assert first["daybreak_last_run_failed", "nightly"] == 0
    ended = datetime.fromisoformat(told["ended_at"]).timestamp()
    assert first["daybreak_last_success_timestamp_seconds", "nightly"] == pytest.approx(ended, abs=0.01)
    assert ("daybreak_last_success_age_seconds", "nightly") not in first  # wrong as soon as it is in a file
    fake = site.file.read_text().replace(str(site.bin), str(site.folder / "fake-bin"))
    site.fake_dump("exit 1")
    site.file.write_text(fake)
    site.backup(expect=11)
    second = numbers(file.read_text())
    assert second["daybreak_last_run_failed", "nightly"] == 1
    for name in ("last_success_timestamp_seconds", "last_success_duration_seconds", "archive_size_bytes"):
        assert second[f"daybreak_{name}", "nightly"] == first[f"daybreak_{name}", "nightly"]
    assert (
        second["daybreak_last_run_timestamp_seconds", "nightly"]
        > first["daybreak_last_run_timestamp_seconds", "nightly"]
    )
    assert not list(site.folder.glob(".daybreak.prom*"))
    shown = numbers(site.call("metrics").out)
    assert shown["daybreak_last_success_age_seconds", "nightly"] > 0
    listed = site.json("metrics")["metrics"]
    assert {one["name"] for one in listed} <= set(FAMILIES)


def test_a_metrics_file_that_cannot_be_written_harms_no_run(site: Installation) -> None:
    site.file.write_text('metrics_file = "/nowhere/daybreak.prom"\n' + site.file.read_text())
    answer = site.call("backup")
    assert answer.code == 0
    assert "cannot write the metrics file" in answer.err
    assert site.json("metrics", "--write", expect=13)["code"] == "PublishError"


def test_write_needs_a_file(site: Installation) -> None:
    assert site.json("metrics", "--write", expect=2)["code"] == "UsageError"


def test_growth_and_age(site: Installation) -> None:
    site.backup()
    site.backup()
    with site.catalog() as catalog:
        at = datetime.now(UTC) + timedelta(hours=1)
        found = {one.name: one.value for one in measure(catalog, [_plan(site)], [], at)}
    assert "daybreak_archive_growth_bytes" in found
    assert found["daybreak_last_success_age_seconds"] == pytest.approx(3600, abs=60)


def test_missed_slots_are_counted_for_each_plan_that_is_watched(site: Installation) -> None:
    at = datetime.now(UTC)
    schedule = Schedule(spec="02:00", timezone="UTC")
    nightly = Timed(kind="backup", plan="nightly", schedule=schedule)
    check = Timed(kind="check", plan="r2-check", schedule=schedule)
    with site.catalog() as catalog:
        for one in (nightly, check):
            catalog.slots.watch(one, since=at, at=at)
        for day, state in (("20", SlotState.MISSED), ("21", SlotState.SKIPPED), ("22", SlotState.MISSED)):
            slot = Slot(key=f"2026-11-{day} 02:00", due_at=datetime.fromisoformat(f"2026-11-{day}T02:00:00+00:00"))
            assert catalog.slots.settle(nightly, slot, state, "nobody came", at=at)
        found = {
            (one.labels["kind"], one.labels["plan"]): one.value
            for one in measure(catalog, [_plan(site)], [], at)
            if one.name == "daybreak_slots_missed"
        }
    assert found == {("backup", "nightly"): 2, ("check", "r2-check"): 0}


def _plan(site: Installation):
    from daybreak import config  # noqa: PLC0415 -- only here

    return config.check(site.file).backups["nightly"]


def test_a_measure_without_a_family_is_a_slip(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in FAMILIES"):
        render([Measure(name="daybreak_typo", value=1)])
    with pytest.raises(PublishError):
        write_file(tmp_path / "missing" / "x.prom", [])


def test_an_empty_catalog_is_measured(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        text = render(measure(catalog, [], [], datetime.now(UTC))).decode()
    assert "daybreak_info" in text


def test_the_target_has_what_the_last_swap_gave_it_whatever_followed(tmp_path: Path) -> None:
    """A refresh whose hook or ship failed has refreshed; after an undo nobody knows."""
    database = Database(name="dev", conninfo={"dbname": "dev"})
    backup = BackupPlan(name="nightly", database=database, archive=tmp_path / "a.dump")
    plan = RefreshPlan(name="weekly", backup=backup, target=database)
    plans = [plan, replace(plan, name="on-demand")]
    began = datetime(2026, 11, 22, 8, tzinfo=UTC)
    name = ("daybreak_refresh_data_timestamp_seconds", "weekly")

    with Catalog.open(tmp_path) as catalog:

        def ran(
            day: int, code: str, kind: str = "refresh", outage: float | None = 2.0, by: str = "weekly"
        ) -> float | None:
            at = began + timedelta(days=day)
            result: dict[str, object] = {"outage_ms": outage}
            result |= {} if kind == "undo" else {"archive": {"taken_at": at.isoformat()}}
            failure = Failure(code=code, message="m", hint="h", exit_code=1) if code else None
            run = Run(
                id=f"r{day}",
                plan=by if kind == "refresh" else "dev",
                kind=kind,
                state=RunState.FAILED if code else RunState.SUCCEEDED,
                trigger="cli",
                requested_at=at,
                failure=failure,
                result=result,
            )
            catalog.runs.insert(run)
            found = {(one.name, one.labels.get("plan")): one.value for one in measure(catalog, [], plans, at)}
            assert by == "weekly" or found.get(name) == found.get((name[0], by))
            return found.get(name)

        def taken(day: int) -> float:
            return (began + timedelta(days=day)).timestamp()

        assert ran(0, "", outage=None) == taken(0)  # the report of the swap was lost
        assert ran(1, "Unfinished") == taken(1)
        assert ran(2, "OffsiteError") == taken(2)
        assert ran(3, "RolledBack") == taken(2)
        assert ran(4, "", "undo") is None
        assert ran(5, "", "pull") == taken(5)
        assert ran(6, "", by="on-demand") == taken(6)  # another refresh of the same target


@pytest.mark.parametrize("later", [RunState.SKIPPED, RunState.CANCELLED])
def test_a_failure_stands_in_status_until_a_run_turns_out_well(tmp_path: Path, later: RunState) -> None:
    """A night that is skipped or cancelled mends nothing: status, metrics and alerts say the same."""
    plan = BackupPlan(name="nightly", database=Database(name="prod", conninfo={}), archive=tmp_path / "a.dump")
    at = datetime(2026, 11, 22, 8, tzinfo=UTC)
    failure = Failure(code="SourceError", message="no server", hint="h", exit_code=10)
    with Catalog.open(tmp_path) as catalog:
        for number, state in enumerate((RunState.FAILED, later, RunState.SUCCEEDED)):
            run = Run(
                id=f"r{number}",
                plan="nightly",
                kind="backup",
                state=state,
                trigger="cli",
                requested_at=at + timedelta(minutes=number),
                reason="no server",
                failure=failure if state is RunState.FAILED else None,
            )
            catalog.runs.insert(run)
            [status] = status_of(catalog, [plan], [], at)
            failed = [one.value for one in measure(catalog, [plan], [], at) if one.name == "daybreak_last_run_failed"]
            expected = state is not RunState.SUCCEEDED
            assert status.state == state.value
            assert ([*status.attention], failed) == (["no server (daybreak run show r0)"] * expected, [expected])


# -- what ops/monitoring builds on --------------------------------------------------------------------------------

NAME = re.compile(r"\bdaybreak_[a-z_]+\b")


def test_the_rules_of_prometheus_name_only_metrics_that_exist() -> None:
    rules = YAML(typ="safe").load((ROOT / "ops/monitoring/alerts.yml").read_text("utf-8"))
    found = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(found) >= 10
    for rule in found:
        names = set(NAME.findall(rule["expr"]))
        assert names, rule["alert"]
        assert names <= set(FAMILIES), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["next"]
        labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(dict(rule["annotations"]))))
        assert labels <= {label for name in names for label in FAMILIES[name][1]}, rule["alert"]


def test_the_dashboard_names_only_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "ops/monitoring/dashboard.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 10
    assert set(NAME.findall(" ".join(expressions))) <= set(FAMILIES)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_the_manual_has_every_metric() -> None:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    for name, (meaning, labels) in FAMILIES.items():
        assert f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {meaning} |" in text, name
