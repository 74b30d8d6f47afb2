"""Restores where the databases are in containers, here and behind ssh: beside, single tables, production itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engines import ENVIRONMENT, Engine
from in_containers import Deployment
from sshd import Sshd

Deploy = Callable[..., Deployment]


@pytest.mark.parametrize("far", [False, True], ids=["here", "behind ssh"])
def test_beside_and_single_tables_and_production_that_is_gone(
    deploy: Deploy, podman_engine: Engine, vps: Sshd, *, far: bool
) -> None:
    # As a careful owner has it: the password is asked for inside of the container too.
    site = deploy(podman_engine, vps=vps if far else None, env={**ENVIRONMENT, "AUTH_LOCAL": "scram-sha-256"})
    site.backup()
    had = site.in_prod()
    look = "SELECT count(*) || ' ' || coalesce(sum(id), 0) FROM "
    said = site.json("restore", "latest", "--to", "dev", "--new", "monday")
    assert (said["proof"]["different"], said["proof"]["equal"]) == (0, said["proof"]["tables"])
    assert site.dev.psql(f"{look} orders", "monday") == had
    said = site.json("restore", "latest", "--to", "dev", "--table", "public.orders", "--as-schema", "help")
    assert said["proof"]["different"] == 0
    assert site.dev.psql(f"{look} help.orders") == had
    site.prod.psql("DROP DATABASE genjishimada WITH (FORCE)", "postgres")
    said = site.json("restore", "latest", "--to", "prod", "--new", "back", "--confirm", "back")
    assert site.prod.psql(f"{look} orders", "back") == had
    assert said["sql"] == ['ALTER DATABASE "back" RENAME TO "genjishimada";']
    site.prod.psql(said["sql"][0].rstrip(";"), "postgres")
    site.json("enrol", "prod")
    site.backup()
    assert site.left_behind() == []
    assert site.leftovers() == []
