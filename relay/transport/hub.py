"""Reads the sockets of all calls in Trio's loop. In each pass, it calls a function for every socket that has bytes.

Without the hub, Trio wakes a task for each read. That takes one third of the CPU time of a caller's frame. Trio makes
an object for the wait, asks the kernel to watch the socket again, and goes through the coroutines of the reader. With
the hub, a reader registers its socket and a function once, in `Hub.serve`. In each pass, before any task runs, the loop
calls the functions of the sockets that have bytes.

A frame is handled in one call stack: the loop, `Hub`, `SocketWire`, `WebSocketEnd`, the reader's function. The reader's
task waits in `Hub.serve` meanwhile. If the function raises an error, `Hub.serve` raises it. The function has the
context variables of the reader's task (for a call's log lines). It cannot await anything. When the task is cancelled,
the function is not called any more. Each pass reads a socket only once, and then runs all tasks that are ready. So a
peer that sends without a pause cannot stop the tasks.

Trio has no public interface for this. With public calls alone, a task would have to wait for our epoll. It would be
woken for each frame, and nothing would be saved. Therefore `_Seam` replaces Trio's I/O manager, which is private. Trio
is pinned to 0.35, and tests/transport/test_hub.py checks that `_Seam` fits. If it does not fit (another Trio, or a
system without epoll), `current_hub` returns None. Then a task is woken for each read.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

import outcome
import structlog
import trio

log = structlog.get_logger()

# One pass reads at most this many sockets. The next pass follows at once and reads the others.
AT_ONCE = 256


class _Waiting:
    """A reader's task that waits, and its function. The task is woken when the function returns False."""

    __slots__ = ("_at_work", "_run", "_told", "_work", "task")

    def __init__(self, task: trio.lowlevel.Task, work: Callable[[], bool]) -> None:
        self.task = task
        self._work, self._run = work, task.context.run
        self._at_work = False
        self._told: outcome.Outcome[None] | None = None

    def hand_over(self) -> outcome.Outcome[None] | None:
        """Call the function. Returns the result with which the task must be woken, or None if it must wait on."""
        self._at_work = True
        try:
            if not self._run(self._work) and self._told is None:
                self._told = outcome.Value(None)
        except BaseException as error:  # The task gets the error. If the loop got it, the process would end.
            self._told = outcome.Error(error)
        self._at_work = False
        return self._told

    def tell(self, told: outcome.Outcome[None]) -> bool:
        """Wake the task with this result.

        Returns False if the function is running: the task is woken when it has ended.
        """
        if self._at_work:
            self._told = self._told or told
            return False
        return True


class Hub:
    """The sockets of one Trio run, and the functions that read them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, _Waiting] = {}

    def fileno(self) -> int:
        """The descriptor of the epoll. It is readable while one of the sockets is."""
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
        """Called before a socket is closed. A task that waits for the socket gets trio.ClosedResourceError."""
        waiting = self._forget(fd)
        if waiting is not None:
            closed = outcome.Error(trio.ClosedResourceError("this wire was closed"))
            if waiting.tell(closed):
                trio.lowlevel.reschedule(waiting.task, closed)

    def look(self) -> None:
        """Call the functions of all sockets that have bytes. Trio's loop calls this in each pass."""
        get = self._waiting.get
        for fd, _ in self._epoll.poll(0, AT_ONCE):
            waiting = get(fd)
            if waiting is None:
                continue  # Another function has closed this socket a moment ago, in this pass.
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
    """Replaces Trio's I/O manager. Events of the hub's sockets go to the hub, and all others go to Trio."""

    def __init__(self, trios: Any, hub: Hub) -> None:
        self._trios, self.hub = trios, hub
        self._hub_fd = hub.fileno()
        # Trio registers a descriptor for one event. This one stays registered.
        trios._epoll.register(self._hub_fd, select.EPOLLIN)

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
    """The hub of this run. It is made at the first call.

    None if it does not fit this system or this version of Trio.
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
        runner.io_manager = _Seam(runner.io_manager, hub)
    except (ImportError, AttributeError) as error:
        if hub is not None:
            hub.close()
        log.info("hub.none", words=f"each frame wakes a task: calls need more CPU time, nothing else changes ({error})")
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
