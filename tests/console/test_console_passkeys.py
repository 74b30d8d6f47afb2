"""Passkeys, with real keys and signatures: coming in by one, what is refused and why, adding, removing, the file."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from console_passkey_samples import LOCAL, Device, text
from console_people_samples import HOST, NOON, PASSWORD, Browser, House, house, make_house

from daybreak.console.accounts import open_accounts
from daybreak.console.accounts.passkeys import Drawn
from daybreak.console.accounts.schema import VERSION
from daybreak.console.ceremonies import Ceremonies, Occasion
from daybreak.console.origins import Place, named_origin, place_of
from daybreak.console.people import Role
from daybreak.errors import UsageError
from daybreak.web import Console

__all__ = ["house"]
NOT_ACCEPTED = "That passkey was not accepted."


def ask(browser: Browser, path: str, page: str) -> dict[str, Any]:
    """What the console asks of a browser."""
    headers = {"Origin": browser.base, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": browser.csrf(page)}
    answer = browser.http.post(f"{path}/challenge", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def add(browser: Browser, device: Device, name: str = "laptop", **wrong: Any) -> Any:
    asked = ask(browser, "/account/passkey", "/account/passkey")
    form = {"name": name, "answer": device.make(asked, **wrong)}
    return browser.post("/account/passkey", form, page="/account/passkey")


def come_in(browser: Browser, device: Device, to: str = "/", **wrong: Any) -> Any:
    asked = ask(browser, "/sign-in/passkey", "/sign-in")
    return browser.post("/sign-in/passkey", {"to": to, "answer": device.show(asked, **wrong)}, page="/sign-in")


def owner(house: House, name: str = "ada", role: Role = Role.ADMIN, **how: Any) -> tuple[Browser, Device]:
    """Somebody with a passkey, and the browser in which it was added."""
    browser, device = house.signed_in(name, role, LOCAL), Device(**how)
    assert browser.step_up().status_code == 303
    assert add(browser, device).headers["location"] == "/account?done=passkey-added"
    return browser, device


def newest(house: House) -> tuple[str, str, str, str]:
    """The last row of the log but for what stands before the routes."""
    one = next(one for one in house.accounts.audit.list() if not one.what.startswith("POST "))
    return one.who, one.what, one.subject, one.outcome


# -- coming in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [True, False], ids=["counts", "does not count"])
def test_a_passkey_lets_in_without_name_password_or_code(house: House, counts: bool) -> None:  # noqa: FBT001 -- a parameter
    _, device = owner(house, counts=counts)
    assert newest(house) == ("ada", "add passkey", "laptop of ada", "done")
    for _ in range(2):
        browser = house.browser(LOCAL)
        answer = come_in(browser, device, "/account")
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert newest(house) == ("ada", "sign in with a passkey", "laptop", "done")
        assert "You are <strong>ada</strong>, admin" in browser.get("/account").text
        assert browser.get("/danger").status_code == 303  # coming in is no second look
    assert house.accounts.passkeys.list()[0].used_at == house.clock.now


def test_it_is_both_factors_where_a_code_is_asked_for_as_well(house: House) -> None:
    from pyotp.totp import TOTP  # noqa: PLC0415 -- beside its use

    _, device = owner(house)
    user = house.accounts.users.get("ada")
    assert user
    secret = house.accounts.factors.begin(user)
    house.accounts.factors.confirm(user, TOTP(secret).at(house.clock.now), house.clock.now, HOST)
    assert house.browser(LOCAL).sign_in("ada").status_code == 401
    assert come_in(house.browser(LOCAL), device).status_code == 303


def test_what_a_browser_is_asked_needs_the_person_and_a_passkey_that_it_finds_itself(house: House) -> None:
    browser, device = owner(house)
    asked = ask(browser, "/account/passkey", "/account/passkey")
    assert asked["rp"] == {"name": "Daybreak", "id": "localhost"}
    assert asked["attestation"] == "none"
    assert asked["authenticatorSelection"]["residentKey"] == "required"
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert [one["id"] for one in asked["excludeCredentials"]] == [text(device.keys[0].credential)]
    assert asked["user"]["id"] == text(device.keys[0].handle)  # all passkeys of one person are of one
    asked = ask(house.browser(LOCAL), "/sign-in/passkey", "/sign-in")
    assert (asked["rpId"], asked["userVerification"], asked["allowCredentials"]) == ("localhost", "required", [])
    assert asked["timeout"] == 300_000
    again = ask(house.browser(LOCAL), "/sign-in/passkey", "/sign-in")
    assert asked["challenge"] != again["challenge"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another origin": ({"origin": "http://localhost:9999"}, "Unexpected client data origin"),
    "an origin with TLS elsewhere": ({"origin": "https://evil.example"}, "Unexpected client data origin"),
    "another name": ({"place": "evil.example"}, "Unexpected RP ID hash"),
    "nobody was looked at": ({"unverified": True}, "user was not verified"),
    "another challenge": ({"challenge": text(bytes(32))}, "challenge was not expected"),
    "another purpose": ({"kind": "webauthn.create"}, "Unexpected client data type"),
    "what was signed is another": ({"tampered": True}, "Could not verify authentication signature"),
    "its counter went back": ({"uses": 1}, "its counter did not go on: there may be a copy of it"),
    "its counter stood still": ({"uses": 5}, "its counter did not go on: there may be a copy of it"),
    "its counter is gone": ({"uses": 0}, "its counter did not go on: there may be a copy of it"),
    "another person": ({"handle": b"somebody else"}, "it is somebody else's"),
    "no person": ({"handle": None}, "it is somebody else's"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_lets_nobody_in_and_the_log_says_why(house: House, case: str) -> None:
    wrong, reason = WRONG[case]
    _, device = owner(house)
    device.uses = 4
    assert come_in(house.browser(LOCAL), device).status_code == 303  # the counter stands at 5
    browser = house.browser(LOCAL)
    answer = come_in(browser, device, **wrong)
    assert answer.status_code == 401
    assert NOT_ACCEPTED in answer.text
    assert "daybreak" not in browser.cookies
    who, what, subject, outcome = newest(house)
    assert (who, what, subject) == ("ada", "sign in with a passkey", "laptop")
    assert outcome.startswith("refused: ")
    assert reason in outcome
    assert house.accounts.passkeys.list()[0].uses == 5
    device.uses = 6
    assert come_in(house.browser(LOCAL), device).status_code == 303


def test_who_forges_a_counter_is_not_told_of_as_a_copy(house: House) -> None:
    """The signature is looked at first: whoever knows a passkey's name alone raises no false alarm."""
    _, device = owner(house)
    come_in(house.browser(LOCAL), device, uses=1, tampered=True)
    assert newest(house)[3] == "refused: Could not verify authentication signature"


