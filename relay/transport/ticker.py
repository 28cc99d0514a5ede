"""A ticker for many tasks: one timer for all watchdogs of a process, instead of one for each.

If each watchdog slept by itself, it would need a cancel scope, a place in the heap of deadlines, and an exception. For
200 watchdogs that was 9 % of a core (bench/profile). The watchdogs are woken in groups, one group after another,
because all of them at once would delay the audio.
"""

from __future__ import annotations

import trio

# The step of a watchdog is half of the time that Twilio holds ahead (call/playout.py), so that Twilio gets audio in
# time when no frame comes.
EVERY_S = 0.200
LOTS = 4


class Ticker:
    """Wakes every task that waits, once in EVERY_S. Nothing runs while no task waits."""

    def __init__(self) -> None:
        self._lots = [trio.lowlevel.ParkingLot() for _ in range(LOTS)]
        self._joined = 0
        self._somebody = trio.Event()

    def join(self) -> int:
        """The group of a task that is going to wait again and again."""
        self._joined += 1
        return self._joined % LOTS

    async def wait(self, lot: int) -> None:
        """Wait for the next turn of the group."""
        self._somebody.set()
        await self._lots[lot].park()

    async def run(self) -> None:
        """Tick without end."""
        at, turn = trio.current_time(), 0
        while True:
            if not any(self._lots):
                self._somebody = trio.Event()
                await self._somebody.wait()
                at = trio.current_time()
            at, turn = at + EVERY_S / LOTS, (turn + 1) % LOTS
            if self._lots[turn]:
                await trio.sleep_until(at)
                self._lots[turn].unpark_all()
