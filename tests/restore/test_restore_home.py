"""Production comes back in a new database on its own server, with roles, owners and privileges; nothing is touched."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from couples import Couple, contents, databases, oid_of, properties, schema, settled
from daybreak.archive import parse_grantees
from daybreak.postgres.roles import database_acl, statements
from installation import wait_for

if TYPE_CHECKING:
    from conftest import Server

Coupling = Callable[..., Couple]
ROLES = "SELECT rolname, rolsuper, rolcreaterole, rolcanlogin, rolconnlimit, rolconfig FROM pg_roles ORDER BY 1"
MEMBERS = "SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members WHERE roleid >= 16384"
GRANTS = """
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relacl::text FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('public', 'shop') ORDER BY 1, 2"""
DEFAULTS = "SELECT pg_get_userbyid(defaclrole), defaclobjtype, defaclacl::text FROM pg_default_acl ORDER BY 1, 2"
SHOP = """
CREATE ROLE owner_of_it NOLOGIN; CREATE ROLE "App ""one"" x" LOGIN CONNECTION LIMIT 7 PASSWORD 'kanarienvogel';
CREATE ROLE readers NOLOGIN; CREATE ROLE ada LOGIN IN ROLE readers;
GRANT owner_of_it TO "App ""one"" x" WITH ADMIN OPTION;
ALTER ROLE ada SET work_mem = '5MB'; COMMENT ON ROLE ada IS 'it''s; ada \\ "she"';
CREATE DATABASE "The Shop" OWNER owner_of_it TEMPLATE template0;
ALTER DATABASE "The Shop" CONNECTION LIMIT 33; COMMENT ON DATABASE "The Shop" IS 'the only one';
REVOKE ALL ON DATABASE "The Shop" FROM PUBLIC; GRANT CONNECT ON DATABASE "The Shop" TO readers, "App ""one"" x";
ALTER DATABASE "The Shop" SET search_path = shop, "$user", public;
ALTER ROLE ada IN DATABASE "The Shop" SET work_mem = '9MB';
"""
TABLES = """
CREATE SCHEMA shop AUTHORIZATION owner_of_it; SET ROLE owner_of_it;
CREATE TABLE shop.orders (id int PRIMARY KEY, what text);
INSERT INTO shop.orders SELECT n, md5(n::text) FROM generate_series(1, 500) AS n;
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON shop.orders TO "App ""one"" x" USING (id < 5);
GRANT SELECT ON shop.orders TO readers; GRANT INSERT (what) ON shop.orders TO "App ""one"" x";
GRANT USAGE ON SCHEMA shop TO readers;
ALTER DEFAULT PRIVILEGES FOR ROLE owner_of_it IN SCHEMA shop GRANT SELECT ON TABLES TO readers;
CREATE MATERIALIZED VIEW shop.longest AS SELECT max(length(what)) AS letters FROM shop.orders;
RESET ROLE; CREATE PUBLICATION news FOR ALL TABLES;
"""
TRIGGER = (
    "CREATE FUNCTION heard() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
    "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION heard()"
)


def state(server: Server, dbname: str) -> tuple[object, ...]:
    """All that makes a database production's."""
    told = properties(server, dbname)
    told["acl"].sort()  # by their oids until here
    return (told, contents(server, dbname), server.psql(GRANTS, dbname), server.psql(DEFAULTS, dbname))


@pytest.fixture(params=[15, 18], ids=["pg15", "pg18"])
def shop(request: pytest.FixtureRequest, couple: Coupling, own_server: Callable[..., Server]) -> Couple:
    """A production of its own with roles and privileges, and its archive."""
    server = own_server(request.param)
    server.psql(SHOP)
    server.psql(TABLES, "The Shop")
    site = couple("The Shop", majors=(request.param, request.param), prod=server)
    site.configure(plan={"globals_passwords": True})
    site.backup()
    return site


def back(site: Couple, *words: str, new: str = "shop_back", archive: str = "latest", expect: int = 0) -> dict[str, Any]:
    """`daybreak restore --to prod --new`, confirmed."""
    return site.json("restore", archive, "--to", "prod", "--new", new, "--confirm", new, *words, expect=expect)


