"""What the target lacks or would refuse is said before anything is made; what is left out, with its reason."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from couples import OWNER, Couple, contents, databases
from daybreak.archive import parse_policy_roles, parse_settings
from daybreak.jobs.obstacles import obstacles
from daybreak.jobs.rehearsal import rehearse
from daybreak.model import Database
from daybreak.postgres.client import Postgres
from daybreak.process import Runner
from daybreak.replacement import Replacement

if TYPE_CHECKING:
    from conftest import Server, Servers

ICU_HERE = "SELECT collname FROM pg_collation WHERE collprovider = 'i' AND collname LIKE '%-x-icu' LIMIT 1"
Own = Callable[..., "Server"]
Coupling = Callable[..., Couple]


def refused(site: Couple, *words: str) -> str:
    """A refresh stops at the rehearsal, says so beforehand too, and makes nothing."""
    before = (databases(site.dev, ""), site.dev.psql("SELECT rolname FROM pg_roles ORDER BY 1"))
    said = site.refresh(expect=15)
    steps = [one["name"] for one in site.json("run", "show", said["run"])["steps"]]
    assert "rehearse" in steps
    assert "shadow" not in steps
    for word in words:
        assert word in said["message"], said["message"]
    outlook = site.json("refresh", "--plan", expect=15)
    assert all(any(word in one for one in outlook["obstacles"]) for word in words)
    assert (databases(site.dev, ""), site.dev.psql("SELECT rolname FROM pg_roles ORDER BY 1")) == before
    assert site.clean() == []
    return str(said["message"])


@pytest.fixture
def toys(scratch: Path) -> Iterator[Callable[[str], str]]:
    """`toys("2.0")` is a folder with an extension of our own in that version, as `extension_control_path` takes it."""
    made: list[Path] = []

    def make(version: str) -> str:
        folder = scratch / f"toys-{version}" / "extension"
        folder.mkdir(parents=True)
        (folder / "toy.control").write_text(f"default_version = '{version}'\ntrusted = true\n")
        (folder / f"toy--{version}.sql").write_text("CREATE FUNCTION toy() RETURNS int LANGUAGE sql AS 'SELECT 1';\n")
        for path in (folder.parent, folder, *folder.iterdir()):
            path.chmod(0o755)
        made.append(folder.parent)
        return f"{folder.parent}:$system"

    yield make
    for folder in made:
        for path in [*folder.glob("extension/*"), folder / "extension", folder]:
            path.rmdir() if path.is_dir() else path.unlink()


def pair(tmp_path: Path, prod: Server, dev: Server) -> Couple:
    for server in (prod, dev):
        server.create_database("app")
    return Couple(folder=tmp_path, url=prod.url("app"), bin=prod.bin, prod=prod, prod_db="app", dev=dev, dev_db="app")


def test_case_15_an_extension_that_is_missing_or_older(
    own_server: Own, toys: Callable[[str], str], tmp_path: Path
) -> None:
    newer, older = toys("2.0"), toys("1.9")
    prod = own_server(18, extension_control_path=newer)
    dev = own_server(18)
    site = pair(tmp_path, prod, dev)
    prod.psql("CREATE EXTENSION toy; CREATE TABLE t AS SELECT toy()", "app")
    refused(site, "lacks the extension toy 2.0", "version 2.0 or newer")
    dev.psql(f"ALTER SYSTEM SET extension_control_path = '{older}'")
    dev.psql("SELECT pg_reload_conf()")
    refused(site, "extension toy in version 1.9, production has 2.0", 'older_extensions = ["toy"]')
    site.retarget(weekly={"older_extensions": ["toy"]})
    site.refresh()
    assert dev.psql("SELECT extversion FROM pg_extension WHERE extname = 'toy'", "app") == "1.9"


def test_case_26_a_role_of_a_policy_and_the_owner_to_be(couple: Coupling, servers: Servers, small: str) -> None:
    servers[18].create_role('only, "prod"\'s')
    servers[18].psql(
        "ALTER TABLE account ENABLE ROW LEVEL SECURITY;"
        """CREATE POLICY "p ON x TO y" ON account AS RESTRICTIVE FOR SELECT TO PUBLIC USING (true);"""
        """CREATE POLICY q ON account TO postgres, "only, ""prod""'s" USING (id > 0)""",
        small,
    )
    site = couple(small)
    site.retarget(weekly={"owner": "nobody at all"})
    text = refused(site, """CREATE ROLE "only, ""prod""'s" NOLOGIN""", "the role nobody at all")
    assert "2 things" in text
    site.dev.psql("""CREATE ROLE "only, ""prod""'s" NOLOGIN; CREATE ROLE "nobody at all" NOLOGIN""")
    try:
        site.refresh()
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'account'"
        assert site.dev.psql(owner, site.dev_db) == "nobody at all"
        assert site.dev.psql("SELECT count(*) FROM pg_policies", site.dev_db) == "2"
    finally:
        site.drop()
        site.dev.psql("""DROP ROLE "only, ""prod""'s"; DROP ROLE "nobody at all" """)


@pytest.mark.parametrize("major", [15, 18])
def test_a_role_that_may_not_make_the_database_or_give_it_to_its_owner(
    couple: Coupling, servers: Servers, major: int
) -> None:
    prod = servers[major]
    name = prod.fresh()
    prod.psql("CREATE TABLE version AS SELECT 1 AS n", name)
    site = couple(name, majors=(major, major))
    site.dev.create_role("nobody's heir", options="NOLOGIN")
    site.by_role("weak role", "LOGIN NOCREATEDB")
    site.dev.psql(f'REVOKE "{OWNER}" FROM "weak role"')
    text = refused(site, "the role weak role may not create databases", f'GRANT "{OWNER}" TO "weak role"')
    assert 'ALTER ROLE "weak role" CREATEDB' in text
    site.by_role("weak role")
    site.retarget(weekly={"owner": "nobody's heir"})
    text = refused(site, "nobody's heir is to own what is restored, and the role weak role is no member of it")
    assert "may not create" not in text
    site.retarget(weekly={"owner": None})
    site.refresh()
    site.drop()
    site.dev.psql(f'REVOKE "{OWNER}" FROM "weak role"')
    prod.drop_database(name)


def test_case_16_a_collation_that_the_target_does_not_know(couple: Coupling, servers: Servers) -> None:
    """ICU's by a server that was built without, one of 17's own by an older server."""
    prod = servers[15]
    name = prod.fresh()
    prod.psql(
        'CREATE SCHEMA "odd. (provider = libc";'
        """CREATE COLLATION "odd. (provider = libc"."lo""ose" (provider = icu, locale = 'und-u-ks-level1');"""
        'CREATE COLLATION plain FROM "C"; CREATE TABLE version AS SELECT 1 AS n',
        name,
    )
    site = couple(name, majors=(15, 15))
    site.backup()
    target = Database(name="dev", conninfo=site.dev.keywords(site.dev_db), bin=site.dev.bin)
    server = Postgres(target, runner=Runner(), run="test")
    found = rehearse(server, site.dev_db, site.archive, site.manifest(), Replacement())
    assert found.obstacles == ()
    (one,) = obstacles(replace(found.case, abilities=replace(found.abilities, icu=False)))
    assert 'COLLATION odd. (provider = libc.lo"ose is one of ICU' in str(one)
    assert "built with ICU" in one.remedy
    without = [major for major in (16, 17, 18) if not servers[major].psql(ICU_HERE)]
    for major in without:
        refused(couple(name, majors=(15, major)), "is one of ICU, which the target's server cannot use")
    prod.drop_database(name)


def test_case_16_a_collation_of_postgresqls_own_and_an_older_target(
    couple: Coupling, servers: Servers, small: str
) -> None:
    servers[18].psql("CREATE COLLATION own (provider = builtin, locale = 'C.UTF-8')", small)
    site = couple(small, majors=(18, 16))
    path = {"PATH": f"{servers[18].bin}:{os.environ['PATH']}"}
    said = site.apart("refresh", "--first", "--json", env=path).expect(15)
    assert "COLLATION public.own is PostgreSQL's own, and the target is of version 16" in said["message"]
    assert "PostgreSQL 17 or newer" in said["message"]


def test_case_16_a_locale_of_18s_own_and_17(couple: Coupling, servers: Servers, small: str) -> None:
    """17 has locales of its own, but not yet this one: of a collation, and of a whole database."""
    prod, fast = servers[18], "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' TEMPLATE template0"
    prod.psql("CREATE COLLATION own (provider = builtin, locale = 'PG_UNICODE_FAST')", small)
    text = refused(couple(small, majors=(18, 17)), "COLLATION public.own is PostgreSQL's own")
    assert "the target is of version 17 (use a target of PostgreSQL 18 or newer)" in text
    name = prod.fresh()
    prod.drop_database(name)
    prod.psql(f'CREATE DATABASE "{name}" {fast}')
    prod.psql("CREATE TABLE version AS SELECT 1 AS n", name)
    text = refused(couple(name, majors=(18, 17)), "production's locale PG_UNICODE_FAST is PostgreSQL's own")
    assert "PostgreSQL 18 or newer" in text
    prod.drop_database(name)


@pytest.mark.parametrize(
    ("new", "fault"),
    [
        ("CREATE TABLE one (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)", "syntax error"),
        ("CREATE TABLE one (a int, CHECK (a > 1) NOT ENFORCED)", "syntax error"),
        ("CREATE TABLE one (id uuid DEFAULT uuidv7())", "function uuidv7() does not exist"),
        ("CREATE TABLE one (a int, CONSTRAINT c NOT NULL a); COMMENT ON CONSTRAINT c ON one IS 'x'", '"c" for'),
    ],
)
def test_case_11_what_only_18_knows_is_told_as_that(
    new: str, fault: str, couple: Coupling, servers: Servers, small: str
) -> None:
    servers[18].psql(new, small)
    said = couple(small, majors=(18, 17)).refresh(expect=15)
    assert fault in said["message"]
    assert said["hint"].startswith("the target is as it was; production is PostgreSQL 18 and the target 17")


def test_case_11_and_12_an_older_target(couple: Coupling, servers: Servers, small: str) -> None:
    """Only a newer pg_restore reads the archive; of all that it sets, one setting is unknown there, no other."""
    prod = servers[18]
    site = couple(small, majors=(18, 15))
    refused(site, "pg_restore 15 cannot read the archive", "postgresql-client-17")
    # The tools of 18 are there too, as on a host that has both.
    path = {"PATH": f"{prod.bin}:{os.environ['PATH']}"}
    prod.psql("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET transaction_timeout TO 5 AS 'SELECT 1'", small)
    said = site.apart("refresh", "--fresh", "--first", "--json", env=path).expect(15)
    assert "FUNCTION public.f() sets transaction_timeout, which PostgreSQL 15 does not know" in said["message"]
    prod.psql("DROP FUNCTION f(); CREATE TABLE v (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)", small)
    said = site.apart("refresh", "--fresh", "--first", "--json", env=path).expect(15)
    assert "pg_restore failed at" in said["message"]
    assert "TABLE v" in said["message"]
    assert site.clean() == []
    # What a worker meets is not told of the entry at which that one setting was refused.
    prod.psql("DROP TABLE v; CREATE TABLE c (a int, CHECK (a > 1) NOT ENFORCED)", small)
    said = site.apart("refresh", "--fresh", "--first", "--json", env=path).expect(15)
    assert "CHECK CONSTRAINT c c_a_check" in said["message"]
    prod.psql("DROP TABLE c", small)
    done = site.apart("refresh", "--fresh", "--first", "--json", env=path).expect(0)
    assert done["proof"]["different"] == 0
    assert contents(site.dev, site.dev_db) == contents(prod, small)


def test_case_11_a_newer_pg_restore_does_not_go_on_behind_a_fault(
    couple: Coupling, servers: Servers, small: str
) -> None:
    """It may not end at its first error, since one is expected; at any other it is ended."""
    prod = servers[18]
    prod.psql(
        "CREATE TABLE a (id uuid DEFAULT uuidv7());"
        "CREATE TABLE z AS SELECT n, md5(n::text) AS t FROM generate_series(1, 500000) AS n; CREATE INDEX ON z (t)",
        small,
    )
    site = couple(small, majors=(18, 16))
    path = {"PATH": f"{prod.bin}:{os.environ['PATH']}"}
    said = site.apart("refresh", "--first", "--json", env=path).expect(15)
    assert "TABLE a" in said["message"]
    assert "uuidv7() does not exist" in said["message"]
    log = Path(site.json("run", "show", said["run"])["log"]).read_text()
    assert "ended pg_restore" in log
    assert site.clean() == []


def test_case_04_05_and_06_what_holds_the_target(own_server: Own, servers: Servers, small: str, tmp_path: Path) -> None:
    dev = own_server(18, wal_level="logical", max_prepared_transactions="2")
    dev.create_database("app")
    site = Couple(
        folder=tmp_path,
        url=servers[18].url(small),
        bin=dev.bin,
        prod=servers[18],
        prod_db=small,
        dev=dev,
        dev_db="app",
    )
    dev.psql("CREATE TABLE t ()", "app")
    dev.psql("BEGIN; INSERT INTO t DEFAULT VALUES; PREPARE TRANSACTION 'it''s one'", "app")
    refused(site, "prepared transaction it's one holds app", "ROLLBACK PREPARED 'it''s one'")
    assert dev.psql("SELECT gid FROM pg_prepared_xacts") == "it's one"  # never rolled back unasked
    dev.psql("ROLLBACK PREPARED 'it''s one'", "app")
    dev.psql("SELECT pg_create_logical_replication_slot('kept', 'pgoutput')", "app")
    refused(site, "slot kept of app would be lost", "SELECT pg_drop_replication_slot('kept')")
    dev.psql("SELECT pg_drop_replication_slot('kept')", "app")
    subscription = "CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p WITH (connect = false)"
    dev.psql(f"CREATE SUBSCRIPTION sub {subscription}", "app")
    text = refused(site, "app has the subscription sub")
    assert "SET (slot_name = NONE)" in text
    for statement in ("DISABLE", "SET (slot_name = NONE)"):
        dev.psql(f'ALTER SUBSCRIPTION "sub" {statement}', "app")
    dev.psql('DROP SUBSCRIPTION "sub"', "app")
    site.refresh()


def test_a_target_that_is_a_template(site: Couple) -> None:
    """It is there, and everything that replaces it says what it wants first; what stands beside it does not mind."""
    site.refresh()
    mend = f'ALTER DATABASE "{site.dev_db}" IS_TEMPLATE'
    site.dev.psql(f"{mend} true")
    words = f"{site.dev_db} is a template", f"{mend} false"
    said = site.refresh(expect=15)
    outlook = site.json("refresh", "--plan", expect=15)
    undone = site.json("undo", expect=15)
    for word in words:
        assert word in said["message"]
        assert word in outlook["obstacles"][0]
    assert words[1] in undone["message"]
    assert site.clean() == []
    site.json("restore", "latest", "--to", "dev", "--table", "public.account", "--as-schema", "help")
    assert site.dev.psql("SELECT count(*) FROM help.account", site.dev_db) == "2000"
    site.dev.psql(f"{mend} false")
    site.refresh()


class Listener:
    """A fake production: counts who connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.calls = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._socket.accept()[0].close()
                self.calls += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


