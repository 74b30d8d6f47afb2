"""What is kept: the audit log that is only added to, hashes, second factors, people and tokens on their pages."""

from __future__ import annotations

import html
import multiprocessing
import os
import re
import sqlite3
import stat
import threading
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import segno
from console_people_samples import HOST, NOON, PASSWORD, House, house
from pyotp.totp import TOTP

from daybreak.console.accounts import Accounts, open_accounts
from daybreak.console.accounts.passwords import Passwords
from daybreak.console.accounts.words import csrf_of, draw, same
from daybreak.console.people import Role
from daybreak.errors import Busy, ConfigError, Refused, UsageError

__all__ = ["house"]


@pytest.fixture
def accounts(tmp_path: Path):
    with open_accounts(tmp_path / "console") as found:
        yield found


def raw(accounts: Accounts) -> sqlite3.Connection:
    return sqlite3.connect(accounts.path, isolation_level=None)


# -- the audit log --------------------------------------------------------------------------------


def filled(accounts: Accounts, rows: int = 5) -> None:
    for n in range(rows):
        accounts.audit.add("ada", "look", f"thing {n}", "done", NOON + timedelta(minutes=n), address="192.0.2.1")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit SET who = 'eve' WHERE id = 2",
        "UPDATE audit SET id = 99 WHERE id = 2",
        "DELETE FROM audit WHERE id = 5",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT 2, at, 'eve', address, what, '', outcome, before, hash FROM audit",
        "REPLACE INTO audit SELECT id, at, 'eve', address, what, subject, outcome, before, hash FROM audit",
        "INSERT INTO audit SELECT 0, at, 'eve', address, what, subject, outcome, before, hash FROM audit WHERE id = 1",
    ],
)
def test_the_log_is_only_added_to(accounts: Accounts, sql: str) -> None:
    filled(accounts)
    before = accounts.audit.list()
    connection = raw(accounts)
    with pytest.raises(sqlite3.DatabaseError, match="only added to"):
        connection.execute(sql)
    connection.close()
    assert accounts.audit.list() == before
    assert accounts.audit.verify().broken_at is None


@pytest.mark.parametrize("column", ["at", "who", "address", "what", "subject", "outcome", "before", "hash"])
def test_a_row_that_was_changed_past_the_triggers_is_found(accounts: Accounts, column: str) -> None:
    filled(accounts)
    connection = raw(accounts)
    connection.execute("DROP TRIGGER audit_stays")
    value = "2026-11-25T12:00:00.000001+00:00" if column == "at" else "eve"
    connection.execute(f"UPDATE audit SET {column} = ? WHERE id = 3", (value,))  # noqa: S608 -- a column of the list above
    connection.close()
    verdict = accounts.audit.verify()
    assert verdict.broken_at == 3
    assert "row 3" in verdict.text


def test_a_row_that_was_taken_out_is_found_and_a_cut_end_by_its_head(accounts: Accounts) -> None:
    filled(accounts)
    head = accounts.audit.verify().head
    connection = raw(accounts)
    connection.execute("DROP TRIGGER audit_keeps")
    connection.execute("DELETE FROM audit WHERE id = 5")
    assert accounts.audit.verify().broken_at is None
    assert accounts.audit.verify().head != head
    connection.execute("DELETE FROM audit WHERE id = 2")
    connection.close()
    assert accounts.audit.verify().broken_at == 3


def test_a_part_of_the_log_is_looked_at_alone(accounts: Accounts) -> None:
    filled(accounts, 20)
    connection = raw(accounts)
    connection.execute("DROP TRIGGER audit_stays")
    connection.execute("UPDATE audit SET who = 'eve' WHERE id = 5")
    connection.close()
    newest = accounts.audit.verify(newest=10)
    assert (newest.rows, newest.broken_at, newest.whole) == (10, None, False)
    assert accounts.audit.verify(newest=16).broken_at == 5
    assert accounts.audit.verify(newest=1000).broken_at == accounts.audit.verify().broken_at == 5


def _write_rows(folder: str, rows: int) -> None:
    with open_accounts(Path(folder)) as accounts:
        for n in range(rows):
            accounts.audit.add(f"process {os.getpid()}", "look", str(n), "done", NOON)


