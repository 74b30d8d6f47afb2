"""From an empty server to every night: `ops/README.md` is followed, then the workflows' own steps come over ssh.

The server has the names of the first user throughout; of `ops/daybreak.toml` only the address of the bucket is another.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from deployment import BACKUPS, CONFIGURATION, DEV, PROD, SCRIPTS, WORKFLOWS, commands_by_hand, start_containers
from far import Server
from sandbox import Sandbox

from daybreak.embedded.scratch import free_port
from daybreak.process import Command, Runner
from installation import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.restic, pytest.mark.timeout(600)]
SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""
USER = "deploy"
HOME = f"/home/{USER}"  # in the sandbox
LOOK = f"""
stat -c '%a %U:%G %n' {BACKUPS} /var/lib/daybreak /etc/daybreak /etc/daybreak/* /opt/genji/scripts \
    /opt/genji/scripts/* {HOME}/.ssh {HOME}/.ssh/authorized_keys
id -Gn deploy
"""


class Whole:
    """The server in its sandbox, its containers outside of it, GitHub on this side of ssh."""

    def __init__(self, folder: Path, sandbox: Sandbox, podman, s3) -> None:
        self.folder, self.sandbox, self.podman = folder, sandbox, podman
        self.minutes = 25
        for name in ("scripts", "runner"):
            (folder / name).mkdir()
        for name in ("host_key", "key", "other"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "github-backup", "-f", folder / name]
            subprocess.run(argv, check=True, timeout=30)
        self.github = Server(folder=folder, port=free_port())
        bucket = 's3:https://ACCOUNT.r2.cloudflarestorage.com/genji-db-backups"'
        text = CONFIGURATION.read_text("utf-8")
        assert text.count(bucket) == 1
        (folder / "daybreak.toml").write_text(text.replace(bucket, s3.bucket_url("genji-db-backups") + '/sandbox"'))
        (folder / "r2.password").write_text("a long password\n")
        (folder / "r2.env").write_text("".join(f"{key}={value}\n" for key, value in s3.env.items()))
        (folder / "sshd_config").write_text(SSHD.format(port=self.github.port, folder=folder))

    def copy(self) -> None:
        """Step 1 of the README, but that the programs are there already."""
        _, folder, install = commands_by_hand(1)[0].splitlines()[1:]
        assert install.split()[4] == "/etc/daybreak/daybreak.toml"
        self.sandbox.root(
            f"""
            cd {self.folder}; mkdir ops; cp daybreak.toml ops
            {folder}
            {install}
            cp r2.password r2.env /etc/daybreak
            cp key.pub /etc/daybreak/github.pub
            """
        )

    def daybreak(self, words: str, expect: int = 0) -> dict:
        """Root's call on the server."""
        said = self.sandbox.root(f"daybreak {words} --json 2>/dev/null", expect=expect)
        return json.loads(said)

    def another_night(self) -> None:
        """Let a slot of both plans be due that nobody took, and let serve read that."""
        self.minutes -= 1
        due = datetime.now(ZoneInfo("America/Chicago")) - timedelta(minutes=self.minutes)
        self.sandbox.root(
            f"""
            sed -i 's/^schedule = .*/schedule = "{due:%H:%M}"/' /etc/daybreak/daybreak.toml
            [ ! -e /run/serve.pid ] || kill -HUP "$(cat /run/serve.pid)"
            """
        )
        wait_for(
            lambda: f"{due:%H:%M}" in self.sandbox.root("cat /var/lib/daybreak/serve/daybreak.toml", expect=None),
            within_s=60,
            what="the configuration is read again",
        )

    @property
    def secrets(self) -> dict[str, str]:
        return self.github.secrets | {"SERVER_HOST_USER": "deploy"}

    def workflow(self, job: str, expect: int = 0, **more: str) -> str:
        """What GitHub does."""
        return "\n".join(self.github.run_step(WORKFLOWS[job], self.secrets | more, expect=expect))

    def ssh(
        self, *words: str, options: tuple[str, ...] = (), known: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What else somebody with the key could try."""
        hosts = known or self.folder / "known_hosts"
        if known is None:
            hosts.write_text(self.secrets["SERVER_HOST_KNOWN_HOSTS"] + "\n")
        argv = [
            "ssh",
            "-F",
            "none",
            "-i",
            self.folder / "key",
            "-o",
            "BatchMode=yes",
            "-o",
            f"UserKnownHostsFile={hosts}",
        ]
        argv += ["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", *options]
        return subprocess.run(
            [*argv, "-p", str(self.github.port), "deploy@127.0.0.1", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture(scope="module")
def whole(scratch: Path, podman, s3, restic) -> Iterator[Whole]:
    folder = scratch / "whole"
    folder.mkdir()
    backups = folder / "backups"
    backups.mkdir()
    sandbox = Sandbox(folder=folder)
    made = Whole(folder, sandbox, podman, s3)
    socket = f"unix://{folder}/docker.sock"
    service = Command(
        argv=(str(podman.path / "podman"), "system", "service", "--time=0", socket), deadline=timedelta(hours=1)
    )
    try:
        with Runner().hold(service):
            start_containers(podman, backups)
            sandbox.start(binds={backups: Path(BACKUPS)}, docker=socket)
            sandbox.root(f"ln -sf '{restic}' /usr/local/bin/restic")
            yield made
    finally:
        sandbox.remove()
        podman("rm", "--force", "--time=0", PROD, DEV, ok=False)
        shutil.rmtree(folder, ignore_errors=True)


def states(said: dict) -> set[str]:
    return {one["state"] for one in said["parts"]}


def test_copy_one_command_check(whole: Whole) -> None:
    sandbox = whole.sandbox
    # nothing was brought yet: a person hears what is missing, and all else is made
    sandbox.root(f"mkdir /elsewhere; cp {whole.folder}/daybreak.toml /elsewhere")
    said = whole.daybreak("--config /elsewhere/daybreak.toml server setup", expect=3)
    by_hand = {one["part"]: one for one in said["parts"] if one["state"] not in {"made", "there"}}
    assert set(by_hand) == {"secret /etc/daybreak/r2.password", "secret /etc/daybreak/r2.env", "keys of deploy"}
    assert all(one["hint"] for one in by_hand.values())
    sandbox.root("rm -r /etc/daybreak /opt/genji; gpasswd --delete deploy genji-backup; chmod 755 /var/lib/daybreak")

    whole.copy()
    everything = "find /etc /opt/genji /var/lib/daybreak -printf '%p %m %u %g %T@\\n' 2>/dev/null | sort | md5sum"
    before = sandbox.root(everything)
    said = whole.daybreak("server setup --dry-run")
    assert said["left"] > 5
    assert states(said) == {"there", "differs"}
    whole.daybreak("server setup --check", expect=3)
    assert before == sandbox.root(everything)

    (command,) = commands_by_hand(2)
    assert command.strip() == "daybreak server setup"
    whole.daybreak("server setup")
    assert sandbox.root(LOOK).splitlines() == [
        f"2770 root:genji-backup {BACKUPS}",
        "2770 root:genji-backup /var/lib/daybreak",
        "2750 root:genji-backup /etc/daybreak",
        "640 root:genji-backup /etc/daybreak/daybreak.toml",
        "644 root:root /etc/daybreak/github.pub",
        "600 root:root /etc/daybreak/r2.env",
        "600 root:root /etc/daybreak/r2.password",
        "755 root:root /opt/genji/scripts",
        "755 root:root /opt/genji/scripts/backup_prod_db.sh",
        "755 root:root /opt/genji/scripts/refresh_dev_from_prod.sh",
        f"700 deploy:deploy {HOME}/.ssh",
        f"600 deploy:deploy {HOME}/.ssh/authorized_keys",
        "deploy genji-backup",
    ]
    unit = sandbox.root("cat /etc/systemd/system/daybreak.service")
    assert "--config /etc/daybreak/daybreak.toml" in unit
    for script in SCRIPTS.values():
        assert sandbox.root(f"cat /opt/genji/scripts/{script.name}") == script.read_text()
    assert states(whole.daybreak("server setup")) == {"there"}
    whole.daybreak("server setup --check")


def test_a_key_that_stands_there_without_its_forced_command_is_taken_out(whole: Whole) -> None:
    public = (whole.folder / "key.pub").read_text().strip()
    other = (whole.folder / "other.pub").read_text().strip()
    whole.sandbox.root(f"cat >{HOME}/.ssh/authorized_keys", stdin=f"# of a person\n{other}\nrestrict {public}\n")
    whole.daybreak("server setup --check", expect=3)
    whole.daybreak("server setup")
    comment, kept, ours = whole.sandbox.root(f"cat {HOME}/.ssh/authorized_keys").splitlines()
    assert (comment, kept) == ("# of a person", other)
    assert ours == (
        'restrict,command="/usr/local/bin/daybreak --config /etc/daybreak/daybreak.toml gate backup:nightly '
        f'refresh:weekly" {public}'
    )


def test_a_link_in_the_users_home_leads_root_nowhere(whole: Whole) -> None:
    sandbox = whole.sandbox
    sandbox.root(f"mv {HOME}/.ssh {HOME}/kept; mkdir /trap; ln -s /trap {HOME}/.ssh")
    said = whole.daybreak("server setup", expect=3)
    assert {one["part"] for one in said["parts"] if one["state"] == "failed"} == {"keys of deploy"}
    assert sandbox.root("ls /trap") == ""
    sandbox.root(f"rm {HOME}/.ssh; mv {HOME}/kept {HOME}/.ssh")
    whole.daybreak("server setup --check")


def test_another_configuration_stays_and_is_told(whole: Whole) -> None:
    whole.sandbox.root("echo '# another' >>/elsewhere/daybreak.toml")
    before = whole.sandbox.root("md5sum /etc/daybreak/daybreak.toml")
    said = whole.daybreak("--config /elsewhere/daybreak.toml server setup", expect=3)
    (left,) = [one for one in said["parts"] if one["state"] not in {"there", "made"}]
    assert left["part"] == "file /etc/daybreak/daybreak.toml"
    assert "stays as it is" in left["found"]
    assert whole.sandbox.root("md5sum /etc/daybreak/daybreak.toml") == before


def test_the_nights_and_the_weeks(whole: Whole) -> None:
    podman, sandbox = whole.podman, whole.sandbox
    podman.sql(PROD, "CREATE TABLE version AS SELECT 'of production' AS text")
    podman.sql(DEV, "CREATE TABLE version AS SELECT 'of development' AS text")
    sandbox.begin(f"/usr/sbin/sshd -D -e -f {whole.folder}/sshd_config")
    sandbox.begin("daybreak serve")
    wait_for(lambda: "serving" in sandbox.root("cat /run/serve.said", expect=None), within_s=60, what="serve")
    assert sandbox.root("stat -c '%a %U:%G' /var/lib/daybreak/runner.sock") == "660 root:genji-backup\n"

    whole.daybreak("config check --connect")
    whole.daybreak("repository init r2")
    whole.another_night()
    summary = whole.folder / "summary"
    said = whole.workflow("backup", GITHUB_STEP_SUMMARY=str(summary))
    assert "by the runner" in said
    assert re.search(r"^state +succeeded$", said, re.MULTILINE)
    assert re.search(r"^size +.* 1 row in 1 table$", summary.read_text(), re.MULTILINE)
    assert "off-site  r2: snapshot" in summary.read_text()
    (run,) = [one for one in whole.daybreak("runs")["runs"] if one["kind"] == "backup"]
    assert run["trigger"] == "deploy through the runner"
    (snapshot,) = whole.daybreak("repository snapshots r2")["snapshots"]
    assert "plan=nightly" in snapshot["tags"]
    sandbox.root(f"daybreak archive read {BACKUPS}/genjishimada-prod.dump")
    assert "already done for slot" in whole.workflow("backup")

    said = whole.workflow("refresh", expect=4)  # nobody said yet that this database may be replaced
    assert "--first" in said
    assert podman.sql(DEV, "SELECT text FROM version") == "of development"
    whole.daybreak("refresh weekly --first")
    podman.sql(PROD, "UPDATE version SET text = 'of production, later'")
    whole.another_night()
    whole.workflow("backup")
    assert "target    dev, away for" in whole.workflow("refresh")
    assert podman.sql(DEV, "SELECT text FROM version") == "of production, later"


def test_a_job_that_is_cancelled_ends_no_run_and_the_next_one_waits_for_it(whole: Whole) -> None:
    whole.another_night()
    before = len(whole.daybreak("runs")["runs"])
    held = ["exec", PROD, "psql", "-U", "genji", "-h", "/run/postgresql", "genjishimada", "-c"]
    lock = "BEGIN; LOCK TABLE version; SELECT pg_sleep(50)"  # pg_dump waits as long as somebody has it
    with subprocess.Popen([whole.podman.path / "podman", *held, lock], stdout=subprocess.DEVNULL):
        with whole.github.start_step(WORKFLOWS["backup"], whole.secrets) as step:
            wait_for(lambda: len(whole.daybreak("runs")["runs"]) > before, within_s=60, what="the run")
            step.terminate()
        assert whole.daybreak("runs")["runs"][0]["state"] in {"waiting", "running"}
        with whole.github.start_step(WORKFLOWS["backup"], whole.secrets) as step:
            ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(50)%' "
            wait_for(lambda: "asked for" in whole.sandbox.root("tail -n 1 /run/serve.said"), what="the second call")
            whole.podman.sql(PROD, ends + "AND pid <> pg_backend_pid()")
            out, err = step.communicate(timeout=240)
    assert step.returncode == 0, out + err
    assert re.search("^state +succeeded$", out, re.MULTILINE)
    assert len(whole.daybreak("runs")["runs"]) == before + 1


@pytest.mark.parametrize(
    "words",
    [
        ("id",),
        (),
        ("/opt/genji/scripts/backup_prod_db.sh", "--fresh"),
        ("sh -c id",),
        ("backup:nightly; id",),
        ("-s", "sftp"),
    ],
    ids=lambda words: " ".join(words) or "shell",
)
def test_the_key_gives_no_other_command(whole: Whole, words: tuple[str, ...]) -> None:
    before = len(whole.daybreak("runs")["runs"])
    done = whole.ssh(*words) if words[:1] != ("-s",) else whole.ssh("sftp", options=("-s",))
    assert done.stdout == ""
    assert done.returncode == 4
    # Of a subsystem nothing but its exit status comes over.
    assert "this key may ask for: backup:nightly, refresh:weekly" in done.stderr or words[:1] == ("-s",)
    assert len(whole.daybreak("runs")["runs"]) == before


def test_the_key_gives_no_port_and_no_terminal(whole: Whole) -> None:
    done = whole.ssh(options=("-W", f"127.0.0.1:{whole.github.port}"))
    assert done.returncode != 0
    assert "prohibited" in done.stderr
    assert "PTY allocation request failed" in whole.ssh("id", options=("-tt",)).stderr


def test_a_server_with_another_key_gets_nothing(whole: Whole) -> None:
    line = whole.secrets["SERVER_HOST_KNOWN_HOSTS"].rsplit(" ", 2)[0]
    other = " ".join((whole.folder / "other.pub").read_text().split()[:2])
    said = whole.workflow("backup", expect=10, SERVER_HOST_KNOWN_HOSTS=f"{line} {other}")
    assert "HOST KEY MISMATCH" in said
    assert whole.github.fingerprint("other") in said
    assert whole.github.fingerprint("host_key") in said


def test_the_user_has_neither_docker_nor_a_secret_and_shares_the_state(whole: Whole) -> None:
    sandbox = whole.sandbox
    assert "ermission denied" in sandbox.as_user("deploy", "cat /etc/daybreak/r2.password", expect=1)
    assert "ermission denied" in sandbox.as_user("deploy", "docker ps", expect=None)
    whole.daybreak('hold dev --why "by root"')
    sandbox.as_user("deploy", "daybreak release dev; daybreak hold dev --why by-deploy; daybreak runs")
    assert "by-deploy" in str(whole.daybreak("status")["holds"])
    whole.daybreak("release dev")
    foreign = r"\( ! -group genji-backup -o -type d ! -perm -2770 \) -print"
    assert sandbox.root(f"find /var/lib/daybreak -path /var/lib/daybreak/console -prune -o {foreign}") == ""
    # who may come into the console is nobody's business but the console's
    assert sandbox.root("stat -c '%a' /var/lib/daybreak/console").strip() == "700"


def test_without_a_runner_the_gate_does_what_its_user_may(whole: Whole) -> None:
    """Here he may not use docker: the run says so, and nothing is harmed."""
    sandbox = whole.sandbox
    whole.another_night()
    sandbox.root('kill "$(cat /run/serve.pid)"; rm /run/serve.pid')
    wait_for(lambda: "stopped" in sandbox.root("cat /run/serve.said"), within_s=60, what="the end of serve")
    before = sandbox.root(f"md5sum {BACKUPS}/genjishimada-prod.dump")
    said = whole.workflow("backup", expect=10)
    assert "by this account" in said
    assert "why " in said
    assert sandbox.root(f"md5sum {BACKUPS}/genjishimada-prod.dump") == before
    # and root again
    whole.daybreak("backup nightly")
