"""A Daybreak whose databases are in containers, and the first user's two containers, name for name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines import Engine
from sshd import Sshd

from installation import Installation, Started

PROD = "genjishimada-db"
DEV = "genjishimada-db-dev"


@dataclass(kw_only=True)
class ContainerSite(Installation):
    """Production and development in containers of one engine, here or behind ssh; it starts none."""

    engine: Engine
    url: str = ""
    bin: Path = Path("/")
    name: str = "genjishimada-prod.dump"
    vps: Sshd | None = None
    development: dict[str, object] = field(default_factory=dict[str, object])  # more keys of [databases.dev]

    def configure(
        self,
        *,
        database: Mapping[str, object] | None = None,
        plan: Mapping[str, object] | None = None,
        dev: Mapping[str, object] | None = None,
    ) -> None:
        """Write the configuration again, with other keys for a table; None takes one out."""
        self.database |= database or {}
        self.plan |= plan or {}
        self.development |= dev or {}
        where: dict[str, object] = {"runtime": self.engine.runtime}
        text = f"state = {json.dumps(str(self.state))}\n"
        if self.vps is not None:
            where["host"] = "vps"
            text += '[hosts.vps]\nssh = "vps"\n'
        tables: dict[str, dict[str, object]] = {
            "databases.prod": {"container": PROD, "protected": True, **where, **self.database},
            "databases.dev": {"container": DEV, **where, **self.development},
            "backups.nightly": {"database": "prod", "archive": str(self.archive), **self.plan},
            "refreshes.weekly": {"backup": "nightly", "target": "dev"},
        }
        for name, table in tables.items():
            values = {key: json.dumps(value, ensure_ascii=False) for key, value in table.items() if value is not None}
            text += f"\n[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        self.file.write_text(text + self.more, "utf-8")

    def environment(self) -> dict[str, str]:
        """What a Daybreak of this site is started with."""
        env = self.engine.environment()
        if self.vps is not None:
            env["PATH"] = f"{self.vps.bin}:{env['PATH']}"
        return env

    def start(self, *words: str, env: Mapping[str, str] | None = None, wrap: tuple[str, ...] = ()) -> Started:
        """Call it in a process of its own, which finds the engine and the host."""
        return super().start(*words, env={**self.environment(), **(env or {})}, wrap=wrap)

    def json(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Call it in a process of its own with --json."""
        return self.apart(*words, "--json").expect(expect)

    def refresh(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """`daybreak refresh`."""
        return self.json("refresh", *words, expect=expect)


@dataclass(kw_only=True)
class Deployment(ContainerSite):
    """`genjishimada-db` and `genjishimada-db-dev`, started, with the archive's folder mounted as `dev_mount` says."""

    dev_mount: str = "ro"  # ro, rw, link: rw by a link, none, other: another folder at the same place
    rows: int = 20_000
    dev_options: Sequence[str] = ()
    env: Mapping[str, str] | None = None  # of the containers

    def __post_init__(self) -> None:
        super().__post_init__()
        mount = f"{self.backups}:/backups"
        other = self.folder / "other"
        other.mkdir()
        link = self.folder / "link"
        link.symlink_to(self.backups)
        dev_mounts = {
            "ro": [f"{mount}:ro"],
            "rw": [mount],
            "link": [f"{link}:/backups"],
            "none": [],
            "other": [f"{other}:/backups"],
        }[self.dev_mount]
        self.prod = self.engine.start(PROD, mounts=[mount], env=self.env, ready=False)
        self.dev = self.engine.start(DEV, mounts=dev_mounts, env=self.env, options=self.dev_options, ready=False)
        for one in (self.prod, self.dev):
            one.await_ready()
        self.fill(self.rows)

    def fill(self, rows: int) -> None:
        """Give production a table of so many rows, about 80 bytes each, with an index."""
        series = f"generate_series(1, {rows})"
        self.prod.psql(
            f"DROP TABLE IF EXISTS orders; CREATE TABLE orders AS SELECT g::bigint AS id, "  # noqa: S608 -- a number
            f"md5(g::text) || md5((g + 1)::text) AS note FROM {series} g; "
            "CREATE INDEX ON orders (note); CREATE INDEX ON orders (id)"
        )

    def in_prod(self) -> str:
        """What production has in the table."""
        return self.prod.psql("SELECT count(*) || ' ' || coalesce(sum(id), 0) FROM orders")

    def in_dev(self) -> str:
        """What dev has in the table."""
        return self.dev.psql("SELECT count(*) || ' ' || coalesce(sum(id), 0) FROM orders")

    def left_behind(self) -> list[str]:
        """What should be gone: our processes and copies in both containers."""
        copies = self.dev.sh("ls /var/tmp /tmp | grep daybreak || true").split()
        return [*self.prod.ours(), *self.dev.ours(), *copies]

    def remove(self) -> None:
        """Everything is gone."""
        self.prod.remove()
        self.dev.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
