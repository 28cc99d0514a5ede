"""The event loop of the load: epoll for sockets, a heap for timers, one thread. asyncio and Trio would need several
times more CPU time.
"""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from typing import Protocol

clock = time.perf_counter


class Readable(Protocol):
    """An object with a socket that the loop can watch."""

    def fileno(self) -> int:
        """The socket's number."""

    def on_input(self) -> None:
        """The socket is readable."""


class Loop:
    """Calls callbacks when their time has come or their socket is readable.

    If `looks_every_s` is 0, the loop wakes for each input. If not, it sleeps this long again and again, and checks
    timers and sockets after each sleep. Then a send of the relay does not wake a process on another core. In a virtual
    machine, such a wake-up costs the relay 3 to 8 us, and a relay whose peers are on other machines has no such cost.
    The loop notices input up to `looks_every_s` too late, so no measured latency is too small.
    """

    def __init__(self, looks_every_s: float = 0.0) -> None:
        self._looks_every_s = looks_every_s
        self._epoll = select.epoll()
        self._watched: dict[int, Readable] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def watch(self, one: Readable) -> None:
        """Call `one.on_input()` whenever its socket is readable."""
        self._watched[one.fileno()] = one
        self._epoll.register(one.fileno(), select.EPOLLIN)

    def forget(self, one: Readable) -> None:
        """Stop watching this object. Call this before its socket is closed."""
        number = one.fileno()
        if self._watched.pop(number, None) is not None:
            self._epoll.unregister(number)

    def at(self, due: float, callback: Callable[[], None]) -> None:
        """Call `callback` once, at the time `due` of this module's clock."""
        self._number += 1
        heapq.heappush(self._timers, (due, self._number, callback))

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Run until `until()` is true. It is checked every 50 ms. Returns False if this takes longer than `limit_s`."""
        timers, watched = self._timers, self._watched
        end = clock() + limit_s
        while not until():
            pause = clock() + 0.05
            if pause > end:
                return False
            while (now := clock()) < pause:
                while timers and timers[0][0] <= now:
                    heapq.heappop(timers)[2]()
                wait_s = min(pause, timers[0][0]) - clock() if timers else pause - now
                if self._looks_every_s:
                    time.sleep(self._looks_every_s)
                    wait_s = 0.0
                for number, _ in self._epoll.poll(max(0.0, wait_s)):
                    one = watched.get(number)
                    if one is not None:
                        one.on_input()
        return True
