"""A TCP proxy whose connections can be cut and restored.

Rehearsals use it for a Postgres that cannot be reached for a while, for a model that goes away, and for an edge proxy
that waits for a starting relay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

RETRY_S = 0.1
CHUNK_BYTES = 65_536

Dial = Callable[[], Awaitable[trio.abc.Stream]]
"""Opens a connection to the far end. Raises OSError."""


class Line:
    """A port on loopback. Each connection to it is passed on to a connection that `dial` opens.

    If `dial` fails, it is tried again for `patience_s`.
    """

    def __init__(self, dial: Dial, patience_s: float = 0.0) -> None:
        self._dial, self._patience_s = dial, patience_s
        self._scope = trio.CancelScope()
        self._may_listen = trio.Event()
        self._may_listen.set()
        self.port = 0

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. `task_status` is started with the port, which never changes."""
        has_started = False
        while True:
            await self._may_listen.wait()
            with trio.CancelScope() as self._scope:
                listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
                self.port = listeners[0].socket.getsockname()[1]
                if not has_started:
                    task_status.started(self.port)
                    has_started = True
                await trio.serve_listeners(self._pass_on, listeners)

    def cut(self) -> None:
        """Cut every connection, and stop listening."""
        self._may_listen = trio.Event()
        self._scope.cancel()

    def mend(self) -> None:
        """Listen again."""
        self._may_listen.set()

    async def _pass_on(self, near: trio.SocketStream) -> None:
        try:
            far = await self._reach()
        except OSError:
            return  # trio.serve_listeners closes the near end at once.
        async with far, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, near, far, nursery.cancel_scope)
            nursery.start_soon(_pump, far, near, nursery.cancel_scope)

    async def _reach(self) -> trio.abc.Stream:
        give_up_at = trio.current_time() + self._patience_s
        while True:
            try:
                return await self._dial()
            except OSError:
                if trio.current_time() >= give_up_at:
                    raise
            await trio.sleep(RETRY_S)


async def _pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, over: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(CHUNK_BYTES):
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # One end is broken. The cancellation below makes `_pass_on` close the other end.
    over.cancel()
