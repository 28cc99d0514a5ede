"""Fixtures of the console's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.console.reads import Reads
from tests.helpers.chromium import chromium, window
from tests.helpers.console_app import console_app


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Any]]:
    """A function that opens the console with a database and returns a client. All is closed after the test."""
    all_reads: list[Reads] = []

    def open_console(url: str, **parts: Any) -> Any:
        reads = Reads(url)
        all_reads.append(reads)
        return console_app(url, reads=reads, **parts).test_client()

    yield open_console
    for reads in all_reads:
        await reads.close()


@pytest.fixture(scope="module")
def browser_of_the_file() -> Iterator[Any]:
    """A Chromium, started once for the tests of a file."""
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(browser_of_the_file: Any) -> Iterator[Any]:
    """A new window of a Chromium. The test fails if the browser logs an error."""
    with window(browser_of_the_file):
        yield browser_of_the_file


@pytest.fixture
def axe() -> str:
    """Deque's accessibility checks. `make test-console` fetches them from the npm registry."""
    path = Path(__file__).parents[2] / "out" / "axe.min.js"
    if not path.exists():
        pytest.skip("LEFT OUT: out/axe.min.js is not there; `make test-console` fetches it, and needs npm for it")
    return path.read_text()