def test_the_key_of_somebody_else_under_the_name_of_a_passkey_does_nothing(house: House) -> None:
    _, device = owner(house)
    _, other = owner(house, "eve", Role.VIEWER)
    other.keys[0].credential, other.keys[0].handle = device.keys[0].credential, device.keys[0].handle
    assert come_in(house.browser(LOCAL), other).status_code == 401
    assert newest(house)[0] == "ada"


def test_an_answer_counts_once(house: House) -> None:
    _, device = owner(house, counts=False)
    browser = house.browser(LOCAL)
    answer = device.show(ask(browser, "/sign-in/passkey", "/sign-in"))
    door = browser.http.cookies.get("daybreak-door", domain="localhost.local")
    assert browser.post("/sign-in/passkey", {"answer": answer}, page="/sign-in").status_code == 303
    for again in (house.browser(LOCAL), house.browser(LOCAL)):
        again.http.cookies.set("daybreak-door", door or "")
        assert again.post("/sign-in/passkey", {"answer": answer}, page="/sign-in").status_code == 401
        assert newest(house)[3] == "refused: nothing was asked of this browser, or it has answered already"


def test_an_answer_of_another_browser_does_nothing(house: House) -> None:
    _, device = owner(house)
    theirs, mine = house.browser(LOCAL), house.browser(LOCAL)
    answer = device.show(ask(theirs, "/sign-in/passkey", "/sign-in"))
    assert mine.post("/sign-in/passkey", {"answer": answer}, page="/sign-in").status_code == 401
    ask(mine, "/sign-in/passkey", "/sign-in")
    assert mine.post("/sign-in/passkey", {"answer": answer}, page="/sign-in").status_code == 401
    assert "challenge was not expected" in newest(house)[3]