def test_case_06_and_27_what_acts_or_reaches_out_stays_out(
    couple: Coupling, servers: Servers, listener: Listener
) -> None:
    prod = servers[15]
    name = prod.fresh()
    prod.psql(
        """
        CREATE TABLE account AS SELECT n AS id FROM generate_series(1, 2000) AS n;
        CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink;
        CREATE SERVER "to prod" FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port 'PORT');
        CREATE USER MAPPING FOR PUBLIC SERVER "to prod" OPTIONS (user 'u', password 'very secret');
        CREATE FOREIGN TABLE far (id int) SERVER "to prod";
        CREATE VIEW near AS SELECT * FROM far; CREATE VIEW nearer AS SELECT * FROM near;
        CREATE PUBLICATION everything FOR ALL TABLES;
        CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=PORT password=hush' PUBLICATION p
            WITH (connect = false);
        CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.noticed VALUES (tg_tag); END $$;
        CREATE TABLE noticed (tag text);
        CREATE MATERIALIZED VIEW quiet AS SELECT 1 AS n;
        CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION noted();""".replace("PORT", str(listener.port)),
        name,
    )
    site = couple(name, majors=(15, 15))
    done = site.refresh()
    said = "\n".join(done["left_out"])
    for label in ("SERVER to prod", "FOREIGN TABLE public.far", "VIEW public.nearer", "PUBLICATION everything", "sub"):
        assert label in said
    kept = b"".join(path.read_bytes() for path in site.state.rglob("*") if path.is_file())
    assert b"very secret" not in kept
    assert b"hush" not in kept
    count = "SELECT (SELECT count(*) FROM pg_foreign_server) + (SELECT count(*) FROM pg_publication)"
    assert site.dev.psql(count, site.dev_db) == "0"
    assert site.dev.psql("SELECT count(*) FROM pg_subscription") == "0"
    # The event trigger is there, and heard nothing of how the database was made.
    assert site.dev.psql("SELECT count(*) FROM noticed", site.dev_db) == "0"
    site.dev.psql("CREATE TABLE seen ()", site.dev_db)
    assert site.dev.psql("SELECT tag FROM noticed", site.dev_db) == "CREATE TABLE"
    site.retarget(weekly={"foreign": True, "event_triggers": False})
    site.refresh()
    assert site.dev.psql("SELECT srvname FROM pg_foreign_server", site.dev_db) == "to prod"
    assert site.dev.psql("SELECT count(*) FROM pg_event_trigger", site.dev_db) == "0"
    assert listener.calls == 0
    prod.psql('ALTER SUBSCRIPTION "sub" SET (slot_name = NONE); DROP SUBSCRIPTION "sub"', name)


