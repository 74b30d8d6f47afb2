"""Coming in and going out: who gets a session, what a cookie is like, what ends it."""

from __future__ import annotations

import threading

import pytest
from console_people_samples import HOST, PASSWORD, House, house, make_house

from daybreak.console.accounts import Accounts
from daybreak.console.people import Role
from daybreak.web import Console

__all__ = ["house"]


def test_a_name_and_its_password_let_somebody_in(house: House) -> None:
    browser = house.browser()
    house.person("ada")
    assert browser.get("/").headers["location"] == "/sign-in"
    assert browser.get("/runs?plan=a").headers["location"] == "/sign-in?to=%2Fruns%3Fplan%3Da"
    answer = browser.sign_in("Ada", to="/account")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert browser.get("/").text == "all is well"
    assert "ada" in browser.get("/account").text


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\r\nx"]
)
def test_nobody_is_led_elsewhere(house: House, to: str) -> None:
    house.person("ada")
    assert house.browser().sign_in("ada", to=to).headers["location"] == "/"


def test_cookies_are_out_of_reach_for_scripts_and_other_sites(house: House) -> None:
    house.person("ada")
    told = house.browser().sign_in("ada").headers.get_list("set-cookie")
    session = next(one for one in told if one.startswith("daybreak="))
    assert "HttpOnly" in session
    assert "SameSite=strict" in session
    assert "Path=/" in session
    assert "Domain" not in session


def test_with_tls_cookies_are_secure_and_of_this_host_alone(tmp_path) -> None:
    house = make_house(tmp_path, Console(url="https://backups.example.org"))
    house.person("ada")
    answer = house.browser("https://backups.example.org").sign_in("ada")
    assert answer.status_code == 303
    for cookie in answer.headers.get_list("set-cookie"):
        assert cookie.startswith("__Host-daybreak")
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    house.accounts.close()


def test_every_sign_in_has_a_new_cookie_and_ends_the_one_before(house: House) -> None:
    browser = house.signed_in("ada")
    before = browser.cookies["daybreak"]
    browser.post("/sign-out")
    fixed = house.browser()
    fixed.http.cookies.set("daybreak", before)
    assert fixed.sign_in("ada").status_code == 303
    assert fixed.http.cookies.get("daybreak", domain="127.0.0.1") != before
    other = house.browser()
    other.http.cookies.set("daybreak", before)
    assert other.get("/").status_code == 303


def test_a_cookie_that_somebody_else_chose_never_becomes_a_session(house: House) -> None:
    house.person("ada")
    browser = house.browser()
    browser.http.cookies.set("daybreak", "chosen-by-an-attacker")
    assert browser.sign_in("ada").status_code == 303
    attacker = house.browser()
    attacker.http.cookies.set("daybreak", "chosen-by-an-attacker")
    assert attacker.get("/").status_code == 303


def test_signing_out_ends_the_session_here(house: House) -> None:
    browser = house.signed_in("ada")
    kept = browser.cookies["daybreak"]
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    browser.http.cookies.set("daybreak", kept)
    assert browser.get("/").status_code == 303
    assert browser.get("/api/things").status_code == 401


def test_a_session_ends_when_nothing_comes_and_at_last_in_any_case(house: House) -> None:
    browser = house.signed_in("ada")
    house.clock.move(hours=1, minutes=59)
    assert browser.get("/").status_code == 200
    house.clock.move(hours=2)
    assert browser.get("/").status_code == 303
    busy = house.signed_in("ada")
    for _ in range(11):
        house.clock.move(hours=1)
        assert busy.get("/").status_code == 200
    house.clock.move(hours=1)
    assert busy.get("/").status_code == 303


def test_a_new_password_ends_all_other_sessions(house: House) -> None:
    browser, other = house.signed_in("ada"), house.signed_in("ada")
    before = browser.cookies["daybreak"]
    browser.step_up()
    new = "another horse battery staple"
    answer = browser.post("/account/password", {"password": new, "again": new})
    assert answer.status_code == 303
    assert browser.cookies["daybreak"] != before
    assert browser.get("/").status_code == 200
    assert other.get("/").status_code == 303
    old = house.browser()
    old.http.cookies.set("daybreak", before)
    assert old.get("/").status_code == 303
    assert house.browser().sign_in("ada").status_code == 401
    assert house.browser().sign_in("ada", new).status_code == 303