def test_production_that_is_gone_comes_back_as_it_was(shop: Couple) -> None:
    before, roles = state(shop.prod, "The Shop"), shop.prod.psql(ROLES)
    shape = schema(shop.prod, "The Shop", shop.prod.bin)
    shop.prod.drop_database("The Shop")
    said = back(shop)
    assert said["proof"]["equal"] == said["proof"]["tables"] == 1
    assert said["roles"] == {"created": [], "left_out": [], "no_password": []}
    assert said["sql"] == ['ALTER DATABASE "shop_back" RENAME TO "The Shop";']
    assert said["then"][0].startswith("daybreak enrol prod")
    assert state(shop.prod, "shop_back") == before
    assert shop.prod.psql(ROLES) == roles
    assert schema(shop.prod, "shop_back", shop.prod.bin) == shape
    assert databases(shop.prod, "The Shop") == []
    # What is printed works, and then everything goes on.
    assert "is not the database it was" not in shop.json("backup", expect=10)["message"]
    shop.prod.psql(said["sql"][0])
    assert "daybreak enrol prod" in shop.json("backup", expect=4)["hint"]
    shop.json("enrol", "prod")
    shop.backup()
    settled(shop.dev)
    assert shop.json("repair")["done"] == []


def test_production_that_is_there_is_not_touched(shop: Couple) -> None:
    oid = oid_of(shop.prod, "The Shop")
    shop.prod.psql("UPDATE shop.orders SET what = 'ruined'; CREATE TABLE junk ()", "The Shop")
    ruined = state(shop.prod, "The Shop")
    shop.prod.create_database("The Shop_broken")
    said = back(shop)
    assert said["sql"] == [
        'ALTER DATABASE "The Shop" RENAME TO "The Shop_broken1";',
        'ALTER DATABASE "shop_back" RENAME TO "The Shop";',
    ]
    assert (oid_of(shop.prod, "The Shop"), state(shop.prod, "The Shop")) == (oid, ruined)
    assert shop.prod.psql("SELECT count(*) FROM shop.orders WHERE what = 'ruined'", "shop_back") == "0"
    assert databases(shop.prod, "The Shop") == ["The Shop", "The Shop_broken"]
    for line in said["sql"]:
        shop.prod.psql(line)
    assert oid_of(shop.prod, "The Shop_broken1") == oid


def test_a_new_server_gets_the_roles_too(shop: Couple, own_server: Callable[..., Server]) -> None:
    before, roles, members = state(shop.prod, "The Shop"), shop.prod.psql(ROLES), shop.prod.psql(MEMBERS)
    anew = own_server(shop.prod.major)
    anew.psql("CREATE ROLE readers LOGIN CONNECTION LIMIT 2 PASSWORD 'own'; CREATE ROLE bystander IN ROLE readers")
    kept = anew.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'readers'")
    shop.url = anew.url("The Shop")
    shop.configure()
    said = back(shop, new="The Shop")
    assert said["sql"] == []
    assert sorted(said["roles"]["created"]) == ['App "one" x', "ada", "needs_password", "owner_of_it"] or sorted(
        said["roles"]["created"]
    ) == ['App "one" x', "ada", "owner_of_it"]
    assert said["roles"]["no_password"] == ["ada"]
    assert said["roles"]["left_out"] == []
    assert state(anew, "The Shop") == before
    # A role that was there is as it was; all others are production's.
    own = "readers|f|f|t|2|"
    assert own in anew.psql(ROLES).splitlines()
    assert anew.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'readers'") == kept
    assert {*roles.splitlines()} - {*anew.psql(ROLES).splitlines()} == {"readers|f|f|f|-1|"}
    assert {*members.splitlines()} <= {*anew.psql(MEMBERS).splitlines()}
    same = "SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'App%'"
    assert anew.psql(same) == shop.prod.psql(same) != ""
    comment = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = 'ada'"
    assert anew.psql(comment) == 'it\'s; ada \\ "she"'


def test_no_hash_of_a_password_is_seen_anywhere(shop: Couple, own_server: Callable[..., Server]) -> None:
    found = shop.prod.psql("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'App%'")
    anew = own_server(shop.prod.major)
    shop.url = anew.url("The Shop")
    shop.configure()
    said = back(shop)
    assert found not in str(said)
    assert said["roles"]["created"]
    for path in shop.state.rglob("*"):
        if path.is_file():
            assert found.encode() not in path.read_bytes(), path