@pytest.mark.parametrize("major", [15, 18])
def test_a_foreign_data_wrapper_of_its_own_needs_a_superuser(major: int, couple: Coupling, servers: Servers) -> None:
    prod = servers[major]
    name = prod.fresh()
    prod.psql("CREATE FOREIGN DATA WRAPPER mine; CREATE SERVER far FOREIGN DATA WRAPPER mine", name)
    site = couple(name, majors=(major, major), weekly={"foreign": True})
    site.by_role("modest")
    text = refused(site, "FOREIGN DATA WRAPPER mine needs a superuser, and the target's role is none")
    assert "set foreign = false to leave them out" in text
    site.retarget(weekly={"foreign": False})
    site.refresh()
    site.retarget({"url": site.dev.url(site.dev_db)}, weekly={"foreign": True})
    site.refresh()
    assert site.dev.psql("SELECT srvname FROM pg_foreign_server", site.dev_db) == "far"


@pytest.mark.parametrize("parent", ["top", "one"])
def test_rows_that_would_go_over_to_another_server(parent: str, couple: Coupling, servers: Servers) -> None:
    prod = servers[15]
    far, name = prod.fresh(), prod.fresh()
    values = ", ".join(f"'m{number}'" for number in range(32))
    mood = f"CREATE TYPE mood AS ENUM ({values});"
    prod.psql(f"{mood} CREATE TABLE there (k int, m mood)", far)
    deep = "LIST (k); CREATE TABLE one PARTITION OF top FOR VALUES IN (1) PARTITION BY HASH (m)"
    by = deep if parent == "one" else "HASH (m)"
    prod.psql(
        f"""
        {mood} CREATE EXTENSION postgres_fdw;
        CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host '{prod.host}', port '{prod.port}', dbname '{far}');
        CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user '{prod.user}');
        CREATE TABLE top (k int, m mood) PARTITION BY {by};
        CREATE TABLE here PARTITION OF {parent} FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE FOREIGN TABLE there PARTITION OF {parent}
            FOR VALUES WITH (MODULUS 2, REMAINDER 1) SERVER far;""",
        name,
    )
    prod.psql("INSERT INTO top SELECT 1, m FROM unnest(enum_range(NULL::mood)) AS m", name)
    before = prod.psql("SELECT count(*) FROM there", far)
    assert 0 < int(before) < 32
    site = couple(name, majors=(15, 15), weekly={"foreign": True})
    refused(site, "FOREIGN TABLE public.there is a partition of public.top, whose rows go by the hash of an enum")
    assert prod.psql("SELECT count(*) FROM there", far) == before
    # without it there is no partition for such rows
    site.retarget(weekly={"foreign": False})
    said = site.refresh(expect=15)
    assert "no partition of relation" in said["message"]
    assert "the one that this row finds is not restored, since it leads to another server" in said["hint"]
    prod.psql(
        f"ALTER TABLE {parent} DETACH PARTITION there;"
        f"CREATE TABLE rest PARTITION OF {parent} FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        name,
    )
    site.retarget(weekly={"foreign": True})
    assert site.refresh("--fresh")["proof"]["different"] == 0
    assert prod.psql("SELECT count(*) FROM there", far) == before


