"""A state folder as it is after years: thousands of runs, a thousand snapshots, and names that nobody should trust."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Litestar
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy import insert

from daybreak import config
from daybreak.catalog import Catalog, schema
from daybreak.catalog.records import Delivery, Hold, Progress
from daybreak.config import Settings
from daybreak.console import api, live, pages
from daybreak.console.app import build
from daybreak.console.people import Person, Role
from daybreak.console.world import World
from daybreak.model import Run, RunState, SlotState
from daybreak.web import Console

CHICAGO = ZoneInfo("America/Chicago")
AT = datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
#: What somebody may have called a table, a slot's caller, a reason.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{ 7*7 }} \x1b[31mred"

CONFIGURATION = """
[databases.prod]
url = "postgresql://daybreak@127.0.0.1:5432/genjishimada"
password_file = "/etc/daybreak/prod.password"
protected = true

[databases.dev]
url = "postgresql://daybreak@127.0.0.1:5433/genjishimada"
password_file = "/etc/daybreak/dev.password"

[backups.nightly]
database = "prod"
archive = "{folder}/archives/prod.dump"
schedule = "02:00"
timezone = "America/Chicago"
repositories = ["r2", "attic"]
trigger = "github"

[refreshes.weekly]
backup = "nightly"
target = "dev"
schedule = "Sun 02:00"
timezone = "America/Chicago"
keep = [{{ table = "public.feature_flags", where = "owner = 'dev'" }}]

[repositories.r2]
url = "s3:https://account.r2.cloudflarestorage.com/genji-db-backups"
password_file = "/etc/daybreak/r2.password"
keep = {{ daily = 7, weekly = 4, monthly = 12 }}
check = "Sun 05:00"
prune = "Sun 06:00"
timezone = "America/Chicago"

[repositories.attic]
url = "/srv/attic"
password_file = "/etc/daybreak/attic.password"
prune = "never"

[alerts.discord]
url_file = "/etc/daybreak/discord.url"
"""


def sample_settings(folder: Path) -> Settings:
    """The first user's configuration, with a repository more."""
    return config.check_content(folder / "daybreak.toml", CONFIGURATION.format(folder=folder).encode())


