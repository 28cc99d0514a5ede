"""The door of the console's sockets: who may open one, and which room is behind it.

Before the upgrade, the same things are checked as for the pages: the password or the own machine, the session, and the
origin. Then the room in the path gets the socket. It may refuse it too. It accepts it and stays until the socket has
ended.
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
"""Called before the upgrade, with the part of the path behind the room's name, with its query. See http.Door."""


def headers_of(request: Request) -> Headers:
    """The request's headers in the form of the pages': names in any case, doubles kept."""
    return Headers(list(request.headers.raw_items()))


class ConsoleDoor:
    """Opens the console's sockets: `rooms` by their names, the first part of the path behind PREFIX."""

    def __init__(self, guard: Guard, rooms: Mapping[str, Room], refused: Counter) -> None:
        self._guard, self.rooms, self._refused = guard, rooms, refused

    async def open(self, request: Request, end: WebSocketEnd) -> None:
        """Serve one socket from its upgrade to its end."""
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
