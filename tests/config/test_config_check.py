"""The check of a configuration: what is right becomes nouns, what is wrong is said at once, by its path."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak import config
from daybreak.errors import ConfigError
from daybreak.model import BackupPlan, Database, Keep, Place, RefreshPlan, Repository, Schedule, SecretSource, SshHost
from daybreak.replacement import Replacement
from daybreak.upkeep import RepositoryPlan, Upkeep

GOOD = """
[databases.prod]
url = "postgresql://user@host:5432/name"
protected = true
[databases.dev]
url = "host=/run/postgresql dbname=dev"
password_command = "pass show 'dev db'"
[backups.nightly]
database = "prod"
archive = "/var/backups/genji/postgres/genjishimada-prod.dump"
schedule = "02:00"
timezone = "America/Chicago"
repositories = ["r2"]
keep_local = 1
[refreshes.weekly]
backup = "nightly"
target = "dev"
max_age = "1h"
schedule = "Sun 02:00"
timezone = "America/Chicago"
[repositories.r2]
url = "s3:https://ACCOUNT.r2.cloudflarestorage.com/genji-db-backups"
password_file = "/etc/daybreak/r2.password"
env_file = "/etc/daybreak/r2.env"
keep = { daily = 7, weekly = 4, monthly = 12 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "daybreak.toml"
    path.write_text(GOOD)
    return path


def problems_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.check(path)
    assert caught.value.exit_code == 3
    assert str(path) in caught.value.message
    assert all(problem in caught.value.message for problem in caught.value.problems)
    assert "canary" not in caught.value.message + caught.value.hint
    return list(caught.value.problems)


def test_a_good_file_becomes_nouns(file: Path) -> None:
    prod = Database(
        name="prod",
        conninfo={"user": "user", "host": "host", "port": "5432", "dbname": "name"},
        protected=True,
    )
    dev = Database(
        name="dev",
        conninfo={"host": "/run/postgresql", "dbname": "dev"},
        password=SecretSource(command=("pass", "show", "dev db")),
    )
    r2 = Repository(
        name="r2",
        url="s3:https://ACCOUNT.r2.cloudflarestorage.com/genji-db-backups",
        password=SecretSource(file=Path("/etc/daybreak/r2.password")),
        env_file=Path("/etc/daybreak/r2.env"),
        keep=Keep(daily=7, weekly=4, monthly=12),
    )
    nightly = BackupPlan(
        name="nightly",
        database=prod,
        archive=Path("/var/backups/genji/postgres/genjishimada-prod.dump"),
        repositories=(r2,),
        schedule=Schedule(spec="02:00", timezone="America/Chicago"),
    )
    weekly = RefreshPlan(
        name="weekly",
        backup=nightly,
        target=dev,
        schedule=Schedule(spec="Sun 02:00", timezone="America/Chicago"),
    )
    assert config.check(file) == config.Settings(
        path=file,
        databases={"prod": prod, "dev": dev},
        backups={"nightly": nightly},
        refreshes={"weekly": weekly},
        repositories={"r2": r2},
        upkeep={
            "r2-check": RepositoryPlan(
                name="r2-check",
                kind=Upkeep.CHECK,
                repository=r2,
            ),
            "r2-prune": RepositoryPlan(name="r2-prune", kind=Upkeep.PRUNE, repository=r2),
        },
    )


def test_every_key_arrives(file: Path) -> None:
    file.write_text("""
    state = "/srv/daybreak"
    timezone = "Europe/Berlin"
    restic = "/opt/restic"
    [databases.a]
    service = "a"
    port = 5433
    user = "me"
    host = "db"
    database = "x"
    bin = "/usr/lib/postgresql/17/bin"
    password_env = "A_PASSWORD"
    [databases.b]
    url = "postgresql://h1,h2:5433/x?sslmode=verify-full"
    shares_cluster_with = "a"
    [backups.n]
    database = "a"
    archive = "/x/a/a.dump"
    schedule = "02:00"
    keep_local = 3
    globals_passwords = true
    lock_wait = "2m"
    idle = "1m 30s"
    backlog = 3
    wait = "0s"
    deadline = "1d"
    [refreshes.w]
    backup = "n"
    target = "b"
    jobs = 4
    max_age = "0s"
    swap_within = "500ms"
    wait = "1m"
    deadline = "2h"
    [repositories.r]
    url = "/srv/repository"
    check = "Sun 05:00"
    prune = "never"
    timezone = "UTC"
    wait = "1m"
    limit_upload = "2MiB/s"
    limit_download = "1.5 kB / s"
    password_command = ["cat", "/x y"]
    env = { AWS_DEFAULT_REGION = "auto" }
    deadline = "1h"
    [repositories.s]
    url = "sftp:me@host:/srv"
    password_file = "/p"
    restic = "/usr/bin/restic"
    """)
    settings = config.check(file)
    assert settings.state == Path("/srv/daybreak")
    a, b = settings.databases["a"], settings.databases["b"]
    assert a.conninfo == {"service": "a", "host": "db", "port": "5433", "user": "me", "dbname": "x"}
    assert (a.bin, a.password) == (Path("/usr/lib/postgresql/17/bin"), SecretSource(env="A_PASSWORD"))
    assert b.conninfo == {"host": "h1,h2", "port": ",5433", "dbname": "x", "sslmode": "verify-full"}
    assert b.shares_cluster_with == "a"
    assert settings.backups["n"] == BackupPlan(
        name="n",
        database=a,
        archive=Path("/x/a/a.dump"),
        schedule=Schedule(spec="02:00", timezone="Europe/Berlin"),
        keep_local=3,
        globals_passwords=True,
        lock_wait=timedelta(minutes=2),
        idle=timedelta(seconds=90),
        backlog=3,
        wait=timedelta(0),
        deadline=timedelta(days=1),
    )
    assert settings.refreshes["w"] == RefreshPlan(
        name="w",
        backup=settings.backups["n"],
        target=b,
        max_age=timedelta(0),
        wait=timedelta(minutes=1),
        how=Replacement(jobs=4, swap_within=timedelta(milliseconds=500), deadline=timedelta(hours=2)),
    )
    r, s = settings.repositories["r"], settings.repositories["s"]
    assert r.password == SecretSource(command=("cat", "/x y"))
    assert (r.env, r.keep, r.restic, r.deadline) == (
        {"AWS_DEFAULT_REGION": "auto"},
        None,
        Path("/opt/restic"),
        timedelta(hours=1),
    )
    assert (r.append_only, r.limit_upload, r.limit_download) == (True, 2 * 2**20, 1500)
    check = RepositoryPlan(
        name="r-check",
        kind=Upkeep.CHECK,
        repository=r,
        schedule=Schedule(spec="Sun 05:00", timezone="UTC"),
        wait=timedelta(minutes=1),
    )
    assert settings.upkeep["r-check"] == check
    assert settings.upkeep["r-prune"].schedule is None
    assert list(settings.upkeep) == ["r-check", "r-prune", "s-check", "s-prune"]
    assert s.restic == Path("/usr/bin/restic")


#: What is put in the place of a line of GOOD, and how the one fault it makes begins.
# ruff: noqa: E501 -- one line per fault
FAULTS = [
    ("protected = true", "protected = 'canary'", "databases.prod.protected: must be true or false"),
    ("protected = true", "protected = 1", "databases.prod.protected: must be true or false"),
    ("protected = true", "protect = true", 'databases.prod.protect: is not a key of Daybreak; did you mean "protected"'),
    ("protected = true", "zzz = true", "databases.prod.zzz: is not a key of Daybreak"),
    ("protected = true", "password = 'canary'", "databases.prod.password: no secret belongs into this file"),
    ("protected = true", "password_file = 'p'", "databases.prod.password_file: must be an absolute path"),
    ("protected = true", "password_env = 'canary is it'", "databases.prod.password_env: must be the name of"),
    ("protected = true", "password_command = []", "databases.prod.password_command: names no program"),
    ("protected = true", "password_command = ''", "databases.prod.password_command: names no program"),
    ("protected = true", "password_command = 'a \"'", "databases.prod.password_command: cannot be split"),
    ("protected = true", "password_command = [1]", "databases.prod.password_command: must be a command"),
    ("protected = true", "password_env = 'A'\npassword_file = '/b'", "databases.prod: password_file and password_env"),
    ("protected = true", "port = 0", "databases.prod.port: must be 1 or more"),
    ("protected = true", "port = 70000", "databases.prod.port: must be 65535 or less"),
    ("protected = true", "port = '5432'", "databases.prod.port: must be a whole number"),
    ("protected = true", "host = ''", "databases.prod.host: is empty"),
    ("protected = true", "bin = 'pg/bin'", "databases.prod.bin: must be an absolute path"),
    ("protected = true", "shares_cluster_with = 'prdo'", "databases.prod.shares_cluster_with: there is no [databases"),
    ("protected = true", "shares_cluster_with = 'prod'", "databases.prod.shares_cluster_with: names the database"),
    ("postgresql://user@", "postgresql://user:canary@", "databases.prod.url: holds a password"),
    ("postgresql://user@host:5432/name", "password=canary", "databases.prod.url: holds a password"),
    ("postgresql://user@host:5432/name", "postgresql://h/n?password=canary", "databases.prod.url: holds a password"),
    ("postgresql://user@host:5432/name", "canary", "databases.prod.url: it is neither"),
    ("postgresql://user@host:5432/name", "http://canary", "databases.prod.url: it is neither"),
    ("postgresql://user@host:5432/name", "postgresql://host", "databases.prod.url: names no database"),
    ("postgresql://user@host:5432/name", "postgresql://h/n?sslmod=x", 'databases.prod.url: has a keyword that libpq does not know; did you mean "sslmode"'),
    ("postgresql://user@host:5432/name", "postgresql://h/n?sslmode=yes", "databases.prod.url: has a sslmode that libpq does not take: it must be disable, allow, prefer, require, verify-ca or verify-full"),
    ("postgresql://user@host:5432/name", "postgresql://h,i:5433,j:5432x/n", "databases.prod.url: has a port that libpq does not take: it must be a number from 1 to 65535"),
    ("postgresql://user@host:5432/name", "postgresql://me:canary/x@host/n", "databases.prod.url: has a port that libpq does not take"),
    ("postgresql://user@host:5432/name", "postgresql://h/n?connect_timeout=10s", "databases.prod.url: has a connect_timeout that libpq does not take: it must be a whole number"),
    ("postgresql://user@host:5432/name", "postgresql://h,i,j:5432,k/n?port=1,2", "databases.prod.url: names 2 ports for 4 hosts: libpq wants one for all, or one each"),
    ("postgresql://user@host:5432/name", "postgresql://h,i/n?hostaddr=127.0.0.1", "databases.prod.url: names 2 hosts, and 1 in hostaddr: libpq wants as many"),
    ("postgresql://user@host:5432/name", "postgresql://h/n?hostaddr=canary", "databases.prod.url: has a hostaddr that libpq does not take: it must be an IP address (a name belongs to host)"),
    ("postgresql://user@host:5432/name", "postgresql://h/n?ssl_min_protocol_version=1.2", "databases.prod.url: has a ssl_min_protocol_version that libpq does not take: it must be TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3"),
    ("postgresql://user@host:5432/name", "postgresql://h/n?application_name=x", "databases.prod.url: sets application_name"),
    ("postgresql://user@host:5432/name", "postgresql://h/n?sslpassword=canary", "databases.prod.url: holds a secret"),
    ('url = "postgresql://user@host:5432/name"', "url = 5", "databases.prod.url: must be a connection string in quotes"),
    ('url = "postgresql://user@host:5432/name"', "", "databases.prod: says nowhere which database"),
    ('url = "postgresql://user@host:5432/name"', "host = 'x'", "databases.prod: names no database"),
    ('database = "prod"', 'database = "pord"', 'backups.nightly.database: there is no [databases.pord]; did you mean "prod"'),
    ('database = "prod"', "", "backups.nightly.database: is missing"),
    ('database = "prod"', "database = ['prod']", "backups.nightly.database: must be a text in quotes"),
    ("/genjishimada-prod.dump", "/", "backups.nightly.archive: must name a file"),
    ("/var/backups/genji", "backups", "backups.nightly.archive: must be an absolute path"),
    ("/genjishimada-prod", "/../prod", "backups.nightly.archive: must not go through"),
    ("/genjishimada-prod", "/.daybreak/prod", "backups.nightly.archive: must not go through"),
    ("/genjishimada-prod", "/a\\nb", "backups.nightly.archive: must be a path without control characters"),
    ("keep_local = 1", "keep_local = 0", "backups.nightly.keep_local: must be 1 or more"),
    ("keep_local = 1", "keep_local = 1.5", "backups.nightly.keep_local: must be a whole number"),
    ("keep_local = 1", "keep_local = true", "backups.nightly.keep_local: must be a whole number"),
    ("keep_local = 1", "idle = '0s'", "backups.nightly.idle: must be longer than nothing"),
    ("keep_local = 1", "idle = 5", "backups.nightly.idle: must be a duration"),
    ("keep_local = 1", "idle = '5 parsecs'", "backups.nightly.idle: '5 parsecs' is not a duration"),
    ("keep_local = 1", "idle = '99999999999d'", "backups.nightly.idle: '99999999999d' is longer than anything"),
    ('["r2"]', '["r2x"]', 'backups.nightly.repositories.0: there is no [repositories.r2x]; did you mean "r2"'),
    ('["r2"]', '["r2", "r2"]', "backups.nightly.repositories: names a repository twice"),
    ('["r2"]', '"r2"', "backups.nightly.repositories: must be a list"),
    ('schedule = "02:00"', 'schedule = "26:00"', "backups.nightly.schedule: '26:00' is not a schedule"),
    ('schedule = "02:00"', "schedule = 02:00:00", "backups.nightly.schedule: must be a schedule"),
    ('max_age = "1h"\nschedule = "Sun', 'max_age = "1h"\nschedule = "Son', "refreshes.weekly.schedule: 'Son 02:00' is not"),
    ('"America/Chicago"\nrepositories', '"Chicago"\nrepositories', "backups.nightly.timezone: 'Chicago' is not a time zone"),
    ('backup = "nightly"', 'backup = "nigthly"', 'refreshes.weekly.backup: there is no [backups.nigthly]; did you mean "nightly"'),
    ('target = "dev"', 'target = "qa"', "refreshes.weekly.target: there is no [databases.qa] (there is: prod, dev)"),
    ('max_age = "1h"', "jobs = 1", "refreshes.weekly.jobs: must be 2 or more, or 0"),
    ('max_age = "1h"', "jobs = -1", "refreshes.weekly.jobs: must be 0 or more"),
    ("daily = 7", "daily = -7", "repositories.r2.keep.daily: must be 0 or more"),
    ("daily = 7", "dialy = 7", 'repositories.r2.keep.dialy: is not a key of Daybreak; did you mean "daily"'),
    ("daily = 7, weekly = 4, monthly = 12", "", "repositories.r2.keep: keeps nothing"),
    ("daily = 7, weekly = 4, monthly = 12", "last = 0", "repositories.r2.keep: keeps nothing"),
    ("keep = {", "keep = 5 #", "repositories.r2.keep: must be a table"),
    ('password_file = "/etc/daybreak/r2.password"', "", "repositories.r2: a restic repository needs password_file"),
    ("s3:https://ACCOUNT", "rest:https://me:canary@host", "repositories.r2.url: holds a password"),
    ("s3:https://ACCOUNT", "rel/path", "repositories.r2.url: must be the absolute path of a folder"),
    ("s3:https://ACCOUNT", "./rel", "repositories.r2.url: must be the absolute path of a folder"),
    ("s3:https://ACCOUNT", "local:rel", "repositories.r2.url: must be the absolute path of a folder"),
    ("s3:https://ACCOUNT", "S3:https://ACCOUNT", "repositories.r2.url: must be the absolute path of a folder"),
    ("env_file =", 'env = { AWS_SECRET_ACCESS_KEY = "canary" } #', "repositories.r2.env: AWS_SECRET_ACCESS_KEY is a secret"),
    ("env_file =", 'env = { RESTIC_PASSWORD_FILE = "canary" } #', "repositories.r2.env: RESTIC_PASSWORD_FILE is what"),
    ("env_file =", 'env = { "A B" = "canary" } #', "repositories.r2.env: 'A B' is not the name"),
    ("env_file =", "env = { A = 1 } #", "repositories.r2.env: must be A a text in quotes"),
    ("env_file =", "env = 'canary' #", "repositories.r2.env: must be a table"),
    ("[repositories.r2]", "[repository.r2]", 'repository: is not a key of Daybreak; did you mean "repositories"'),
    ("[databases.dev]", '[databases."de v"]', 'databases."de v": the name must be made of'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS, ids=[fault[2].partition(" ")[0] for fault in FAULTS])
def test_a_fault_is_named_by_its_path(file: Path, old: str, new: str, expected: str) -> None:
    assert GOOD.count(old) >= 1
    problems = problems_of(file, GOOD.replace(old, new, 1))
    assert any(problem.startswith(expected) for problem in problems), problems


@pytest.mark.parametrize(
    "url",
    [
        "/srv/r",
        "local:/srv/r",
        "s3:s3.amazonaws.com/bucket",
        "b2:bucket:path",
        "azure:container:/",
        "gs:bucket:/x",
        "swift:container:/x",
        "rclone:remote:rel/path",
        "rest:http://host:8000/",
        "sftp:user@host:rel/path",
        "sftp://user@[::1]:2222//srv/r",
    ],
)
def test_every_kind_of_storage_of_restics_is_taken(file: Path, url: str) -> None:
    file.write_text(GOOD.replace("s3:https://ACCOUNT.r2.cloudflarestorage.com/genji-db-backups", url))
    assert config.check(file).repositories["r2"].url == url


def test_one_fault_is_one_line(file: Path) -> None:
    for old, new, expected in FAULTS:
        if "[repository" in new or "de v" in new:  # a whole table is gone, and is missed elsewhere
            continue
        problems = problems_of(file, GOOD.replace(old, new, 1))
        assert len(problems) == 1, (expected, problems)


def test_all_faults_come_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = GOOD.replace("protected = true", "port = 0\nuser = ''\nhots = 'x'")
    text = text.replace('target = "dev"', 'target = "prod"').replace('["r2"]', '["r2", "r3"]')
    text = text.replace('database = "prod"', 'database = "x"\nkeep_local = "1"').replace("keep_local = 1\n", "")
    text = 'stat = "/x"\n' + text.replace('password_file = "/etc/daybreak/r2.password"', "")
    assert [problem.partition(": ")[0] for problem in problems_of(file, text)] == [
        "stat",
        "databases.prod.port",
        "databases.prod.user",
        "databases.prod.hots",
        "backups.nightly.keep_local",
        "backups.nightly.database",
        "backups.nightly.repositories.1",
        "repositories.r2",
    ]


def test_a_protected_database_is_no_target(file: Path) -> None:
    assert problems_of(file, GOOD.replace('target = "dev"', 'target = "prod"')) == [
        "refreshes.weekly.target: databases.prod is protected and never a target"
    ]
    unprotected = GOOD.replace('target = "dev"', 'target = "prod"').replace("protected = true", "")
    assert problems_of(file, unprotected) == ["refreshes.weekly.target: backups.nightly dumps this very database"]


def test_refreshes_in_a_ring_are_refused(file: Path) -> None:
    ring = """
    [databases.a]
    url = "dbname=a"
    [databases.b]
    url = "dbname=b"
    [databases.c]
    url = "dbname=c"
    [backups.a]
    database = "a"
    archive = "/x/a/a.dump"
    [backups.b]
    database = "b"
    archive = "/x/b/b.dump"
    [backups.c]
    database = "c"
    archive = "/x/c/c.dump"
    [refreshes.ab]
    backup = "a"
    target = "b"
    [refreshes.bc]
    backup = "b"
    target = "c"
    [refreshes.last]
    backup = "c"
    target = "a"
    """
    (problem,) = problems_of(file, ring)
    assert problem.startswith("refreshes: ab, bc, last form a ring")
    chain = ring.replace('backup = "c"\n    target = "a"', 'backup = "a"\n    target = "c"')
    file.write_text(chain)
    assert list(config.check(file).refreshes) == ["ab", "bc", "last"]


def test_two_backups_do_not_share_a_folder(file: Path) -> None:
    other = '[backups.other]\ndatabase = "dev"\narchive = "/var/backups//genji/./postgres/other.dump"\n'
    assert problems_of(file, GOOD + other) == [
        "backups.other.archive: is in the folder of backups.nightly: each needs one of its own"
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "databases: is missing"),
        (b"# nothing\n", "databases: is missing"),
        (b"databases = 5\n", r"databases: must be tables like \[databases.NAME\]"),
        (b"[databases]\nurl = 'x'\n", r"databases.url: must be a table .*belongs into \[databases.NAME\]"),
        (b"\xef\xbb\xbf" + GOOD.encode(), "line 1: the file begins with a byte order mark"),
        (b"[databases.a]\n\nurl = '\xe9'\n", "line 3: the file is not UTF-8"),
        (b"\xff\xfe[\0", "line 1: the file is not UTF-8"),
        (b"[databases.a]\nurl = 'a'\nurl = 'b'\n", "line 3, column .*stands twice"),
        (b"[databases.a]\n[databases.a]\n", "line 2, column .*stands twice"),
        (b"[databases.a]\nurl = canary\n", "line 2, column 7: invalid value|line 2, column 7: Invalid value"),
        (b"[databases.a\n", "line 1"),
        (b"a = '", "at its end"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"# " + b"x" * 1_000_000, "larger than 256 KiB"),
        (b"\0", "line 1"),
    ],
)
def test_what_is_no_configuration_at_all(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        config.check(file)
    assert str(file) in caught.value.message
    assert "canary" not in caught.value.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        config.check(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.check(tmp_path)


def test_loading_does_nothing_but_read_the_file(file: Path) -> None:
    """No program is started, no other file of the configuration is opened, nobody is dialled."""
    text = GOOD.replace("protected = true", 'password_command = "touch /proc/never"\nbin = "/nowhere/bin"')
    file.write_text(text.replace("/etc/daybreak", str(file.parent / "secrets")))
    seen: list[tuple[str, object]] = []
    watching = True

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in {"open", "socket.connect", "subprocess.Popen", "os.posix_spawn", "os.exec"}:
            seen.append((event, arguments[0]))

    config.check(file)  # whatever has to be imported is imported now
    sys.addaudithook(hear)
    config.check(file)
    watching = False
    opened = [name for event, name in seen if not str(name).startswith("/usr/share/zoneinfo")]
    assert opened == [str(file)]
    assert not [event for event, _ in seen if event != "open"]


def test_help_does_not_load_pydantic() -> None:
    code = "import sys, daybreak.config; sys.exit('pydantic' in sys.modules or 'cronsim' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0


_VALUES = st.recursive(
    st.one_of(
        st.integers(-5, 10**6), st.booleans(), st.floats(), st.text(max_size=8), st.just("canary"), st.datetimes()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    ["url", "keep", "env", "archive", "database", "schedule", "jobs", "target", "backup", "wait", "repositories", "x.y"]
)


@given(
    st.dictionaries(
        st.sampled_from(["databases", "backups", "refreshes", "repositories", "state", "zzz"]),
        st.one_of(_VALUES, st.dictionaries(st.text(max_size=5), st.one_of(_VALUES, st.dictionaries(_KEYS, _VALUES)))),
    )
)
def test_no_tables_whatever_end_in_a_traceback(tables: dict[str, object]) -> None:
    from daybreak.config.checking import check_tables  # noqa: PLC0415 -- what `check` imports late

    try:
        check_tables(Path("/x.toml"), tables)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 -- good tables are good too


def written(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text))
    return path


def test_a_database_in_a_container_and_on_another_host(tmp_path: Path) -> None:
    settings = config.check(
        written(
            tmp_path / "daybreak.toml",
            """
            [hosts.vps]
            ssh = "ssh://deploy@203.0.113.7:2222"
            [databases.prod]
            container = "genjishimada-db"
            [databases.other]
            container = "genjishimada-db"
            host = "vps"
            runtime = "podman"
            user = "reader"
            database = "wiki"
            [databases.plain]
            host = "vps"
            url = "postgresql://me@127.0.0.1/x"
            """,
        )
    )
    vps = SshHost(name="vps", destination="ssh://deploy@203.0.113.7:2222")
    prod, other, plain = (settings.databases[name] for name in ("prod", "other", "plain"))
    assert prod == Database(name="prod", conninfo={}, place=Place(container="genjishimada-db"))
    assert other.place == Place(ssh=vps, container="genjishimada-db", runtime="podman")
    assert other.conninfo == {"user": "reader", "dbname": "wiki"}
    assert plain.place == Place(ssh=vps)
    assert plain.conninfo == {"user": "me", "host": "127.0.0.1", "dbname": "x"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[databases.a]\ncontainer = "a b"', "databases.a.container: must be the name of a container"),
        ('[databases.a]\ncontainer = "-v"', "databases.a.container: must be the name of a container"),
        ('[databases.a]\ncontainer = "c"\nruntime = "lxc"', "databases.a.runtime: must be 'docker' or 'podman'"),
        ('[databases.a]\ncontainer = "c"\nhost = "vpn"', "databases.a.host: there is no [hosts.vpn]"),
        ('[hosts.vps]\nssh = "-oProxyCommand=x"\n[databases.a]\ncontainer = "c"', "hosts.vps.ssh: must be user@host"),
        ('[hosts.vps]\nssh = "ssh://a:b@c"\n[databases.a]\ncontainer = "c"', "hosts.vps.ssh: holds a password"),
        ('[hosts.vps]\n[databases.a]\ncontainer = "c"', "hosts.vps.ssh: is missing"),
    ],
)
def test_faults_of_hosts_and_containers(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as fault:
        config.check(written(tmp_path / "daybreak.toml", text))
    assert len(fault.value.problems) == 1
    assert fault.value.problems[0].startswith(problem)
