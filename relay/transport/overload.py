"""Is the loop behind? Then two caller frames are sent to the model as one: less work a frame, for 20 ms of delay.

What is measured is how long a pass of the loop takes, from one look at the sockets to the next: so long a frame that
has just come has to wait; and how much of its time the loop is at work at all: a core that a neighbour has taken for a
moment makes long passes, and is not full. A relay that is not full never does this (bench/capacity).
"""

from __future__ import annotations

import gc
import sys
import time

import trio

# At 80 % of a core passes take 1-2 ms, at its end 20 and more (bench/capacity). Between the two it stays as it is,
# so that the work that is saved does not end the saving.
BEHIND_S = 0.004
LEVEL_S = 0.0005
# The share of its time in which a loop that is behind is at work, and below which it is not behind any more. A core is
# 95 % at work with 140 calls, 75 % when their frames are paired, and 25 % with 20 calls (bench/capacity).
FULL, ROOM = 0.80, 0.60
# Smoothed over so much time,
SHARE_MEMORY_S = 1.0
# and over so much work; one stall counts as no more than a frame, and is not an overload.
MEMORY_S = 0.5
LONGEST_S = 0.020


class Pace(trio.abc.Instrument):
    """A Trio instrument: two clock readings a pass, nothing a task."""

    def __init__(self) -> None:
        self.is_behind = False
        self._woke_at = self._slept_at = 0.0
        self._pass_s = 0.0
        self._at_work = 0.0  # share, 0-1

    def after_io_wait(self, timeout: float) -> None:
        """A pass begins."""
        self._woke_at = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """A pass ends. It counts by its own length: a frame is more likely to come in a long one."""
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


# A thread that is at work (the ledger's) gives the interpreter back to the loop after so long; Python's own is 5 ms,
# a quarter of a frame.
SWITCH_S = 0.0005


# A full collection stops every call for some 50 ms at 200 calls, and Python makes one every few seconds there. This
# many young collections are five minutes of 200 calls, or 20 MB of what ended calls leave; 10 is Python's own.
FULL_COLLECTION_AFTER = 300


def keep_collector_off() -> None:
    """Let Python's collector stop the loop rarely: what stands now stands for ever, the rest seldom needs it."""
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_AFTER)


def install() -> None:
    """Watch the loop of this process, and let nothing keep it waiting for long. Called once, inside the run."""
    sys.setswitchinterval(SWITCH_S)
    trio.lowlevel.add_instrument(pace)


# One loop a process, so one pace. In a run where it is not installed, nobody is ever behind.
pace = Pace()
