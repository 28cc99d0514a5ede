"""Detects that the loop is behind. Then two caller frames go to the model as one.

Pairing frames saves work and costs 20 ms of delay. Two figures are measured. The first is the length of a pass: the
time from the moment when the loop wakes until it waits again. A frame that has just come may wait this long. The second
is the share of time in which the loop works. It is needed because another program on this core can make passes long,
although the loop has little to do. Then the loop is not behind (bench/capacity).
"""

from __future__ import annotations

import gc
import sys

from relay.transport.hub import current_hub

# The limits for the length of a pass. The loop gets behind only above BEHIND_S. Below LEVEL_S it is not behind any
# more. The limits are so far apart because pairing makes passes shorter, and must not end because of that. At 80 % of
# a core a pass takes 1 to 2 ms, at the core's limit 20 ms and more (bench/capacity).
BEHIND_S = 0.004
LEVEL_S = 0.0005
# The limits for the share of time in which the loop works. The loop gets behind if the pass is longer than BEHIND_S and
# this share is above FULL. This ends if the pass is shorter than LEVEL_S, or if the share is below ROOM. A core works
# 95 % of the time with 140 calls, 75 % if their frames are paired, and 25 % with 20 calls (bench/capacity).
FULL, ROOM = 0.80, 0.60
# Above this share of time at work, the loop is busy: it takes more frames at once (hub.py). Below it, the loop hands
# each frame over as soon as the frame comes.
BUSY = 0.20
# The share of work is smoothed over this time.
SHARE_MEMORY_S = 1.0
# The length of a pass is an average over about MEMORY_S of work. One pass counts as LONGEST_S at most, so that a single
# stall is no overload.
MEMORY_S = 0.5
LONGEST_S = 0.020


class Pace:
    """Measures the passes of the loop. The hub tells it when the loop sleeps and wakes (hub.py)."""

    def __init__(self) -> None:
        self.is_behind = False
        self.is_busy = False
        self._woke_at = self._slept_at = 0.0
        self._pass_s = 0.0
        self._at_work = 0.0  # The share of time in which the loop works, from 0 to 1.

    def wakes(self, now: float) -> None:
        """A pass begins."""
        self._woke_at = now

    def sleeps(self, now: float) -> None:
        """A pass ends."""
        if self._slept_at:
            self.passed(now - self._woke_at, self._woke_at - self._slept_at)
        self._slept_at = now

    def passed(self, took_s: float, waited_s: float) -> None:
        """Count one pass and the wait before it.

        Long passes count more in the average, because a frame is more likely to come during a long pass.
        """
        took_s = min(took_s, LONGEST_S)
        self._pass_s += (took_s - self._pass_s) * took_s / MEMORY_S
        cycle_s = min(took_s + waited_s, SHARE_MEMORY_S)
        self._at_work += (took_s - self._at_work * cycle_s) / SHARE_MEMORY_S
        self.is_busy = self._at_work > BUSY
        if self.is_behind:
            self.is_behind = self._pass_s > LEVEL_S and self._at_work > ROOM
        else:
            self.is_behind = self._pass_s > BEHIND_S and self._at_work > FULL


# A thread that works (such as the ledger's) gives the interpreter back to the loop after this time. Python's default is
# 5 ms, a quarter of a frame.
SWITCH_S = 0.0005


# A full garbage collection comes after this many collections of the younger objects. At 200 calls, a full collection
# stops every call for about 50 ms. With Python's default of 10, it comes every few seconds. With this value it comes
# every five minutes. Until then, the objects of ended calls take 20 MB of memory.
FULL_COLLECTION_AFTER = 300


def keep_collector_off() -> None:
    """Make Python's garbage collector stop the loop less often.

    All objects that exist now are needed until the process ends, so the collector does not look at them again. Nearly
    all later objects are freed without the collector, by reference counting.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_AFTER)


def install() -> None:
    """Measure the loop of this process, and make its stops short. Called once, inside the Trio run."""
    sys.setswitchinterval(SWITCH_S)
    if (hub := current_hub()) is not None:
        hub.pace = pace


# A process has one loop, so there is one `pace`. The loop is never behind in a run without a hub, and in a run where
# `install` was not called.
pace = Pace()
