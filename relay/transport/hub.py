"""The hub: in each pass of the loop it looks at the sockets of all calls and calls their functions. No task is woken.

Trio itself wakes a task for each read. That costs a waiter, a call to the kernel to arm the socket again, and a switch
through the coroutines of the reader: one third of the CPU time of a caller's frame. Here a socket is registered once.
When the socket has bytes, the loop calls the function that its reader left here, before any task runs.

One frame still has one call stack: the loop, `Hub`, `SocketWire`, `WebSocketEnd`, the reader's function. But the stack
begins in Trio's loop and not in the reader's task. The task waits in `Hub.serve`. An error of the function is raised
there. The function runs with the task's context variables (for a call's log lines). If the task is cancelled, the
function is not called any more. The function itself cannot wait. Each pass reads a socket once and then runs all tasks
that are ready. So a peer that floods us cannot keep the tasks from running.

Trio has no public hook for this. A system task that waits for our own epoll would need only public calls. But while
frames come one by one, it would be woken once for each frame, so nothing is saved. Therefore `_Seam` is put in front of
Trio's private I/O manager. Trio is pinned to 0.35, and tests/transport/test_hub.py checks the seam. If it does not fit
(a system without epoll, another Trio), `current_hub` returns None, and readers wait like any other task.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

import outcome
import structlog
import trio

log = structlog.get_logger()

# One look reads at most this many sockets. The others are read in the next pass, which follows at once.
AT_ONCE = 256


class _Waiting:
    """A reader that waits, and the function that it left. The function returns False to wake its reader."""

    __slots__ = ("_at_work", "_run", "_told", "_work", "task")

    def __init__(self, task: trio.lowlevel.Task, work: Callable[[], bool]) -> None:
        self.task = task
        self._work, self._run = work, task.context.run
        self._at_work = False
        self._told: outcome.Outcome[None] | None = None

    def hand_over(self) -> outcome.Outcome[None] | None:
        """Call the function. Returns the result with which the reader must be woken. None: do not wake it."""
        self._at_work = True
        try:
            if not self._run(self._work) and self._told is None:
                self._told = outcome.Value(None)
        except BaseException as error:  # The error belongs to the reader. Here it would end the process.
            self._told = outcome.Error(error)
        self._at_work = False
        return self._told

    def tell(self, told: outcome.Outcome[None]) -> bool:
        """Wake the reader with this result. False if its function runs at this moment: the function ends first."""
        if self._at_work:
            self._told = self._told or told
            return False
        return True


class Hub:
    """The sockets of one Trio run whose bytes are handed over to functions."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, _Waiting] = {}

    def fileno(self) -> int:
        """A descriptor that is readable while one of the sockets is."""
        return self._epoll.fileno()

    async def serve(self, fd: int, work: Callable[[], bool]) -> None:
        """Call `work` in each pass in which the socket is readable, until it returns False. Raises like `work`."""
        waiting = _Waiting(trio.lowlevel.current_task(), work)
        self._waiting[fd] = waiting
        self._epoll.register(fd, select.EPOLLIN)

        def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            if waiting.tell(outcome.capture(raise_cancel)):
                self._forget(fd)
                return trio.lowlevel.Abort.SUCCEEDED
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def closing(self, fd: int) -> None:
        """The socket is about to be closed. A reader that waits for it gets trio.ClosedResourceError."""
        waiting = self._forget(fd)
        if waiting is not None:
            closed = outcome.Error(trio.ClosedResourceError("this wire was closed"))
            if waiting.tell(closed):
                trio.lowlevel.reschedule(waiting.task, closed)

    def look(self) -> None:
        """Hand over everything that has come. Trio's loop calls this."""
        get = self._waiting.get
        for fd, _ in self._epoll.poll(0, AT_ONCE):
            waiting = get(fd)
            if waiting is None:
                continue  # A function that ran earlier in this look has closed it.
            told = waiting.hand_over()
            if told is not None:
                self._forget(fd)
                trio.lowlevel.reschedule(waiting.task, told)

    def close(self) -> None:
        """The run has ended. Close the epoll."""
        self._epoll.close()

    def _forget(self, fd: int) -> _Waiting | None:
        waiting = self._waiting.pop(fd, None)
        if waiting is not None:
            self._epoll.unregister(fd)
        return waiting


class _Seam:
    """Stands in front of Trio's I/O manager. The hub's events go to the hub, and all others go to Trio."""

    def __init__(self, trios: Any, hub: Hub) -> None:
        self._trios, self.hub = trios, hub
        self._hub_fd = hub.fileno()
        trios._epoll.register(self._hub_fd, select.EPOLLIN)  # Permanent. Trio itself registers for one event at a time.

    def process_events(self, events: list[tuple[int, int]]) -> None:
        """Called by Trio's loop with the events of its last poll."""
        rest = [event for event in events if event[0] != self._hub_fd]
        if rest:
            self._trios.process_events(rest)
        if len(rest) < len(events):
            self.hub.look()

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
    """The hub of this run, made at the first call. None if it does not fit this version of Trio."""
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
        runner.io_manager = _Seam(runner.io_manager, hub)
    except (ImportError, AttributeError) as error:
        if hub is not None:
            hub.close()
        log.info("hub.none", words=f"each frame wakes a task: more CPU a call, nothing else ({error})")
        return None
    return hub


def _runner() -> Any:
    """Trio's runner of this run. It is private. The head of this file says why it is used."""
    from trio._core._io_epoll import EpollIOManager
    from trio._core._run import GLOBAL_RUN_CONTEXT

    runner = GLOBAL_RUN_CONTEXT.runner
    if not isinstance(runner.io_manager, EpollIOManager):
        raise AttributeError(f"Trio looks at its sockets by {type(runner.io_manager).__name__}")
    return runner