def test_several_processes_and_threads_make_one_chain(accounts: Accounts) -> None:
    spawned = multiprocessing.get_context("spawn")
    workers = [spawned.Process(target=_write_rows, args=(str(accounts.path.parent), 15)) for _ in range(2)]
    threads = [threading.Thread(target=filled, args=(accounts, 15)) for _ in range(3)]
    for one in [*workers, *threads]:
        one.start()
    for one in [*workers, *threads]:
        one.join()
    verdict = accounts.audit.verify()
    assert (verdict.rows, verdict.broken_at) == (75, None)


def test_a_change_and_its_row_are_written_together(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.users.add("ada", PASSWORD, Role.ADMIN, NOON, HOST)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("daybreak.console.accounts.users.add_row", fails)
    with pytest.raises(RuntimeError):
        accounts.users.add("eve", PASSWORD, Role.ADMIN, NOON, HOST)
    assert [one.name for one in accounts.users.list()] == ["ada"]


# -- the file -------------------------------------------------------------------------------------


def test_the_file_is_made_for_its_owner_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_accounts(tmp_path / "console").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "console").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "console" / "console.sqlite3").stat().st_mode) == 0o600


def test_what_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:  # who is not root makes files of his own only
        with open_accounts(tmp_path / "mine"):
            assert (tmp_path / "mine" / "console.sqlite3").stat().st_uid == os.geteuid()
        return
    folder = tmp_path / "console"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with open_accounts(folder) as accounts:
        filled(accounts, 1)
        assert {one.stat().st_uid for one in folder.iterdir()} == {65534}


