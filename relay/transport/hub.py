"""One look at all calls' sockets in each pass of the loop: what has come is handed over by a call; no task is woken.

Trio's own way wakes a task for each read: a waiter, a call to the kernel to arm the socket again, a switch through the
coroutines of the reader. That was a third of the CPU of a caller's frame. Here a socket is registered once. When it has
bytes, the loop itself calls the function that its reader left here, before any task runs.

What this does to "one frame is one stack": it is still one stack, but it begins in Trio's loop and not in the reader's
task: the loop, `Hub`, `SocketWire`, `WebSocketEnd`, the reader's function. The reader's task still owns it: it waits in
`Hub.serve` meanwhile, what the function raises is raised there, its context variables (a call's log lines) hold, and
cancelling the task ends it. The function itself cannot wait for anything. Each pass reads a socket once and then runs
all tasks that are ready, so a peer that floods us cannot keep the tasks from their turn.

Trio has no public hook for this. A system task that waits for an epoll of ours would do with public calls, but it is
woken once a pass, and while frames come one by one that is what there was to save. So `_Seam` stands in front of Trio's
private I/O manager. Trio is pinned to 0.35 and tests/transport/test_hub.py watches the seam. Where it does not fit (a
system without epoll, another Trio), `current_hub` is None and readers wait as any task does.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

import outcome
import structlog
import trio

log = structlog.get_logger()

# Sockets that one look takes; the rest have their turn in the next pass, which is the next thing that the loop does.
AT_ONCE = 256


class _Waiting:
    """A reader that waits, and the function that it left: it returns False when the reader is to be woken."""

    __slots__ = ("_at_work", "_run", "_told", "_work", "task")

    def __init__(self, task: trio.lowlevel.Task, work: Callable[[], bool]) -> None:
        self.task = task
        self._work, self._run = work, task.context.run
        self._at_work = False
        self._told: outcome.Outcome[None] | None = None

    def hand_over(self) -> outcome.Outcome[None] | None:
        """Let the function work. Returns what the reader is to be woken with, if it is."""
        self._at_work = True
        try:
            if not self._run(self._work) and self._told is None:
                self._told = outcome.Value(None)
        except BaseException as error:  # whatever it is, it belongs to the reader; here it would end the process
            self._told = outcome.Error(error)
        self._at_work = False
        return self._told

    def tell(self, told: outcome.Outcome[None]) -> bool:
        """Wake the reader with this: False where its own function is at work, which is let finish first."""
        if self._at_work:
            self._told = self._told or told
            return False
        return True


class Hub:
    """The sockets of one Trio run whose bytes are handed over."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, _Waiting] = {}

    def fileno(self) -> int:
        """Readable while one of the sockets is."""
        return self._epoll.fileno()

    async def serve(self, fd: int, work: Callable[[], bool]) -> None:
        """Call `work` in every pass in which the socket is readable, until it returns False; raises what it raises."""
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
        """The socket is about to be closed: whoever waits for it gets trio.ClosedResourceError."""
        waiting = self._forget(fd)
        if waiting is not None:
            closed = outcome.Error(trio.ClosedResourceError("this wire was closed"))
            if waiting.tell(closed):
                trio.lowlevel.reschedule(waiting.task, closed)

    def look(self) -> None:
        """Hand over whatever has come; called by the loop."""
        get = self._waiting.get
        for fd, _ in self._epoll.poll(0, AT_ONCE):
            waiting = get(fd)
            if waiting is None:
                continue  # closed by one that came before it in this look
            told = waiting.hand_over()
            if told is not None:
                self._forget(fd)
                trio.lowlevel.reschedule(waiting.task, told)

    def close(self) -> None:
        """The run is over."""
        self._epoll.close()

    def _forget(self, fd: int) -> _Waiting | None:
        waiting = self._waiting.pop(fd, None)
        if waiting is not None:
            self._epoll.unregister(fd)
        return waiting


class _Seam:
    """Stands in front of Trio's I/O manager: the hub's part of what has happened is the hub's, all else is Trio's."""

    def __init__(self, trios: Any, hub: Hub) -> None:
        self._trios, self.hub = trios, hub
        self._hub_fd = hub.fileno()
        trios._epoll.register(self._hub_fd, select.EPOLLIN)  # stays: not once, as Trio registers

    def process_events(self, events: list[tuple[int, int]]) -> None:
        """Called by Trio's loop with what its look at the sockets has found."""
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
    """The hub of this run, begun by the first who asks; None where Trio cannot be given one."""
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
    """Trio's runner of this run: private, see above."""
    from trio._core._io_epoll import EpollIOManager
    from trio._core._run import GLOBAL_RUN_CONTEXT

    runner = GLOBAL_RUN_CONTEXT.runner
    if not isinstance(runner.io_manager, EpollIOManager):
        raise AttributeError(f"Trio looks at its sockets by {type(runner.io_manager).__name__}")
    return runner