def test_a_challenge_is_for_one_purpose(house: House) -> None:
    browser, device = owner(house)
    asked = ask(browser, "/step-up/passkey", "/step-up")
    door = house.browser(LOCAL)
    assert door.post("/sign-in/passkey", {"answer": device.show(asked)}, page="/sign-in").status_code == 401
    asked = {**ask(browser, "/step-up/passkey", "/step-up"), "rp": {"id": "localhost"}, "user": {"id": "YWRh"}}
    form = {"name": "x", "answer": Device().make(asked)}
    assert browser.post("/account/passkey", form).status_code == 403
    assert len(house.accounts.passkeys.list()) == 1


def test_who_takes_longer_than_five_minutes_is_asked_anew(house: House) -> None:
    _, device = owner(house)
    browser = house.browser(LOCAL)
    asked = ask(browser, "/sign-in/passkey", "/sign-in")
    house.clock.move(minutes=5)
    answer = browser.post("/sign-in/passkey", {"answer": device.show(asked)}, page="/sign-in")
    assert (answer.status_code, NOT_ACCEPTED in answer.text) == (401, True)
    assert newest(house)[3] == "refused: it took longer than five minutes"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 50_000,
        json.dumps({"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}),
        json.dumps({"id": "AA", "rawId": "A", "type": "x", "response": {"clientDataJSON": "é"}}),
        json.dumps(
            {
                "id": "AA",
                "rawId": "AA",
                "type": "public-key",
                "response": {"clientDataJSON": "AA", "authenticatorData": "AA", "signature": "AA", "userHandle": 1},
            }
        ),
    ],
)
def test_what_cannot_be_read_lets_nobody_in(house: House, answer: str) -> None:
    browser, device = owner(house)
    door = house.browser(LOCAL)
    ask(door, "/sign-in/passkey", "/sign-in")
    refused = door.post("/sign-in/passkey", {"answer": answer}, page="/sign-in")
    assert (refused.status_code, NOT_ACCEPTED in refused.text) == (401, True)
    assert newest(house)[0] == "somebody unknown"
    ask(browser, "/account/passkey", "/account/passkey")
    refused = browser.post("/account/passkey", {"name": "x", "answer": answer}, page="/account/passkey")
    assert (refused.status_code, "not accepted" in refused.text) == (403, True)
    assert come_in(house.browser(LOCAL), device).status_code == 303


def test_a_passkey_that_was_removed_lets_nobody_in(house: House) -> None:
    browser, device = owner(house)
    other = house.browser(LOCAL)
    assert come_in(other, device).status_code == 303
    passkey = house.accounts.passkeys.list()[0].id
    assert browser.post("/account/passkey/remove", {"passkey": passkey}).status_code == 303
    assert newest(house) == ("ada", "remove passkey", "laptop of ada", "done")
    assert (other.get("/").status_code, browser.get("/").status_code) == (303, 200)
    owner(house, "bob")  # else nobody is asked for one at all
    assert come_in(house.browser(LOCAL), device).status_code == 401
    assert newest(house)[::3] == ("somebody unknown", "refused: nobody has that passkey")


def test_who_was_removed_does_not_come_in_by_passkey(house: House) -> None:
    _, device = owner(house)
    owner(house, "bob")
    house.accounts.users.remove("ada", house.clock.now, HOST)
    house.person("ada", Role.ADMIN)  # the same name again is somebody else
    assert come_in(house.browser(LOCAL), device).status_code == 401
    assert [one.user.name for one in house.accounts.passkeys.list()] == ["bob"]


def test_who_guesses_has_to_wait_and_keeps_nobody_else_out(house: House) -> None:
    _, device = owner(house)
    _, other = owner(house, "bob")
    for _ in range(5):
        assert come_in(house.browser(LOCAL), device, tampered=True).status_code == 401
    waiting = come_in(house.browser(LOCAL), device)
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["retry-after"]) <= 901
    assert come_in(house.browser(LOCAL), other).status_code == 303
    assert house.browser(LOCAL).sign_in("ada").status_code == 303


