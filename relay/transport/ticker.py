"""A beat that many tasks wait for: one timer for all watchdogs of a process, not one for each.

A sleep of their own costs a cancel scope, a place in the heap of deadlines and an exception each time; 200 watchdogs
spent 9 % of a core on it (bench/profile). They come in lots, one after another: together they would stop the audio.
"""

from __future__ import annotations

import trio

# A watchdog's step: half of what Twilio holds ahead (call/playout.py), so that it tops up in time when no frame comes.
EVERY_S = 0.200
LOTS = 4


class Beat:
    """Wakes everybody who waits, once in EVERY_S; nothing runs while nobody does."""

    def __init__(self) -> None:
        self._lots = [trio.lowlevel.ParkingLot() for _ in range(LOTS)]
        self._joined = 0
        self._somebody = trio.Event()

    def join(self) -> int:
        """The lot of a task that is going to wait again and again."""
        self._joined += 1
        return self._joined % LOTS

    async def wait(self, lot: int) -> None:
        """Wait for the lot's next turn."""
        self._somebody.set()
        await self._lots[lot].park()

    async def run(self) -> None:
        """Beat for ever."""
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
