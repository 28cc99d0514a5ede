"""Opens a WebSocket on a connected wire, as client and as server. It uses the protocol core of `websockets`."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import cast

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.frames import Frame
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI, parse_uri

from relay.transport import websocket
from relay.transport.websocket import CLOSE_S, QUIET, Gone, WebSocketEnd, span
from relay.transport.wire import SocketWire, Wire, default_tls

MAX_HEAD_BYTES = 16_384


class Refused(Exception):
    """The server refused to open the WebSocket.

    Holds the status, the body (text) and the header Retry-After of the server's answer.
    """

    def __init__(self, status: int, body: str, retry_after: str | None = None) -> None:
        super().__init__(f"the server refused the WebSocket with HTTP {status}: {body[:200]}".rstrip(": "))
        self.status, self.body, self.retry_after = status, body, retry_after


async def dial(
    url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None, limit_s: float = 5.0
) -> WebSocketEnd:
    """Connect to a ws:// or wss:// URL and open a WebSocket, all within `limit_s`.

    After a failure no socket stays open. Raises ValueError (another kind of URL), OSError (unknown name, no
    connection), ssl.SSLError (wrong certificate), trio.TooSlowError, Refused.
    """
    uri = _parse(url)
    with trio.fail_after(limit_s):
        stream = await trio.open_tcp_stream(uri.host, uri.port)
        wire = SocketWire.take(stream, (tls or default_tls()) if uri.secure else None, uri.host)
        try:
            try:
                await wire.handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
                raise ConnectionError(f"the server broke off the TLS handshake: {e}") from e
            return await upgrade(wire, url, headers)
        except BaseException:
            wire.abort()
            raise


async def upgrade(wire: Wire, url: str, headers: Mapping[str, str]) -> WebSocketEnd:
    """Open a WebSocket as client on a connected wire, without a time limit.

    Raises ConnectionError, Refused, ValueError (not a ws:// or wss:// URL).
    """
    protocol = ClientProtocol(_parse(url), max_size=websocket.MAX_FROM_MODEL_BYTES, logger=QUIET)
    request = protocol.connect()
    for name, value in headers.items():
        request.headers[name] = value
    protocol.send_request(request)
    head = _Head(protocol)
    response: Response | None = None
    try:
        await wire.write(b"".join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            events = head.feed(await wire.read())
            if protocol.state is State.CONNECTING:
                events += head.feed_rest()  # A refusal has a body.
            response = next((e for e in events if isinstance(e, Response)), response)
        end = WebSocketEnd(wire, protocol, head.rest)
        end.begin()
    except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
        wire.abort()
        raise ConnectionError(f"the server broke off the WebSocket upgrade: {e}") from e
    if protocol.handshake_exc is None:
        return end
    wire.abort()
    if response is None:
        raise ConnectionError("the server closed, or did not speak HTTP, before it answered the WebSocket upgrade")
    if response.status_code == 101:
        raise Refused(101, f"its upgrade is not valid: {protocol.handshake_exc}")
    body = (response.body or b"").decode(errors="replace")
    raise Refused(response.status_code, body, response.headers.get("Retry-After"))


class _Head:
    """Gives an HTTP head to the protocol core of `websockets`, and keeps the bytes that come after the head.

    These bytes are WebSocket frames for `WebSocketEnd`. If the core got them, it could hold the first half of a frame.
    `WebSocketEnd` would not know that, and would read the second half as a new frame.
    """

    def __init__(self, protocol: ClientProtocol | ServerProtocol) -> None:
        self._protocol = protocol
        self._tail = b""  # The last 3 bytes so far, because the 4 bytes that end a head may come in parts.
        self.n_bytes = 0
        self.rest = b""

    def feed(self, data: bytes) -> list[Request | Response | Frame]:
        """Give bytes to the core, and return its events. b"" means: the stream has ended."""
        if not data:
            self._protocol.receive_eof()
            return self._protocol.events_received()
        seen = self._tail + data
        at = seen.find(b"\r\n\r\n")
        end = len(data) if at < 0 else at + 4 - len(self._tail)
        self._tail = seen[-3:]
        self.n_bytes += end
        self._protocol.receive_data(data[:end])
        self.rest = data[end:]
        return self._protocol.events_received()

    def feed_rest(self) -> list[Request | Response | Frame]:
        """Give the core the bytes after the head, because they are a body. Returns the core's events."""
        rest, self.rest = self.rest, b""
        if rest:
            self._protocol.receive_data(rest)
        return self._protocol.events_received()


def _parse(url: str) -> WebSocketURI:
    try:
        return parse_uri(url)
    except InvalidURI as e:
        raise ValueError(f"not a ws:// or wss:// URL: {url}") from e


async def answer(wire: Wire, first: bytes = b"", limit_s: float = 5.0) -> tuple[Request, WebSocketEnd]:
    """Read the upgrade request as server on a connected wire. `first` has the bytes that were read already.

    The code that calls this function looks at `request.path` and `request.headers` (capital and small letters of a name
    count as the same; `.get_all` is for a name that may come twice). Then that code calls `end.accept(request)` or
    `end.reject(...)`. If the request is not valid or too slow, this function answers 400 or 408 and raises Gone. It
    also raises Gone if the peer has gone.
    """
    protocol = ServerProtocol(max_size=websocket.MAX_FROM_CALLER_BYTES, logger=QUIET)
    head, data = _Head(protocol), first
    try:
        with trio.fail_after(limit_s):
            while True:
                events = head.feed(data) if data else []
                begin, stop = span(head.rest, 0)
                # True if a whole frame came before our answer. A WebSocket client waits for the answer, so this peer is
                # no WebSocket client.
                spoke_first = 0 < begin <= stop <= len(head.rest)
                is_request = len(events) == 1 and isinstance(events[0], Request) and protocol.handshake_exc is None
                if is_request and not spoke_first:
                    return cast("Request", events[0]), WebSocketEnd(wire, protocol, head.rest)
                if events or protocol.handshake_exc is not None or head.n_bytes > MAX_HEAD_BYTES:
                    await _turn_away(wire, "400 Bad Request")
                    raise Gone(1002, "the peer sent no HTTP/1.1 upgrade request")
                if not (data := await wire.read()):
                    wire.abort()
                    raise Gone(1006, "the peer left before its request was complete")
    except trio.TooSlowError as e:
        await _turn_away(wire, "408 Request Timeout")
        raise Gone(1002, f"the peer's request took longer than {limit_s:g} s") from e
    except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
        wire.abort()
        raise Gone(1006, str(e)) from e


async def _turn_away(wire: Wire, status: str) -> None:
    """Answer with this status and close. The answer is made here, because `ServerProtocol` cannot answer any more."""
    try:
        with trio.move_on_after(CLOSE_S):
            await wire.write(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # The peer has gone, so it gets no answer.
    wire.abort()
