"""pg_cron as the first user has it: `cron.database_name` is the name of both databases."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from couples import Couple, contents
from installation import wait_for

if TYPE_CHECKING:
    from conftest import Server
    from daybreak.embedded.cluster import Cluster

NAME = "genjishimada"
#: How many minutes production's job is watched for executions from dev; the campaign takes three.
MINUTES = int(os.environ.get("DAYBREAK_MINUTES", "1"))


@pytest.fixture
def couple(cron_server: Callable[[str], Server], tmp_path: Path) -> Couple:
    """Two servers of 15 with pg_cron, a job that writes in production, jobs of its own in dev."""
    prod, dev = cron_server(NAME), cron_server(NAME)
    for server in (prod, dev):
        server.create_database(NAME)
        wait_for(lambda server=server: launcher(server), what="the launcher")
        server.psql("CREATE EXTENSION pg_cron", NAME)
    prod.psql(
        "CREATE TABLE beat (at timestamptz DEFAULT now(), port text DEFAULT current_setting('port'));"
        "CREATE VIEW planned AS SELECT jobname, schedule FROM cron.job; CREATE VIEW plans AS SELECT * FROM planned;"
        "SELECT cron.schedule('beat', '* * * * *', 'INSERT INTO public.beat DEFAULT VALUES')",
        NAME,
    )
    dev.psql(
        "SELECT cron.schedule('dev''s own', '5 5 * * *', $$SELECT 'it''s 100% \t dev'$$);"
        "SELECT cron.schedule('leads away', '6 6 * * *', 'SELECT 1');"
        "UPDATE cron.job SET nodename = 'prod.example', nodeport = 5432 WHERE jobname = 'leads away'",
        NAME,
    )
    return Couple(folder=tmp_path, url=prod.url(NAME), bin=prod.bin, prod=prod, prod_db=NAME, dev=dev, dev_db=NAME)


def launcher(server: Server) -> str:
    return server.psql("SELECT datname FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher'")


def jobs(server: Server) -> list[dict[str, object]]:
    found = server.psql("SELECT coalesce(json_agg(to_jsonb(j) ORDER BY jobid), '[]') FROM cron.job j", NAME)
    return json.loads(found)


def test_case_07_dev_keeps_its_jobs_and_never_runs_productions(couple: Couple) -> None:
    prod, dev = couple.prod, couple.dev
    before = jobs(dev)
    outlook = couple.json("refresh", "--plan")
    assert outlook["obstacles"] == []
    restarter = Restarter(dev.cluster, couple.folder)
    couple.retarget(weekly={"restart": restarter.command})
    with restarter:
        done = couple.refresh()
    assert done["cron"]["launcher"] == "alive"
    assert done["cron"]["restart_ms"] > 0
    assert {"EXTENSION pg_cron", "VIEW public.planned", "VIEW public.plans"} <= {
        name for line in done["left_out"] for name in line.split(": ")[0].split(", ")
    }
    after = jobs(dev)
    assert [{**one, "active": True} for one in after] == before
    assert [one["active"] for one in after] == [True, False]  # the one that leads to another server is off
    assert dev.psql("SELECT jobname FROM plans ORDER BY 1", NAME).splitlines() == ["dev's own", "leads away"]
    assert dev.psql("SELECT cron.schedule('later', '* * * * *', 'SELECT 1') > 2", NAME) == "t"
    assert launcher(dev) == NAME
    # Production's job may have written once more since the dump.
    moving = {"sequences": "", "public.beat": ""}
    assert contents(dev, NAME) | moving == contents(prod, NAME) | moving
    beats = int(prod.psql("SELECT count(*) FROM beat", NAME))
    wait_for(
        lambda: int(prod.psql("SELECT count(*) FROM beat", NAME)) >= beats + MINUTES,
        within_s=60 * MINUTES + 30,
        what="production's job",
    )
    runs = "SELECT DISTINCT command FROM cron.job_run_details"
    wait_for(lambda: dev.psql(runs, NAME), within_s=90, what="dev's launcher")
    assert dev.psql(runs, NAME).splitlines() == ["SELECT 1"]  # it is at work, for dev's job alone
    assert dev.psql("SELECT count(*) FROM beat WHERE port = current_setting('port')", NAME) == "0"
    # Back again: the launcher of this version does not survive that either, and nobody may restart the server now.
    couple.retarget(weekly={"restart": None})
    undone = couple.call("undo")
    assert undone.code == 0
    assert "restart its server" in undone.err
    assert jobs(dev) == before
    # What the undo said once, the doctor says until somebody has restarted it.
    told = couple.call("doctor", "--json").json["findings"]
    assert {one["subject"]: one["severity"] for one in told if one["id"] == "cron.launcher"} == {
        "prod": "ok",
        "dev": "warning",
    }


class Restarter:
    """Restarts a server when a command asks for it, as an administrator's script would."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._wanted, self._done = folder / "wanted", folder / "done"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._wait)
        self.command = ["sh", "-c", f"touch {self._wanted}; until [ -e {self._done} ]; do sleep 0.1; done"]

    def _wait(self) -> None:
        while not self._stop.wait(0.05):
            if self._wanted.exists() and not self._done.exists():
                self._cluster.stop()
                self._cluster.start()
                self._done.touch()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_case_07_productions_jobs_come_switched_off_or_not_at_all(couple: Couple) -> None:
    couple.retarget(weekly={"cron": "production"})
    couple.refresh()
    (job,) = jobs(couple.dev)
    assert (job["jobname"], job["active"], job["database"]) == ("beat", False, NAME)
    assert (job["nodename"], job["nodeport"]) == ("localhost", couple.dev.port)
    couple.retarget(weekly={"cron": "none"})
    couple.refresh()
    assert jobs(couple.dev) == []
    assert couple.dev.psql("SELECT extname FROM pg_extension WHERE extname = 'pg_cron'", NAME) == "pg_cron"