class Years:
    """Rows of many nights, written at once."""

    def __init__(self, at: datetime, path: Path, *, seed: int = 7) -> None:
        self.at = at
        self.path = str(path)
        self.random = random.Random(seed)  # noqa: S311 -- the same years in every test
        self.runs: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.archives: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []
        self.proofs: list[dict[str, Any]] = []
        self.slots: list[dict[str, Any]] = []

    def night(self, back: int, *, tables: int) -> None:
        """One night: a backup, its copies, sometimes a refresh, a check, a drill, somebody's tries."""
        night = (self.at - timedelta(days=back)).astimezone(CHICAGO).date()
        began = datetime.combine(night, time(2, 0, 3), CHICAGO).astimezone(UTC)
        fails, missed = back % 41 == 17, back % 53 == 29
        self._slot("backup", "nightly", began, missed=missed, run=None if missed else self._id(began))
        if missed:
            return
        backup = self._run("backup", "nightly", began, 141, "github", failed=fails)
        if fails:
            return
        size = 350_000_000 + (1000 - back) * 120_000 + self.random.randrange(4_000_000)
        rows = {f"public.t{number:03}": 1000 * number + (1000 - back) * number for number in range(1, tables)}
        rows[f'public."{HOSTILE}"'] = 17
        self._archive(backup, began, size, rows, state="published" if back == 0 else "replaced", proven=back % 7 == 3)
        for repository in ("r2", "attic"):
            if repository == "attic" and back % 29 == 11:
                continue
            gone = repository == "r2" and back > 7 and back % 7 != 3
            self.snapshots.append(
                {
                    "repository": repository,
                    "id": f"{self.random.getrandbits(256):064x}",
                    "plan": "nightly",
                    "archive": backup,
                    "run": backup,
                    "taken_at": began.replace(second=0),  # as restic has it, rounded
                    "size_bytes": size,
                    "added_bytes": 900_000 + self.random.randrange(2_500_000),
                    "forgotten_at": began + timedelta(days=8) if gone else None,
                }
            )
        if (self.at - timedelta(days=back)).weekday() == 6:
            self._sunday(began, backup, size)
        for hour in range(1, 7):
            at = began + timedelta(hours=hour, minutes=self.random.randrange(50))
            if at < self.at:
                kind = self.random.choice(("ship", "drill", "backup", "undo"))
                plan = "dev" if kind == "undo" else "nightly"
                state = "skipped" if kind == "backup" else self.random.choice(("succeeded", "succeeded", "cancelled"))
                if kind == "undo" and back % 19:
                    kind, plan = "drill", "nightly"
                elif kind == "undo":
                    state = "failed"
                skipped = "already done for this slot" if back % 5 else HOSTILE
                self._run(kind, plan, at, 12, "cli", state=state, reason=skipped if kind == "backup" else "")

    def _sunday(self, began: datetime, backup: str, size: int) -> None:
        archive = {"id": backup, "size_bytes": size, "taken_at": began.isoformat()}
        result = {
            "target": "dev",
            "outage_ms": 21.4,
            "failed_connects": 0,
            "archive": archive,
            "proof": {"tables": 40, "compared": 40, "equal": 40, "reordered": 0, "different": 0, "skipped": 0},
        }
        run = self._run("refresh", "weekly", began + timedelta(minutes=4), 320, "scheduler", result=result)
        self._slot("refresh", "weekly", began, missed=False, run=run)
        self.proofs.append(
            {
                "run": run,
                "plan": "nightly",
                "archive": backup,
                "taken_at": began,
                "at": began + timedelta(minutes=9),
                "source": "refresh",
                "passed": True,
                "why": "",
                "fetch_s": None,
                "restore_s": 185.2,
                "proof_s": 22.0,
            }
        )
        checked = {
            "repository": "r2",
            "parts": [{"part": f"{began.isocalendar().week % 4 + 1}/4", "planned": True, "sound": True}],
            "damage": {
                "packs": [],
                "trees": [],
                "others": [],
                "gone": [],
                "snapshots": [],
                "archives": [],
                "words": "",
            },
            "snapshots": 30,
            "size_bytes": 2_400_000_000,
            "seconds": 91.0,
        }
        check = began + timedelta(hours=3)
        if check < self.at:
            run = self._run("check", "r2-check", check, 91, "scheduler", result=checked)
            self._slot("check", "r2-check", check, missed=False, run=run)
            prune = check + timedelta(hours=1)
            run = self._run("prune", "r2-prune", prune, 40, "scheduler", result={"freed": "12 MB"})
            self._slot("prune", "r2-prune", prune, missed=False, run=run)

    def _id(self, at: datetime) -> str:
        return f"{at:%Y%m%d-%H%M%S}-{len(self.runs) % 65536:04x}"

    def _run(
        self,
        kind: str,
        plan: str,
        at: datetime,
        seconds: float,
        trigger: str,
        *,
        failed: bool = False,
        state: str = "",
        reason: str = "",
        result: dict[str, Any] | None = None,
    ) -> str:
        run, failed = self._id(at), failed or state == "failed"
        message = f"{HOSTILE}: the server closed the connection\nDETAIL:  Key (email)=(ada@example.org)"
        failure = {"code": "SourceError", "message": message, "hint": "is the server up?", "exit_code": 10}
        self.runs.append(
            {
                "id": run,
                "plan": plan,
                "kind": kind,
                "state": state or ("failed" if failed else "succeeded"),
                "trigger": trigger,
                "requested_at": at,
                "started_at": at + timedelta(seconds=1),
                "ended_at": at + timedelta(seconds=seconds),
                "reason": message if failed else reason,
                "failure": failure if failed else None,
                "result": result or {},
            }
        )
        names = ("check", "dump", "globals", "read back", "publish", "off-site")
        for number, name in enumerate(names, 1):
            step = at + timedelta(seconds=seconds * (number - 1) / 6)
            facts = {"rows": 1_234_567, "bytes": 372_000_000} if name == "dump" else {"said": HOSTILE}
            self.steps.append(
                {
                    "run": run,
                    "number": number,
                    "name": name,
                    "started_at": step,
                    "ended_at": step + timedelta(seconds=seconds / 6),
                    "failed": failed and number == 2,
                    "facts": facts,
                }
            )
            if failed and number == 2:
                break
        return run

    def _archive(
        self, run: str, at: datetime, size: int, rows: dict[str, int], *, state: str, proven: bool, reason: str = ""
    ) -> None:
        self.archives.append(
            {
                "id": run,
                "plan": "nightly",
                "run": run,
                "path": self.path,
                "taken_at": at,
                "size_bytes": size,
                "sha256": f"{self.random.getrandbits(256):064x}",
                "tables": len(rows),
                "rows": sum(rows.values()),
                "server_version": "17.11",
                "dump_s": 98.5,
                "state": state,
                "quarantine_reason": reason,
                "proven_at": at + timedelta(minutes=9) if proven else None,
                "proof": {"tables": 40, "compared": 40, "different": 0} if proven else None,
                "table_rows": rows,
            }
        )

    def _slot(self, kind: str, plan: str, at: datetime, *, missed: bool, run: str | None) -> None:
        self.slots.append(
            {
                "kind": kind,
                "plan": plan,
                "key": f"{at.astimezone(CHICAGO):%Y-%m-%d %H:00}",
                "due_at": at.replace(minute=0, second=0),
                "state": SlotState.MISSED if missed else SlotState.CLAIMED,
                "reason": "nobody came for it within 12 h 00 m (catch_up)" if missed else "",
                "run": run,
                "trigger": "" if missed else "github" if kind == "backup" else "scheduler",
                "expected": "github" if kind == "backup" else "",
                "attempts": 0 if missed else 1,
                "at": at,
            }
        )

    def write(self, catalog: Catalog) -> None:
        """All of it in one transaction."""
        rows = {
            schema.runs: self.runs,
            schema.steps: self.steps,
            schema.archives: self.archives,
            schema.snapshots: self.snapshots,
            schema.proofs: self.proofs,
            schema.slots: list({(one["kind"], one["plan"], one["key"]): one for one in self.slots}.values()),
            schema.schedules: [
                {
                    "kind": kind,
                    "plan": plan,
                    "spec": spec,
                    "timezone": "America/Chicago",
                    "since": self.at - timedelta(days=1200),
                    "note": "",
                }
                for kind, plan, spec in (
                    ("backup", "nightly", "02:00"),
                    ("refresh", "weekly", "Sun 02:00"),
                    ("check", "r2-check", "Sun 05:00"),
                    ("prune", "r2-prune", "Sun 06:00"),
                )
            ],
        }
        with catalog._store.write() as connection:
            for table, values in rows.items():
                if values:
                    connection.execute(insert(table), values)


