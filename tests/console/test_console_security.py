"""The list of what a console must survive: another origin, host, method, role, id, and odd names get nothing."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from console_people_samples import PASSWORD, STARTED, House, house, make_house

from daybreak.console.accounts.words import TOKEN_PREFIX, clean
from daybreak.console.limits import Buckets, Guesses, Rate, neighbourhood
from daybreak.console.origins import address_of, allows_host, local_path
from daybreak.console.people import Role
from daybreak.console.security import BODY_BYTES, PUBLIC
from daybreak.web import Console

__all__ = ["house"]

OURS = "http://127.0.0.1:8317"
MARKUP = "<script>alert(1)</script>\x1b[31m\r\nSet-Cookie: a=b\u202e"


def audited(house: House) -> list[tuple[str, str, str]]:
    return [(one.who, one.what, one.outcome) for one in house.accounts.audit.list()]


# -- who is not signed in -------------------------------------------------------------------------


def routes(house: House) -> Iterator[tuple[str, str, Any]]:
    for route in house.app.routes:
        for handler in getattr(route, "route_handlers", []):
            for method in handler.http_methods:
                if method != "OPTIONS":
                    path = re.sub(r"\{\w+:\w+\}", "x", str(route.path))
                    yield str(method), path, handler


def test_every_route_has_a_rule_or_is_on_the_short_list_of_open_ones(house: House) -> None:
    for method, path, handler in routes(house):
        guards = [one for one in handler.resolve_guards() if hasattr(getattr(one, "func", one), "needs")]
        assert guards or path in PUBLIC or path.startswith(("/static", "/api/schema")), (method, path)


def test_nobody_gets_nothing_from_any_route(house: House) -> None:
    for method, path, _ in routes(house):
        if path in PUBLIC or path.startswith("/static"):
            continue
        answer = house.browser().http.request(method, path)
        assert answer.status_code in ({303} if method == "GET" and not path.startswith("/api/") else {401, 403}), path
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/sign-in")
    assert STARTED == []


@pytest.mark.parametrize(
    "path", ["/nothing", "/people/../people", "/static/../app.py", "/static/%2e%2e/app.py", "//people"]
)
def test_what_there_is_not_tells_nobody_so(house: House, path: str) -> None:
    assert house.browser().get(path).status_code in {303, 404}


LEAST = {
    ("GET", "/people"): Role.ADMIN,
    ("GET", "/people/add"): Role.ADMIN,
    ("POST", "/people/add"): Role.ADMIN,
    ("POST", "/people/role"): Role.ADMIN,
    ("POST", "/people/remove"): Role.ADMIN,
    ("POST", "/people/password"): Role.ADMIN,
    ("POST", "/people/factor-off"): Role.ADMIN,
    ("POST", "/people/passkey-remove"): Role.ADMIN,
    ("GET", "/api/people/someone/passkeys"): Role.ADMIN,
    ("GET", "/api/me/passkeys"): Role.VIEWER,
    ("GET", "/tokens"): Role.ADMIN,
    ("GET", "/tokens/add"): Role.ADMIN,
    ("POST", "/tokens/add"): Role.ADMIN,
    ("POST", "/tokens/remove"): Role.ADMIN,
    ("GET", "/audit"): Role.ADMIN,
    ("GET", "/audit.csv"): Role.ADMIN,
    ("GET", "/danger"): Role.RESTORER,
    ("POST", "/api/backup"): Role.OPERATOR,
    ("GET", "/account"): Role.VIEWER,
}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_gets_what_it_may_and_no_more(house: House, role: Role) -> None:
    browser = house.signed_in("someone", role)
    csrf = browser.csrf("/account")
    for (method, path), least in LEAST.items():
        headers = {"X-CSRF-Token": csrf, "Origin": OURS}
        json_body = {"json": {}} if path.startswith("/api/") else {"data": {}}
        more = json_body if method == "POST" else {}
        answer = browser.http.request(method, path, headers=headers, **more)
        if role < least:
            assert answer.status_code == 403, (path, role)
        else:
            assert answer.status_code not in {401, 403, 500}, (path, role, answer.text)


def test_refused_forms_stand_in_the_log(house: House) -> None:
    house.browser().http.post("/people/add", data={"name": "eve"})
    viewer = house.signed_in("vera")
    viewer.post("/people/add", {"name": "eve"})
    assert ("nobody", "POST /people/add", "refused (401)") in audited(house)
    assert ("vera", "POST /people/add", "refused (403)") in audited(house)


def test_refusals_from_outside_cannot_fill_the_log(house: House) -> None:
    browser = house.browser()
    for _ in range(60):
        browser.http.post("/people/add")
    assert len(audited(house)) <= 22


# -- forms of other sites -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://localhost:8317"},
        {"Origin": OURS, "Sec-Fetch-Site": "cross-site"},
        {"Origin": OURS, "Sec-Fetch-Site": "same-site"},
        {"Origin": OURS, "Sec-Fetch-Site": "none"},
        {"Origin": f"{OURS}.evil.example"},
    ],
)
def test_a_form_of_another_site_does_nothing(house: House, headers: dict[str, str]) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    csrf = browser.csrf("/account")
    told = browser.http.post("/api/backup", json={}, headers={"X-CSRF-Token": csrf, **headers})
    assert told.status_code == 403
    assert STARTED == []
    assert ("nobody", "POST /api/backup", "refused (403)") in audited(house)  # whose cookie came along does not matter


@pytest.mark.parametrize("csrf", ["", "0" * 64, "é", "x"])
def test_a_form_without_its_csrf_does_nothing(house: House, csrf: str) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    told = browser.http.post("/sign-out", data={"csrf": csrf}, headers={"Origin": OURS})
    assert told.status_code == 403
    assert browser.get("/").status_code == 200


def test_the_csrf_of_one_is_not_the_csrf_of_another(house: House) -> None:
    ada, bob = house.signed_in("ada"), house.signed_in("bob")
    assert bob.post("/sign-out", csrf=ada.csrf("/account")).status_code == 403
    again = house.signed_in("ada")
    assert ada.csrf("/account") != again.csrf("/account")
    assert ada.csrf("/account") not in str(ada.cookies)


def test_a_csrf_that_stands_twice_counts_for_nothing(house: House) -> None:
    browser = house.signed_in("ada")
    csrf = browser.csrf("/account")
    body = f"csrf=wrong&csrf={csrf}"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.http.post("/sign-out", content=body, headers=kind).status_code == 403


def test_signing_somebody_in_from_elsewhere_fails(house: House) -> None:
    house.person("eve")
    told = house.browser().http.post("/sign-in", data={"name": "eve", "password": PASSWORD})
    assert told.status_code == 403
    other = house.browser()
    assert (
        house.browser().post("/sign-in", {"name": "eve", "password": PASSWORD}, csrf=other.csrf("/sign-in")).status_code
        == 403
    )


def test_looking_changes_nothing(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    browser.step_up()

    def state() -> list[str]:
        import sqlite3  # noqa: PLC0415 -- only here

        with sqlite3.connect(house.accounts.path) as connection:
            return list(connection.iterdump())

    before = state()
    for _ in range(2):
        for method, path, _ in routes(house):
            if method == "GET" and path not in {"/sign-in/return", "/stream"}:
                browser.get(path)
    assert state() == before


# -- hosts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8317",
        "127.0.0.2",
        "localhost.evil.example",
        "",
        "127.0.0.1:x",
        "[::1]x",
    ],
)
def test_another_name_for_this_host_gets_nothing(house: House, host: str) -> None:
    browser = house.signed_in("ada")
    for path in ("/", "/sign-in", "/healthz", "/static/daybreak.css", "/nothing"):
        assert browser.get(path, headers={"Host": host}).status_code == 421


def test_behind_a_proxy_the_configured_name_counts() -> None:
    console = Console(url="https://backups.example.org")
    assert allows_host(console, "backups.example.org")
    assert allows_host(console, "Backups.Example.org:443")
    assert allows_host(console, "localhost:8317")
    assert not allows_host(console, "backups.example.org:8443")
    assert not allows_host(console, "backups.example.org.evil.example")


def test_what_says_for_whom_it_asks_is_believed_of_configured_proxies_only() -> None:
    console = Console(proxies=("10.0.0.0/8",))
    assert address_of(console, "10.1.2.3", "203.0.113.9, 198.51.100.7") == "198.51.100.7"
    assert address_of(console, "10.1.2.3", "203.0.113.9, 10.9.9.9") == "203.0.113.9"
    assert address_of(console, "192.0.2.1", "203.0.113.9") == "192.0.2.1"
    assert address_of(console, "10.1.2.3", "<b>") == "10.1.2.3"
    assert address_of(Console(), "127.0.0.1", "203.0.113.9") == "127.0.0.1"
    # As a proxy, or we ourselves, hear it at a socket of IPv6: else all of them would share what one may guess.
    assert address_of(console, "::ffff:10.1.2.3", "::ffff:203.0.113.9") == "203.0.113.9"
    assert address_of(console, "::ffff:192.0.2.1", "") == "192.0.2.1"
    assert address_of(console, "10.1.2.3", "2001:DB8::1") == "2001:db8::1"


def test_metrics_are_for_this_host_or_for_who_signed_in(house: House) -> None:
    assert house.browser().get("/metrics").status_code == 404  # let through, and not there in this sample
    assert house.browser().get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 303


# -- headers, methods, sizes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/nothing", "/static/daybreak.css", "/static/nothing", "/broken", "/api/things"]
)
@pytest.mark.parametrize("signed_in", [True, False])
def test_every_answer_has_the_headers(house: House, path: str, *, signed_in: bool) -> None:
    browser = house.signed_in("ada") if signed_in else house.browser()
    answer = browser.get(path)
    policy = answer.headers["content-security-policy"]
    for rule in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ):
        assert rule in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-frame-options"] == "DENY"
    if not path.startswith("/static"):
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/sign-in", "/nothing", "/static/daybreak.css", "/broken", "/api/things"])
@pytest.mark.parametrize("signed_in", [True, False])
def test_a_head_is_answered_as_a_get_without_its_body(house: House, path: str, *, signed_in: bool) -> None:
    browser = house.signed_in("ada") if signed_in else house.browser()
    got, head = browser.get(path), browser.http.head(path)
    assert head.content == b""
    assert head.status_code == got.status_code
    for name in ("content-type", "location", "content-security-policy"):
        assert head.headers.get(name) == got.headers.get(name)
    assert got.headers.get("content-type", "").count("charset") <= 1


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "CONNECT", "PROPFIND", "GETX"])
def test_odd_methods_are_refused(house: House, method: str) -> None:
    assert house.signed_in("ada").http.request(method, "/").status_code == 405


def test_a_file_is_not_taken(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    headers = {"X-CSRF-Token": browser.csrf("/account")}
    assert browser.http.post("/people/add", files={"file": b"PGDMP"}, headers=headers).status_code == 415
    xml = {**headers, "Content-Type": "application/xml"}
    assert browser.http.post("/api/backup", content=b"<x/>", headers=xml).status_code == 415


def test_too_large_a_body_is_refused_before_it_is_read(house: House) -> None:
    browser = house.signed_in("ada", Role.OPERATOR)
    headers = {"X-CSRF-Token": browser.csrf("/account"), "Content-Type": "application/json"}
    assert browser.http.post("/api/backup", content=b"x" * (BODY_BYTES + 1), headers=headers).status_code == 413

    def in_pieces() -> Iterator[bytes]:
        for _ in range(BODY_BYTES // 2**16 + 2):
            yield b"x" * 2**16

    assert browser.http.post("/api/backup", content=in_pieces(), headers=headers).status_code == 413
    assert STARTED == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"a":' * 5000, b"null", b'"x"'])
def test_a_broken_document_is_told_so(house: House, body: bytes) -> None:
    browser = house.signed_in("ada", Role.OPERATOR)
    headers = {"X-CSRF-Token": browser.csrf("/account"), "Content-Type": "application/json"}
    answer = browser.http.post("/api/backup", content=body, headers=headers)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"csrf=\xff", b"&".join(b"a=b" for _ in range(2000)), b"%", b"csrf", b"a=%00"]
)
def test_a_broken_form_is_told_so(house: House, body: bytes) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    headers = {"X-CSRF-Token": browser.csrf("/account"), "Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/people/add", "/sign-in", "/step-up", "/account/password", "/tokens/add", "/first"):
        assert browser.http.post(path, content=body, headers=headers).status_code in {303, 400, 401, 403, 404}, path


# -- guessing -------------------------------------------------------------------------------------


def test_who_guesses_has_to_wait_and_then_may_again(house: House) -> None:
    house.person("ada")
    browser = house.browser()
    for _ in range(5):
        assert browser.sign_in("ada", "wrong password").status_code == 401
    waiting = browser.sign_in("ada")
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["retry-after"]) <= 901
    assert browser.sign_in("bob", "wrong password").status_code == 401


def test_wrong_names_are_slowed_down_as_right_ones_are(house: House) -> None:
    browser = house.browser()
    for _ in range(5):
        assert browser.sign_in("nobody-here", "wrong password").status_code == 401
    assert browser.sign_in("nobody-here", "wrong password").status_code == 429


def test_guesses_are_counted_by_name_by_address_and_by_both() -> None:
    guesses = Guesses()
    for n in range(100):
        assert not guesses.wait("ada", f"192.0.2.{n}", 0)
        guesses.wrong("ada", f"192.0.2.{n}", 0)
    assert guesses.wait("ada", "203.0.113.1", 0)
    assert not guesses.wait("ada", "203.0.113.1", 901)
    for n in range(30):
        guesses.wrong(f"name{n}", "198.51.100.1", 0)
    assert guesses.wait("somebody", "198.51.100.1", 0)
    guesses.wrong("eve", "203.0.113.9", 0)
    guesses.right("eve", "203.0.113.9")
    assert not guesses.wait("eve", "203.0.113.9", 0)


def test_what_is_counted_is_bounded() -> None:
    buckets, guesses = Buckets(Rate(burst=1, per_s=1)), Guesses()
    for n in range(12_000):
        buckets.take(str(n), 0)
        guesses.wrong(str(n), str(n), 0)
    assert len(buckets._left) <= 10_000
    assert len(guesses._at) <= 10_000
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff") != neighbourhood("2001:db8:1::1")


def test_the_answer_to_a_wrong_name_is_that_to_a_wrong_password(house: House) -> None:
    house.person("ada")
    answers = {}
    for name in ("ada", "bob"):
        browser = house.browser()
        answer = browser.sign_in(name, "wrong password")
        answers[name] = (answer.status_code, re.sub(r'value="[0-9a-f]{64}"', "", answer.text))
    assert answers["ada"] == answers["bob"]


def test_a_wrong_name_takes_as_long_as_a_wrong_password(house: House) -> None:
    house.person("ada")
    times: dict[str, list[float]] = {"ada": [], "bob": []}
    for n in range(60):
        for name in ("ada", "bob") if n % 2 else ("bob", "ada"):
            began = time.thread_time()
            assert house.accounts.fits(name, "wrong password", "", house.clock.now) is None
            times[name].append(time.thread_time() - began)
    right, wrong = (statistics.median(times[name]) for name in ("ada", "bob"))
    assert abs(right - wrong) < 0.1 * right, (right, wrong)


def test_what_was_typed_as_a_name_does_not_reach_the_log(house: House) -> None:
    house.browser().sign_in("my-secret-password-in-the-wrong-field", "x")
    assert "my-secret" not in json.dumps(audited(house))


def test_a_storm_of_sign_ins_gets_429_and_never_a_fault_of_ours(house: House) -> None:
    house.person("ada")
    browser = house.browser()
    csrf = browser.csrf("/sign-in")
    statuses = [browser.post("/sign-in", {"name": f"n{n}", "password": "x"}, csrf=csrf).status_code for n in range(40)]
    assert set(statuses) <= {401, 429}
    assert statuses.count(429) >= 10


def test_who_asks_too_often_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybreak.console.security._RATE", Rate(burst=20, per_s=0.01))
    house = make_house(tmp_path)
    browser = house.browser()
    answers = [browser.get("/static/nothing").status_code for _ in range(25)]
    assert answers == [404] * 20 + [429] * 5
    assert int(browser.get("/").headers["retry-after"]) > 0
    house.accounts.close()


# -- tokens ---------------------------------------------------------------------------------------


def bearer(house: House, *verbs: str, role: Role = Role.OPERATOR, name: str = "bot") -> tuple[str, Any]:
    from datetime import timedelta  # noqa: PLC0415 -- beside its use

    from console_people_samples import HOST  # noqa: PLC0415 -- see above

    user = house.accounts.users.get(name) or house.person(name, role)
    token, text = house.accounts.tokens.add(user, "ci", verbs, lasting=timedelta(days=1), at=house.clock.now, by=HOST)
    return text, token


def ask(house: House, method: str, path: str, token: str, **more: Any) -> Any:
    return house.browser().http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)


def test_a_token_is_good_for_its_verbs_until_it_ends(house: House) -> None:
    text, _ = bearer(house, "backup")
    assert text.startswith(TOKEN_PREFIX)
    assert ask(house, "POST", "/api/backup", text, json={"a": 1}).status_code == 200
    assert ask(house, "GET", "/api/things", text).status_code == 403  # not for looking
    assert ask(house, "POST", "/api/unnamed", text, json={}).status_code == 403
    looks, _ = bearer(house, "look")
    assert ask(house, "GET", "/api/things", looks).status_code == 200
    assert ask(house, "POST", "/api/backup", looks, json={}).status_code == 403
    house.clock.move(days=1)
    assert ask(house, "POST", "/api/backup", text, json={}).status_code == 401


@pytest.mark.parametrize(
    "token", ["", "x", TOKEN_PREFIX, f"{TOKEN_PREFIX}{'A' * 43}", "daybreak_\u00e9", "' OR 1=1 --"]
)
def test_other_tokens_are_good_for_nothing(house: House, token: str) -> None:
    bearer(house, "backup")
    told = house.browser().http.post("/api/backup", json={}, headers={b"Authorization": b"Bearer " + token.encode()})
    assert told.status_code == 401
    assert house.browser().get("/api/things", headers={"Authorization": "Basic YTpi"}).status_code == 401


def test_a_token_goes_with_its_person_and_its_role(house: House) -> None:
    from console_people_samples import HOST  # noqa: PLC0415 -- beside its use

    text, _ = bearer(house, "backup")
    house.accounts.users.set_role("bot", Role.VIEWER, house.clock.now, HOST)
    assert ask(house, "POST", "/api/backup", text, json={}).status_code == 403
    house.accounts.users.remove("bot", house.clock.now, HOST)
    assert ask(house, "POST", "/api/backup", text, json={}).status_code == 401


def test_a_token_that_is_removed_is_good_for_nothing(house: House) -> None:
    from console_people_samples import HOST  # noqa: PLC0415 -- beside its use

    text, token = bearer(house, "backup")
    house.accounts.tokens.remove(token.id, house.clock.now, HOST)
    assert ask(house, "POST", "/api/backup", text, json={}).status_code == 401


def test_no_token_changes_people_or_tokens_or_steps_up(house: House) -> None:
    text, _ = bearer(house, *(verb for verb in ("look", "audit", "forget", "refresh")), role=Role.ADMIN, name="root")
    for path in ("/people/add", "/people/role", "/tokens/add", "/account/password", "/step-up", "/sign-out"):
        assert ask(house, "POST", path, text, data={"name": "x"}).status_code in {403, 404}, path
    assert ask(house, "GET", "/audit", text).status_code == 200
    assert ask(house, "POST", "/danger", text, json={}).status_code == 200  # made for that very verb


def test_a_token_beside_a_cookie_is_the_one_that_counts(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    text, _ = bearer(house, "look", name="bot")
    told = browser.http.post("/people/add", data={"name": "x"}, headers={"Authorization": f"Bearer {text}"})
    assert told.status_code == 403


# -- markup, faults -------------------------------------------------------------------------------


def test_names_with_markup_and_escapes_are_harmless(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    house.accounts.audit.add(MARKUP, MARKUP, MARKUP, MARKUP, house.clock.now, address=MARKUP)
    page = browser.get("/audit").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    agent = house.browser()
    agent.http.headers["User-Agent"] = "<img src=x onerror=alert(1)>"
    agent.sign_in("ada")
    assert "<img src=x" not in agent.get("/account").text
    assert clean("a\r\nb\x1b[0m") == "a\\r\\nb\\x1b[0m"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_the_log_as_csv_holds_no_formulas(house: House, name: str) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    house.accounts.audit.add("x", "look", name, "done", house.clock.now)
    text = browser.get("/audit.csv").text
    assert not re.search(r',"?[=+@\t-]', text), text


@pytest.mark.parametrize("before", [10**30, -(10**30)])
def test_the_log_goes_on_from_any_number(house: House, before: int) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    assert browser.get(f"/audit?before={before}").status_code == 200
    assert bool(browser.get(f"/api/audit?before={before}").json()["entries"]) == (before > 0)


def test_a_fault_of_ours_tells_a_number_and_no_more(house: House) -> None:
    browser = house.signed_in("ada")
    answer = browser.get("/broken")
    assert answer.status_code == 500
    assert re.search(r"the log has more under [0-9a-f]{8}", answer.text)
    for word in ("SELECT", "Traceback", "RuntimeError", "/etc/"):
        assert word not in answer.text


def test_accounts_that_cannot_be_read_are_said_without_their_path(house: House) -> None:
    browser = house.signed_in("vera")
    house.accounts.close()
    house.accounts.path.write_bytes(b"nothing of ours" * 1000)
    for one in (browser, house.browser()):
        answer = one.get("/account", headers={"Cookie": "daybreak=x"})
        assert answer.status_code == 503, answer.text
        assert "console.sqlite3" not in answer.text


def test_paths_that_lead_elsewhere_become_the_overview() -> None:
    for odd in ("", "x", "//x", "/\\x", "https://x", "/a\nb", "/\u202e", "/é", "javascript:1", "\\\\x"):
        assert local_path(odd) == "/"
    assert local_path("/runs?plan=a&state=b") == "/runs?plan=a&state=b"


# -- a real server --------------------------------------------------------------------------------


@pytest.fixture
def port(house: House) -> Iterator[int]:
    config = uvicorn.Config(
        house.app, host="127.0.0.1", port=0, log_level="warning", proxy_headers=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def test_a_body_that_drips_is_cut_off_and_others_are_served(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta  # noqa: PLC0415 -- beside its use

    monkeypatch.setattr("daybreak.console.security.BODY_WITHIN", timedelta(seconds=1))
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(20)]
    for one in slow:
        one.sendall(
            b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 1000\r\n\r\na"
        )
    quick = socket.create_connection(("127.0.0.1", port), timeout=5)
    began = time.monotonic()
    quick.sendall(b"GET /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert quick.recv(100).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 1
    assert {one.recv(12) for one in slow} <= {b"HTTP/1.1 408", b"HTTP/1.1 429"}
    for one in [*slow, quick]:
        one.close()


def test_a_hundred_megabytes_are_refused_at_once(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
        one.sendall(b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 104857600\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("ended", ["signed out", "another role", "a token that is removed", "too old"])
def test_a_stream_ends_with_the_session_that_it_was_begun_with(
    house: House, port: int, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    from datetime import timedelta  # noqa: PLC0415 -- beside its use

    import httpx  # noqa: PLC0415 -- see above
    from console_people_samples import HOST  # noqa: PLC0415 -- see above

    monkeypatch.setattr("daybreak.console.security.LOOK_AGAIN", timedelta(seconds=0.1))
    user = house.person("ada", Role.OPERATOR)
    cookie = house.accounts.sessions.begin(user, house.clock.now, timedelta(hours=1), address="", agent="")
    text, token = bearer(house, "look")
    headers = {"Authorization": f"Bearer {text}"} if "token" in ended else {"Cookie": f"daybreak={cookie}"}
    seen = 0
    with httpx.stream("GET", f"http://127.0.0.1:{port}/stream", headers=headers, timeout=5) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            seen += line.startswith("data:")
            if seen == 10 and line.startswith("data:"):  # after some looks: it went on
                if ended == "signed out":
                    house.accounts.sessions.end(cookie)
                elif ended == "another role":
                    house.accounts.users.set_role("ada", Role.VIEWER, house.clock.now, HOST)
                elif ended == "too old":
                    house.clock.move(hours=1)
                else:
                    house.accounts.tokens.remove(token.id, house.clock.now, HOST)
            assert seen < 100
    assert 10 <= seen < 100


def test_a_head_of_what_never_ends_is_answered_at_once(house: House, port: int) -> None:
    import httpx  # noqa: PLC0415 -- beside its use

    text, _ = bearer(house, "look")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        for path in ("/stream", "/sign-in"):  # by one line, so nothing of a body came behind
            answer = client.head(path, headers={"Authorization": f"Bearer {text}"})
            assert (answer.status_code, answer.content) == (200 if path == "/stream" else 303, b"")
