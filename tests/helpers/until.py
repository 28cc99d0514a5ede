"""Waits for the work of another thread or process."""

from __future__ import annotations

from collections.abc import Callable

import trio


async def until(done: Callable[[], object]) -> None:
    """Wait until `done` returns something true. It is called every 20 ms. After 60 s the test fails."""
    with trio.fail_after(60):
        while not done():  # noqa: ASYNC110 -- no event tells this process
            await trio.sleep(0.02)