def test_a_newer_file_and_a_broken_one_are_said_in_words(tmp_path: Path) -> None:
    open_accounts(tmp_path).close()
    with sqlite3.connect(tmp_path / "console.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="from a newer Daybreak"):
        open_accounts(tmp_path)
    (tmp_path / "console.sqlite3").write_bytes(b"nothing of ours" * 100)
    with pytest.raises(ConfigError, match="cannot be used just now"):
        open_accounts(tmp_path)


def test_several_who_open_it_first_make_one_file(tmp_path: Path) -> None:
    together, made = threading.Barrier(6), []

    def opens() -> None:
        together.wait()
        with open_accounts(tmp_path / "console") as found:
            made.append(found.audit.add("x", "look", "", "done", NOON).id)

    threads = [threading.Thread(target=opens) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(made) == [1, 2, 3, 4, 5, 6]


# -- passwords ------------------------------------------------------------------------------------


def test_passwords_are_argon2id_with_salt(accounts: Accounts) -> None:
    for name in ("ada", "bob"):
        accounts.users.add(name, PASSWORD, Role.ADMIN, NOON, HOST)
    connection = raw(accounts)
    kept = [row[0] for row in connection.execute("SELECT password FROM people")]
    connection.close()
    assert all(one.startswith("$argon2id$v=19$m=19456,t=3,p=1$") for one in kept)
    assert kept[0] != kept[1]


def test_an_old_hash_is_renewed_when_its_password_comes(accounts: Accounts) -> None:
    from argon2 import PasswordHasher  # noqa: PLC0415 -- beside its use

    accounts.users.add("ada", PASSWORD, Role.ADMIN, NOON, HOST)
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    connection = raw(accounts)
    connection.execute("UPDATE people SET password = ?", (old,))
    assert accounts.fits("ada", PASSWORD, "", NOON)
    assert "m=19456,t=3" in connection.execute("SELECT password FROM people").fetchone()[0]
    connection.close()


def test_a_name_that_nobody_has_is_compared_with_a_hash_of_the_same_kind() -> None:
    passwords = Passwords()
    kept, nobodys = passwords.hash(PASSWORD), passwords._nobodys
    assert not passwords.is_old(nobodys)
    assert [len(part) for part in nobodys.split("$")] == [len(part) for part in kept.split("$")]
    assert Passwords()._nobodys != nobodys
    assert not passwords.fits(PASSWORD, "")


def test_few_wait_for_a_hash_and_the_others_are_told() -> None:
    passwords = Passwords()
    kept = passwords.hash(PASSWORD)
    said: list[object] = []

    def tries() -> None:
        try:
            said.append(passwords.fits("wrong", kept))
        except Busy as busy:
            said.append(busy)

    threads = [threading.Thread(target=tries) for _ in range(30)]
    with passwords._turn:
        for one in threads:
            one.start()
        for one in threads[8:]:
            one.join(0.05)
    for one in threads:
        one.join()
    assert said.count(False) == 8
    assert sum(isinstance(one, Busy) for one in said) == 22


def test_what_is_compared_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac  # noqa: PLC0415 -- beside its use

    asked: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: asked.append((one, other)) or real(one, other))
    assert same("é", "é")
    assert not same("a", "b")
    assert len(asked) == 2
    assert len(draw()) >= 43
    assert csrf_of("a") != csrf_of("b")


def test_tokens_and_sessions_are_found_by_their_hash_alone(accounts: Accounts) -> None:
    """The value itself is never compared: how far a guess is right shows in no time."""
    user = accounts.users.add("ada", PASSWORD, Role.ADMIN, NOON, HOST)
    cookie = accounts.sessions.begin(user, NOON, timedelta(hours=1), address="", agent="")
    _, token = accounts.tokens.add(user, "ci", ["look"], lasting=timedelta(days=1), at=NOON, by=HOST)
    connection = raw(accounts)
    dump = "\n".join(connection.iterdump())
    connection.close()
    assert cookie not in dump
    assert token not in dump
    assert token.removeprefix("daybreak_") not in dump


# -- people ---------------------------------------------------------------------------------------


def test_two_admins_who_remove_each_other_leave_one(accounts: Accounts) -> None:
    for name in ("ada", "bob"):
        accounts.users.add(name, PASSWORD, Role.ADMIN, NOON, HOST)
    together, refused = threading.Barrier(2), []

    def removes(name: str) -> None:
        together.wait()
        try:
            accounts.users.remove(name, NOON, HOST)
        except Refused as error:
            refused.append(error)

    threads = [threading.Thread(target=removes, args=(name,)) for name in ("ada", "bob")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(refused) == 1
    assert len(accounts.users.list()) == 1


def test_more_than_twenty_sessions_of_one_end_the_oldest(accounts: Accounts) -> None:
    user = accounts.users.add("ada", PASSWORD, Role.ADMIN, NOON, HOST)
    cookies = [
        accounts.sessions.begin(user, NOON + timedelta(seconds=n), timedelta(hours=1), address="", agent="")
        for n in range(25)
    ]
    open_ = [accounts.sessions.get(one, NOON + timedelta(seconds=30)) is not None for one in cookies]
    assert open_ == [False] * 5 + [True] * 20


def test_an_admin_keeps_people_in_the_browser(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    form = {"name": "bob", "role": "operator", "password": PASSWORD, "again": PASSWORD}
    led = browser.post("/people/add", form, page="/people", headers={"Referer": f"{browser.base}/people"})
    assert led.headers["location"] == "/step-up?to=%2Fpeople"
    browser.step_up()
    assert browser.post("/people/add", form, page="/people").headers["location"] == "/people?done=added"
    bob = house.signed_in("bob")
    assert browser.post("/people/role", {"name": "bob", "role": "viewer"}, page="/people").status_code == 303
    assert bob.get("/").status_code == 303
    assert browser.post("/people/remove", {"name": "bob", "typed": "bop"}, page="/people").status_code == 400
    assert browser.post("/people/remove", {"name": "bob", "typed": "bob"}, page="/people").status_code == 303
    assert house.accounts.users.get("bob") is None
    refused = browser.post("/people/remove", {"name": "ada", "typed": "ada"}, page="/people")
    assert refused.status_code == 403
    assert "last admin" in refused.text
    told = browser.post("/people/role", {"name": "ada", "role": "viewer"}, page="/people")
    assert "last admin" in told.text
    for odd in ({"role": "root"}, {"name": "<b>"}, {"again": "different"}, {"password": "short", "again": "short"}):
        assert browser.post("/people/add", {**form, "name": "eve", **odd}, page="/people").status_code == 400


def test_an_admin_makes_a_token_in_the_browser_and_it_is_shown_once(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    browser.step_up()
    made = browser.post("/tokens/add", {"name": "ci", "days": "30", "verb-backup": "yes"}, page="/tokens")
    text = re.search(r"daybreak_[\w-]{43}", made.text)
    assert text
    assert text[0] not in browser.get("/tokens").text
    assert made.headers["cache-control"] == "no-store"
    for odd in ({"days": "9999"}, {"days": "-1"}, {"days": "\u0661"}, {"verb-people": "yes"}, {"name": "\x1b"}):
        told = browser.post("/tokens/add", {"name": "x", "days": "7", "verb-look": "yes", **odd}, page="/tokens")
        assert told.status_code == 400, odd
    token = house.accounts.tokens.list()[0].id
    assert browser.post("/tokens/remove", {"token": token}, page="/tokens").status_code == 303
    assert house.accounts.tokens.list() == []


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"name": "Ada"}, "there is somebody called Ada already"),
        ({"again": f"other {PASSWORD}"}, "the two passwords differ"),
        ({"name": "<b>"}, "a name begins with a letter"),
        ({"password": "short", "again": "short"}, "a password has"),
    ],
)
def test_whoever_adds_somebody_wrongly_gets_his_form_again(house: House, odd: dict[str, str], why: str) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    browser.step_up()
    form = {"name": "bob", "role": "restorer", "password": PASSWORD, "again": PASSWORD, **odd}
    told = browser.post("/people/add", form, page="/people")
    assert told.status_code == 400
    fault = re.search(r'role="alert"[^>]*>([^<]+)<', told.text)
    assert fault
    assert why in html.unescape(fault[1])
    assert f'name="name" value="{html.escape(form["name"])}"' in told.text
    add = told.text.partition("Add somebody")[2]
    assert '<option value="restorer" selected>' in add
    for password in (form["password"], form["again"]):
        assert password not in told.text
    # Who has to show again meanwhile who he is comes back to where the form was.
    assert browser.get("/people/add").headers["location"] == "/people"


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"verb-look": "", "verb-backup": ""}, "a token is for verbs"),
        ({"name": "x" * 65}, "1 to 64"),
        ({"days": "?"}, "whole"),
    ],
)
def test_whoever_makes_a_token_wrongly_gets_his_form_again(house: House, odd: dict[str, str], why: str) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    browser.step_up()
    asked = {"name": "ci", "days": "90", "verb-look": "yes", "verb-backup": "yes", **odd}
    form = {name: value for name, value in asked.items() if value}
    told = browser.post("/tokens/add", form, page="/tokens")
    assert told.status_code == 400
    assert re.search(rf'role="alert"[^>]*>[^<]*{why}', told.text)
    assert f'name="name" value="{form["name"]}"' in told.text
    ticked = re.findall(r'name="(verb-\w+)" value="yes" checked', told.text)
    assert ticked == [name for name in form if name.startswith("verb-")]
    assert ('<option value="90" selected>' in told.text) == (form["days"] == "90")
    assert house.accounts.tokens.list() == []
    assert browser.get("/tokens/add").headers["location"] == "/tokens"