def test_case_07_a_target_that_is_not_the_launchers_database_does_without(couple: Couple) -> None:
    couple.dev.create_database("other")
    couple.retarget({"url": couple.dev.url("other")})
    done = couple.refresh()
    assert "launcher lives in another database" in " ".join(done["left_out"])
    assert "cron" not in done
    assert couple.dev.psql("SELECT to_regclass('planned')", "other") == ""
    assert launcher(couple.dev) == NAME


def test_case_07_jobs_and_rights_outlive_a_run_that_ends_behind_its_swap(couple: Couple) -> None:
    """The jobs wait in the new dev, go on through the next swap, and a repair puts them back."""
    dev = couple.dev
    before = jobs(dev)
    dev.create_role("scheduling app")
    dev.psql(
        'GRANT USAGE ON SCHEMA cron TO "scheduling app"; '
        'GRANT EXECUTE ON FUNCTION cron.unschedule(bigint) TO "scheduling app"',
        NAME,
    )
    couple.fake_tool("psql", 'case "$*" in *"EXTENSION IF NOT EXISTS pg_cron"*) exit 2;; esac; exec "$real" "$@"')
    for _ in range(2):  # the second run cannot bring back either what the first one left
        said = couple.refresh(expect=19)
        assert "daybreak repair" in said["hint"]
        assert dev.psql("SELECT extname FROM pg_extension WHERE extname = 'pg_cron'", NAME) == ""
    assert "could not be brought back" in " ".join(said["warnings"])
    couple.real_tools()
    assert "brought pg_cron and its jobs back" in str(couple.json("repair"))
    assert [{**one, "active": True} for one in jobs(dev)] == before
    role = "'scheduling app'"
    may = (
        f"SELECT has_schema_privilege({role}, 'cron', 'USAGE'), "
        f"has_function_privilege({role}, 'cron.unschedule(bigint)', 'EXECUTE')"
    )
    assert dev.psql(may, NAME) == "t|t"
    assert dev.psql("SELECT nspname FROM pg_namespace WHERE nspname ~ 'daybreak'", NAME) == ""
    couple.refresh()  # as an ordinary one does
    assert dev.psql(may, NAME) == "t|t"