def test_a_role_that_is_no_superuser_does_what_it_may(shop: Couple, own_server: Callable[..., Server]) -> None:
    shop.prod.psql("CREATE ROLE boss SUPERUSER REPLICATION LOGIN", "The Shop")
    shop.prod.psql("CREATE PUBLICATION part FOR TABLES IN SCHEMA shop; " + TRIGGER, "The Shop")
    shop.backup()
    before = shop.prod.psql(GRANTS, "The Shop")
    anew = own_server(shop.prod.major)
    anew.psql("CREATE ROLE rescuer LOGIN")
    shop.url = anew.url("The Shop", user="rescuer")
    shop.configure()
    said = back(shop, expect=15)
    assert "the role rescuer may not create databases" in said["message"]
    assert "the role rescuer may not create roles" in said["message"]
    assert 'ALTER ROLE "rescuer" CREATEDB' in said["message"]
    assert 'ALTER ROLE "rescuer" CREATEROLE' in said["message"]
    anew.psql("ALTER ROLE rescuer CREATEDB CREATEROLE; CREATE ROLE owner_of_it")
    said = back(shop, expect=15)
    assert "owner_of_it owns a part of production, and the role rescuer is no member of it" in said["message"]
    assert 'GRANT "owner_of_it" TO "rescuer"' in said["message"]
    anew.psql("DROP ROLE owner_of_it")
    said = back(shop, expect=15)  # what comes last of all is no surprise then
    for what in ("EVENT TRIGGER watch", "PUBLICATION news", "PUBLICATION TABLES IN SCHEMA shop.part shop"):
        assert f"{what} needs a superuser, and the target's role is none (restore by a superuser" in said["message"]
    shop.prod.psql("DROP FUNCTION heard CASCADE; DROP PUBLICATION news; DROP PUBLICATION part", "The Shop")
    shop.url = shop.prod.url("The Shop")
    shop.configure()
    shop.backup()
    shop.url = anew.url("The Shop", user="rescuer")
    shop.configure()
    said = back(shop)
    assert "SUPERUSER of the role boss: only a superuser may give it" in said["roles"]["left_out"]
    assert "REPLICATION of the role boss: only a superuser may give it" in said["roles"]["left_out"]
    assert anew.psql(GRANTS, "shop_back") == before
    assert contents(anew, "shop_back") == contents(shop.prod, "The Shop")
    assert anew.psql("SELECT count(*) FROM pg_roles r WHERE rolname = 'boss' AND NOT rolsuper AND rolcanlogin") == "1"
    usable = "SELECT pg_has_role('rescuer', 'owner_of_it', 'USAGE')"
    assert anew.psql(usable) == "f"  # what it needed of the others is given back


# -- what is refused, in words ----------------------------------------------------------------------


@pytest.fixture
def small(couple: Coupling, own_server: Callable[..., Server]) -> Couple:
    """A production 18 of its own, small."""
    server = own_server(18)
    server.create_database("shop")
    server.psql("CREATE TABLE version AS SELECT 1 AS n", "shop")
    site = couple("shop", prod=server)
    site.backup()
    return site


def unharmed(site: Couple, *words: str, expect: int) -> dict[str, Any]:
    """A restore that is refused changes nothing on production's server."""
    before = (databases(site.prod, ""), site.prod.psql(ROLES), state(site.prod, site.prod_db))
    said = site.json("restore", "latest", "--to", "prod", *words, expect=expect)
    assert (databases(site.prod, ""), site.prod.psql(ROLES), state(site.prod, site.prod_db)) == before
    return said


def test_nothing_is_restored_into_production(small: Couple) -> None:
    said = unharmed(small, expect=4)
    assert said["message"] == "prod is protected: nothing is ever restored into it"
    assert said["hint"] == "a new database on its server is: --new NAME; it gets production's name from you"
    said = unharmed(small, "--new", "shop", "--confirm", "shop", expect=4)
    assert "there is a database shop already" in said["message"]


