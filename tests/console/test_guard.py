"""Who may see the console. The routes come from the app's own table, so that a new one cannot be forgotten."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import trio
import trio.lowlevel
from quart_trio import QuartTrio

from relay.console import password
from relay.console.console import ROUTES
from relay.console.guard import COOKIE, FORWARDED, TRIES, TRIES_WINDOW_S, Tries
from tests.helpers.console_app import LOCAL, console_app, public

NOWHERE = "postgresql://127.0.0.1:9/none"
PASSWORD = "a long password"
HASH = password.hashed(PASSWORD)
ORIGIN = {"Origin": "https://relay.example.com"}


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let event streams end at once, because only their headers matter here."""
    monkeypatch.setattr("relay.console.live.STREAM_LIMIT_S", 0.0)


@pytest.fixture
def app() -> QuartTrio:
    """The console of a deployed relay."""
    return console_app(NOWHERE, public(console_password_hash=HASH))


def routes(app: QuartTrio) -> list[tuple[str, str]]:
    """The (method, path) of every route below /console, except the login page and its style sheet."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint in ("static", "console.login", "console.static"):
            continue
        path = re.sub(r"<int:\w+>", "1", re.sub(r"<\w+>", "CA1", rule.rule))
        found += [(method, path) for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})]
    assert len(found) >= len(ROUTES) - 1
    return found


def browser(app: QuartTrio) -> Any:
    """A client without cookies. It is Any because Quart's types demand arguments of `open` that are optional."""
    return app.test_client()


async def signed_in(app: QuartTrio) -> Any:
    client = browser(app)
    answer = await client.post("/console/login", form={"password": PASSWORD}, headers=ORIGIN)
    assert answer.status_code == 303
    return client


async def test_every_route_refuses_a_visitor_who_is_not_signed_in(app: QuartTrio) -> None:
    for method, path in routes(app):
        answer = await browser(app).open(path, method=method, headers=ORIGIN)
        if method == "GET":
            assert answer.status_code == 303, path
            assert answer.headers["Location"].startswith("/console/login?next=/console"), path
        else:
            assert answer.status_code == 401, path
        assert b"Harbor" not in await answer.get_data()


async def test_every_route_refuses_a_forged_session(app: QuartTrio) -> None:
    other = console_app(NOWHERE, public(console_password_hash=password.hashed("another password")))
    stolen = await browser(other).post("/console/login", form={"password": "another password"}, headers=ORIGIN)
    foreign = stolen.headers["Set-Cookie"].split("=", 1)[1].split(";")[0]
    for (method, path), forged in itertools.product(routes(app), ("x", "x.y.z", foreign)):
        headers = {**ORIGIN, "Cookie": f"{COOKIE}={forged}"}
        answer = await browser(app).open(path, method=method, headers=headers)
        assert answer.status_code == (303 if method == "GET" else 401), (path, forged)


async def test_every_route_that_changes_something_refuses_another_origin(app: QuartTrio) -> None:
    client = await signed_in(app)
    for method, path in routes(app):
        if method == "GET":
            continue
        for origin in (
            "https://evil.example.com",
            "null",
            "http://relay.example.com",
            "https://relay.example.com.evil.com",
        ):
            answer = await client.open(path, method=method, headers={"Origin": origin})
            assert answer.status_code == 403, (path, origin)
        assert (await client.open(path, method=method)).status_code == 403  # without Origin and without Sec-Fetch-Site


async def test_every_answer_has_the_security_headers(app: QuartTrio) -> None:
    client = await signed_in(app)
    for method, path in (*routes(app), ("GET", "/console/login")):
        answer = await client.open(path, method=method, headers=ORIGIN)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store", path
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Frame-Options"] == "DENY"


async def test_the_cookie_is_samesite_strict_httponly_and_secure(app: QuartTrio) -> None:
    answer = await browser(app).post("/console/login", form={"password": PASSWORD}, headers=ORIGIN)
    cookie = answer.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Secure", "Path=/console"))


async def test_signing_out_ends_the_session_in_this_browser(app: QuartTrio) -> None:
    client = await signed_in(app)
    assert (await client.get("/console/words")).status_code == 200
    await client.post("/console/logout", headers=ORIGIN)
    assert (await client.get("/console/words")).status_code == 303


async def test_a_link_from_another_site_leads_through_a_page_of_the_console(app: QuartTrio) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = await browser(app).get("/console/calls/CA1", headers=headers)
    assert b'http-equiv="refresh"' in await answer.get_data()


