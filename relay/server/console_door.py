"""Decides who may open a socket of the console, and passes it to the handler that the path names.

The guard checks each request before its upgrade. A request with a repeated Host, Origin or Cookie header gets a 400. A
request from another origin gets a 403. If a password is set, a request without a session gets a 401. If no password is
set, a browser that is not on the relay's own machine gets a 403. A path without a handler gets a 404. The handler may
still refuse the socket. If the handler accepts the socket, it returns only when the socket has ended.
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

SocketHandler: TypeAlias = Callable[[Request, WebSocketEnd, str], Awaitable[None]]
"""Serves one kind of socket.

Called before the upgrade with the request, the relay's end of the socket, and the part of the path after the handler's
name. The handler must accept or reject the socket, as http.Door says.
"""


def headers_of(request: Request) -> Headers:
    """The request's headers as werkzeug's Headers, which the guard needs. A header that comes twice is kept twice."""
    return Headers(list(request.headers.raw_items()))


class ConsoleDoor:
    """Opens the console's sockets. The first part of the path after PREFIX is the name of a handler."""

    def __init__(self, guard: Guard, handlers: Mapping[str, SocketHandler], refused: Counter) -> None:
        self._guard, self._handlers, self._refused = guard, handlers, refused

    async def open(self, request: Request, end: WebSocketEnd) -> None:
        """Check one socket before its upgrade. Refuse it, or let its handler serve it until its end."""
        if refusal := self._guard.socket_refusal(headers_of(request), end.peer):
            status, words = refusal
            self._refused.labels("console").inc()
            log.warning("console.socket_refused", status=status, words=words)
            await end.reject(status, f"{words}\n")
            return
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        handler = self._handlers.get(name)
        if handler is None:
            await end.reject(404, "There is no such socket.\n")
            return
        await handler(request, end, rest)