def test_wrong_passwords_keep_nobody_from_coming_in_by_passkey(house: House) -> None:
    _, device = owner(house)
    for _ in range(5):
        house.browser(LOCAL).sign_in("ada", "wrong password")
    assert house.browser(LOCAL).sign_in("ada").status_code == 429
    assert come_in(house.browser(LOCAL), device).status_code == 303


def test_a_page_of_another_site_gets_no_challenge_and_signs_nobody_in(house: House) -> None:
    owner(house)
    browser = house.browser(LOCAL)
    csrf = browser.csrf("/sign-in")
    for path in ("/sign-in/passkey/challenge", "/sign-in/passkey"):
        evil = {"Origin": "https://evil.example", "X-CSRF-Token": csrf}
        assert browser.http.post(path, headers=evil).status_code == 403
        assert browser.http.post(path, headers={"Origin": LOCAL}).status_code == 403


# -- the second look ------------------------------------------------------------------------------


def test_a_passkey_is_a_second_look(house: House) -> None:
    _, device = owner(house)
    browser = house.browser(LOCAL)
    come_in(browser, device)
    assert "Use a passkey instead" in browser.get("/step-up").text
    asked = ask(browser, "/step-up/passkey", "/step-up")
    assert [one["id"] for one in asked["allowCredentials"]] == [text(device.keys[0].credential)]
    form = {"to": "/danger", "answer": device.show(asked, handle=None)}
    assert browser.post("/step-up/passkey", form, page="/step-up").headers["location"] == "/danger"
    assert newest(house) == ("ada", "step up with a passkey", "laptop", "done")
    assert browser.get("/danger").status_code == 200


def test_the_passkey_of_somebody_else_is_no_second_look(house: House) -> None:
    browser, _ = owner(house)
    house.clock.move(minutes=6)
    _, other = owner(house, "eve", Role.VIEWER)
    answer = other.show(ask(browser, "/step-up/passkey", "/step-up"))
    refused = browser.post("/step-up/passkey", {"answer": answer}, page="/step-up")
    assert (refused.status_code, NOT_ACCEPTED in refused.text) == (403, True)
    assert newest(house)[::3] == ("ada", "refused: it is somebody else's")
    assert browser.get("/danger").status_code == 303


# -- adding and removing --------------------------------------------------------------------------


def test_adding_and_removing_need_the_second_look(house: House) -> None:
    browser, _ = owner(house)
    house.clock.move(minutes=6)
    passkey = house.accounts.passkeys.list()[0].id
    assert browser.get("/account/passkey").headers["location"] == "/step-up?to=%2Faccount%2Fpasskey"
    for path in ("/account/passkey", "/account/passkey/challenge", "/account/passkey/remove", "/people/passkey-remove"):
        answer = browser.post(path, {"name": "ada", "passkey": passkey})
        assert answer.headers["location"].startswith("/step-up"), path
    assert browser.http.post(f"/api/me/passkeys/{passkey}/remove", headers=json_of(browser)).status_code == 403
    assert len(house.accounts.passkeys.list()) == 1


@pytest.mark.parametrize("case", ["another origin", "another name", "nobody was looked at", "another challenge"])
def test_what_does_not_fit_is_not_added_and_the_log_says_why(house: House, case: str) -> None:
    wrong, reason = WRONG[case]
    browser = house.signed_in("ada", Role.ADMIN, LOCAL)
    browser.step_up()
    answer = add(browser, Device(), **wrong)
    assert (answer.status_code, "that passkey was not accepted" in answer.text) == (403, True)
    who, what, _, outcome = newest(house)
    assert (who, what) == ("ada", "add passkey")
    assert outcome.startswith("refused: ")
    assert reason in outcome
    assert house.accounts.passkeys.list() == []