def test_a_person_has_to_type_the_name(small: Couple) -> None:
    said = unharmed(small, "--new", "shop_back", expect=4)
    assert said["message"].startswith("this makes the database shop_back on prod (")
    assert re.search(r", taken [\d-]+ [\d:]+ [A-Z]+, 1 row; nobody confirmed it$", said["message"])
    assert said["hint"] == "if that is meant, type the name shop_back, or say --confirm shop_back"
    said = unharmed(small, "--new", "shop_back", "--confirm", "shop", expect=4)
    assert said["message"].endswith("what was confirmed is 'shop'")
    steps = [one["name"] for one in small.json("run", "show", said["run"])["steps"]]
    assert steps == ["check", "mend", "archive", "rehearse"]


def test_a_role_that_the_globals_do_not_bring(small: Couple, own_server: Callable[..., Server]) -> None:
    small.prod.psql("CREATE ROLE lone; GRANT SELECT ON version TO lone", "shop")
    small.backup()
    away = small.folder / "fetched"
    away.mkdir()
    for suffix in ("", ".json"):
        shutil.copy(f"{small.archive}{suffix}", away / f"some.dump{suffix}")
    anew = own_server(18)
    small.url = anew.url("shop")
    small.configure()
    said = back(small, archive=str(away / "some.dump"), expect=15)
    assert "names the role lone, which the server lacks and the archive's globals do not bring" in said["message"]
    assert 'CREATE ROLE "lone" NOLOGIN' in said["message"]
    assert any("there are no globals beside the archive" in one for one in said["warnings"])
    (away / "some.dump.globals.sql").write_text("CREATE ROLE lone SUPERUSER;")
    said = back(small, archive=str(away / "some.dump"), expect=12)
    assert "is not the globals file of archive" in said["message"]
    assert "fetch the archive again" in said["hint"]
    assert anew.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'lone'") == "0"


def test_a_failure_leaves_production_s_server_as_it_was(small: Couple) -> None:
    small.fake_dump("exit 3", tool="vacuumdb")
    said = unharmed(small, "--new", "shop_back", "--confirm", "shop_back", expect=15)
    assert "what was there is as it was" in said["message"]


def test_roles_that_were_made_before_a_failure_are_told_and_used_by_the_next_try(
    small: Couple, own_server: Callable[..., Server]
) -> None:
    small.prod.psql("CREATE ROLE lone; GRANT SELECT ON version TO lone", "shop")
    small.backup()
    anew = own_server(18)
    small.url = anew.url("shop")
    small.configure()
    small.fake_dump("exit 3", tool="vacuumdb")
    said = back(small, expect=15)
    stays = "the roles that were made for it stay for the next try: "
    (warning,) = [one for one in said["warnings"] if one.startswith(stays)]
    assert "lone" in warning.removeprefix(stays).split(", ")
    assert anew.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'lone'") == "1"
    small.real_dump()
    said = back(small)
    assert said["roles"]["created"] == []
    assert not any(one.startswith(stays) for one in said["warnings"])


def test_what_a_killed_one_left_is_dropped_from_production_s_server(small: Couple) -> None:
    started = small.folder / "started"
    small.prod.create_database("shop_shadow_20200101-000000-0000")  # somebody's own
    small.fake_dump(f"touch {started}; sleep 60", tool="vacuumdb")
    before = databases(small.prod, "")
    with small.start("restore", "latest", "--to", "prod", "--new", "back", "--confirm", "back") as going:
        wait_for(started.exists, what="vacuumdb")
        going.kill(group=True)
    assert len(databases(small.prod, "")) == len(before) + 1
    small.real_dump()
    assert any("dropped shop_shadow_" in line for line in small.json("repair")["done"])
    assert databases(small.prod, "") == before


# -- pg_cron ----------------------------------------------------------------------------------------


@pytest.fixture
def cron(couple: Coupling, cron_server: Callable[[str], Server]) -> Couple:
    """A production with a job, whose database is gone."""
    server = cron_server("shop")
    server.create_database("shop")
    server.psql(
        "CREATE EXTENSION pg_cron; CREATE TABLE written (at timestamptz);"
        "SELECT cron.schedule('every', '* * * * *', 'INSERT INTO public.written VALUES (now())') \\g /dev/null",
        "shop",
    )
    site = couple("shop", majors=(15, 15), prod=server)
    site.backup()
    server.drop_database("shop")
    return site


