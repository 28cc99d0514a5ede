"""The ticker: calls the functions of all watchdogs of this process, with one timer for all.

If each watchdog slept by itself, it would need a cancel scope, a place in the heap of deadlines, and an exception. For
200 watchdogs this takes 9 % of a core (bench/profile). Here a watchdog registers a function, as a reader does in
hub.py, and its task is not woken for each tick. The functions are called in groups (lots), one group after another,
because all functions at once would delay the audio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import outcome
import trio

from relay.transport.hub import Waiting

# The time between two ticks of a watchdog. Twilio holds about twice as much audio that it has not played yet
# (call/playout.py). So Twilio gets more audio in time, even if no frame of the caller comes.
EVERY_S = 0.200
LOTS = 4  # The number of groups.


class Ticker:
    """Calls the function of every task that waits, once in EVERY_S. It sleeps while no task waits."""

    def __init__(self) -> None:
        # Dicts, and not sets, because they keep the order.
        self._lots: list[dict[Waiting, None]] = [{} for _ in range(LOTS)]
        self._joined = 0
        self._somebody = trio.Event()

    def join(self) -> int:
        """Put a task that will wait again and again into a group. Returns the group."""
        self._joined += 1
        return self._joined % LOTS

    async def serve(self, lot: int, work: Callable[[], bool]) -> None:
        """Call `work` at each turn of the group, until it returns False. Raises like `work`."""
        waiting, waiters = Waiting(trio.lowlevel.current_task(), work), self._lots[lot]
        waiters[waiting] = None
        self._somebody.set()

        def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            if waiting.tell(outcome.capture(raise_cancel)):
                del waiters[waiting]
                return trio.lowlevel.Abort.SUCCEEDED
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def run(self) -> None:
        """Call the functions of the groups in turn, without end."""
        at, turn = trio.current_time(), 0
        while True:
            if not any(self._lots):
                self._somebody = trio.Event()
                await self._somebody.wait()
                at = trio.current_time()
            at, turn = at + EVERY_S / LOTS, (turn + 1) % LOTS
            if self._lots[turn]:
                await trio.sleep_until(at)
                self._tick(self._lots[turn])

    @staticmethod
    def _tick(waiters: dict[Waiting, None]) -> None:
        for waiting in list(waiters):
            if waiting not in waiters:
                continue  # A function that was called above has cancelled this task.
            told = waiting.hand_over()
            if told is not None:
                del waiters[waiting]
                trio.lowlevel.reschedule(waiting.task, told)
