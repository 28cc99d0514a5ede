"""A coroutine that `Steps` runs step by step behaves as usual, and the time of its longest step is measured."""

from __future__ import annotations

import time

import pytest
import trio

from relay.functions.registry import CallContext, Registry, Steps, function, run
from tests.helpers.business_play import a_call, business, standin


async def _twice(seconds: float) -> str:
    await trio.lowlevel.checkpoint()
    time.sleep(seconds)  # noqa: ASYNC251  # what it must not do
    await trio.lowlevel.checkpoint()
    return "done"


async def test_the_time_between_two_waits_is_measured() -> None:
    steps = Steps(_twice(0.3))
    assert await steps == "done"
    assert 0.3 <= steps.longest_s < 2.0


async def test_waiting_does_not_count_as_blocking(autojump_clock: trio.testing.MockClock) -> None:
    async def waits() -> None:
        await trio.sleep(60)

    steps = Steps(waits())
    await steps
    assert steps.longest_s < 0.2


async def test_errors_and_cancellation_pass_through() -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("no")

    with pytest.raises(LookupError):
        await Steps(fails())
    cleaned: list[str] = []

    async def hangs() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cleaned.append("up")

    with trio.move_on_after(0) as scope:
        await Steps(hangs())
    assert (scope.cancelled_caught, cleaned) == (True, ["up"])


async def test_a_nursery_inside_the_function_still_works() -> None:
    seen: list[int] = []

    async def several() -> None:
        async def one(number: int) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(one, number)

    await Steps(several())
    assert sorted(seen) == [0, 1, 2]


async def test_for_a_function_that_blocks_the_log_says_for_how_long() -> None:
    @function()
    async def slow(call: CallContext) -> dict[str, object]:
        """Sleep without letting other tasks run."""
        time.sleep(0.3)  # noqa: ASYNC251  # what it must not do
        return {"rested": True}

    async with business(standin()) as (backend, _):
        outcome = await run(Registry({"slow": slow}), a_call(backend), "slow", "{}")
        quick = await run(Registry({"slow": slow}), a_call(backend), "slow", "{bad")
    assert outcome.ok
    assert outcome.blocked_s >= 0.3
    assert quick.blocked_s == 0.0