def test_an_event_trigger_hears_nothing_of_a_restore_whatever_it_fires_on(couple: Coupling, servers: Servers):
    prod = servers[18]
    name = prod.fresh()
    prod.psql(
        """CREATE TABLE noticed (tag text);
        CREATE MATERIALIZED VIEW one AS SELECT 1 AS n; CREATE MATERIALIZED VIEW two AS SELECT n FROM one;
        CREATE MATERIALIZED VIEW three AS SELECT n FROM two;
        CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.noticed VALUES (tg_tag); END $$;
        CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION noted();
        CREATE EVENT TRIGGER always ON ddl_command_end EXECUTE FUNCTION noted();
        ALTER EVENT TRIGGER always ENABLE ALWAYS""",
        name,
    )
    site = couple(name)
    site.refresh()
    site.json("drill")
    assert site.dev.psql("SELECT count(*) FROM noticed", site.dev_db) == "0"
    assert site.dev.psql("SELECT n FROM three", site.dev_db) == "1"
    site.json("restore", "latest", "--to", "dev", "--table", "public.noticed", "--as-schema", "rescued")
    assert site.dev.psql("SELECT count(*) FROM noticed", site.dev_db) == "0"
    prod.drop_database(name)


@pytest.mark.parametrize("major", [17, 18])
def test_a_trigger_on_login_hears_of_users_only(major: int, couple: Coupling, servers: Servers) -> None:
    """As in PostgreSQL's own documentation: it writes a row for every session, ours included."""
    prod, name = servers[major], servers[major].fresh()
    prod.psql(
        "CREATE TABLE login (id serial, who text); CREATE TABLE other AS SELECT 1 AS n;"
        "CREATE FUNCTION noted() RETURNS event_trigger SECURITY DEFINER LANGUAGE plpgsql AS $$"
        "  BEGIN INSERT INTO public.login (who) VALUES (session_user); END $$;"
        "CREATE EVENT TRIGGER watch ON login EXECUTE FUNCTION noted(); ALTER EVENT TRIGGER watch ENABLE ALWAYS",
        name,
    )
    site = couple(name, majors=(major, major))
    assert site.refresh()["proof"]["different"] == 0
    assert site.json("drill")["proof"]["different"] == 0
    said = site.json("restore", "latest", "--to", "prod", "--new", "back", "--confirm", "back")
    assert said["proof"]["different"] == 0
    before = int(site.dev.psql("SELECT count(*) FROM login", site.dev_db))
    assert int(site.dev.psql("SELECT count(*) FROM login", site.dev_db)) == before + 1  # a user's is written down
    prod.drop_database("back")
    site.drop()
    prod.drop_database(name)