# -- second factors -------------------------------------------------------------------------------


def with_factor(house: House, name: str = "ada"):
    browser = house.signed_in(name, Role.ADMIN)
    browser.step_up()
    browser.post("/account/factor")
    shown = re.search(r"<code>([A-Z2-7 ]+)</code>", browser.get("/account/factor").text)
    assert shown
    secret = shown[1].replace(" ", "")
    totp = TOTP(secret)
    answer = browser.post(
        "/account/factor/confirm", {"code": totp.at(house.clock.now)}, csrf=browser.csrf("/account/factor")
    )
    assert answer.status_code in {200, 201}, answer.text
    codes = re.findall(r"<code>([a-z2-7-]{19})</code>", answer.text)
    assert len(codes) == 10
    return browser, totp, codes


def modules(svg: str) -> list[list[bool]]:
    """The dark and light squares of a QR code, read from the strokes of its picture."""
    side = int(re.findall(r'd="M0 0h(\d+)', svg)[0])
    dark = [[False] * side for _ in range(side)]
    column, row = 0, 0.0
    for step, first, second in re.findall(
        r"([Mmh])(-?[\d.]+)(?: (-?[\d.]+))?", svg.rpartition(' d="')[2].partition('"')[0]
    ):
        if step == "h":
            dark[int(row)][column : column + int(first)] = [True] * int(first)
            column += int(first)
        else:
            column, row = (int(first), float(second)) if step == "M" else (column + int(first), row + float(second))
    return dark


