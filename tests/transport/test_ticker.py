"""The ticker: each waiting task is woken once in a period, in groups at different times. Without tasks nothing runs."""

from __future__ import annotations

import itertools

import trio
import trio.testing

from relay.transport.ticker import EVERY_S, LOTS, Ticker


async def _listen(ticker: Ticker, woken: list[float]) -> None:
    lot = ticker.join()
    while True:
        await ticker.wait(lot)
        woken.append(trio.current_time())


async def test_a_task_that_waits_again_each_time_is_woken_once_in_a_period(
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


async def test_many_waiting_tasks_are_woken_in_groups_and_not_all_at_once(
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