def test_pg_cron_cannot_live_under_another_name_and_is_listed(cron: Couple) -> None:
    said = back(cron)
    assert any("pg_cron" in one for one in said["left_out"])
    wanted = "CREATE EXTENSION pg_cron when it has the name that cron.database_name says"
    assert any(wanted in one for one in said["then"])
    assert cron.prod.psql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_cron'", "shop_back") == "0"


def test_under_its_own_name_pg_cron_comes_back_with_its_jobs_switched_off(cron: Couple) -> None:
    said = back(cron, new="shop")
    assert said["sql"] == []
    assert any("cron.alter_job(jobid, active := true)" in one for one in said["then"])
    jobs = cron.prod.psql("SELECT jobname, command, active, database FROM cron.job", "shop")
    assert jobs == "every|INSERT INTO public.written VALUES (now())|f|shop"


# -- words ------------------------------------------------------------------------------------------


def test_the_statements_of_globals_are_told_apart() -> None:
    text = (
        '\\restrict x\n-- a; comment\nCREATE ROLE "a;""b";\nCOMMENT ON ROLE a IS \'it\'\'s; \\ "x\';\n'
        "COMMENT ON ROLE b IS  E'back\\\\slash \\'; quote';\n\n\\unrestrict x\nGRANT a TO b;"
    )
    assert list(statements(text)) == [
        'CREATE ROLE "a;""b"',
        "COMMENT ON ROLE a IS 'it''s; \\ \"x'",
        "COMMENT ON ROLE b IS  E'back\\\\slash \\'; quote'",
        "GRANT a TO b",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("REVOKE ALL ON TABLE a.b FROM old;\nGRANT SELECT ON TABLE a.b TO new WITH GRANT OPTION;\n", ("old", "new")),
        ('GRANT USAGE ON SCHEMA " TO x" TO "odd "" one";', ('odd " one',)),
        ("GRANT ALL ON FUNCTION a.f(x timestamp without time zone) TO PUBLIC;", ()),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA s GRANT SELECT ON TABLES TO reader;", ("maker", "reader")),
        (
            "SET SESSION AUTHORIZATION giver;\nGRANT SELECT ON TABLE b TO c;\nRESET SESSION AUTHORIZATION;",
            ("giver", "c"),
        ),
    ],
)
def test_the_roles_that_grants_name(text: str, found: tuple[str, ...]) -> None:
    assert parse_grantees(text) == found


def test_the_privileges_of_a_database_as_the_catalogue_writes_them() -> None:
    assert database_acl(["=Tc/own", '"odd ""="=C*c/own']) == [
        {"grantee": None, "privilege": "TEMPORARY", "grantable": False},
        {"grantee": None, "privilege": "CONNECT", "grantable": False},
        {"grantee": 'odd "=', "privilege": "CREATE", "grantable": True},
        {"grantee": 'odd "=', "privilege": "CONNECT", "grantable": False},
    ]


def test_security_labels_that_cannot_be_put_on_are_told(shop: Couple, own_server: Callable[..., Server]) -> None:
    """As of PostgreSQL Anonymizer: a role that is masked no more is something that a person has to know."""
    shop.prod.psql(
        "SET allow_system_table_mods = on; INSERT INTO pg_shseclabel "
        "SELECT oid, 'pg_authid'::regclass, 'anon', 'MASKED' FROM pg_roles WHERE rolname = 'ada';"
        "INSERT INTO pg_shseclabel SELECT oid, 'pg_database'::regclass, 'anon', 'TRUSTED' "
        "FROM pg_database WHERE datname = 'The Shop'"
    )
    shop.backup()
    anew = own_server(shop.prod.major)
    shop.url = anew.url("The Shop")
    shop.configure()
    said = back(shop)
    lost = 'a security label of the role ada: security label provider "anon" is not loaded'
    assert said["roles"]["left_out"] == [lost]
    assert "ada" in said["roles"]["created"]
    assert """SECURITY LABEL FOR anon ON DATABASE "The Shop" IS 'TRUSTED';""" in "".join(said["then"])