def test_the_picture_of_a_new_secret_is_that_of_its_address_and_needs_no_script_or_style(house: House) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    browser.step_up()
    browser.post("/account/factor")
    page = browser.get("/account/factor")
    shown = re.search(r'<div class="qr"[^>]*>(<svg .*?</svg>)</div>', page.text, re.DOTALL)
    address = re.search(r'href="(otpauth://[^"]+)"', page.text)
    secret = re.search(r"<code>([A-Z2-7 ]+)</code>", page.text)
    assert shown
    assert address
    assert secret
    assert f"secret={secret[1].replace(' ', '')}&" in html.unescape(address[1])
    expected = segno.make(html.unescape(address[1]), error="m", micro=False).matrix_iter(border=4)
    assert modules(shown[1]) == [[bool(one) for one in row] for row in expected]
    assert "style" not in shown[1]
    assert "<script" not in shown[1]
    assert "style-src 'self';" in page.headers["content-security-policy"]


def test_with_a_second_factor_the_password_alone_is_not_enough(house: House) -> None:
    browser, totp, _ = with_factor(house)
    assert browser.get("/").status_code == 200
    house.clock.move(seconds=60)
    assert house.browser().sign_in("ada").status_code == 401
    assert house.browser().sign_in("ada", code="000000").status_code == 401
    code = totp.at(house.clock.now)
    assert house.browser().sign_in("ada", code=f"{code[:3]} {code[3:]}").status_code == 303
    assert house.browser().sign_in("ada", code=code).status_code == 401  # it counts once
    house.clock.move(seconds=30)
    assert house.browser().sign_in("ada", code=totp.at(house.clock.now)).status_code == 303


def test_an_older_code_than_the_last_one_counts_no_more(house: House) -> None:
    _, totp, _ = with_factor(house)
    house.clock.move(seconds=90)
    before = totp.at(house.clock.now - timedelta(seconds=30))
    assert house.browser().sign_in("ada", code=totp.at(house.clock.now)).status_code == 303
    assert house.browser().sign_in("ada", code=before).status_code == 401


def test_a_code_on_paper_counts_once(house: House) -> None:
    browser, _, codes = with_factor(house)
    assert house.browser().sign_in("ada", code=codes[3].upper()).status_code == 303
    assert house.browser().sign_in("ada", code=codes[3]).status_code == 401
    assert "9 codes on paper are left" in browser.get("/account").text
    browser.step_up(code=codes[4])
    renewed = browser.post("/account/codes")
    assert len(re.findall(r"<code>([a-z2-7-]{19})</code>", renewed.text)) == 10
    assert house.browser().sign_in("ada", code=codes[5]).status_code == 401


def test_a_wrong_code_switches_nothing_on(house: House) -> None:
    browser = house.signed_in("ada")
    browser.step_up()
    browser.post("/account/factor")
    key = re.search(r"<code>[A-Z2-7 ]+</code>", browser.get("/account/factor").text)
    again = browser.post("/account/factor/confirm", {"code": "000000"})
    assert again.status_code == 400
    assert key
    assert key[0] in again.text  # the app has that one by now: another one would be an account more in it
    assert "that code does not fit" in again.text
    assert 'name="code"' in again.text
    assert browser.get("/account/factor/confirm").headers["location"] == "/account/factor"
    assert house.browser().sign_in("ada").status_code == 303


def test_a_password_of_ones_own_that_is_none_is_asked_for_again(house: House) -> None:
    browser = house.signed_in("ada")
    browser.step_up()
    for given, why in ({"password": "a" * 14, "again": "b" * 14}, "differ"), ({"password": "x", "again": "x"}, "12"):
        answer = browser.post("/account/password", given)
        assert answer.status_code == 400
        assert why in answer.text
        assert 'action="/account/password"' in answer.text
    assert browser.get("/account/password").headers["location"] == "/account"


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://127.0.0.1:8317/people?done=role", "/people"),
        ("http://127.0.0.1:8317/people?a=%2F&done=role", "/people?a=%2F"),
        ("http://127.0.0.1:8317//evil.example/", ""),
        ("https://evil.example/people", ""),
        ("", ""),
    ],
)
def test_a_form_that_was_refused_leads_back_to_its_page(house: House, referer: str, back: str) -> None:
    browser = house.signed_in("ada", Role.ADMIN)
    browser.step_up()
    answer = browser.post(
        "/people/role", {"name": "ada", "role": "viewer"}, page="/people", headers={"Referer": referer}
    )
    assert answer.status_code == 403
    assert ("Back to the form" in answer.text) == bool(back)
    assert "evil" not in answer.text
    assert f'href="{back or "/"}"' in answer.text
    gone = house.browser().http.post("/people/role", headers={"Referer": referer})
    assert gone.status_code == 401
    assert (f'href="/sign-in?to={quote(back)}"' if back else 'href="/sign-in"') in gone.text