def test_several_are_told_apart_by_name_and_odd_names_are_refused(house: House) -> None:
    browser, _ = owner(house)
    house.clock.move(seconds=1)
    assert add(browser, Device(), "<b>ring</b>").status_code == 303
    shown = browser.get("/account").text
    assert "laptop" in shown
    assert "&lt;b&gt;ring&lt;/b&gt;" in shown
    assert "<b>ring" not in shown
    for odd in ("", " ", "x" * 65, "a\nb"):
        refused = add(browser, Device(), odd)
        assert (refused.status_code, "a passkey&#39;s name has 1 to 64 letters" in refused.text) == (400, True), odd
    assert [one.name for one in house.accounts.passkeys.list()] == ["laptop", "<b>ring</b>"]


def test_one_that_is_there_and_one_too_many_are_refused_in_words(house: House) -> None:
    _, device = owner(house)
    bob = house.person("bob")
    drawn = Drawn(credential=device.keys[0].credential, public_key=b"", handle=b"", uses=0)
    with pytest.raises(UsageError, match="is here already") as there:
        house.accounts.passkeys.add(bob, "mine now", drawn, NOON, HOST)
    assert "sign in" in there.value.hint
    for n in range(20):
        house.accounts.passkeys.add(
            bob, f"key {n}", Drawn(credential=bytes([n]), public_key=b"", handle=b"", uses=0), NOON, HOST
        )
    with pytest.raises(UsageError, match="20 passkeys of one person are the most") as many:
        house.accounts.passkeys.add(
            bob, "one more", Drawn(credential=b"more", public_key=b"", handle=b"", uses=0), NOON, HOST
        )
    assert "remove one" in many.value.hint


def test_nobody_removes_the_passkeys_of_somebody_else_but_an_admin(house: House) -> None:
    owner(house, "ada")
    eve, _ = owner(house, "eve", Role.VIEWER)
    ada, mine = (house.accounts.users.get(name) for name in ("ada", "eve"))
    assert ada
    assert mine
    of_ada = house.accounts.passkeys.list(ada)[0].id
    of_eve = house.accounts.passkeys.list(mine)[0].id
    assert eve.post("/account/passkey/remove", {"passkey": of_ada}).status_code == 400
    assert eve.post("/people/passkey-remove", {"name": "ada", "passkey": of_ada}).status_code == 403
    admin = house.signed_in("ada", Role.ADMIN, LOCAL)
    admin.step_up()
    shown = admin.get("/people").text
    assert 'aria-label="Remove the passkey laptop of eve"' in shown
    assert admin.post("/people/passkey-remove", {"name": "ada", "passkey": of_eve}, page="/people").status_code == 400
    answer = admin.post("/people/passkey-remove", {"name": "eve", "passkey": of_eve}, page="/people")
    assert answer.headers["location"] == "/people?done=passkey-removed"
    assert (eve.get("/").status_code, admin.get("/").status_code) == (303, 200)
    assert [one.user.name for one in house.accounts.passkeys.list()] == ["ada"]


def test_who_comes_by_single_sign_on_adds_none_here(house: House) -> None:
    user = house.accounts.users.from_single_sign_on("issuer 1", "sam", Role.ADMIN, house.clock.now, HOST)
    browser = house.browser(LOCAL)
    cookie = house.accounts.sessions.begin(user, house.clock.now, timedelta(hours=1), address="", agent="")
    browser.http.cookies.set("daybreak", cookie)
    session = house.accounts.sessions.get(cookie, house.clock.now)
    assert session
    house.accounts.sessions.refresh(session, house.clock.now + timedelta(minutes=5))
    assert "add a passkey there" in browser.get("/account").text
    for path, method in (
        ("/account/passkey", "GET"),
        ("/account/passkey", "POST"),
        ("/account/passkey/challenge", "POST"),
    ):
        headers = {"X-CSRF-Token": browser.csrf("/account"), "Origin": LOCAL}
        answer = browser.http.request(
            method, path, headers=headers, **({"data": {"name": "x"}} if method == "POST" else {})
        )
        assert (answer.status_code, "comes by single sign-on" in answer.text) == (400, True)


