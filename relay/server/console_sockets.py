"""Lists the console's sockets and the code that serves each. The name of a socket is a part of its path."""

from __future__ import annotations

from relay.console.console import Console
from relay.console.reads import Reads
from relay.server import browser_calls
from relay.server.browser_calls import BrowserCalls
from relay.server.console_door import SocketHandler, headers_of
from relay.server.listening_in import ListeningIn
from relay.session.context import Desk


def handlers_of(desk: Desk, console: Console, reads: Reads, calls: BrowserCalls) -> dict[str, SocketHandler]:
    """The handlers of the sockets below /console/socket/, by name."""
    listening = ListeningIn(
        desk.files,
        reads.audit,
        lambda request, end: console.guard.address_of(headers_of(request), end.peer),
        desk.metrics.listeners,
    )
    return {"listen": listening.open, browser_calls.SOCKET: calls.serve}
