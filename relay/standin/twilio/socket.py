"""Twilio's end of a media WebSocket, on any Trio stream. Its handshake is the same as in a capture of Twilio.

`websockets` does the framing. Like Twilio, this end offers no extension and no subprotocol, and sends no Origin
(docs/protocol/twilio.md 2.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.uri import parse_uri

from relay.standin.twilio.signing import signature

SEND_LIMIT_S = 5.0
"""If the relay reads nothing for this long, the connection is cut."""

MAX_MESSAGE_BYTES = 16 << 20
"""The longest message from the relay. Twilio documents no limit (docs/protocol/twilio.md 3.2)."""


class HandshakeRefused(Exception):
    """The relay refused the handshake (`status`: its HTTP status), or answered it wrongly (`status`: 0)."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class SocketEnded(Exception):
    """The socket has ended. `code` is 1006 if there was no close frame.

    `broken` names the rule of the protocol that the relay broke.
    """

    def __init__(self, code: int, reason: str, broken: str = "") -> None:
        super().__init__(f"{code} {reason or broken}".strip())
        self.code, self.reason, self.broken = code, reason, broken


class TwilioSocket:
    """One media socket. Only one task may receive. Any number of tasks may send."""

    def __init__(self, stream: trio.abc.Stream, url: str) -> None:
        self._stream = stream
        self._protocol = ClientProtocol(parse_uri(url), max_size=MAX_MESSAGE_BYTES)
        self._url = url
        self._ready: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._text = True
        self._sending = trio.Lock()
        self._gone = False

    @property
    def _over(self) -> bool:
        """True when no further message can come: the relay has closed, the relay broke the protocol, or the connection
        was cut."""
        protocol = self._protocol
        return self._gone or protocol.close_rcvd is not None or protocol.parser_exc is not None

    async def handshake(self, auth_token: str) -> None:
        """Upgrade the connection with a signed request.

        Raises HandshakeRefused, and Trio's errors of a broken connection.
        """
        ours = self._protocol.connect()
        headers = Headers()
        headers["host"] = ours.headers["Host"]
        headers["user-agent"] = "Twilio.TmeWs/1.0"
        headers["connection"] = "Upgrade"
        headers["sec-websocket-key"] = ours.headers["Sec-WebSocket-Key"]
        headers["sec-websocket-version"] = "13"
        headers["upgrade"] = "websocket"
        headers["x-twilio-signature"] = signature(auth_token, self._url)
        headers["accept-encoding"] = "gzip"
        self._protocol.send_request(Request(ours.path, headers))
        await self._flush()
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            await self._read()
        if (refused := self._protocol.handshake_exc) is not None:
            status = refused.response.status_code if isinstance(refused, InvalidStatus) else 0
            words = f"HTTP {status} instead of 101" if status else _words(refused)
            raise HandshakeRefused(status, words) from refused

    async def receive(self) -> str | bytes:
        """The next message: str for a text frame, bytes for a binary one. Raises SocketEnded."""
        while not self._ready:
            if self._over:
                raise self._ended()
            await self._read()
        return self._ready.popleft()

    async def send(self, *messages: str) -> None:
        """Send text frames. Raises SocketEnded if the socket has ended already."""
        async with self._turn():
            if self._over:
                raise self._ended()
            for message in messages:
                self._protocol.send_text(message.encode())
            await self._write_out()

    async def close(self) -> None:
        """Send a close frame (1000) and close the stream. Never raises, and never waits long."""
        with trio.move_on_after(1.0, shield=True):
            if self._protocol.state is State.OPEN and not self._over:
                self._protocol.send_close(1000)
                await self._flush()
                while not self._over:
                    await self._read()
        await trio.aclose_forcefully(self._stream)

    async def abort(self) -> None:
        """Cut the connection. Nothing more is sent, and the next `receive` raises."""
        await trio.aclose_forcefully(self._stream)

    async def _read(self) -> None:
        try:
            data = await self._stream.receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._gone = True
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        await self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._text, self._parts = frame.opcode is Opcode.TEXT, []
        elif frame.opcode is not Opcode.CONT:
            return
        self._parts.append(bytes(frame.data))
        if frame.fin:
            data = b"".join(self._parts)
            self._ready.append(data.decode("utf-8", "replace") if self._text else data)

    async def _flush(self) -> None:
        """Send the bytes that the protocol wants to send."""
        async with self._turn():
            await self._write_out()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Make sure that only one task writes.

        A free lock is taken without a checkpoint, because each call has fifty frames a second.
        """
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            with trio.CancelScope(shield=True):
                await self._sending.acquire()
        try:
            yield
        finally:
            self._sending.release()

    async def _write_out(self) -> None:
        """Write whole frames, even if the task is cancelled. After half a frame, the relay can read nothing more."""
        for data in self._protocol.data_to_send():
            with trio.move_on_after(SEND_LIMIT_S, shield=True) as scope:
                try:
                    if data:
                        await self._stream.send_all(data)
                    elif isinstance(self._stream, trio.abc.HalfCloseableStream):
                        await self._stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return  # The next `receive` raises SocketEnded.
            if scope.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                return

    def _ended(self) -> SocketEnded:
        told = self._protocol.close_rcvd
        if told is not None:
            return SocketEnded(int(told.code), told.reason)
        broken = self._protocol.parser_exc
        ours = self._protocol.close_sent
        if broken is not None and ours is not None and not isinstance(broken, EOFError):
            return SocketEnded(1006, "", f"{int(ours.code)} {_words(broken)}")
        return SocketEnded(1006, "")


def _words(error: BaseException) -> str:
    if isinstance(error, InvalidHandshake) and error.__cause__ is not None:
        return f"{error}: {error.__cause__}"
    return str(error) or type(error).__name__