@pytest.mark.parametrize("major", [15, 18])
def test_security_labels_whose_provider_the_target_lacks(major: int, couple: Coupling, servers: Servers) -> None:
    """As of PostgreSQL Anonymizer, whose library is a setting of production's database: a shadow has none."""
    prod, name = servers[major], servers[major].fresh()
    prod.psql(
        "CREATE TABLE person (name text); INSERT INTO person VALUES ('Ada'); SET allow_system_table_mods = on;"
        "INSERT INTO pg_seclabel SELECT 'person'::regclass, 'pg_class'::regclass, n, provider, 'MASKED'"
        "  FROM (VALUES (0, 'Some ''one'), (1, 'anon')) AS labels (n, provider)",
        name,
    )
    site = couple(name, majors=(major, major))
    done = site.refresh()
    assert done["proof"]["equal"] == 1
    why = "SECURITY LABEL public.TABLE person: no provider of labels Some 'one, anon is loaded there"
    assert done["left_out"] == [why]
    assert site.json("refresh", "--plan")["left_out"] == [why]
    assert site.json("drill")["left_out"] == [why]
    said = site.json("restore", "latest", "--to", "dev", "--table", "public.person", "--as-schema", "rescued")
    assert said["left_out"] == [
        "SECURITY LABEL public.TABLE person: a rescued table keeps its rows, not what it does by itself"
    ]
    # Production is whole or not back: what is missing there is said before anything is made.
    said = site.json("restore", "latest", "--to", "prod", "--new", "back", "--confirm", "back", expect=15)
    for provider in ("anon", "Some 'one"):
        assert f"person: the server has no provider of labels {provider} loaded (ALTER ROLE" in said["message"]
    assert databases(prod, "back") == []
    site.drop()
    prod.drop_database(name)


