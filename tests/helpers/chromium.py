"""Starts a real Chromium with an empty profile, and checks its log and the page that it shows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PASSWORD = "a long password"
LIMIT_S = 60
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required
    --window-size=1200,900""".split()


@contextmanager
def chromium(*flags: str, may_say: tuple[str, ...] = ()) -> Iterator[Any]:
    """A browser. At the end, check its log. Only messages with a text of `may_say` are allowed."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        try:
            yield driver
            check_says_nothing(driver, may_say)
        finally:
            driver.quit()


def check_says_nothing(browser: Any, may_say: tuple[str, ...] = ()) -> None:
    """Fail if the browser has logged an error, a warning or a CSP report since the last check.

    Messages with a text of `may_say` are allowed.
    """
    told = [line["message"] for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    assert [words for words in told if not any(each in words for each in may_say)] == []


@contextmanager
def window(browser: Any) -> Iterator[None]:
    """A window for one test, of a browser that has forgotten the test before: no cookie, nothing stored or cached."""
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    for forget, what in (
        ("Network.clearBrowserCookies", {}),
        ("Network.clearBrowserCache", {}),
        ("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"}),
    ):
        browser.execute_cdp_cmd(forget, what)
    try:
        yield
        check_says_nothing(browser)
    finally:
        browser.get_log("browser")  # the next test must not see the errors of this test
        browser.close()
        browser.switch_to.window(first)


def wait(browser: Any, until: Any, limit_s: float = LIMIT_S) -> Any:
    """Wait until the function `until` returns something true, and return it."""
    ignored = (NoSuchElementException, StaleElementReferenceException)  # the page is being replaced
    return WebDriverWait(browser, limit_s, ignored_exceptions=ignored).until(lambda _: until())


def sign_in(browser: Any, address: str) -> None:
    """Sign in, and wait for the page Today."""
    browser.get(f"{address}/console/")
    wait(browser, lambda: browser.find_elements(By.ID, "password"))
    browser.find_element(By.ID, "password").send_keys(PASSWORD)
    browser.find_element(By.CSS_SELECTOR, "button").click()
    wait(browser, lambda: browser.title.startswith("Today"))


def text(browser: Any) -> str:
    """The text of the page."""
    return str(browser.find_element(By.TAG_NAME, "main").text)


def be_a_phone(browser: Any) -> None:
    """Give the browser a screen of 375 by 800 pixels."""
    browser.set_window_size(500, 900)
    screen = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def check_fits_and_is_named(browser: Any) -> None:
    """Check that nothing is wider than the screen, and that every control has a name for screen readers."""
    width = browser.execute_script("return innerWidth")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    unnamed = browser.execute_script("""
        return [...document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea, [role]")]
          .filter((each) => !(each.innerText || each.ariaLabel || each.labels?.length || each.title || each.textContent
            || each.getAttribute("aria-labelledby") || each.role === "status"))
          .map((each) => each.outerHTML)""")
    assert unnamed == []


def be_of_scheme(browser: Any, scheme: str) -> None:
    """Set the preferred colour scheme, light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def troubles_for_screen_readers(browser: Any, axe: str) -> list[str]:
    """The serious faults that Deque's axe finds in this page. The page's policy forbids eval, so the browser's debugger
    runs axe."""
    browser.execute_script(axe)
    found = browser.execute_async_script("""
        const done = arguments[0];
        axe.run(document, { resultTypes: ["violations"] }).then((all) => done(all.violations
          .filter((one) => ["serious", "critical"].includes(one.impact))
          .map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`)));""")
    return [str(each) for each in found]
