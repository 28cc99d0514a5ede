"""Detects that the loop is behind. Then two caller frames are sent to the model as one: less work, and 20 ms of delay.

Two things are measured. The first is the length of a pass, from one look at the sockets to the next: a frame that has
just come may wait this long. The second is the share of time in which the loop works. Without the second, another
program on this core could make passes long although the loop has little to do. A loop that has little to do is never
behind (bench/capacity).
"""

from __future__ import annotations

import gc
import sys
import time

import trio

# The length of a pass from which the loop is behind. At 80 % of a core a pass takes 1 to 2 ms, at the core's limit
# 20 ms and more (bench/capacity). Between this and the next value nothing changes. So the saving does not switch itself
# off.
BEHIND_S = 0.004
LEVEL_S = 0.0005
# The shares of time at work. From FULL on, the loop is behind. Below ROOM, it is not behind any more. A core is at work
# 95 % of the time with 140 calls, 75 % if their frames are paired, and 25 % with 20 calls (bench/capacity).
FULL, ROOM = 0.80, 0.60
# The share of work is smoothed over this time.
SHARE_MEMORY_S = 1.0
# The length of a pass is smoothed over this much work. A pass counts as one frame (20 ms) at most. So one stall alone
# is no overload.
MEMORY_S = 0.5
LONGEST_S = 0.020


class Pace(trio.abc.Instrument):
    """A Trio instrument. It reads the clock twice in a pass, and does nothing for each task."""

    def __init__(self) -> None:
        self.is_behind = False
        self._woke_at = self._slept_at = 0.0
        self._pass_s = 0.0
        self._at_work = 0.0  # The share of time at work, from 0 to 1.

    def after_io_wait(self, timeout: float) -> None:
        """Called by Trio: a pass begins."""
        self._woke_at = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """Called by Trio: a pass ends. Long passes count more, because a frame is more likely to come in one."""
        now = time.perf_counter()
        if self._slept_at:
            self.passed(now - self._woke_at, self._woke_at - self._slept_at)
        self._slept_at = now

    def passed(self, took_s: float, waited_s: float) -> None:
        """Take in one pass, and the wait before it."""
        took_s = min(took_s, LONGEST_S)
        self._pass_s += (took_s - self._pass_s) * took_s / MEMORY_S
        cycle_s = min(took_s + waited_s, SHARE_MEMORY_S)
        self._at_work += (took_s - self._at_work * cycle_s) / SHARE_MEMORY_S
        if self.is_behind:
            self.is_behind = self._pass_s > LEVEL_S and self._at_work > ROOM
        else:
            self.is_behind = self._pass_s > BEHIND_S and self._at_work > FULL


# After this time a working thread (the ledger's) gives the interpreter back to the loop. Python's own value is 5 ms,
# which is a quarter of a frame.
SWITCH_S = 0.0005


# The number of young collections before a full one. A full collection stops every call for about 50 ms at 200 calls.
# With Python's own value, 10, one comes every few seconds. With this value one comes every five minutes at 200 calls,
# and ended calls leave 20 MB meanwhile.
FULL_COLLECTION_AFTER = 300


def keep_collector_off() -> None:
    """Make Python's garbage collector stop the loop rarely.

    All objects that exist now are needed until the process ends, so the collector does not look at them again. Later
    objects are nearly always freed by reference counting alone.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_AFTER)


def install() -> None:
    """Watch the loop of this process, and keep its stops short. Called once, inside the run."""
    sys.setswitchinterval(SWITCH_S)
    trio.lowlevel.add_instrument(pace)


# A process has one loop, so there is one `pace`. In a run where it is not installed, the loop is never behind.
pace = Pace()
