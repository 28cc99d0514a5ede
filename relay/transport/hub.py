"""The hub: reads the sockets of all calls inside Trio's event loop, without waking a task for each read.

In each pass, Trio's loop waits for events and then runs all tasks that are ready. Without the hub, Trio wakes a task
for each read. That takes one third of the CPU time of a caller's frame: Trio makes an object for the wait, asks the
kernel to watch the socket again, and goes through the coroutines of the reader. With the hub, a reader registers its
socket and a function once, in `Hub.serve`. In each pass, before any task runs, the hub calls the functions of the
sockets that have bytes.

All code that reads a frame is in one call stack: the loop, `_Seam`, `Hub`, `SocketWire`, `WebSocketEnd`, the reader's
function. This stack begins in Trio's wait and not in the reader's task. The task waits in `Hub.serve`. If the function
raises an error, `Hub.serve` raises it in the task. The function runs with the task's context variables (for a call's
log lines). If the task is cancelled, the function is not called any more. The function itself cannot wait. It must not
change a deadline, because Trio has chosen the length of the wait before. Each pass reads a socket once and then runs
all tasks that are ready. So a peer that floods us cannot keep the tasks from running.

Trio has no public hook for this. A system task that waits for our own epoll would need only public calls. But while
frames come one by one, this task would be woken once for each frame, so nothing is saved. Therefore `_Seam` takes the
place of Trio's private I/O manager. It waits for the hub's epoll, in which Trio's own epoll is one of the descriptors.
If only the hub's sockets have bytes and no task is ready, `_Seam` waits again without a return to Trio's loop. Trio is
pinned to 0.35, and tests/transport/test_hub.py checks that `_Seam` works with it. If `_Seam` does not fit (a system
without epoll, another Trio), `current_hub` returns None, and readers wait like any other task.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, Protocol

import outcome
import structlog
import trio

log = structlog.get_logger()

# One pass reads at most this many sockets. The next pass reads the others.
AT_ONCE = 256
# The result if the newest look found bytes on the hub's sockets only. It is not empty, because for Trio an empty result
# means that the wait has ended by its timeout.
SOMETHING: list[tuple[int, int]] = [(-1, 0)]

# While the loop is busy (overload.py) and no task is ready, it looks at the sockets at most once in this time. Fewer
# looks, with more frames in each, cost less CPU time: 13 % less at 60 calls. But a frame may be handed over up to this
# much later.
LOOK_EVERY_S = 0.002

clock, sleep = time.perf_counter, time.sleep


class Pace(Protocol):
    """Is told when the loop sleeps and wakes (overload.py)."""

    is_busy: bool

    def sleeps(self, now: float) -> None:
        """A pass ends."""

    def wakes(self, now: float) -> None:
        """A pass begins."""


class Waiting:
    """A task that waits, and the function that is called instead of the task. It returns False to wake the task."""

    __slots__ = ("_at_work", "_run", "_told", "_work", "task")

    def __init__(self, task: trio.lowlevel.Task, work: Callable[[], bool]) -> None:
        self.task = task
        self._work, self._run = work, task.context.run
        self._at_work = False
        self._told: outcome.Outcome[None] | None = None

    def hand_over(self) -> outcome.Outcome[None] | None:
        """Call the function. Returns the result with which the task must be woken, or None if the task waits on."""
        self._at_work = True
        try:
            if not self._run(self._work) and self._told is None:
                self._told = outcome.Value(None)
        except BaseException as error:  # The task gets the error. If the loop got it, the process would end.
            self._told = outcome.Error(error)
        self._at_work = False
        return self._told

    def tell(self, told: outcome.Outcome[None]) -> bool:
        """Announce that the task must be woken with this result.

        Returns True if the code that calls `tell` must wake the task now. Returns False if the function is running.
        Then `hand_over` returns the result when the function has ended.
        """
        if self._at_work:
            self._told = self._told or told
            return False
        return True


class Hub:
    """The sockets of one Trio run, and the functions that read them."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.pace: Pace | None = None
        self._waiting: dict[int, Waiting] = {}

    async def serve(self, fd: int, work: Callable[[], bool]) -> None:
        """Call `work` in each pass in which the socket is readable, until `work` returns False. Raises like `work`."""
        waiting = Waiting(trio.lowlevel.current_task(), work)
        self._waiting[fd] = waiting
        self.epoll.register(fd, select.EPOLLIN)

        def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            if waiting.tell(outcome.capture(raise_cancel)):
                self._forget(fd)
                return trio.lowlevel.Abort.SUCCEEDED
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def closing(self, fd: int, why: str) -> None:
        """Called before a socket is closed. A task that waits for the socket gets trio.ClosedResourceError(why)."""
        waiting = self._forget(fd)
        if waiting is not None:
            closed = outcome.Error(trio.ClosedResourceError(why))
            if waiting.tell(closed):
                trio.lowlevel.reschedule(waiting.task, closed)

    def look(self, events: list[tuple[int, int]]) -> bool:
        """Call the functions of the sockets with these events. Returns True if Trio's epoll has an event too."""
        is_trios = False
        get = self._waiting.get
        for fd, _ in events:
            waiting = get(fd)
            if waiting is None:
                # The descriptor is Trio's epoll. Or it is a socket that a function called above has closed. Then Trio
                # looks at its epoll once without need.
                is_trios = True
                continue
            told = waiting.hand_over()
            if told is not None:
                self._forget(fd)
                trio.lowlevel.reschedule(waiting.task, told)
        return is_trios

    def close(self) -> None:
        """The run has ended. Close the epoll."""
        self.epoll.close()

    def _forget(self, fd: int) -> Waiting | None:
        waiting = self._waiting.pop(fd, None)
        if waiting is not None:
            self.epoll.unregister(fd)
        return waiting


