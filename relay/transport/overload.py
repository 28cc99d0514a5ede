"""Is the loop behind? Then two caller frames are sent to the model as one: less work for each, and 20 ms of delay.

Two things are measured. How long a pass of the loop takes, from one look at the sockets to the next: a frame that has
just come may wait this long. And the share of time in which the loop works: another program on this core can make
passes long although the core is not full. A relay whose core is not full never does this (bench/capacity).
"""

from __future__ import annotations

import gc
import sys
import time

import trio

# At 80 % of a core a pass takes 1 to 2 ms, at its limit 20 and more (bench/capacity). Between the two values nothing
# changes, so that the work that is saved does not switch the saving off.
BEHIND_S = 0.004
LEVEL_S = 0.0005
# A loop that is behind works for this share of its time. Below the second value it is not behind any more. A core works
# 95 % of its time with 140 calls, 75 % when their frames are paired, and 25 % with 20 calls (bench/capacity).
FULL, ROOM = 0.80, 0.60
# Smoothed over so much time,
SHARE_MEMORY_S = 1.0
# and over so much work; one stall counts as one frame at most, and is no overload
MEMORY_S = 0.5
LONGEST_S = 0.020


class Pace(trio.abc.Instrument):
    """A Trio instrument: it reads the clock twice a pass, and does nothing for each task."""

    def __init__(self) -> None:
        self.is_behind = False
        self._woke_at = self._slept_at = 0.0
        self._pass_s = 0.0
        self._at_work = 0.0  # share, 0-1

    def after_io_wait(self, timeout: float) -> None:
        """A pass begins."""
        self._woke_at = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """A pass ends. It counts by its own length, because a frame is more likely to come in a long one."""
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


# After so long a working thread (the ledger's) gives the interpreter back to the loop. Python's own value is 5 ms, a
# quarter of a frame.
SWITCH_S = 0.0005


# A full collection stops every call for about 50 ms at 200 calls, and Python makes one every few seconds there. So many
# young collections are five minutes of 200 calls, or 20 MB that ended calls leave. Python's own value is 10.
FULL_COLLECTION_AFTER = 300


def keep_collector_off() -> None:
    """Make Python's garbage collector stop the loop rarely.

    What exists now is needed until the process ends, so it is not looked at again. The rest is rarely garbage that
    reference counting does not free.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_AFTER)


def install() -> None:
    """Watch the loop of this process, and keep it from waiting long. Called once, inside the run."""
    sys.setswitchinterval(SWITCH_S)
    trio.lowlevel.add_instrument(pace)


# A process has one loop, so there is one pace. In a run where it is not installed, nobody is ever behind.
pace = Pace()
