"""Single sign-on against a real provider (npm's oidc-provider): the whole way, and every way that leads nowhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from console_npm_samples import NODE, NPM, modules
from console_people_samples import Browser, House, make_house

from daybreak.console.people import Role
from daybreak.model import SecretSource
from daybreak.web import Console, Oidc

__all__ = ["modules"]

BACK = "http://127.0.0.1:8317/sign-in/return"
SECRET = "the-clients-secret-of-the-tests"
ROLES = {"backup-admins": "admin", "team": "viewer"}


@pytest.fixture
def issuer(modules: Path) -> Iterator[str]:
    """A provider of its own for each test."""
    script = modules / "provider.mjs"
    script.write_bytes((NPM / "provider.mjs").read_bytes())
    process = subprocess.Popen(
        [NODE, str(script), BACK],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OIDC_SECRET": SECRET},
    )
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def open_house(tmp_path: Path, issuer: str) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(**more: Any) -> House:
        (tmp_path / "secret").write_text(more.pop("secret", SECRET))
        (tmp_path / "secret").chmod(0o600)
        oidc = {
            "issuer": issuer,
            "client_id": "daybreak",
            "client_secret": SecretSource(file=tmp_path / "secret"),
            "name": "Our login",
            "roles_claim": "realm_access.roles",
            "roles": ROLES,
            **more,
        }
        house = make_house(tmp_path / str(len(made)), Console(oidc=Oidc(**oidc)))
        house.clock.now = datetime.now(UTC)  # the provider's clock is real
        made.append(house)
        return house

    yield make
    for house in made:
        house.accounts.close()


def at_provider(address: str, login: str, provider: httpx.Client) -> str:
    """Sign in and agree there, as a browser does; where it leads back to."""
    for _ in range(12):
        answer = provider.get(address)
        if answer.status_code == 200:
            form = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            assert form, answer.text
            assert prompt, answer.text
            answer = provider.post(form[1], data={"prompt": prompt[1], "login": login, "password": "x"})
        assert answer.status_code in {302, 303}, answer.text
        address = str(answer.request.url.join(answer.headers["location"]))
        if address.startswith(BACK):
            return address
    raise AssertionError(address)


def come(house: House, login: str, to: str = "/") -> tuple[Browser, Any]:
    browser = house.browser()
    begun = browser.get(f"/sign-in/single?to={to}")
    assert begun.status_code == 303, begun.text
    with httpx.Client() as provider:
        back = at_provider(begun.headers["location"], login, provider)
    return browser, browser.get(back.removeprefix("http://127.0.0.1:8317"))


def test_somebody_comes_in_with_the_role_of_the_claim(open_house: Callable[..., House]) -> None:
    house = open_house()
    assert "Our login" in house.browser().get("/sign-in").text
    browser, answer = come(house, "ada", to="/account")
    assert answer.status_code == 200, answer.text
    assert 'content="0; url=/account"' in answer.text
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("daybreak="))
    assert "SameSite=strict" in cookie
    assert browser.get("/people").status_code == 200
    user = house.accounts.users.get("ada")
    assert user
    assert (user.role, user.has_password) == (Role.ADMIN, False)
    assert "Password" not in browser.get("/account").text
    bob, _ = come(house, "bob")
    assert bob.get("/people").status_code == 403
    again, _ = come(house, "ada")
    assert again.get("/").status_code == 200
    assert len(house.accounts.users.list()) == 2


def test_what_goes_out_has_pkce_state_and_nonce_and_a_lax_cookie(open_house: Callable[..., House]) -> None:
    begun = open_house().browser().get("/sign-in/single")
    asked = dict(parse_qsl(urlsplit(begun.headers["location"]).query))
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) >= 43
    assert len(asked["nonce"]) >= 43
    assert asked["redirect_uri"] == BACK
    assert asked["response_type"] == "code"
    cookie = begun.headers["set-cookie"]
    assert "SameSite=lax" in cookie
    assert "HttpOnly" in cookie
    assert "Max-Age=600" in cookie


@pytest.mark.parametrize("login", ["eve", "unheard-of"])
def test_who_has_no_role_does_not_come_in(open_house: Callable[..., House], login: str) -> None:
    house = open_house()
    browser, answer = come(house, login)
    assert answer.status_code == 403
    assert "gives you no role here" in answer.text
    assert browser.get("/").status_code == 303
    assert house.accounts.users.list() == []


def test_an_odd_name_does_not_come_in_and_is_not_shown_as_markup(open_house: Callable[..., House]) -> None:
    house = open_house()
    _, answer = come(house, "<b>x</b>")
    assert answer.status_code == 403
    assert "<b>x</b>" not in answer.text
    assert house.accounts.users.list() == []


def test_the_name_of_somebody_with_a_password_is_not_taken_over(open_house: Callable[..., House]) -> None:
    house = open_house()
    house.person("ada", Role.ADMIN)
    browser, answer = come(house, "ada")
    assert answer.status_code == 403
    assert "already" in answer.text
    assert browser.get("/").status_code == 303


def test_a_role_that_changed_there_changes_here_and_ends_sessions(open_house: Callable[..., House]) -> None:
    house = open_house()
    browser, _ = come(house, "ada")
    user = house.accounts.users.get("ada")
    assert user
    assert user.subject
    from console_people_samples import HOST  # noqa: PLC0415 -- beside its use

    house.accounts.users.from_single_sign_on(user.subject, "ada", Role.VIEWER, house.clock.now, HOST)
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize("change", ["state", "code", "iss", "no-state", "no-code", "no-cookie", "late", "other-key"])
def test_a_way_back_that_was_changed_leads_nowhere(open_house: Callable[..., House], change: str) -> None:
    house = open_house()
    browser = house.browser()
    with httpx.Client() as provider:
        back = at_provider(browser.get("/sign-in/single").headers["location"], "ada", provider)
    query = dict(parse_qsl(urlsplit(back).query))
    if change in {"state", "code", "iss"}:
        query[change] = "https://evil.example"
    query = {key: value for key, value in query.items() if f"no-{key}" != change}
    if change == "no-cookie":
        browser = house.browser()
    if change == "late":
        house.clock.move(minutes=11)
    if change == "other-key":
        way = browser.cookies["daybreak-way"]
        browser.http.cookies.clear()
        browser.http.cookies.set("daybreak-way", way[:-1] + ("0" if way[-1] != "0" else "1"))
    answer = browser.get(f"/sign-in/return?{urlencode(query)}")
    assert answer.status_code == 403
    assert browser.get("/").status_code == 303
    assert house.accounts.users.list() == []
    assert SECRET not in answer.text


def test_a_code_counts_once_and_in_its_own_browser(open_house: Callable[..., House]) -> None:
    house = open_house()
    browser, thief = house.browser(), house.browser()
    with httpx.Client() as provider:
        back = at_provider(browser.get("/sign-in/single").headers["location"], "ada", provider)
    path = back.removeprefix("http://127.0.0.1:8317")
    thief.get("/sign-in/single")
    assert thief.get(path).status_code == 403
    way = browser.cookies["daybreak-way"]
    assert browser.get(path).status_code == 200
    thief.http.cookies.set("daybreak-way", way)
    assert thief.get(path).status_code == 403


def test_a_wrong_secret_and_a_provider_that_is_away_are_said_in_words(open_house: Callable[..., House]) -> None:
    wrong = open_house(secret="wrong")
    _, answer = come(wrong, "ada")
    assert answer.status_code == 403
    assert "look at its log" in answer.text
    away = open_house(issuer="http://127.0.0.1:9")
    told = away.browser().get("/sign-in/single")
    assert told.status_code == 409
    assert "cannot be reached" in told.text
    assert away.browser().get("/sign-in").status_code == 200


def test_a_secret_that_cannot_be_read_tells_no_path_to_strangers(open_house: Callable[..., House]) -> None:
    house = open_house(client_secret=SecretSource(file=Path("/nowhere/oidc.secret")))
    _, answer = come(house, "ada")
    assert answer.status_code == 403
    assert "/nowhere" not in answer.text
    assert "not as it should be" in answer.text
    assert "/nowhere/oidc.secret" in house.accounts.audit.list()[0].outcome


def test_coming_back_often_fills_no_log_and_is_slowed_down(open_house: Callable[..., House]) -> None:
    house = open_house()
    statuses = [house.browser().get("/sign-in/return?state=x&code=y").status_code for _ in range(30)]
    assert set(statuses) == {403, 429}
    assert len(house.accounts.audit.list()) <= 22


def test_another_issuer_than_the_configured_one_is_refused(open_house: Callable[..., House], issuer: str) -> None:
    house = open_house(issuer=f"{issuer}/")
    told = house.browser().get("/sign-in/single")
    assert told.status_code == 403
    assert "another issuer" in told.text


def test_the_second_look_asks_there_anew(open_house: Callable[..., House]) -> None:
    house = open_house()
    browser, _ = come(house, "ada")
    assert browser.get("/danger").headers["location"].startswith("/step-up")
    assert "/step-up/single?to=%2Fdanger" in browser.get("/step-up?to=/danger").text
    begun = browser.get("/step-up/single?to=/danger").headers["location"]
    asked = dict(parse_qsl(urlsplit(begun).query))
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    with httpx.Client() as provider:
        back = at_provider(begun, "ada", provider)
    # The strict cookie of the session does not come along on the way back from another site.
    way = browser.cookies["daybreak-way"]
    other = house.browser()
    other.http.cookies.set("daybreak-way", way)
    answer = other.get(back.removeprefix("http://127.0.0.1:8317"))
    assert answer.status_code == 200
    assert other.get("/").status_code == 303  # no new session from it
    assert browser.get("/danger").status_code == 200


def test_the_second_look_is_not_passed_by_somebody_else(open_house: Callable[..., House]) -> None:
    house = open_house()
    browser, _ = come(house, "ada")
    begun = browser.get("/step-up/single?to=/danger").headers["location"]
    with httpx.Client() as provider:
        back = at_provider(begun, "bob", provider)
    assert browser.get(back.removeprefix("http://127.0.0.1:8317")).status_code == 403
    assert browser.get("/danger").status_code == 303


def test_the_log_tells_of_it_without_codes(open_house: Callable[..., House]) -> None:
    house = open_house()
    come(house, "ada")
    come(house, "eve")
    told = json.dumps([(one.who, one.what, one.outcome) for one in house.accounts.audit.list()])
    assert "single sign-on" in told
    assert "no role here" in told
    assert "code=" not in told
