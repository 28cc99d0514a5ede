"""Is one timer for all watchdogs of a process, so that each watchdog does not need its own.

With its own timer, each watchdog needs a cancel scope, a deadline in Trio's heap, and an exception. For 200 watchdogs
that was 9 % of a core (bench/profile). The watchdogs wake in groups, one group after another. If all woke at once, the
audio would be delayed.
"""

from __future__ import annotations

import trio

# How often a watchdog ticks. Twilio holds about twice as much audio ahead (call/playout.py). So Twilio gets more audio
# in time, even if no frame of the caller comes.
EVERY_S = 0.200
LOTS = 4


class Ticker:
    """Wakes every task that waits, once in EVERY_S. It sleeps while no task waits."""

    def __init__(self) -> None:
        self._lots = [trio.lowlevel.ParkingLot() for _ in range(LOTS)]
        self._joined = 0
        self._somebody = trio.Event()

    def join(self) -> int:
        """Put a task that will wait again and again into a group. Returns the group."""
        self._joined += 1
        return self._joined % LOTS

    async def wait(self, lot: int) -> None:
        """Wait until this group is woken."""
        self._somebody.set()
        await self._lots[lot].park()

    async def run(self) -> None:
        """Wake the groups in turn, without end."""
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