def test_a_new_role_ends_the_sessions_of_that_person(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    house.person("bob", Role.ADMIN)
    house.accounts.users.set_role("ada", Role.VIEWER, house.clock.now, HOST)
    assert browser.get("/").status_code == 303


def test_one_sees_and_ends_ones_own_sessions_only(house: House) -> None:
    ada, elsewhere, bob = house.signed_in("ada"), house.signed_in("ada"), house.signed_in("bob")
    user = house.accounts.users.get("ada")
    assert user
    handles = [one.handle for one in house.accounts.sessions.list(user, house.clock.now)]
    assert len(handles) == 2
    for handle in handles:
        assert bob.post("/account/sessions/end", {"session": handle}).status_code == 400
    assert ada.get("/").status_code == elsewhere.get("/").status_code == 200
    mine = next(one for one in handles if one in ada.get("/account").text)
    assert mine
    for handle in handles:
        ada.post("/account/sessions/end", {"session": handle}, csrf=ada.csrf("/account"))
        break
    assert sorted([ada.get("/").status_code, elsewhere.get("/").status_code]) == [200, 303]


def test_the_first_user_needs_the_token_of_the_host(house: House) -> None:
    browser = house.browser()
    assert browser.get("/first").status_code == 404
    token = house.accounts.draw_first(house.clock.now, HOST)
    form = {"name": "ada", "password": PASSWORD, "again": PASSWORD}
    refused = browser.post("/first", {**form, "token": "guess"}, page="/first")
    assert refused.status_code == 400
    assert "token is not right" in refused.text
    assert browser.post("/first", {**form, "token": token}, page="/first").status_code == 303
    assert browser.get("/people").status_code == 200
    assert house.browser().get("/first").status_code == 404
    assert browser.post("/first", {**form, "token": token}).status_code in {403, 404}


def test_the_first_token_ends_after_an_hour(house: House) -> None:
    house.accounts.draw_first(house.clock.now, HOST)
    house.clock.move(minutes=61)
    assert house.browser().get("/first").status_code == 404


def test_of_two_who_race_for_the_first_user_one_wins(house: House) -> None:
    token = house.accounts.draw_first(house.clock.now, HOST)
    made: list[object] = []
    together = threading.Barrier(4)

    def race(name: str, accounts: Accounts) -> None:
        together.wait()
        made.append(accounts.make_first(token, name, PASSWORD, house.clock.now, address=""))

    racers = [threading.Thread(target=race, args=(f"racer{n}", house.accounts)) for n in range(4)]
    for one in racers:
        one.start()
    for one in racers:
        one.join()
    assert sum(one is not None for one in made) == 1
    assert len(house.accounts.users.list()) == 1


def test_the_second_look_counts_for_five_minutes(house: House) -> None:
    browser = house.signed_in("rest", Role.RESTORER)
    asked = browser.get("/danger?plan=weekly")
    assert (asked.status_code, asked.headers["location"]) == (303, "/step-up?to=%2Fdanger%3Fplan%3Dweekly")
    assert browser.step_up("wrong password here").status_code == 403
    assert browser.get("/danger").status_code == 303
    assert browser.step_up(to="/danger").headers["location"] == "/danger"
    assert browser.get("/danger").status_code == 200
    house.clock.move(minutes=5)
    assert browser.get("/danger").status_code == 303


def test_a_form_without_the_second_look_starts_nothing(house: House) -> None:
    from console_people_samples import STARTED  # noqa: PLC0415 -- beside its use

    browser = house.signed_in("rest", Role.RESTORER)
    headers = {"Referer": "http://127.0.0.1:8317/dev?x=1"}
    answer = browser.http.post(
        "/danger", json={"target": "prod"}, headers={"X-CSRF-Token": browser.csrf("/account"), **headers}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/step-up?to=%2Fdev%3Fx%3D1")
    assert STARTED == []
