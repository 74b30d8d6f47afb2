"""The first user's deployment as a whole: `ops/` and the workflows against real containers, over a real ssh.

Only where things are is other than there: the lines of `ops/daybreak.toml` that are replaced are named below.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from deployment import CONFIGURATION, DEV, PROD, SCRIPTS, WORKFLOWS, start_containers

from installation import wait_for

DAYBREAK = Path(sys.executable).with_name("daybreak")
BACKUPS = "/var/backups/genji/postgres"


class Site:
    """The server: two containers, a folder of archives, a repository, an installed Daybreak."""

    def __init__(self, folder, podman, server, s3, restic) -> None:
        self.folder = folder
        self.podman = podman
        self.server = server
        self.backups = folder / "backups"
        self.backups.mkdir()
        self.backups.chmod(0o2770)
        for name, text in {
            "r2.password": "a long password\n",
            "r2.env": "".join(f"{key}={value}\n" for key, value in s3.env.items()),
        }.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o640)
        replaced = {
            'state = "/var/lib/daybreak"': f'state = "{folder}/state"',
            f'archive = "{BACKUPS}/genjishimada-prod.dump"': f'archive = "{self.backups}/genjishimada-prod.dump"',
            'url = "s3:https://ACCOUNT.r2.cloudflarestorage.com/genji-db-backups"': (
                f'url = "{s3.bucket_url("genji-db-backups")}"'
            ),
            'password_file = "/etc/daybreak/r2.password"': f'password_file = "{folder}/r2.password"',
            'env_file = "/etc/daybreak/r2.env"': f'env_file = "{folder}/r2.env"',
        }
        text = CONFIGURATION.read_text("utf-8")
        for old, new in replaced.items():
            assert len(re.findall(f"^{re.escape(old)}", text, re.MULTILINE)) == 1, old
            text = re.sub(f"^{re.escape(old)}", new, text, flags=re.MULTILINE)
        self.configuration = folder / "daybreak.toml"
        self.configuration.write_text(text)
        self._minutes = 25
        self.environment = {
            "PATH": f"{podman.path}:{DAYBREAK.parent}:{restic.parent}:{os.environ['PATH']}",
            "DAYBREAK_CONFIG": str(self.configuration),
            "HOME": str(folder),
        }

    def another_night(self) -> None:
        """Let a slot of both plans be due that nobody took: each call another minute of the last half hour."""
        self._minutes -= 1
        due = datetime.now(ZoneInfo("America/Chicago")) - timedelta(minutes=self._minutes)
        text = re.sub(
            "^schedule = .*$", f'schedule = "{due:%H:%M}"', self.configuration.read_text(), flags=re.MULTILINE
        )
        self.configuration.write_text(text)

    def daybreak(self, *words: object) -> dict:
        """A person's call on the server."""
        return json.loads(self.by_hand(DAYBREAK, *words, "--json"))

    def by_hand(self, program: Path, *words: object, expect: int = 0) -> str:
        """A call of a program on the server."""
        done = subprocess.run(
            [program, *map(str, words)], env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def workflow(self, job: str, expect: int = 0) -> str:
        """What GitHub would do; what the step said."""
        self.another_night()
        self.server.environment |= self.environment
        return "\n".join(self.server.run_step(WORKFLOWS[job], expect=expect))


@pytest.fixture
def site(server, podman, s3, restic, tmp_path):
    made = Site(tmp_path, podman, server, s3, restic)
    start_containers(podman, made.backups)
    yield made
    podman("rm", "--force", "--time=0", PROD, DEV, ok=False)


@pytest.mark.postgres
@pytest.mark.restic
def test_from_the_first_backup_to_undo(site, podman):
    podman.sql(PROD, "CREATE TABLE version AS SELECT 'of production' AS text")
    podman.sql(DEV, "CREATE TABLE version AS SELECT 'of development' AS text")

    def version_of_dev() -> str:
        return podman.sql(DEV, "SELECT text FROM version")

    # ops/README.md, steps 4 to 6
    site.by_hand(DAYBREAK, "config", "check", "--connect")
    site.daybreak("repository", "init", "r2")
    site.workflow("backup")
    archive = site.backups / "genjishimada-prod.dump"
    site.by_hand(DAYBREAK, "archive", "read", archive)
    (snapshot,) = site.daybreak("repository", "snapshots", "r2")["snapshots"]
    assert "plan=nightly" in snapshot["tags"]
    assert "--first" in site.workflow("refresh", expect=4)  # nobody said yet that this database may be replaced
    assert version_of_dev() == "of development"
    site.daybreak("refresh", "weekly", "--first")
    assert version_of_dev() == "of production"

    # every week
    podman.sql(PROD, "UPDATE version SET text = 'of production, later'")
    site.workflow("backup")
    assert "1 of 1 table compared, 1 equal" in site.workflow("refresh")
    assert version_of_dev() == "of production, later"
    site.by_hand(DAYBREAK, "undo")
    assert version_of_dev() == "of production"

    # once for each slot, whoever comes
    before = archive.stat().st_ino
    assert "already done for slot" in site.by_hand(SCRIPTS["refresh"])
    assert archive.stat().st_ino == before

    # when the job is cancelled, the run goes on
    site.another_night()
    before = archive.stat().st_ino
    with site.server.start_step(WORKFLOWS["backup"]) as step:
        wait_for(lambda: len(site.server.asked) == 5, what="the fifth call")
        step.terminate()
    wait_for(lambda: archive.stat().st_ino != before, within_s=60, what="the archive of a job that was cancelled")
    wait_for(lambda: site.daybreak("runs")["runs"][0]["state"] == "succeeded", within_s=60, what="its end")

    # and when a container is gone
    before = archive.stat().st_ino
    podman("stop", "--time=0", PROD)
    assert f"podman start {PROD}" in site.workflow("backup", expect=10)
    assert archive.stat().st_ino == before
