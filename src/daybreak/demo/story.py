"""What the demo does, in order: nightly backup, off-site, a day of changes, weekly refresh, off-site, a look at it.

Every step of Daybreak's goes through `Site`, as from the command line; the rest is psql.

Errors  those of the runs; `ProofError` where development is not what production was, or lost what is its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from daybreak.archive import check_archive
from daybreak.demo.client import Client, Seen
from daybreak.demo.ending import Line
from daybreak.demo.stage import APPLICATION, DATABASE, Stage
from daybreak.demo.teller import Teller, took
from daybreak.errors import ProofError
from daybreak.model import Run
from daybreak.site import Site, open_site
from daybreak.units import show_bytes, show_count

#: What is development's own, and has to be there after a refresh as before.
_OWN: Final = """
SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(d.oid, 'pg_database'), datacl::text,
       (SELECT string_agg(word, ', ' ORDER BY word)
          FROM pg_db_role_setting, unnest(setconfig) AS word WHERE setdatabase = d.oid AND setrole = 0)
FROM pg_database AS d WHERE datname = current_database()
"""
_SIZE: Final = "SELECT pg_database_size(current_database())"


@dataclass(slots=True, kw_only=True)
class Story:
    """One telling: `lines` is what has happened so far."""

    stage: Stage
    teller: Teller
    scale: float
    lines: list[Line]

    def play(self) -> None:
        """All of it, from empty servers to the archive that came back."""
        self.fill()
        self.configure()
        with open_site(self.stage.config, self.teller.listener, cancel=self.stage.cancel, trigger="demo") as site:
            try:
                self.make_repository(site)
                self.back_up(site)
                self.spend_a_day()
                own = self.stage.psql(self.stage.dev, _OWN)
                self.refresh(site)
                self.look_at_development(own)
                self.fetch(site)
            finally:
                self.teller.pause()

    def fill(self) -> None:
        """Make production's content, and development's few old rows."""
        self.teller.chapter("A production database, and an old development database")
        with self.teller.deed("production") as deed:
            self.stage.psql(self.stage.prod, "production.sql", dbname="postgres", scale=self.scale, on_line=deed.now)
            size = show_bytes(int(self.stage.psql(self.stage.prod, _SIZE)[0]))
            deed.result = f"{DATABASE}, {size}"
        self.lines.append(Line(step="production filled", time=took(deed.seconds), size=size, result=_what_is_in(self)))
        with self.teller.deed("development") as deed:
            self.stage.psql(self.stage.dev, "development.sql", dbname="postgres")
            deed.result = f"{DATABASE}, 12 old rows, with an owner, a comment, settings and rights of its own"

    def configure(self) -> None:
        """Write the configuration."""
        self.stage.write_config()

    def make_repository(self, site: Site) -> None:
        """`daybreak repository init`."""
        self.teller.chapter("An empty repository in the S3 server", "daybreak repository init")
        with self.teller.deed("repository") as deed:
            name, number = site.init_repository(None)
            deed.result = f"{name} is made ({number[:8]})"
        self.lines.append(Line(step="repository init", time=took(deed.seconds), result="restic, in an S3 bucket"))

    def back_up(self, site: Site) -> None:
        """`daybreak backup`."""
        self.teller.chapter("Night: backup, then off-site", "daybreak backup nightly")
        run = site.backup("nightly")
        self.lines += [_archive_line(run, "nightly backup", took(_seconds(run))), *_snapshot_lines(run, run)]

    def spend_a_day(self) -> None:
        """Change about one row in a hundred."""
        self.teller.chapter("A day of changes in production")
        with self.teller.deed("day") as deed:
            changed = sum(map(int, self.stage.psql(self.stage.prod, "day.sql", scale=self.scale)))
            deed.result = f"{show_count(changed)} rows new, changed or gone"
        self.lines.append(
            Line(
                step="day of changes",
                time=took(deed.seconds),
                rows=show_count(changed),
                result="rows new, changed or gone",
            )
        )

    def refresh(self, site: Site) -> None:
        """`daybreak refresh`, while an application goes on asking."""
        command = "daybreak refresh weekly --fresh --first"
        self.teller.chapter("Sunday: development becomes what production is, while a client keeps asking", command)
        dev = self.stage.dev
        with Client(host=dev.host, port=dev.port, user=APPLICATION, database=DATABASE) as client:
            run = site.refresh("weekly", fresh=True, confirm_first=lambda _target: True)
        self.lines += [
            Line(step="weekly refresh", time=took(_seconds(run)), result="beside the old database, then a swap"),
            *_refresh_parts(site, run, client.seen),
            *_snapshot_lines(run, site.run(next(one.id for one in site.runs(5) if one.kind == "ship"))),
        ]

    def look_at_development(self, own: list[str]) -> None:
        """Read both databases with psql, every row, and see that development kept what is its own."""
        self.teller.chapter("Is it true? Both databases read again by psql")
        with self.teller.deed("count") as deed, ThreadPoolExecutor(2) as pool:
            counts = [pool.submit(self.stage.psql, one, "count.sql") for one in (self.stage.prod, self.stage.dev)]
            prod, dev = (count.result() for count in counts)
            _require_same("the rows", prod, dev)
            *tables, objects = [int(line.rsplit("|", 2)[1]) for line in dev]
            rows = show_count(sum(tables))
            deed.result = f"{rows} rows of {len(tables)} tables and {objects} large objects, the same on both"
        self.lines.append(
            Line(
                step="read by psql",
                time=took(deed.seconds),
                rows=rows,
                result=f"{len(tables)} tables and {objects} large objects, the same on both servers",
            )
        )
        with self.teller.deed("kept") as deed:
            now = self.stage.psql(self.stage.dev, _OWN)
            _require_same("what is development's own", own, now)
            owner, _limit, _comment, _acl, settings = now[0].split("|")
            deed.result = f"owner {owner} · {settings} · comment, rights, limit"
        self.lines.append(
            Line(step="dev's own", result="owner, settings, comment, rights, limit are as before", part=True)
        )

    def fetch(self, site: Site) -> None:
        """`daybreak fetch` and `daybreak archive read`: the way back from off-site."""
        to = self.stage.folder / "fetched" / f"{DATABASE}.dump"
        to.parent.mkdir()
        self.teller.chapter("And back from off-site", f"daybreak fetch latest --to {to}")
        with self.teller.deed("fetch") as deed:
            fetched = site.fetch("latest", to, name=None, on_file=lambda file: deed.now(str(file)))
            deed.result = f"{show_bytes(fetched.size_bytes)} from snapshot {fetched.snapshot[:8]}"
        self.lines.append(Line(step="fetch latest", time=took(deed.seconds), size=show_bytes(fetched.size_bytes)))
        with self.teller.deed("read") as deed:
            report = check_archive(to, to.with_name(f"{to.name}.json"))
            report.require_equal()
            rows = show_count(report.scan.rows)
            deed.result = f"{rows} rows, every byte equal to its manifest"
        self.lines.append(
            Line(step="archive read", time=took(deed.seconds), rows=rows, result="equal to its manifest", part=True)
        )


def _what_is_in(story: Story) -> str:
    sql = (
        "SELECT (SELECT setting FROM pg_settings WHERE name = 'server_version'), count(*), count(DISTINCT n.oid) "
        "FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace "
        "WHERE relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'"
    )
    version, tables, schemas = story.stage.psql(story.stage.prod, sql)[0].split("|")
    return f"PostgreSQL {version.split()[0]}, {tables} tables in {schemas} schemas"


def _require_same(what: str, expected: list[str], found: list[str]) -> None:
    """Raise ProofError with what differs."""
    if expected != found:
        differing = sorted(set(expected) ^ set(found))
        raise ProofError(
            f"{what} differ: {'; '.join(differing[:4])}", hint="this is a bug of Daybreak, please report it"
        )


def _seconds(run: Run) -> float | None:
    return (run.ended_at - run.requested_at).total_seconds() if run.ended_at else None


def _time_of(run: Run, name: str) -> str:
    step = next(one for one in run.steps if one.name == name)
    return took((step.ended_at - step.started_at).total_seconds() if step.ended_at else None)


def _archive_line(run: Run, step: str, time: str, *, part: bool = False) -> Line:
    archive: Any = run.result["archive"]
    return Line(
        step=step,
        time=time,
        size=show_bytes(archive["size_bytes"]),
        rows=show_count(archive["rows"]),
        result=f"{archive['tables']} tables dumped, read back, published",
        part=part,
    )


def _snapshot_lines(run: Run, sender: Run) -> list[Line]:
    """The snapshots of a run; `sender` is the run that sent them, itself or a part of it."""
    snapshots: Any = run.result["snapshots"]
    return [
        Line(
            step="off-site",
            time=_time_of(sender, "off-site"),
            size=show_bytes(one["total_bytes"]),
            result=f"snapshot {one['id'][:8]}; the repository grew by {show_bytes(one['added_bytes'])}",
            part=True,
        )
        for one in snapshots
    ]


def _refresh_parts(site: Site, run: Run, seen: Seen) -> list[Line]:
    """The parts of a refresh that are worth a line: its own backup, restore, proof, swap."""
    steps = {step.name: step for step in run.steps}
    child = site.run(str(steps["archive"].facts["backup"]))
    result: Any = run.result
    proof = result["proof"]
    found = [f"{proof['equal']} equal", *(f"{proof[key]} {key}" for key in ("reordered", "different") if proof[key])]
    client = "" if seen.away_ms is None else f" (a client: {seen.away_ms:.0f} ms, {seen.refused} of "
    client += f"{show_count(seen.answers + seen.refused)} connections refused)" if client else ""
    return [
        _archive_line(child, "backup", took(_seconds(child)), part=True),
        Line(step="restore", time=_time_of(run, "restore"), result=f"{steps['restore'].facts['jobs']} jobs", part=True),
        Line(
            step="proof",
            time=_time_of(run, "proof"),
            result=f"{proof['compared']} of {show_count(proof['tables'], 'table')} compared: {', '.join(found)}",
            part=True,
        ),
        Line(
            step="swap",
            time=_time_of(run, "swap"),
            result=f"dev was away for {result['outage_ms']} ms{client}",
            part=True,
        ),
    ]
