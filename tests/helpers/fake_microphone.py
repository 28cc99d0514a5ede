"""A real Chromium with an empty profile, and a microphone that says what a file holds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.support.ui import WebDriverWait

LIMIT_S = 20
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required
    --window-size=1200,900""".split()


@contextmanager
def chromium(*flags: str, may_say: tuple[str, ...] = ()) -> Iterator[Any]:
    """A browser. At the end it has logged no error and no CSP report, but for what `may_say` names."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        try:
            yield driver
            log: list[dict[str, str]] = driver.get_log("browser")  # type: ignore[no-untyped-call]
            told = [line["message"] for line in log if line["level"] in ("SEVERE", "WARNING")]
            assert [words for words in told if not any(each in words for each in may_say)] == []
        finally:
            driver.quit()


def with_microphone(wav: Path) -> tuple[str, ...]:
    """The flags of a browser whose microphone says this file once, from the moment it is opened."""
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={wav}%noloop",
    )


def wait(browser: Any, until: Any, limit_s: float = LIMIT_S) -> Any:
    """Wait until this is true."""
    ignored = (NoSuchElementException, StaleElementReferenceException)  # the page is being replaced
    return WebDriverWait(browser, limit_s, ignored_exceptions=ignored).until(lambda _: until())