class _Seam:
    """Takes the place of Trio's I/O manager, and waits for Trio's epoll and for the hub's sockets together."""

    def __init__(self, runner: Any, hub: Hub) -> None:
        self._trios, self._runq, self.hub = runner.io_manager, runner.runq, hub
        hub.epoll.register(self._trios._epoll.fileno(), select.EPOLLIN)
        self._looked_at = 0.0

    def get_events(self, timeout_s: float) -> list[tuple[int, int]]:
        """Called by Trio's loop: wait until Trio's epoll has an event, or a task is ready, or the time is over."""
        hub, pace, runq = self.hub, self.hub.pace, self._runq
        now = clock()
        until = now + timeout_s
        while True:
            if pace is not None:
                pace.sleeps(now)
                rest_s = min(self._looked_at + LOOK_EVERY_S - now, timeout_s)
                if pace.is_busy and rest_s > 0:
                    sleep(rest_s)
                    timeout_s = max(0.0, until - clock())
            events = hub.epoll.poll(timeout_s, AT_ONCE)
            if pace is not None:
                self._looked_at = clock()
                pace.wakes(self._looked_at)
            if hub.look(events):
                return self._trios.get_events(0) or SOMETHING
            now = clock()
            timeout_s = until - now
            if runq or timeout_s <= 0:
                return SOMETHING if events else []

    def process_events(self, events: list[tuple[int, int]]) -> None:
        """Called by Trio's loop with the result of `get_events`."""
        if events is not SOMETHING:
            self._trios.process_events(events)

    def close(self) -> None:
        """Called by Trio's loop at the end of the run."""
        self.hub.close()
        self._trios.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._trios, name)
        setattr(self, name, found)
        return found


_hub: trio.lowlevel.RunVar[Hub | None] = trio.lowlevel.RunVar("hub")


def current_hub() -> Hub | None:
    """The hub of this Trio run. It is made at the first call.

    None if the hub does not fit this system or this version of Trio.
    """
    try:
        return _hub.get()
    except LookupError:
        hub = _begin()
        _hub.set(hub)
        return hub


def _begin() -> Hub | None:
    hub = None
    try:
        hub = Hub()
        runner = _runner()
        runner.io_manager = _Seam(runner, hub)
    except (ImportError, AttributeError) as error:
        if hub is not None:
            hub.close()
        words = f"each frame wakes a task, so calls need more CPU time and a full core delays frames sooner ({error})"
        log.info("hub.none", words=words)
        return None
    return hub


def _runner() -> Any:
    """Trio's private runner of this run. The docstring of this file says why it is needed."""
    from trio._core._io_epoll import EpollIOManager
    from trio._core._run import GLOBAL_RUN_CONTEXT

    runner = GLOBAL_RUN_CONTEXT.runner
    if not isinstance(runner.io_manager, EpollIOManager):
        raise AttributeError(f"Trio looks at its sockets by {type(runner.io_manager).__name__}")
    return runner
