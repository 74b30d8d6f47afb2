"""What can be done: each act by page, form and document, and documents that describe themselves."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from daybreak.console.accounts import open_accounts
from daybreak.console.entrance import accounts_folder, application
from daybreak.console.world import World
from daybreak.web import Console

_OWN = {"GET", "POST"}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Litestar]:
    world = World(console=Console(), folder=tmp_path, settings=None, catalog=None)
    with open_accounts(accounts_folder(world.console, tmp_path)) as accounts, warnings.catch_warnings():
        warnings.simplefilter("error")
        yield application(world, accounts)


def handlers(app: Litestar) -> Iterator[tuple[str, Any]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.http_methods & _OWN:
                    yield route.path, handler


def test_each_act_is_a_page_a_form_and_a_document(app: Litestar) -> None:
    found = {(path, method) for path, handler in handlers(app) for method in handler.http_methods & _OWN}
    acts = {
        path
        for path, method in found
        if method == "POST" and path.startswith(("/backups", "/off-site", "/dev", "/arch"))
    }
    assert len(acts) == 14
    for path in acts:
        assert (path, "GET") in found
        assert (f"/api{path}", "POST") in found


def test_the_documents_describe_themselves(app: Litestar) -> None:
    schema = app.openapi_schema.to_schema()
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            assert operation.get("summary"), (path, method)
    refresh = schema["paths"]["/api/dev/{plan}/refresh"]["post"]
    assert any(one["name"] == "Idempotency-Key" for one in refresh["parameters"])
    fields = schema["components"]["schemas"]["Refreshing"]["properties"]
    assert set(fields) == {"typed", "first"}  # no document names a target