def test_a_tablespace_that_the_target_lacks(couple: Coupling, servers: Servers, small: str, scratch: Path) -> None:
    folder = scratch / "fast disk"
    folder.mkdir()
    owner = servers[18].cluster.data.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    prod = servers[18]
    prod.psql(f"CREATE TABLESPACE fast LOCATION '{folder}'")
    prod.psql("CREATE TABLE quick TABLESPACE fast AS SELECT 1 AS one", small)
    site = couple(small)
    outlook = None
    try:
        site.refresh()
        outlook = site.json("refresh", "--plan")
        assert "no tablespace fast" in " ".join(outlook["notes"])
        assert site.dev.psql("SELECT one FROM quick", site.dev_db) == "1"
    finally:
        prod.psql("DROP TABLE quick", small)
        prod.psql("DROP TABLESPACE fast")


@pytest.mark.parametrize(
    ("statement", "roles"),
    [
        ("CREATE POLICY p ON public.t USING (true);\n", ()),
        ('CREATE POLICY "a TO b" ON public."t TO u" TO one, "two ""x"", y" USING (true);\n', ("one", 'two "x", y')),
        ("CREATE POLICY p ON s.t AS RESTRICTIVE FOR UPDATE TO a WITH CHECK ((x TO y));\n", ("a",)),
        ("CREATE POLICY p ON s.t FOR INSERT TO a;\n", ("a",)),
    ],
)
def test_the_roles_of_a_policy(statement: str, roles: tuple[str, ...]) -> None:
    assert parse_policy_roles(statement) == roles


