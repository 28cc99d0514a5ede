"""The ticker calls the function of each waiting task once in a period, in groups at different times.

If no task waits, the ticker does not run.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
import trio
import trio.testing

from relay.transport.ticker import EVERY_S, LOTS, Ticker


async def _listen(ticker: Ticker, woken: list[float]) -> None:
    def work() -> bool:
        woken.append(trio.current_time())
        return True

    await ticker.serve(ticker.join(), work)


async def test_the_function_of_a_waiting_task_is_called_once_in_a_period(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ticker = Ticker()
    woken: list[list[float]] = [[] for _ in range(3 * LOTS)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        for times in woken:
            nursery.start_soon(_listen, ticker, times)
        await trio.sleep(10.0)
        nursery.cancel_scope.cancel()
    for times in woken:
        assert len(times) in (49, 50)
        assert all(abs(b - a - EVERY_S) < 1e-9 for a, b in itertools.pairwise(times))


async def test_the_functions_of_many_tasks_are_called_in_groups_and_not_all_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ticker = Ticker()
    woken: list[list[float]] = [[] for _ in range(4 * LOTS)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        for times in woken:
            nursery.start_soon(_listen, ticker, times)
        await trio.sleep(1.5 * EVERY_S)
        nursery.cancel_scope.cancel()
    first = sorted(round(times[0], 6) for times in woken)
    assert len(set(first)) == LOTS
    assert all(first.count(at) == 4 for at in first)


async def test_a_ticker_without_waiting_tasks_does_not_run(autojump_clock: trio.testing.MockClock) -> None:
    ticker, woken = Ticker(), list[float]()
    steps = 0

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal steps
            steps += task.name.endswith("Ticker.run")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        with trio.move_on_after(1.0):
            await _listen(ticker, woken)
        trio.lowlevel.add_instrument(Steps())
        await trio.sleep(3600.0)
        assert steps <= 2
        with trio.move_on_after(1.0):
            await _listen(ticker, woken)
        nursery.cancel_scope.cancel()
    assert woken[-1] > 3600.0


@asynccontextmanager
async def running() -> AsyncIterator[Ticker]:
    ticker = Ticker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        yield ticker
        nursery.cancel_scope.cancel()


async def test_a_task_waits_until_its_function_returns_false(autojump_clock: trio.testing.MockClock) -> None:
    answers = [True, True, False]
    async with running() as ticker:
        await ticker.serve(ticker.join(), lambda: answers.pop(0))
        assert answers == []


async def test_an_error_of_the_function_is_raised_in_its_task_and_others_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def fail() -> bool:
        raise ZeroDivisionError

    woken: list[float] = []
    async with running() as ticker, trio.open_nursery() as nursery:
        nursery.start_soon(_listen, ticker, woken)
        with pytest.raises(ZeroDivisionError):
            await ticker.serve(ticker.join(), fail)
        woken.clear()
        await trio.sleep(2 * EVERY_S)
        assert len(woken) == 2
        nursery.cancel_scope.cancel()


async def test_the_function_runs_with_the_context_variables_of_its_task(autojump_clock: trio.testing.MockClock) -> None:
    call, seen = ContextVar("call", default="none"), list[str]()

    def look() -> bool:
        seen.append(call.get())
        return False

    async with running() as ticker:
        call.set("CA1")
        await ticker.serve(ticker.join(), look)
    assert seen == ["CA1"]


async def test_a_function_that_cancels_its_own_task_or_another_runs_to_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[str] = []
    scope = trio.CancelScope()

    async def wait(ticker: Ticker, name: str) -> None:
        def work() -> bool:
            scope.cancel()
            calls.append(name)
            return True

        await ticker.serve(0, work)

    async with running() as ticker:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, ticker, "one")
                nursery.start_soon(wait, ticker, "another")
    assert scope.cancelled_caught
    assert len(calls) == 1, "the function of a cancelled task was called"