@pytest.mark.parametrize(
    ("asked", "goes_to"),
    [
        ("/console/calls?q=x", "/console/calls?q=x"),
        ("https://evil.example.com/console/", "/console/"),
        ("//evil.example.com/console/", "/console/"),
        ("/console/\\evil", "/console/"),
        ("/metrics", "/console/"),
        ("", "/console/"),
    ],
)
async def test_after_signing_in_only_a_page_of_the_console_is_opened(app: QuartTrio, asked: str, goes_to: str) -> None:
    answer = await browser(app).post("/console/login", form={"password": PASSWORD, "next": asked}, headers=ORIGIN)
    assert answer.headers["Location"] == goes_to


async def test_after_wrong_passwords_an_address_has_to_wait_but_other_addresses_can_sign_in(app: QuartTrio) -> None:
    bad = {**ORIGIN, "X-Forwarded-For": "6.6.6.6, 203.0.113.7"}
    for _ in range(TRIES):
        answer = await browser(app).post("/console/login", form={"password": "no"}, headers=bad)
        assert answer.status_code == 403
    answer = await browser(app).post("/console/login", form={"password": PASSWORD}, headers=bad)
    assert answer.status_code == 403
    assert b"Too many wrong passwords" in await answer.get_data()
    # The client's own part of the header does not count. Only the part that the nearest proxy added counts.
    spoofed = {**ORIGIN, "X-Forwarded-For": "7.7.7.7, 203.0.113.7"}
    assert (await browser(app).post("/console/login", form={"password": PASSWORD}, headers=spoofed)).status_code == 403
    other = {**ORIGIN, "X-Forwarded-For": "198.51.100.2"}
    assert (await browser(app).post("/console/login", form={"password": PASSWORD}, headers=other)).status_code == 303


def test_an_address_may_try_again_after_the_window() -> None:
    tries = Tries()
    for n in range(TRIES):
        tries.wrong("a", float(n))
    assert tries.wait_s("a", 10.0) > 0
    assert tries.wait_s("b", 10.0) == 0
    assert tries.wait_s("a", TRIES_WINDOW_S + 1.0) == 0


def test_wrong_passwords_are_still_counted_after_an_address_was_asked_about_when_its_old_ones_were_too_old() -> None:
    tries = Tries()
    tries.wrong("a", 0.0)
    later = TRIES_WINDOW_S + 1.0
    assert tries.wait_s("a", later) == 0
    for address in "ab":
        for _ in range(TRIES):
            tries.wrong(address, later)
        assert tries.wait_s(address, later) == TRIES_WINDOW_S


async def test_of_many_wrong_passwords_that_come_at_the_same_moment_only_the_allowed_number_is_checked(
    app: QuartTrio, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def fits(_: str, tried: str) -> bool:
        checked.append(tried)
        return False

    monkeypatch.setattr(password, "fits", fits)

    async def guess(number: int) -> None:
        answer = await browser(app).post("/console/login", form={"password": f"guess {number}"}, headers=ORIGIN)
        assert answer.status_code == 403

    async with trio.open_nursery() as nursery:
        for number in range(3 * TRIES):
            nursery.start_soon(guess, number)
    assert len(checked) == TRIES


async def test_without_a_password_a_deployed_relay_shows_only_which_setting_is_missing() -> None:
    app = console_app(NOWHERE, public())
    for method, path in routes(app):
        answer = await browser(app).open(path, method=method, headers=ORIGIN)
        assert answer.status_code == 403
        assert b"CONSOLE_PASSWORD_HASH" in await answer.get_data()


async def test_without_a_password_only_this_machine_sees_the_console_and_not_a_tunnel_or_another_host() -> None:
    app = console_app(NOWHERE, LOCAL)
    assert (await browser(app).get("/console/words", headers={"Host": "127.0.0.1:8080"})).status_code == 200
    assert (await browser(app).get("/console/words", headers={"Host": "localhost"})).status_code == 200
    assert (await browser(app).get("/console/words", headers={"Host": "evil.example.com"})).status_code == 403
    for header in FORWARDED:
        answer = await browser(app).get("/console/words", headers={"Host": "localhost", header: "1.2.3.4"})
        assert answer.status_code == 403, header


async def test_without_a_password_a_page_of_another_local_origin_can_change_nothing() -> None:
    app = console_app(NOWHERE, LOCAL)
    for origin in ("http://localhost:3000", "null", "file://"):
        headers = {"Host": "localhost:8080", "Origin": origin}
        assert (await browser(app).post("/console/calls/CA1/review", headers=headers)).status_code == 403, origin


async def test_hashing_a_password_does_not_block_the_loop(app: QuartTrio) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await browser(app).post("/console/login", form={"password": "wrong one"}, headers=ORIGIN)
        nursery.cancel_scope.cancel()
    assert turns > 10


def test_a_short_password_is_refused_and_a_text_that_is_no_hash_fits_none() -> None:
    with pytest.raises(ValueError, match="10 characters"):
        password.hashed("short")
    assert not password.fits("no hash", PASSWORD)
