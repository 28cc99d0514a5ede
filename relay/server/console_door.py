"""The door of the console's sockets: who may open one, and which room serves it.

Before the upgrade the guard checks the origin. If a password is set, it checks the session too. Otherwise the browser
must be on the relay's own machine. Then the room that the path names gets the socket. The room may still refuse the
socket. Otherwise it accepts the socket, and returns only when the socket has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import structlog
from prometheus_client import Counter
from werkzeug.datastructures import Headers

from relay.console.guard import Guard
from relay.transport.websocket import Request, WebSocketEnd

log = structlog.get_logger()

PREFIX = "/console/socket/"

Room: TypeAlias = Callable[[Request, WebSocketEnd, str], Awaitable[None]]
"""Called before the upgrade with the request, the socket's end, and the part of the path after the room's name.
See http.Door."""


def headers_of(request: Request) -> Headers:
    """The request's headers in the form that the pages use. The case of names does not matter.

    A name that comes twice is kept twice.
    """
    return Headers(list(request.headers.raw_items()))


class ConsoleDoor:
    """Opens the console's sockets. `rooms` are found by name: the first part of the path after PREFIX."""

    def __init__(self, guard: Guard, rooms: Mapping[str, Room], refused: Counter) -> None:
        self._guard, self.rooms, self._refused = guard, rooms, refused

    async def open(self, request: Request, end: WebSocketEnd) -> None:
        """Check one socket before its upgrade. Refuse it, or let its room serve it until its end."""
        if refusal := self._guard.socket_refusal(headers_of(request), end.peer):
            status, words = refusal
            self._refused.labels("console").inc()
            log.warning("console.socket_refused", status=status, words=words)
            await end.reject(status, f"{words}\n")
            return
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        room = self.rooms.get(name)
        if room is None:
            await end.reject(404, "There is no such socket.\n")
            return
        await room(request, end, rest)
