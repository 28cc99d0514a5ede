"""The end reason of a stream whose socket has ended, with real sockets."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from relay.call.vocabulary import EndReason
from relay.session.call_session import why_left
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import SocketWire

pytestmark = pytest.mark.real  # sockets of the kernel


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("the caller takes no bytes", EndReason.CALLER_SOCKET_STALLED),
        ("the caller closes the WebSocket", EndReason.CALLER_HUNG_UP),
        ("the connection breaks", EndReason.CALLER_SOCKET_LOST),
    ],
)
async def test_the_reader_of_the_callers_socket_learns_why_it_has_ended(what: str, reason: EndReason) -> None:
    here, there = socket.socketpair()
    ours = WebSocketEnd(SocketWire(here), ServerProtocol(state=State.OPEN))
    theirs = WebSocketEnd(SocketWire(there), ClientProtocol(parse_uri("ws://relay/"), state=State.OPEN))
    left: list[Gone] = []

    async def read() -> None:
        try:
            await ours.hand_over(lambda _: True)
        except Gone as gone:
            left.append(gone)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            if what == "the caller takes no bytes":
                ours.post(b"x" * 4_000_000)
                with pytest.raises(Gone):
                    ours.post(b"x")
            elif what == "the caller closes the WebSocket":
                await theirs.close()
            else:
                theirs.abort()
    assert [why_left(gone) for gone in left] == [reason]
    ours.abort()
    theirs.abort()
