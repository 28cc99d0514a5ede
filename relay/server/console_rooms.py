"""The rooms that serve the console's sockets, by their names in the path."""

from __future__ import annotations

from relay.console.console import Console
from relay.console.reads import Reads
from relay.server import browser_calls
from relay.server.browser_calls import BrowserCalls
from relay.server.console_door import Room, headers_of
from relay.server.listening_in import ListeningIn
from relay.session.context import Desk


def rooms_of(desk: Desk, console: Console, reads: Reads, calls: BrowserCalls) -> dict[str, Room]:
    """The rooms below /console/socket/, by name."""
    listening = ListeningIn(
        desk.files,
        reads.audit,
        lambda request, end: console.guard.address_of(headers_of(request), end.peer),
        desk.metrics.listeners,
    )
    return {"listen": listening.open, browser_calls.ROOM: calls.room}