def test_the_settings_of_a_routine() -> None:
    head = "CREATE FUNCTION s.f() RETURNS int\n    LANGUAGE sql\n    SET search_path TO ''\n    SET \"my.own\" TO '1'\n"
    assert parse_settings(head + "    AS $$\n    SET work_mem TO 5 \n$$;") == ("search_path", "my.own")
    assert parse_settings(head + "    BEGIN ATOMIC\n    SET x TO 1;\n END;") == ("search_path", "my.own")


def test_case_30_too_little_room_and_too_few_locks(couple: Coupling, servers: Servers, small: str) -> None:
    servers[18].psql(
        "ALTER TABLE account ADD PRIMARY KEY (id);"
        "CREATE TABLE part (id int REFERENCES account) PARTITION BY LIST (id);"
        "CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1); CREATE TABLE part2 PARTITION OF part DEFAULT;",
        small,
    )
    site = couple(small)
    site.backup()
    target = Database(name="dev", conninfo=site.dev.keywords(site.dev_db), bin=site.dev.bin)
    server = Postgres(target, runner=Runner(), run="test")
    found = rehearse(server, site.dev_db, site.archive, site.manifest(), Replacement())
    assert (found.obstacles, found.notes) == ((), ())
    assert found.case.free_bytes
    tight = replace(found.case, free_bytes=1000, abilities=replace(found.abilities, locks=1))
    locks, room = map(str, obstacles(tight))
    assert "FK CONSTRAINT public.part part_id_fkey locks 2 partitions at once" in locks
    assert "max_locks_per_transaction" in locks
    assert "and 1.0 kB are free" in room
    assert f"{site.dev_db}_previous" in room