def test_the_second_look_needs_the_code_too(house: House) -> None:
    browser, totp, _ = with_factor(house)
    house.clock.move(minutes=6)
    assert browser.step_up().status_code == 403
    assert browser.step_up(code=totp.at(house.clock.now)).status_code == 303
    assert browser.get("/danger").status_code == 200


def test_who_has_another_name_at_single_sign_on_has_it_here_too(house: House) -> None:
    come, at = house.accounts.users.from_single_sign_on, house.clock.now
    ada = come("issuer 1", "ada", Role.VIEWER, at, HOST)
    house.person("grace")
    assert come("issuer 1", "Ada", Role.VIEWER, at, HOST).name == "Ada"
    married = come("issuer 1", "ada.lovelace", Role.ADMIN, at, HOST)
    assert (married.id, married.name, married.role) == (ada.id, "ada.lovelace", Role.ADMIN)
    assert come("issuer 1", "Grace", Role.ADMIN, at, HOST).name == "ada.lovelace"  # somebody else is called so here
    assert [one.name for one in house.accounts.users.list()] == ["ada.lovelace", "grace"]
    assert come("issuer 2", "ada", Role.VIEWER, at, HOST).id != ada.id
    told = [one.subject for one in house.accounts.audit.list() if one.what == "change name"]
    assert told == ["Ada → ada.lovelace", "ada → Ada"]


def test_who_has_nothing_but_a_code_has_no_more_guesses_than_others(house: House) -> None:
    user = house.accounts.users.from_single_sign_on("issuer 1", "ada", Role.ADMIN, house.clock.now, HOST)
    secret = house.accounts.factors.begin(user)
    house.accounts.factors.confirm(user, TOTP(secret).at(house.clock.now), house.clock.now, HOST)
    house.clock.move(minutes=2)
    browser, lasting = house.browser(), timedelta(hours=1)
    cookie = house.accounts.sessions.begin(user, house.clock.now, lasting, address="", agent="")
    browser.http.cookies.set("daybreak", cookie)
    csrf = browser.csrf("/account")
    told = [browser.post("/step-up", {"code": f"{n:06}"}, csrf=csrf).status_code for n in range(6)]
    assert told == [*[403] * 5, 429]
    right = TOTP(secret).at(house.clock.now)
    assert browser.post("/step-up", {"code": right}, csrf=csrf).status_code == 429
    wrong = [one for one in house.accounts.audit.list() if (one.what, one.outcome) == ("step up", "refused")]
    assert len(wrong) == 5


def test_switching_it_off_needs_the_second_look_and_ends_the_codes(house: House) -> None:
    browser, totp, codes = with_factor(house)
    house.clock.move(minutes=6)
    assert browser.post("/account/factor/off").headers["location"].startswith("/step-up")
    browser.step_up(code=totp.at(house.clock.now))
    assert browser.post("/account/factor/off").status_code == 303
    assert house.browser().sign_in("ada").status_code == 303
    assert house.browser().sign_in("ada", code=codes[0]).status_code == 303  # not asked for any more


def test_a_new_factor_ends_other_sessions(house: House) -> None:
    other = house.signed_in("ada", Role.ADMIN)
    browser, _, _ = with_factor(house)
    assert other.get("/").status_code == 303
    assert browser.get("/").status_code == 200


def test_odd_names_and_passwords_are_refused_in_words(accounts: Accounts) -> None:
    with pytest.raises(UsageError, match="guessed soon"):
        accounts.users.add("alexandra", "alexandra-1234", Role.VIEWER, NOON, HOST)
    with pytest.raises(UsageError, match="begins with a letter"):
        accounts.users.add("<script>", PASSWORD, Role.VIEWER, NOON, HOST)
    assert accounts.users.add("José", PASSWORD, Role.VIEWER, NOON, HOST).name == "José"
    with pytest.raises(UsageError, match="already"):
        accounts.users.add("josé".upper(), PASSWORD, Role.VIEWER, NOON, HOST)


def test_the_folder_of_the_console_may_have_any_name(tmp_path: Path) -> None:
    with open_accounts(tmp_path / "a%20b?mode=ro") as found:
        filled(found)
    assert (tmp_path / "a%20b?mode=ro" / found.path.name).is_file()