# -- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "name", "origins", "named"),
    [
        (
            "",
            "localhost:8317",
            "localhost",
            {"http://localhost:8317", "https://localhost:8317"},
            "http://localhost:8317",
        ),
        (
            "",
            "LOCALHOST:9000",
            "localhost",
            {"http://localhost:9000", "https://localhost:9000"},
            "http://localhost:9000",
        ),
        ("", "localhost", "localhost", {"http://localhost", "https://localhost"}, "http://localhost"),
        ("", "127.0.0.1:8317", "", set(), "http://localhost:8317"),
        ("", "127.0.0.1:99999", "", set(), "http://localhost:99999"),
        ("", "[::1]:8317", "", set(), "http://localhost:8317"),
        ("http://127.0.0.1:8317", "127.0.0.1:8317", "", set(), "http://localhost:8317"),
        ("https://b.example.org", "b.example.org", "b.example.org", {"https://b.example.org"}, "https://b.example.org"),
        (
            "https://b.example.org:8443",
            "B.example.org:8443",
            "b.example.org",
            {"https://b.example.org:8443"},
            "https://b.example.org:8443",
        ),
        ("https://b.example.org", "localhost:8317", "", set(), "https://b.example.org"),
        ("https://b.example.org", "b.example.org.evil.example", "", set(), "https://b.example.org"),
        ("https://192.0.2.7", "192.0.2.7", "", set(), ""),
        ("https://[2001:db8::7]", "[2001:db8::7]", "", set(), ""),
    ],
)
def test_passkeys_are_for_a_name(url: str, host: str, name: str, origins: set[str], named: str) -> None:
    found = place_of(Console(url=url), host)
    assert (found.name if found else "", set(found.origins) if found else set()) == (name, origins)
    assert named_origin(Console(url=url), host) == named


def test_by_an_address_the_page_says_what_is_needed_and_shows_no_button(house: House) -> None:
    owner(house)
    browser = house.signed_in("ada")
    browser.step_up()
    for path in ("/sign-in", "/account", "/account/passkey", "/step-up"):
        shown = (house.browser() if path == "/sign-in" else browser).get(path).text
        assert "Passkeys need the console to be opened by a name" in shown, path
        assert f'<a href="{LOCAL}{path}">{LOCAL}</a>' in shown.replace("/account/passkey", path), path
        assert "data-passkey" not in shown, path
        assert 'href="/account/passkey"' not in shown, path
    refused = browser.post("/account/passkey/challenge")
    assert (refused.status_code, f"open it by {LOCAL}" in refused.text) == (400, True)


def test_where_url_is_an_address_it_says_so(tmp_path: Path) -> None:
    house = make_house(tmp_path, Console(url="https://192.0.2.7"))
    browser = house.signed_in("ada", base="https://192.0.2.7")
    assert "an https:// name, which <code>url</code>" in browser.get("/account").text
    house.accounts.close()


def test_behind_a_proxy_they_are_for_the_name_in_url(tmp_path: Path) -> None:
    base = "https://backups.example.org"
    house = make_house(tmp_path, Console(url=base))
    browser, device = house.signed_in("ada", base=base), Device()
    browser.step_up()
    assert add(browser, device, origin=base).status_code == 303
    assert come_in(house.browser(base), device, origin=LOCAL).status_code == 401
    assert come_in(house.browser(base), device, origin=base, place="localhost").status_code == 401
    assert come_in(house.browser(base), device, origin=base).status_code == 303
    house.accounts.close()


def test_the_sign_in_page_is_as_before_where_nobody_has_one(house: House) -> None:
    house.person("ada")
    for base in (LOCAL, "http://127.0.0.1:8317"):
        assert "asskey" not in house.browser(base).get("/sign-in").text
    owner(house, "bob")
    shown = house.browser(LOCAL).get("/sign-in").text
    assert 'data-passkey="/sign-in/passkey/challenge" hidden' in shown  # a script shows it
    assert "Sign in with a passkey" in shown


# -- the API --------------------------------------------------------------------------------------


def json_of(browser: Browser) -> dict[str, str]:
    return {"X-CSRF-Token": browser.csrf("/account"), "Origin": browser.base}


