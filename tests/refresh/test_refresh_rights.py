"""Dev's own things stay dev's: who owns, who may read, what later tables get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from couples import OWNER, Couple, not_owned_by, properties
from daybreak.postgres import grants

if TYPE_CHECKING:
    from conftest import Servers

Coupling = Callable[..., Couple]
ROLES = ("app role", "reader", "odd 'one'")
#: Everything that somebody but the owner may do, as the catalogue has it.
RIGHTS = """
SELECT o, coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') AS who, a.privilege_type, a.is_grantable FROM (
    SELECT 'schema ' || nspname AS o, nspacl AS acl, nspowner AS owner FROM pg_namespace WHERE nspname !~ '^pg_|^info'
    UNION ALL SELECT 'relation ' || c.oid::regclass, relacl, relowner FROM pg_class c
               JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_|^info'
    UNION ALL SELECT 'column ' || attrelid::regclass || '.' || attname, attacl, relowner
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
     WHERE nspname !~ '^pg_|^info'
    UNION ALL SELECT 'routine ' || p.oid::regprocedure, coalesce(proacl, acldefault('f', proowner)), proowner
      FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname !~ '^pg_|^info'
    UNION ALL SELECT 'type ' || t.oid::regtype, typacl, typowner
      FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname !~ '^pg_|^info'
    UNION ALL SELECT concat('default ', defaclrole::regrole, defaclobjtype, defaclnamespace::regnamespace),
           defaclacl, defaclrole FROM pg_default_acl) q(o, acl, owner), aclexplode(acl) a
 WHERE a.grantee <> owner ORDER BY 1, 2, 3"""


GRANTS = """
SET ROLE "OWNER"; GRANT USAGE ON SCHEMA app TO reader, "app role";
GRANT SELECT ON app.v, app."Odd table" TO reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON app.users TO "app role" WITH GRANT OPTION;
GRANT SELECT (id, name) ON app.users TO reader; GRANT UPDATE (name) ON app.users TO "odd 'one'";
GRANT USAGE ON SEQUENCE app.users_id_seq TO "app role"; REVOKE EXECUTE ON FUNCTION app.f(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.f(int) TO "app role"; GRANT EXECUTE ON PROCEDURE app.p() TO reader;
REVOKE USAGE ON TYPE app.mood FROM PUBLIC; GRANT USAGE ON TYPE app.mood TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO reader;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON ROUTINES FROM PUBLIC;
RESET ROLE; ALTER DEFAULT PRIVILEGES FOR ROLE "app role" GRANT INSERT ON TABLES TO "odd 'one'";
REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT ALL ON SCHEMA public TO "app role" """


@pytest.fixture
def roles(dev_servers: Servers) -> Iterator[None]:
    """Roles that are dev's own, on each of its servers."""
    for major in (15, 18):
        for role in ROLES:
            dev_servers[major].create_role(role)
    yield
    for major in (15, 18):
        names = ", ".join(f'"{role}"' for role in ROLES)
        dev_servers[major].psql(f"DROP OWNED BY {names}; DROP ROLE {names}")


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize("major", [15, 18])
def test_case_10_the_application_goes_on_as_before(couple: Coupling, servers: Servers, major: int) -> None:
    prod = servers[major]
    name = prod.fresh()
    prod.psql(
        "CREATE SCHEMA app; CREATE TABLE app.users (id serial PRIMARY KEY, name text, secret text);"
        "CREATE TABLE app.\"Odd table\" (n int); CREATE TYPE app.mood AS ENUM ('ok');"
        "CREATE VIEW app.v AS SELECT 1 AS n;"
        "CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';"
        "CREATE PROCEDURE app.p() LANGUAGE sql AS 'SELECT 1'; INSERT INTO app.users (name) VALUES ('x')",
        name,
    )
    site = couple(name, majors=(major, major))
    dev = site.dev
    site.refresh()
    dev.psql(
        GRANTS.replace("OWNER", OWNER),
        site.dev_db,
    )
    before = dev.psql(RIGHTS, site.dev_db)
    assert before.count("\n") > 15
    site.refresh()
    assert dev.psql(RIGHTS, site.dev_db) == before
    prod.psql(
        "CREATE TABLE app.later (n int); CREATE FUNCTION app.g() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "DROP FUNCTION app.f(int); ALTER TABLE app.users DROP COLUMN name CASCADE",
        name,
    )
    site.refresh("--fresh")
    # What is new in production gets what its owner's default privileges say.
    assert dev.psql("SELECT count(*) FROM app.later", site.dev_db, user="reader") == "0"
    assert dev.psql("SELECT has_function_privilege('reader', 'app.g()', 'EXECUTE')", site.dev_db) == "f"
    assert dev.psql("SELECT has_column_privilege('reader', 'app.users', 'id', 'SELECT')", site.dev_db) == "t"
    dev.psql(f'SET ROLE "{OWNER}"; CREATE TABLE app.made_here (n int)', site.dev_db)
    assert dev.psql("SELECT count(*) FROM app.made_here", site.dev_db, user="reader") == "0"
    assert site.clean() == []
    site.drop()
    prod.drop_database(name)


@pytest.mark.usefixtures("roles")
def test_an_owner_that_migrates(couple: Coupling, small: str) -> None:
    site = couple(small)
    site.retarget(weekly={"owner": "app role"})
    site.refresh()
    site.dev.psql("ALTER TABLE account ADD COLUMN more int; DROP SEQUENCE counter", site.dev_db, user="app role")
    assert properties(site.dev, site.dev_db)["owner"] == OWNER
    site.refresh()
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert site.dev.psql(owners, site.dev_db) == "app role"
    site.drop()


@pytest.mark.parametrize("major", [15, 18])
def test_schemas_are_handed_over_before_what_is_in_them(couple: Coupling, servers: Servers, major: int) -> None:
    """A role that is no superuser may only give to an owner what is in a schema where that one may create."""
    prod = servers[major]
    name = prod.fresh()
    prod.psql(
        "CREATE SCHEMA app; CREATE TABLE app.t (n int); CREATE VIEW app.v AS SELECT * FROM app.t;"
        "CREATE MATERIALIZED VIEW app.mv AS SELECT * FROM app.t; SELECT lo_from_bytea(4711, 'x');"
        "CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE TYPE app.mood AS ENUM ('ok')",
        name,
    )
    site = couple(name, majors=(major, major))
    site.by_role("modest")
    site.refresh()
    assert not_owned_by(OWNER, site.dev, site.dev_db) == []
    site.drop()
    prod.drop_database(name)


LARGE = """
SELECT oid, coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), a.privilege_type
  FROM pg_largeobject_metadata, aclexplode(lomacl) a WHERE a.grantee <> lomowner ORDER BY 1, 2, 3"""


@pytest.mark.usefixtures("roles")
def test_large_objects_keep_their_rights_and_new_ones_get_the_default(
    couple: Coupling, servers: Servers, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers[18].psql("SELECT lo_from_bytea(n, 'x') FROM generate_series(4711, 4713) n", small)
    site = couple(small)
    dev = site.dev
    site.refresh()
    dev.psql(
        "GRANT SELECT, UPDATE ON LARGE OBJECT 4711 TO reader; GRANT SELECT ON LARGE OBJECT 4712 TO PUBLIC", site.dev_db
    )
    had = "4711|reader|SELECT\n4711|reader|UPDATE\n4712|PUBLIC|SELECT"
    site.refresh()
    assert dev.psql(LARGE, site.dev_db) == had
    dev.psql(f'ALTER DEFAULT PRIVILEGES FOR ROLE "{OWNER}" GRANT SELECT ON LARGE OBJECTS TO reader', site.dev_db)
    before = dev.psql(RIGHTS, site.dev_db)
    assert f'default "{OWNER}"L' in before
    servers[18].psql("SELECT lo_from_bytea(4714, 'y')", small)
    site.refresh("--fresh")
    assert dev.psql(LARGE, site.dev_db) == f"{had}\n4714|reader|SELECT"
    assert dev.psql(RIGHTS, site.dev_db) == before
    # A kind that only a newer PostgreSQL knows ends no refresh.
    monkeypatch.delitem(grants._KINDS, "L")
    monkeypatch.delitem(grants._COUNTS_FOR, "L")
    site.refresh()
    assert dev.psql(LARGE, site.dev_db) == f"{had}\n4714|reader|SELECT"
    site.drop()


OWN = """
SELECT o, string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type) FROM (
    SELECT relname::text, relacl FROM pg_class WHERE relnamespace = 'app'::regnamespace
    UNION ALL SELECT 'default ' || defaclobjtype::text, defaclacl FROM pg_default_acl) q(o, acl), aclexplode(acl) a
 WHERE a.grantee = '{owner}'::regrole AND a.privilege_type IN ('INSERT', 'DELETE', 'SELECT') GROUP BY 1 ORDER BY 1"""


@pytest.mark.parametrize("major", [15, 18])
def test_what_an_owner_took_from_himself_stays_away(couple: Coupling, servers: Servers, major: int) -> None:
    prod = servers[major]
    name = prod.fresh()
    prod.psql("CREATE SCHEMA app; CREATE TABLE app.t (n int); CREATE SEQUENCE app.s", name)
    site = couple(name, majors=(major, major))
    site.refresh()
    site.dev.psql(
        f'SET ROLE "{OWNER}"; REVOKE INSERT, DELETE ON app.t FROM "{OWNER}";'
        f'REVOKE ALL ON SEQUENCE app.s FROM "{OWNER}"; ALTER DEFAULT PRIVILEGES REVOKE INSERT ON TABLES FROM "{OWNER}"',
        site.dev_db,
    )
    own = OWN.format(owner=f'"{OWNER}"')
    had = "default r|DELETE SELECT\nt|SELECT"
    assert site.dev.psql(own, site.dev_db) == had
    prod.psql("CREATE TABLE app.later (n int)", name)
    site.refresh("--fresh")
    assert site.dev.psql(own, site.dev_db) == "default r|DELETE SELECT\nlater|DELETE SELECT\nt|SELECT"
    site.drop()
    prod.drop_database(name)


@pytest.mark.usefixtures("roles")
def test_many_rights_need_few_programs(couple: Coupling, small: str, tmp_path: Path) -> None:
    """Behind ssh each program takes its time to begin."""
    site = couple(small)
    calls = tmp_path / "calls"
    calls.touch()
    calls.chmod(0o666)
    site.fake_tool("psql", f'echo call >>{calls}; exec "$real" "$@"')
    site.refresh()
    few = len(calls.read_text().splitlines())
    site.prod.psql(
        "DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format('CREATE TABLE \"%s''s \\:x;\" (n int)', n); END LOOP; END $$",
        small,
    )
    site.refresh("--fresh")
    site.dev.psql("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO reader, PUBLIC", site.dev_db)
    before = site.dev.psql(RIGHTS, site.dev_db)
    calls.write_text("")
    said = site.refresh()
    assert said["proof"]["different"] == 0
    steps = {one["name"]: one["facts"] for one in site.json("run", "show", said["run"])["steps"]}
    assert steps["carry over"]["grants"] > 1800
    assert len(calls.read_text().splitlines()) < few + 10
    assert site.dev.psql(RIGHTS, site.dev_db) == before
    assert site.clean() == []