def write_years(catalog: Catalog, *, nights: int = 1420, tables: int = 60, at: datetime = AT) -> Years:
    """Years of nights, the newest one last."""
    years = Years(at, catalog.folder / "archives/prod.dump")
    for back in range(nights, -1, -1):
        years.night(back, tables=tables)
    years.write(catalog)
    catalog.alerts.delivered(Delivery(destination="discord", at=at - timedelta(hours=5), what="a test", fault=""))
    return years


def hold_dev(catalog: Catalog, at: datetime = AT) -> None:
    """Somebody needs dev as it is."""
    catalog.holds.set(Hold(database="dev", until=at + timedelta(days=2), why=f"demo {HOSTILE}", by="ada", at=at))


def begin_run(catalog: Catalog, folder: Path, at: datetime) -> str:
    """A backup that goes on just now, as far as the catalog knows; its lock is nobody's."""
    run = f"{at:%Y%m%d-%H%M%S}-beef"
    catalog.runs.insert(
        Run(id=run, plan="nightly", kind="backup", state=RunState.WAITING, trigger=f"ada {HOSTILE}", requested_at=at)
    )
    catalog.runs.set_state(run, RunState.RUNNING, at=at)
    catalog.runs.add_step(run, "dump", at=at)
    catalog.runs.set_progress(
        run,
        Progress(
            at=at + timedelta(seconds=30),
            step="dump",
            table="public.maps",
            rows=812_000,
            done_bytes=120_000_000,
            total_bytes=372_000_000,
            bytes_per_s=6_000_000.0,
        ),
    )
    for name in ("runs", "logs"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "logs" / f"{run}.log").write_text("2026-11-25T13:00:00.000+00:00 step dump\n" * 20)
    return run


class AsPerson:
    """Stands where signing in stands: whoever asks is this person."""

    def __init__(self, person: Person | None) -> None:
        self.person = person

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def asked(scope: Scope, receive: Receive, send: Send) -> None:
            scope["user"] = self.person
            await app(scope, receive, send)

        return asked


def person_of(role: Role) -> Person:
    """Somebody with a role."""
    return Person(name="ada", role=role, csrf="csrf-of-ada")


def sample_world(
    folder: Path, *, settings: Settings | None, at: datetime | None = AT, faults: Sequence[str] = ()
) -> World:
    """A world over a state folder, its catalog not opened yet."""
    more = {} if at is None else {"clock": lambda: at}
    return World(console=Console(), folder=folder, settings=settings, catalog=None, faults=tuple(faults), **more)


def sample_app(world: World, person: Person | None) -> Litestar:
    """The console with what looks, for one person."""
    handlers = [*pages.handlers(), *live.handlers(), *api.handlers()]
    return build(world, handlers=handlers, middleware=[AsPerson(person)])
