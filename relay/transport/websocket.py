"""Messages on a wire: both ends of the audio path, on the protocol core of `websockets`.

This file knows neither Twilio nor OpenAI. Nearly all messages are whole text frames. Such frames are cut and made here,
because the core handles every case and takes several microseconds more for each. The core handles control frames,
fragments and protocol errors. `send` and `receive` raise one exception, `Gone`. handshake.py opens the connection.
Nothing is compressed: mu-law and base64 become no smaller, and Twilio does not offer it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct

import trio
from websockets.client import ClientProtocol

# `apply_mask` is the C function, or the Python one if there is no C.
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, State
from websockets.server import ServerProtocol

from relay.transport.wire import Wire

__all__ = ["Gone", "Request", "WebSocketEnd"]

# Twilio's frames have 300 bytes. A start message with customParameters stays under 10 kB.
MAX_FROM_CALLER_BYTES = 65_536
# OpenAI's largest events are deltas and conversation items. The 1 MiB that trio-websocket allows was too little.
MAX_FROM_MODEL_BYTES = 16 << 20
# How long a close waits for the peer's close frame. A socket that is closed sooner resets the connection, and Twilio's
# last frames would be lost.
CLOSE_S = 2.0
# RFC 6455 5.5.1: a control frame carries 125 bytes. Two of them are the close code.
MAX_REASON_BYTES = 123

# An incomplete text frame is kept here up to this size. Above this size the core collects it, with less copying.
KEEP_BYTES = 1 << 17

# The library logs every frame with its audio if the library's logger is at DEBUG. This logger is never at DEBUG.
QUIET = logging.getLogger("relay.transport.websocket")
QUIET.setLevel(logging.WARNING)

# The first byte of a text message in one frame, and the bit of the second that says "masked" (RFC 6455 5.2).
WHOLE_TEXT, MASKED = 0x81, 0x80


def _fresh_masks() -> Iterator[bytes]:
    """Masks that nobody can predict (RFC 6455 5.3). The system's random numbers are read for 1,000 masks at a time."""
    while True:
        pool = os.urandom(4096)
        for at in range(0, 4096, 4):
            yield pool[at : at + 4]


masks = _fresh_masks()

# The head of a message of 126 bytes or more: both lengths of RFC 6455 5.2.
_head_16_bits, _head_64_bits = Struct(">BBH").pack, Struct(">BBQ").pack


def text_frames(messages: Sequence[bytes], *, masked: bool) -> bytes:
    """Each message as a text frame, one after the other. `masked` is for a client, which must mask."""
    if len(messages) == 1:  # This is the usual case: a caller's frame.
        return text_frame(messages[0], next(masks) if masked else b"")
    return b"".join([text_frame(message, next(masks) if masked else b"") for message in messages])


def text_frame(message: bytes, mask: bytes) -> bytes:
    """One text frame. It is masked if a mask is given, which a client must do."""
    size, bit = len(message), MASKED if mask else 0
    if size < 126:
        head = bytes((WHOLE_TEXT, bit | size))
    elif size < 65_536:
        head = _head_16_bits(WHOLE_TEXT, bit | 126, size)
    else:
        head = _head_64_bits(WHOLE_TEXT, bit | 127, size)
    return head + mask + apply_mask(message, mask) if mask else head + message


def span(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins (after its mask) and ends. (0, 0) if its head is not complete."""
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
    """The connection has ended. Holds the peer's close code and reason, or ours, or 1006 and the cause."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the connection is over: {code} {reason}".rstrip())
        self.code, self.reason = code, reason


class WebSocketEnd:
    """One end of a WebSocket on a wire. It has no task, queue or lock of its own.

    One task receives. Any task may send or close. Messages are bytes as they came, text or binary, not checked for
    UTF-8. If a sender is cancelled in the middle of a frame, the connection is lost (relay/transport/wire.py says why).
    """

    def __init__(self, wire: Wire, protocol: ClientProtocol | ServerProtocol, early: bytes = b"") -> None:
        self._wire = wire
        self._protocol = protocol
        self._ready: list[bytes] = []
        self._part: list[bytes] = []  # The parts of a fragmented message that have come so far.
        self._is_client = isinstance(protocol, ClientProtocol)
        self._their_mask = 0 if self._is_client else MASKED
        self._max_bytes = MAX_FROM_MODEL_BYTES if self._is_client else MAX_FROM_CALLER_BYTES
        self._rest = b""  # The beginning of a frame whose end has not come. The core does not get it.
        self._owed = 0  # Missing bytes of a frame whose beginning the core has.
        self._early = early  # The bytes that came after the upgrade request, before it was answered.
        self._receiving = False
        self._handing_over = trio.CancelScope()  # Cancels the task that is in `hand_over`.
        self._left_over: trio.Event | None = None  # None if no task is there. Set when the task has left.
        self._closed = False
        self.peer = ""  # The other side's IP address, if it is known.

    @property
    def is_open(self) -> bool:
        """True from the upgrade until either side began to close."""
        return self._protocol.state is OPEN and not self._closed

    async def receive(self) -> list[bytes]:
        """All complete messages that have arrived. Waits for at least one. Raises Gone at the end.

        It answers pings and the peer's close while it waits.
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

        `take` is called where the bytes come in, without waking this task (relay/transport/hub.py). Raises Gone at the
        end, and what `take` raises. Pings and the peer's close are answered as in `receive`.
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
        """Give messages back, in order. The next `receive` returns them first."""
        self._ready[:0] = messages

    def gather(self, n_bytes: int) -> None:
        """Let `receive` wait until this many bytes have come, or the end.

        So it wakes less often, and messages come later. 1 means: do not wait.
        """
        self._wire.gather(n_bytes)

    async def send(self, *messages: bytes) -> None:
        """Send text messages, in this order, in one write. Raises Gone."""
        if self.post(*messages):
            await self.drain()

    def post(self, *messages: bytes) -> bool:
        """Send text messages without waiting. True means that some task must call `drain`. Raises Gone."""
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
        """Wait until the peer has taken what was posted. Raises Gone, but only in the task that drains first."""
        try:
            await self._wire.drain()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as e:
            raise self._gone(e) from e

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were posted or are being sent, and that the peer has not taken yet."""
        return self._wire.waiting_bytes

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, give the peer CLOSE_S to answer, and close the socket. Never raises. May be called again.

        A server's end that was never accepted answers 503 instead.
        `close` finishes even if its task is cancelled, so that the peer gets a real code. While another task receives,
        `close` does not wait for the peer's answer. That task, or a task in `hand_over`, gets Gone at once.
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
            if self._left_over is not None:  # The task in `hand_over` gets Gone now. The peer's close is read here.
                self._handing_over.cancel()
                await self._left_over.wait()
            self._feed(await self._wire.read())
            self._ready.clear()

    async def accept(self, request: Request) -> None:
        """Answer 101 and open. Raises Gone(1002) after refusing a request that is not a valid upgrade."""
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
        """The upgrade is done. Read what came after it in the same packet, complete frames or not."""
        early, self._early = self._early, b""
        if early:
            self._feed(early)

    def _feed(self, data: bytes) -> bool:
        """Take in what has arrived. Whole text frames are cut out here. The core gets everything else.

        True if there is more than messages: the end, a close, or something that the core wants to send.
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
        """Let the core read these bytes. True if it closes, or wants to send something."""
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
