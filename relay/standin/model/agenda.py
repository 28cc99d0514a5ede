"""Holds the actions that a session will do later, with their times. The clock is passed in."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Agenda:
    """Planned actions, in the order of their times. Actions of the same time keep the order in which they were
    planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Plan an action. An infinite delay means never."""
        heapq.heappush(self._entries, (self.now + delay_s, next(self._order), action))

    def due(self, now: float) -> None:
        """Do every action whose time has come. While an action runs, `now` is the time for which it was planned."""
        while self.next_deadline <= now:
            self.now, _, action = heapq.heappop(self._entries)
            action()
        self.now = max(self.now, now)

    def clear(self) -> None:
        """Drop every planned action."""
        self._entries.clear()

    @property
    def next_deadline(self) -> float:
        """The time of the next action. Infinity if nothing is planned."""
        return self._entries[0][0] if self._entries else float("inf")
