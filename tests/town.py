"""A whole installation between a production and a development database, with a repository: all that a console shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from installation import Installation

if TYPE_CHECKING:
    from conftest import Server

ROWS = 500
_TABLES = """
CREATE TABLE account AS SELECT n AS id, 'name ' || n AS name FROM generate_series(1, 500) AS n;
CREATE TABLE "Odd <b>name</b>" AS SELECT 1 AS id;
"""


@dataclass(kw_only=True)
class Town:
    """`prod` is backed up by `nightly` into the repository `safe`; `weekly` refreshes `dev`."""

    site: Installation
    prod: Server
    dev: Server
    prod_name: str
    dev_name: str

    def more(self, text: str) -> None:
        """Add to the configuration."""
        self.site.more += text
        self.site.configure()

    def drop(self) -> None:
        """Remove the databases, and what was made beside them."""
        self.prod.drop_database(self.prod_name)
        for name in self.dev.psql("SELECT datname FROM pg_database").splitlines():
            if name.startswith(self.dev_name):
                self.dev.drop_database(name)

    def dev_rows(self) -> int:
        """What dev has now."""
        return int(self.dev.psql("SELECT count(*) FROM account", self.dev_name))


def make_town(folder: Path, prod: Server, dev: Server, restic: Path) -> Town:
    """A town in `folder`; its repository is made, nothing was backed up yet."""
    prod_name, dev_name = prod.fresh(), dev.fresh()
    prod.psql(_TABLES, prod_name)
    dev.psql("CREATE TABLE account AS SELECT 1 AS id", dev_name)
    password = folder / "password"
    password.write_text("a canary of the tests\n")
    password.chmod(0o600)
    more = f"""
[databases.dev]
url = {json.dumps(dev.url(dev_name))}
bin = {json.dumps(str(dev.bin))}

[refreshes.weekly]
backup = "nightly"
target = "dev"

[repositories.safe]
url = {json.dumps(str(folder / "repository"))}
password_file = {json.dumps(str(password))}
restic = {json.dumps(str(restic))}
keep = {{ last = 1 }}
env = {{ RESTIC_CACHE_DIR = {json.dumps(str(folder / "cache"))} }}
"""
    site = Installation(
        folder=folder,
        url=prod.url(prod_name),
        bin=prod.bin,
        more=more,
        plan={"repositories": ["safe"], "proof": "refresh"},
    )
    site.json("repository", "init", "safe")
    return Town(site=site, prod=prod, dev=dev, prod_name=prod_name, dev_name=dev_name)
