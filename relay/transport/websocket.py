"""Turns the bytes of a wire into messages, and messages into bytes. Twilio's and OpenAI's sockets both use it.

Nearly all messages are whole text frames. This file reads and makes these frames itself. The protocol core of
`websockets` handles every case, and takes several microseconds more for each frame. The core handles the rest: control
frames, fragments and protocol errors. `send` and `receive` raise one exception, `Gone`. handshake.py opens the
connection. Nothing is compressed, because compression saves little on mu-law and base64, and Twilio does not offer it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct

import trio
from websockets.client import ClientProtocol

# websockets has this function in C. If the C part is missing, this is its Python version.
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, State
from websockets.server import ServerProtocol

from relay.transport.wire import Wire

__all__ = ["Gone", "Request", "WebSocketEnd"]

# Twilio's media messages have 360 to 400 bytes. A start message with customParameters stays under 10 kB.
MAX_FROM_CALLER_BYTES = 65_536
# OpenAI's largest events are deltas and conversation items. A limit of 1 MiB, the default of trio-websocket, is too
# little.
MAX_FROM_MODEL_BYTES = 16 << 20
# A close waits this long for the peer's close frame. If the socket were closed at once, the connection would be reset,
# and Twilio would lose our last frames.
CLOSE_S = 2.0
# A control frame carries at most 125 bytes (RFC 6455 5.5.1). Two of them are the close code, the rest is the reason.
MAX_REASON_BYTES = 123

# An incomplete text frame is kept in `_rest` up to this size. The core collects a longer frame, because this needs
# fewer copies.
KEEP_BYTES = 1 << 17

# At DEBUG, the library would log every frame with its audio. This logger prevents that.
QUIET = logging.getLogger("relay.transport.websocket")
QUIET.setLevel(logging.WARNING)

# WHOLE_TEXT is the first byte of a text message in one frame. MASKED is the bit of the second byte that says that the
# frame is masked (RFC 6455 5.2).
WHOLE_TEXT, MASKED = 0x81, 0x80


def _fresh_masks() -> Iterator[bytes]:
    """Masks that nobody can predict (RFC 6455 5.3). To save time, random bytes are taken for 1,024 masks at once."""
    while True:
        pool = os.urandom(4096)
        for at in range(0, 4096, 4):
            yield pool[at : at + 4]


masks = _fresh_masks()

# Make the head of a message of 126 bytes or more. Its length has 16 or 64 bits (RFC 6455 5.2).
_head_16_bits, _head_64_bits = Struct(">BBH").pack, Struct(">BBQ").pack


def text_frames(messages: Sequence[bytes], *, masked: bool) -> bytes:
    """Make a text frame of each message, and join the frames. A client must mask (`masked`), a server must not."""
    if len(messages) == 1:  # Usual case: one frame of the caller.
        return text_frame(messages[0], next(masks) if masked else b"")
    return b"".join([text_frame(message, next(masks) if masked else b"") for message in messages])


def text_frame(message: bytes, mask: bytes) -> bytes:
    """Make one text frame. `mask` is b"" for a server."""
    size, bit = len(message), MASKED if mask else 0
    if size < 126:
        head = bytes((WHOLE_TEXT, bit | size))
    elif size < 65_536:
        head = _head_16_bits(WHOLE_TEXT, bit | 126, size)
    else:
        head = _head_64_bits(WHOLE_TEXT, bit | 127, size)
    return head + mask + apply_mask(message, mask) if mask else head + message


def span(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins and ends. (0, 0) if the frame's length has not come completely."""
    try:
        size = data[at + 1]
        begin = at + 6 if size & MASKED else at + 2
        size &= 127
        if size == 126:
            begin, size = begin + 2, data[at + 2] << 8 | data[at + 3]
        elif size == 127:
            begin, size = begin + 8, int.from_bytes(data[at + 2 : at + 10], "big")
            if at + 10 > len(data):
                return 0, 0
    except IndexError:
        return 0, 0
    return begin, begin + size


