"""A real Chromium plays the owner: sign in, find yesterday's call, press play, judge, write a note, export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from selenium.webdriver.common.by import By

import dsp
from relay.console.password import hashed
from relay.console.sound import wav_header
from tests.helpers.chromium import (
    PASSWORD,
    be_a_phone,
    be_of_scheme,
    check_fits_and_is_named,
    sign_in,
    text,
    troubles_for_screen_readers,
    wait,
)
from tests.helpers.console_server import RECORDED, SECONDS, tones
from tests.helpers.owner_data import sid
from tests.helpers.server_process import serving

PAGES = ("", "live", "calls", f"calls/{sid(RECORDED)}", "messages", "diary", "words", "listen")
pytestmark = [pytest.mark.browser, pytest.mark.real]


@pytest.fixture(scope="module")
def console(database_of_the_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console in a process of its own, started once."""
    folder = tmp_path_factory.mktemp("console")
    with serving("console_server", database_of_the_file, folder, hashed(PASSWORD)) as server:
        yield server.address


@pytest.fixture
def address(console: str, database_of_the_file: str) -> str:
    """The console's address. Nobody has listened to a call yet, and no message is done."""
    with psycopg.connect(database_of_the_file) as connection:
        connection.execute("delete from reviews")
        connection.execute("update messages set done_at = null")
    return console


def test_an_owner_can_sign_in_and_find_and_hear_yesterdays_call_and_save_a_review(browser: Any, address: str) -> None:
    sign_in(browser, address)
    assert "0 of 10 listened" in text(browser)

    browser.find_element(By.LINK_TEXT, "Calls").click()
    wait(browser, lambda: browser.title.startswith("Calls"))
    browser.get(f"{address}/console/calls?day=2026-11-28")
    browser.find_element(By.CSS_SELECTOR, f"a[href$='{sid(RECORDED)}']").click()
    wait(browser, lambda: browser.title.startswith("Call "))

    sound = browser.find_element(By.ID, "sound")
    browser.execute_script("arguments[0].play()", sound)
    wait(browser, lambda: browser.execute_script("return arguments[0].currentTime > 0.3", sound))
    got = browser.execute_async_script("""
        const done = arguments[0], url = document.getElementById("sound").src;
        fetch(url).then((answer) => answer.arrayBuffer()).then((data) => crypto.subtle.digest("SHA-256", data))
          .then((hash) => done([...new Uint8Array(hash)].map((one) => one.toString(16).padStart(2, "0")).join("")));
    """)
    pcm = wav_header(SECONDS * 8000) + dsp.decode(tones()).astype("<i2").tobytes()
    assert got == hashlib.sha256(pcm[: 1 << 20]).hexdigest()

    line = browser.find_element(By.CSS_SELECTOR, ".line.caller [data-play='12000']")
    browser.execute_script("arguments[0].scrollIntoView()", line)
    line.click()
    wait(browser, lambda: browser.execute_script("return arguments[0].currentTime > 12.1", sound))
    lit = wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".line.playing"))
    assert lit[0].get_attribute("data-at") == "12000"
    wave = browser.execute_script("""
        const wave = document.getElementById("wave"), paint = wave.getContext("2d");
        return paint.getImageData(0, 0, wave.width, wave.height).data.some((value) => value > 0)""")
    assert wave

    browser.find_element(By.XPATH, "//button[text()='show']").click()
    wait(browser, lambda: "+12125550124" in text(browser))
    browser.find_element(By.CSS_SELECTOR, "#review input[value=good]").click()
    browser.find_element(By.CSS_SELECTOR, "#review textarea").send_keys("clear and quick")
    browser.find_element(By.CSS_SELECTOR, "#review button").click()
    wait(browser, lambda: "Kept." in text(browser))
    browser.get(f"{address}/console/")
    assert "1 of 10 listened" in text(browser)


def test_an_owner_listens_to_the_first_ten_calls_and_marks_a_message_as_done(browser: Any, address: str) -> None:
    sign_in(browser, address)
    browser.find_element(By.LINK_TEXT, "Listen").click()
    for number in range(1, 4):
        wait(browser, lambda n=number: f"{n - 1} of 10 listened" in text(browser))
        browser.find_element(By.XPATH, "//button[text()='Good, next']").click()
    wait(browser, lambda: "3 of 10 listened" in text(browser))

    browser.find_element(By.LINK_TEXT, "Messages").click()
    wait(browser, lambda: browser.title.startswith("Messages"))
    before = len(browser.find_elements(By.TAG_NAME, "article"))
    browser.find_element(By.XPATH, "//button[text()='Done']").click()
    wait(browser, lambda: len(browser.find_elements(By.TAG_NAME, "article")) == before - 1)
    browser.get(f"{address}/console/messages")
    assert len(browser.find_elements(By.TAG_NAME, "article")) == before - 1


def test_more_calls_are_loaded_without_leaving_the_page(browser: Any, address: str) -> None:
    sign_in(browser, address)
    browser.get(f"{address}/console/calls")
    assert len(browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 26
    more = browser.find_element(By.LINK_TEXT, "More calls")
    browser.execute_script("arguments[0].scrollIntoView()", more)
    more.click()
    wait(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 51)


@pytest.mark.parametrize(
    "page", ["", "live", "calls", f"calls/{sid(RECORDED)}", "messages", "diary", "words", "listen"]
)
def test_each_page_fits_the_screen_of_a_phone_and_every_control_has_a_name(
    address: str, browser: Any, page: str
) -> None:
    sign_in(browser, address)
    be_a_phone(browser)
    browser.get(f"{address}/console/{page}")
    check_fits_and_is_named(browser)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_for_screen_readers(address: str, browser: Any, axe: str, scheme: str) -> None:
    sign_in(browser, address)
    be_of_scheme(browser, scheme)
    for page in PAGES:
        browser.get(f"{address}/console/{page}")
        assert troubles_for_screen_readers(browser, axe) == [], page
