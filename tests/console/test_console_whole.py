"""The whole console, as it is served: every route of every part has its rule, and nobody comes past it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console_people_samples import HOST, NOON, PASSWORD, Browser, Clock, House, house
from litestar.testing import TestClient

from daybreak.console.accounts import open_accounts
from daybreak.console.entrance import application
from daybreak.console.people import Role
from daybreak.console.security import METRICS, PUBLIC
from daybreak.console.world import World
from daybreak.web import Console

__all__ = ["house"]


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[House]:
    clock = Clock()
    world = World(console=Console(), folder=tmp_path, settings=None, catalog=None, clock=clock)
    with open_accounts(tmp_path / "console") as accounts:
        yield House(application(world, accounts), accounts, world, clock)


def routes(found: House) -> Iterator[tuple[str, str, Any, Role | None]]:
    for route in found.app.routes:
        for handler in getattr(route, "route_handlers", []):
            guards = [getattr(one, "func", one) for one in handler.resolve_guards()]
            least = max((one.needs for one in guards if hasattr(one, "needs")), default=None)
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield str(method), re.sub(r"\{\w+:\w+\}", "x", str(route.path)), handler, least


def is_open(path: str) -> bool:
    return path in PUBLIC | {METRICS} or path.startswith("/static")


def test_a_new_route_without_a_rule_is_found_here(whole: House) -> None:
    found = list(routes(whole))
    assert len(found) > 60
    for method, path, _, least in found:
        assert least is not None or is_open(path), f"{method} {path} says nothing of who may"


def test_whoever_has_not_signed_in_gets_nothing_of_all_that(whole: House) -> None:
    client = TestClient(whole.app, base_url="http://127.0.0.1:8317", raise_server_exceptions=False)
    client.follow_redirects = False
    for method, path, _, _ in routes(whole):
        if not is_open(path):
            answer = client.request(method, path)
            assert answer.status_code in {303, 401, 403}, (method, path, answer.status_code)
            assert answer.headers.get("location", "/sign-in").startswith("/sign-in")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.RESTORER])
def test_a_lesser_role_gets_403_from_every_route_of_a_higher_one(whole: House, role: Role) -> None:
    browser = whole.signed_in("someone", role)
    headers = {"X-CSRF-Token": browser.csrf("/account"), "Origin": browser.base}
    tried = 0
    for method, path, _, least in routes(whole):
        if least is not None and role < least:
            answer = browser.http.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path, answer.status_code)
            tried += 1
    assert tried > 10


def test_what_changes_something_is_never_a_get(whole: House) -> None:
    """Every route that is no GET needs the csrf of its session."""
    browser = whole.signed_in("ada", Role.ADMIN)
    browser.step_up()
    for method, path, _, _ in routes(whole):
        if method not in {"GET", "HEAD"}:
            answer = browser.http.request(method, path, headers={"Origin": browser.base})
            assert answer.status_code == 403, (method, path, answer.status_code)


def test_a_token_for_looking_looks_and_does_nothing_else(whole: House) -> None:
    from datetime import timedelta  # noqa: PLC0415 -- beside its use

    user = whole.person("bot", Role.ADMIN)
    _, text = whole.accounts.tokens.add(user, "look", ["look"], lasting=timedelta(days=1), at=NOON, by=HOST)
    client = TestClient(whole.app, base_url="http://127.0.0.1:8317", raise_server_exceptions=False)
    client.follow_redirects = False
    headers = {"Authorization": f"Bearer {text}"}
    assert client.get("/api/me", headers=headers).json()["verbs"] == ["look"]
    for method, path, _, _ in routes(whole):
        if method != "GET" and path not in PUBLIC:
            assert client.request(method, path, headers=headers).status_code in {403, 404}, (method, path)
    for path in ("/api/people", "/api/tokens", "/api/audit"):
        assert client.get(path, headers=headers).status_code == 403


def api(browser: Browser, path: str, document: dict[str, Any]) -> Any:
    return browser.http.post(path, json=document, headers={"X-CSRF-Token": browser.csrf("/account")})


def test_people_and_tokens_by_the_api(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    bob = {"name": "bob", "role": "viewer", "password": PASSWORD}
    first = api(browser, "/api/people", bob)
    assert (first.status_code, first.json()["step_up"]) == (403, True)
    browser.step_up()
    assert api(browser, "/api/people", bob).status_code == 201
    assert api(browser, "/api/people", {**bob, "name": "<b>"}).status_code == 400
    assert api(browser, "/api/people", {**bob, "role": "root"}).status_code == 400
    assert api(browser, "/api/people/bob/role", {"role": "operator"}).json()["role"] == "operator"
    assert api(browser, "/api/people/bob/password", {"password": f"new {PASSWORD}"}).status_code == 201
    assert api(browser, "/api/people/nobody/role", {"role": "operator"}).status_code == 404
    assert api(browser, "/api/people/ada/role", {"role": "viewer"}).status_code == 403
    made = api(browser, "/api/tokens", {"name": "ci", "verbs": ["backup"], "days": 7}).json()
    assert made["token"].startswith("daybreak_")
    assert browser.get("/api/tokens").json()[0]["token"] is None
    assert api(browser, "/api/tokens", {"name": "ci", "verbs": ["people"], "days": 7}).status_code == 400
    assert api(browser, f"/api/tokens/{made['id']}/remove", {}).status_code == 201
    assert api(browser, "/api/people/bob/remove", {"typed": "bop"}).status_code == 400
    assert api(browser, "/api/people/bob/remove", {"typed": "bob"}).status_code == 201
    assert [one["name"] for one in browser.get("/api/people").json()] == ["ada"]
    log = browser.get("/api/audit?limit=3").json()
    assert len(log["entries"]) == 3
    assert log["broken_at"] is None
    assert PASSWORD not in browser.get("/api/audit?limit=1000").text
