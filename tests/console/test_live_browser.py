"""A real Chromium with the page Live of a real relay: an owner watches, listens, orders a sentence, and hangs up."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from relay.console.live import MOST_WATCHERS
from relay.console.password import hashed
from relay.server.listening_in import MOST_LISTENERS
from tests.helpers.chromium import (
    PASSWORD,
    be_a_phone,
    be_of_scheme,
    check_fits_and_is_named,
    check_says_nothing,
    sign_in,
    text,
    troubles_for_screen_readers,
    wait,
)
from tests.helpers.live_server import NO_CALL
from tests.helpers.server_process import Server, serving

pytestmark = [pytest.mark.browser, pytest.mark.real]
ASKS = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { silent_s = 90 }'
SENTENCE = "We are open from eleven in the morning until ten at night."
LIMIT_S = 60


@dataclass
class Relay:
    """A relay in a process of its own, and callers for it."""

    server: Server
    database_url: str

    @property
    def address(self) -> str:
        return self.server.address

    def ring(self, steps: str = ASKS) -> None:
        """Start a call whose caller does these steps."""
        self.server.tell(steps)

    def end_all_calls(self) -> None:
        """Make all callers hang up."""
        self.server.tell("")
        assert self.server.told() == NO_CALL

    def audits(self) -> list[str]:
        with psycopg.connect(self.database_url) as connection:
            return [what for (what,) in connection.execute("select what from audit order by id").fetchall()]


@pytest.fixture(scope="module")
def relay_of_the_file(database_of_the_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp("live")
    with serving("live_server", database_of_the_file, folder, hashed(PASSWORD)) as server:
        yield Relay(server, database_of_the_file)
        assert server.process.stdin is not None
        server.process.stdin.close()
        server.process.wait(LIMIT_S)


# `relay` must be the first argument of each test. Then pytest closes the browser's window before it ends the calls.
@pytest.fixture
def relay(relay_of_the_file: Relay) -> Iterator[Relay]:
    """The relay, without calls and without audit rows."""
    with psycopg.connect(relay_of_the_file.database_url) as connection:
        connection.execute("delete from audit")
    yield relay_of_the_file
    relay_of_the_file.end_all_calls()


def card(browser: Any) -> WebElement:
    found: WebElement = browser.find_element(By.CSS_SELECTOR, "#calls article")
    return found


def until(browser: Any, words: str) -> None:
    wait(browser, lambda: words in text(browser), LIMIT_S)


def press(browser: Any, words: str) -> None:
    button = browser.find_element(By.XPATH, f"//button[text()='{words}']")
    browser.execute_script("arguments[0].scrollIntoView()", button)
    button.click()


def test_an_owner_can_watch_a_call_and_order_a_sentence_and_listen_and_hang_up(relay: Relay, browser: Any) -> None:
    sign_in(browser, relay.address)
    browser.find_element(By.LINK_TEXT, "Live").click()
    until(browser, "No call is running")
    relay.ring()
    until(browser, "The notice is being said")
    until(browser, "No words yet: the caller has not heard the notice.")
    assert not browser.find_element(By.CSS_SELECTOR, "[data-listen]").is_displayed()
    until(browser, "Caller: Hi, what time do you open tomorrow?")
    until(browser, "The agent speaks")

    field = browser.find_element(By.CSS_SELECTOR, "[name=text]")
    field.send_keys(SENTENCE[:20])
    length = card(browser).find_element(By.CSS_SELECTOR, "[data-show=length]")
    before = length.text
    wait(browser, lambda: length.text != before)
    field.send_keys(SENTENCE[20:])  # an update of the page changes neither the typed words nor the cursor
    press(browser, "Say")
    until(browser, "The agent has the sentence")
    assert field.get_property("value") == ""
    until(browser, f"Agent: {SENTENCE}")

    press(browser, "Listen in")
    wait(browser, lambda: int(card(browser).get_attribute("data-heard") or 0) > 12, LIMIT_S)
    press(browser, "Stop listening")
    wait(browser, lambda: "stopped listening in" in relay.audits())

    press(browser, "Hang up")
    assert card(browser).is_displayed()
    press(browser, "Really hang up?")
    until(browser, "No call is running")
    assert relay.audits() == [
        "had the agent say a sentence in a running call: done",
        "began to listen in",
        "stopped listening in",
        "hung up a running call: done",
    ]


def test_one_watcher_and_one_listener_too_many_are_told_why(relay: Relay, browser: Any) -> None:
    sign_in(browser, relay.address)
    browser.get(f"{relay.address}/console/live")
    relay.ring()
    until(browser, "Agent: We are open tomorrow")
    browser.execute_script(
        f"""for (let n = 0; n < {MOST_LISTENERS}; n++) new WebSocket(
            document.querySelector("#calls article a").href.replace("http", "ws").replace("calls", "socket/listen"));"""
    )
    wait(browser, lambda: relay.audits().count("began to listen in") == MOST_LISTENERS)
    press(browser, "Listen in")
    until(browser, f"Listening has ended: {MOST_LISTENERS} people are listening already.")

    cookie = "; ".join(f"{one['name']}={one['value']}" for one in browser.get_cookies())
    browser.get("about:blank")
    with ExitStack() as pages:
        for _ in range(MOST_WATCHERS):
            page = pages.enter_context(closing(http.client.HTTPConnection(urlsplit(relay.address).netloc)))
            page.request("GET", "/console/live/events", headers={"Cookie": cookie})
            assert page.getresponse().status == 200
        browser.get(f"{relay.address}/console/live")
        until(browser, f"Not up to date: {MOST_WATCHERS} pages watch the calls already. Close one of them.")
    check_says_nothing(browser, ("503",))


def test_an_owner_puts_a_caller_through_and_sees_that_a_human_has_the_call(relay: Relay, browser: Any) -> None:
    sign_in(browser, relay.address)
    browser.get(f"{relay.address}/console/live")
    relay.ring()
    until(browser, "The notice is being said")
    press(browser, "Put through to a person")
    until(browser, "The agent tells the caller. Then a person's phone rings.")
    until(browser, "Being put through")
    until(browser, "With a person")
    assert not browser.find_element(By.CSS_SELECTOR, "[data-order]").is_displayed()
    until(browser, "No call is running")  # caller and human have talked for five seconds


def test_the_card_of_a_running_call_fits_the_screen_of_a_phone_and_works_with_a_screen_reader(
    relay: Relay, browser: Any, axe: str
) -> None:
    sign_in(browser, relay.address)
    browser.get(f"{relay.address}/console/live")
    relay.ring()
    relay.ring()
    until(browser, "Agent: We are open tomorrow")
    press(browser, "Listen in")
    for scheme in ("light", "dark"):
        be_of_scheme(browser, scheme)
        keep(browser, f"live-{scheme}")
        assert troubles_for_screen_readers(browser, axe) == [], scheme
    be_a_phone(browser)
    for scheme in ("light", "dark"):
        be_of_scheme(browser, scheme)
        check_fits_and_is_named(browser)
        keep(browser, f"live-{scheme}-375")


def keep(browser: Any, name: str) -> None:
    """Save a picture of the page."""
    folder = Path(__file__).parents[2] / "out"
    folder.mkdir(exist_ok=True)
    browser.save_screenshot(str(folder / f"{name}.png"))