def test_passkeys_are_listed_and_removed_by_programs_with_a_session(house: House) -> None:
    ada, _ = owner(house)
    eve, _ = owner(house, "eve", Role.VIEWER)
    (mine,) = eve.get("/api/me/passkeys").json()
    assert mine["name"] == "laptop"
    assert set(mine) == {"id", "name", "made_at", "used_at"}
    assert eve.get("/api/people/ada/passkeys").status_code == 403
    assert eve.http.post(f"/api/people/eve/passkeys/{mine['id']}/remove", headers=json_of(eve)).status_code == 403
    removed = eve.http.post(f"/api/me/passkeys/{mine['id']}/remove", headers=json_of(eve))
    assert removed.json() == {"id": mine["id"], "removed": True}
    assert eve.get("/api/me/passkeys").json() == []
    (theirs,) = ada.get("/api/people/Ada/passkeys").json()
    assert ada.get("/api/people/nobody/passkeys").status_code == 404
    gone = ada.http.post(f"/api/people/eve/passkeys/{theirs['id']}/remove", headers=json_of(ada))
    assert (gone.status_code, gone.json()["message"]) == (400, "there is no such passkey any more")
    assert ada.http.post(f"/api/people/ada/passkeys/{theirs['id']}/remove", headers=json_of(ada)).status_code == 201
    assert house.accounts.passkeys.list() == []


def test_no_token_reaches_passkeys(house: House) -> None:
    from daybreak.console.accounts.words import VERBS  # noqa: PLC0415 -- beside its use

    user = house.person("ada", Role.ADMIN)
    _, token = house.accounts.tokens.add(user, "all", sorted(VERBS), lasting=timedelta(days=1), at=NOON, by=HOST)
    program = house.browser()
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/api/me/passkeys", "/api/people/ada/passkeys"):
        assert program.get(path, headers=headers).status_code == 403
    for path in ("/api/me/passkeys/x/remove", "/step-up/passkey", "/account/passkey", "/account/passkey/remove"):
        assert program.http.post(path, headers=headers).status_code in {403, 404}, path


# -- what is kept ---------------------------------------------------------------------------------


def test_a_file_from_before_passkeys_is_brought_up_to_date(tmp_path: Path) -> None:
    with open_accounts(tmp_path) as accounts:
        accounts.users.add("ada", PASSWORD, Role.ADMIN, NOON, HOST)
        before = accounts.audit.verify()
    connection = sqlite3.connect(tmp_path / "console.sqlite3", isolation_level=None)
    connection.execute("DROP TABLE passkeys")  # as version 1 has it
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with open_accounts(tmp_path) as accounts:
        user = accounts.fits("ada", PASSWORD, "", NOON)
        assert user
        assert accounts.audit.verify() == before
        accounts.passkeys.add(user, "laptop", Drawn(credential=b"c", public_key=b"k", handle=b"h", uses=0), NOON, HOST)
        with sqlite3.connect(tmp_path / "console.sqlite3") as looked:
            assert looked.execute("PRAGMA user_version").fetchone() == (VERSION,)
            assert looked.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone() == (3,)
        looked.close()
    with open_accounts(tmp_path) as accounts:
        assert [one.name for one in accounts.passkeys.list()] == ["laptop"]


def test_challenges_that_wait_are_bounded() -> None:
    ceremonies, place = Ceremonies(), Place(name="localhost", origins=(LOCAL,))
    for n in range(10_050):
        ceremonies.ask(Occasion(purpose="sign in", place=place, browser=str(n)), [], NOON)
    assert len(ceremonies._waiting) == 10_000
    assert ("sign in", "49") not in ceremonies._waiting


def test_nobody_pays_for_what_is_not_used() -> None:
    said = "import sys, daybreak.serving, daybreak.console.entrance; print({'webauthn', 'OpenSSL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_a_browser_sent_leaves_no_secret_in_the_file(house: House) -> None:
    browser, device = owner(house)
    asked = ask(house.browser(LOCAL), "/sign-in/passkey", "/sign-in")
    come_in(house.browser(LOCAL), device)
    with sqlite3.connect(house.accounts.path) as looked:
        dump = "\n".join(looked.iterdump())
    looked.close()
    assert asked["challenge"] not in dump
    assert browser.cookies["daybreak"] not in dump