class Gone(Exception):
    """The connection has ended.

    Holds the close code and reason that the peer sent. If the peer sent none, holds the code and reason that we sent.
    If we sent none either, holds 1006 and the cause. If the peer's upgrade request was refused, holds 1002.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the connection is over: {code} {reason}".rstrip())
        self.code, self.reason = code, reason


class WebSocketEnd:
    """One end of a WebSocket on a wire. It has no task, queue or lock of its own.

    One task receives. Any task may send or close. Messages are the bytes of text or binary messages; nobody checks that
    they are UTF-8. If a sender is cancelled in the middle of a frame, the connection is lost (relay/transport/wire.py
    says why).
    """

    def __init__(self, wire: Wire, protocol: ClientProtocol | ServerProtocol, early: bytes = b"") -> None:
        self._wire = wire
        self._protocol = protocol
        self._ready: list[bytes] = []
        self._part: list[bytes] = []  # The parts of a fragmented message so far.
        self._is_client = isinstance(protocol, ClientProtocol)
        self._their_mask = 0 if self._is_client else MASKED
        self._max_bytes = MAX_FROM_MODEL_BYTES if self._is_client else MAX_FROM_CALLER_BYTES
        self._rest = b""  # The first part of a frame whose end has not come. The core did not get this part.
        self._owed = 0  # The core has the beginning of a frame. This many bytes of the frame are still missing.
        self._early = early  # Bytes that the peer sent directly after the upgrade.
        self._receiving = False
        self._handing_over = trio.CancelScope()  # Cancels the wait inside `hand_over`.
        # Set when the task has left `hand_over`. None while no task is in it.
        self._left_over: trio.Event | None = None
        self._closed = False
        self.peer = ""  # The peer's IP address. "" if it is not known.

    @property
    def is_open(self) -> bool:
        """True from the upgrade until either side began to close."""
        return self._protocol.state is OPEN and not self._closed

    async def receive(self) -> list[bytes]:
        """Wait for messages, and return all complete ones. Raises Gone when the connection has ended.

        Pings and the peer's close are answered meanwhile.
        """
        protocol = self._protocol
        while True:
            if self._ready:
                ready, self._ready = self._ready, []
                return ready
            if protocol.state is not OPEN or self._closed:
                raise self._gone()
            self._receiving = True
            try:
                data = await self._wire.read()
                self._feed(data)
                if protocol.writes:
                    await self._flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
                if not self._ready:
                    raise self._gone(e) from e
            finally:
                self._receiving = False

    async def hand_over(self, take: Callable[[list[bytes]], bool]) -> None:
        """Call `take` with all complete messages that have arrived, again and again, until it returns False.

        `take` is called as soon as bytes arrive, without waking this task (relay/transport/hub.py). Raises Gone when
        the connection has ended, and what `take` raises. Pings and the peer's close are answered meanwhile.
        """
        protocol, wanted = self._protocol, True

        def arrived(data: bytes) -> bool:
            nonlocal wanted
            has_news = self._feed(data)
            if self._ready:
                ready, self._ready = self._ready, []
                wanted = take(ready)
            return wanted and not has_news

        left = self._left_over = trio.Event()
        try:
            if self._ready:
                ready, self._ready = self._ready, []
                wanted = take(ready)
            while wanted:
                if protocol.state is not OPEN or self._closed:
                    raise self._gone()
                with trio.CancelScope() as self._handing_over:
                    await self._wire.hand_over(arrived)
                if protocol.writes and not self._closed:
                    await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
            raise self._gone(e) from e
        finally:
            self._left_over = None
            left.set()

    def unread(self, messages: list[bytes]) -> None:
        """Put messages back, in order. The next `receive` or `hand_over` gets them first."""
        self._ready[:0] = messages

    def gather(self, n_bytes: int) -> None:
        """Let the socket's reader wait until this many bytes have come.

        The reader then wakes less often, and messages come later. 1 means: do not wait for more.
        """
        self._wire.gather(n_bytes)

    async def send(self, *messages: bytes) -> None:
        """Send text messages, in this order, in one write. Raises Gone."""
        if self.post(*messages):
            await self.drain()

    def post(self, *messages: bytes) -> bool:
        """Send text messages without waiting. Returns True if some task must now call `drain`. Raises Gone."""
        protocol = self._protocol
        if protocol.state is not OPEN or self._closed:
            raise self._gone()
        out = text_frames(messages, masked=self._is_client)
        if protocol.writes:
            out = b"".join(protocol.data_to_send()) + out
        try:
            return self._wire.post(out)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
            raise self._gone(e) from e

    async def drain(self) -> None:
        """Wait until the kernel has taken all that was posted. If several tasks wait, only the first gets Gone."""
        try:
            await self._wire.drain()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
            raise self._gone(e) from e

    @property
    def waiting_bytes(self) -> int:
        """How many bytes were posted and wait for the peer."""
        return self._wire.waiting_bytes

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, give the peer CLOSE_S to answer, and close the socket. Never raises. May be called again.

        If a server has neither accepted nor rejected the upgrade, it answers 503. `close` finishes even if its task is
        cancelled, so that the peer gets a real code. While another task receives, `close` does not wait for the peer's
        answer. That task, or a task in `hand_over`, gets Gone at once.
        """
        if self._closed:
            return
        self._closed = True
        with trio.move_on_after(CLOSE_S, shield=True):
            try:
                await self._say_goodbye(code, reason)
            except (Gone, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # The peer has gone.
        self._wire.abort()

    async def _say_goodbye(self, code: int, reason: str) -> None:
        protocol = self._protocol
        if protocol.state is State.CONNECTING:
            if isinstance(protocol, ServerProtocol) and not protocol.eof_sent:
                await self._respond(protocol.reject(503, reason))
            return
        if protocol.state is OPEN:
            protocol.send_close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
        await self._flush()
        while protocol.close_rcvd is None and protocol.state is not State.CLOSED and not self._receiving:
            # The task in `hand_over` gets Gone now. This task reads the peer's close frame.
            if self._left_over is not None:
                self._handing_over.cancel()
                await self._left_over.wait()
            self._feed(await self._wire.read())
            self._ready.clear()

    async def accept(self, request: Request) -> None:
        """Answer 101 and open. Raises Gone(1002) after refusing a request that is not a valid upgrade.

        Also raises Gone if the peer has gone.
        """
        assert isinstance(self._protocol, ServerProtocol), "only a server accepts"
        response = self._protocol.accept(request)
        await self._respond(response)
        if response.status_code != 101:
            self.abort()
            raise Gone(1002, f"not a WebSocket request: answered {response.status_code}")
        self.begin()

    async def reject(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Answer an HTTP status instead of opening, and close. Raises Gone if the peer has gone."""
        assert isinstance(self._protocol, ServerProtocol), "only a server rejects"
        response = self._protocol.reject(status, text)
        for name, value in (headers or {}).items():
            response.headers[name] = value
        await self._respond(response)
        self.abort()

    async def _respond(self, response: Response) -> None:
        assert isinstance(self._protocol, ServerProtocol)
        self._protocol.send_response(response)
        try:
            await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
            raise self._gone(e) from e

    def abort(self) -> None:
        """Close the socket without a close frame."""
        self._closed = True
        self._wire.abort()

    def begin(self) -> None:
        """The upgrade is done. Read the bytes that came directly after it."""
        early, self._early = self._early, b""
        if early:
            self._feed(early)

    def _feed(self, data: bytes) -> bool:
        """Read bytes. Complete text frames are taken out here, and the core gets everything else.

        Returns True if the peer closed or left, or if the core wants to send something.
        """
        protocol, ready, their_mask = self._protocol, self._ready, self._their_mask
        if not data:
            self._hand_on(self._rest)
            protocol.receive_eof()
            self._take(protocol.events_received())
            return True
        has_news = protocol.state is not OPEN
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = 0, len(data)
        if self._owed:
            at = min(self._owed, end)
            self._owed -= at
            has_news |= self._hand_on(data[:at])
        while at < end:
            begin, stop = span(data, at)
            if has_news and protocol.state is not OPEN:
                self._hand_on(data[at:])
                return True
            is_text = (
                begin
                and data[at] == WHOLE_TEXT
                and data[at + 1] & MASKED == their_mask
                and stop - begin <= self._max_bytes
                and not self._part
            )
            if is_text and stop <= end:
                payload = data[begin:stop]
                ready.append(apply_mask(payload, data[begin - 4 : begin]) if their_mask else payload)
            elif begin == 0 or (is_text and stop - at <= KEEP_BYTES):
                self._rest = data[at:]
                return has_news
            else:
                self._owed = max(0, stop - end)
                has_news |= self._hand_on(data[at:stop])
            at = stop
        return has_news

    def _hand_on(self, data: bytes) -> bool:
        """Give these bytes to the core. Returns True if the core closes, or if it wants to send something."""
        if data:
            self._protocol.receive_data(data)
            self._take(self._protocol.events_received())
        return self._protocol.state is not OPEN or bool(self._protocol.writes)

    def _take(self, events: list[Request | Response | Frame]) -> None:
        for event in events:
            if not isinstance(event, Frame):
                continue
            opcode = event.opcode
            if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                if event.fin:
                    self._ready.append(bytes(event.data))
                else:
                    self._part = [bytes(event.data)]
            elif opcode is Opcode.CONT:
                self._part.append(bytes(event.data))
                if event.fin:
                    self._ready.append(b"".join(self._part))
                    self._part = []

    async def _flush(self) -> None:
        if out := self._protocol.data_to_send():
            await self._wire.write(out[0] if len(out) == 1 else b"".join(out))

    def _gone(self, broken: Exception | None = None) -> Gone:
        told = self._protocol.close_rcvd or self._protocol.close_sent
        return Gone(told.code, told.reason) if told else Gone(1006, str(broken or ""))
