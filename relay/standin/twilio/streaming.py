"""Runs one `<Connect><Stream>`: opens the socket to the relay, sends frames of 20 ms, plays what the relay sends, and
returns marks."""

from __future__ import annotations

import math
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from relay.standin.twilio.call_state import CallState
from relay.standin.twilio.media_stream import (
    FRAME_BYTES,
    FRAME_MS,
    ClearBuffer,
    FrameTimes,
    MediaStream,
    PlayMedia,
    SetMark,
)
from relay.standin.twilio.playback import samples_at
from relay.standin.twilio.relay_connections import RelayConnections
from relay.standin.twilio.socket import HandshakeRefused, SocketEnded, TwilioSocket
from relay.standin.twilio.twiml_verbs import Connect

CONNECT_LIMIT_S = 10.0
"""If the handshake takes longer, Twilio reports 31901. The real limit is not documented."""

EXPECTED_CLOSES = (1000, 1001, 1012)
"""The codes of a close on purpose. Twilio reports 31921 even then, as a note (docs/protocol/twilio.md 3.4)."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network between Twilio and the relay. The delays are for one direction.

    During a burst no message arrives. At its end all of them arrive together. None is lost.
    """

    connect_ms: float = 365.0  # The time from the TwiML to the open socket, as measured (docs/protocol/twilio.md 1.3)
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bursts_per_minute: float = 0.0
    burst_ms: float = 233.0  # The longest burst that was seen (docs/protocol/twilio.md 3.3).


class Direction:
    """One direction of the network. Computes when a message arrives.

    No message arrives before a message that was sent earlier.
    """

    def __init__(self, network: Network, rng: random.Random) -> None:
        self._network, self._rng = network, rng
        self._last_s = -math.inf
        self._next_burst_s: float | None = None

    @property
    def instant(self) -> bool:
        """True if no message is ever delayed."""
        return not (self._network.delay_ms or self._network.jitter_ms or self._network.bursts_per_minute)

    def arrives(self, now: float) -> float:
        """When a message that is sent at `now` arrives (seconds of the clock)."""
        due = now + (self._network.delay_ms + self._rng.uniform(0, self._network.jitter_ms)) / 1000
        if self._network.bursts_per_minute:
            pause_s = 60 / self._network.bursts_per_minute
            if self._next_burst_s is None or now > self._next_burst_s + self._network.burst_ms / 1000:
                self._next_burst_s = now + self._rng.expovariate(1 / pause_s)
            if now >= self._next_burst_s:
                due = max(due, self._next_burst_s + self._network.burst_ms / 1000)
        self._last_s = max(self._last_s, due)
        return self._last_s


class Streaming:
    """One media stream of a call, while it runs."""

    def __init__(
        self,
        state: CallState,
        verb: Connect,
        connections: RelayConnections,
        auth_token: str,
        network: Network,
        notify: Callable[[str, str, dict[str, str]], None],
    ) -> None:
        self._state, self._verb, self._connections, self._auth_token = state, verb, connections, auth_token
        self._network, self._notify = network, notify
        self._up, self._down = Direction(network, state.rng), Direction(network, state.rng)
        self._stream = MediaStream(
            account_sid=state.account_sid,
            call_sid=state.sid,
            stream_sid=state.new_sid("MZ"),
            parameters=verb.parameters,
        )
        self._times = FrameTimes(state.rng)
        self._socket: TwilioSocket | None = None
        self._started_s = 0.0
        self._first_media = True
        self._wake_marks = trio.Event()
        self._out_channel, self._out_waiting = trio.open_memory_channel[tuple[float, str]](math.inf)
        self._on_its_way = ""  # The message that was taken from the channel and was not sent yet.

    async def run(self) -> None:
        """Run the stream. Returns when the socket has ended, or if no socket could be opened.

        If this is cancelled, because the caller hung up or REST brings new TwiML, it sends `stop` and closes. Buffered
        audio is lost.
        """
        try:
            socket = await self._open()
            if socket is None:
                return
            self._socket = socket
            await self._talk(socket)
        finally:
            self._finish()
            if self._socket is not None:
                with trio.CancelScope(shield=True):
                    await self._hang_up(self._socket)

    async def dtmf(self, digit: str) -> None:
        """The caller pressed a key. If the stream has not begun yet, the key is lost."""
        if self._socket is not None:
            await self._send(self._stream.dtmf(digit))

    async def cut(self) -> None:
        """Cut the connection to the relay, without `stop` and without a close frame. Twilio goes on with the next
        verb."""
        if self._socket is not None:
            await self._socket.abort()

    async def _open(self) -> TwilioSocket | None:
        if self._verb.fault is not None:
            self._failed(*self._verb.fault)
            return None
        await trio.sleep(self._network.connect_ms / 1000)
        raw = None
        try:
            with trio.fail_after(CONNECT_LIMIT_S):
                raw = await self._connections.open_stream(self._verb.url)
                socket = TwilioSocket(raw, self._verb.url)
                await socket.handshake(self._auth_token)
                return socket
        except trio.TooSlowError:
            failure = (31901, f"no answer to the WebSocket connect within {CONNECT_LIMIT_S:g} s")
        except HandshakeRefused as refused:
            failure = (31920, str(refused))
        except ssl.SSLError as error:
            failure = (31910, f"TLS: {error}")
        except OSError as error:
            failure = (31902, str(error) or "connection refused")
        if raw is not None:
            await trio.aclose_forcefully(raw)
        self._failed(*failure)
        return None

    def _failed(self, code: int, rule: str) -> None:
        now = trio.current_time()
        self._state.complain(now, code, rule, self._verb.url)
        self._status("stream-error", error=f"{code} {rule}")

    async def _talk(self, socket: TwilioSocket) -> None:
        now = self._started_s = trio.current_time()
        self._state.playback.begin_stream(now)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, socket)
            await self._send(self._stream.connected(), self._stream.start())
            self._state.log(now, "stream_started", stream_sid=self._stream.stream_sid, url=self._verb.url)
            self._status("stream-started")
            nursery.start_soon(self._speak)
            nursery.start_soon(self._return_marks)
            await self._hear(socket)
            nursery.cancel_scope.cancel()

    async def _speak(self) -> None:
        """Send the caller's audio. Each frame is sent when its 20 ms have passed."""
        base = samples_at(self._started_s)
        frame = 0
        while True:
            at_ms = self._times.first_ms + frame * FRAME_MS
            await trio.sleep_until(self._started_s + at_ms / 1000)
            first = base + (at_ms - FRAME_MS) * FRAME_BYTES // FRAME_MS
            if not self._state.speech.muted(first):
                mulaw = self._state.speech.read(first, FRAME_BYTES)
                await self._send(self._stream.media(mulaw, self._times.timestamp_ms(frame)))
            frame += 1

    async def _hear(self, socket: TwilioSocket) -> None:
        """Carry out the relay's messages until the relay closes the socket.

        On a slow network the close arrives after the earlier messages.
        """
        later, waiting = trio.open_memory_channel[tuple[float, str | bytes | SocketEnded]](math.inf)
        async with trio.open_nursery() as nursery:
            if not self._down.instant:
                nursery.start_soon(self._obey_later, waiting)
            message: str | bytes | SocketEnded = ""
            while not isinstance(message, SocketEnded):
                try:
                    message = await socket.receive()
                except SocketEnded as ended:
                    message = ended
                if self._down.instant:
                    await self._obey(message)
                else:
                    later.send_nowait((self._down.arrives(trio.current_time()), message))
            later.close()

    async def _obey_later(self, waiting: trio.MemoryReceiveChannel[tuple[float, str | bytes | SocketEnded]]) -> None:
        async for at_s, message in waiting:
            await trio.sleep_until(at_s)
            await self._obey(message)

    async def _obey(self, message: str | bytes | SocketEnded) -> None:
        if isinstance(message, SocketEnded):
            self._ended(message)
            return
        now, known = trio.current_time(), len(self._stream.complaints)
        order = self._stream.receive(message, now)
        for complaint in self._stream.complaints[known:]:
            self._state.take_complaint(complaint, now)
        match order:
            case PlayMedia(mulaw):
                if self._first_media:
                    self._first_media = False
                    self._state.log(now, "first_media", after_ms=round((now - self._started_s) * 1000))
                self._state.playback.media(mulaw, now)
            case SetMark(name):
                self._state.playback.mark(name, now)
                self._wake_marks.set()
            case ClearBuffer():
                names = self._state.playback.clear(now)
                cut = self._state.playback.cuts[-1]
                self._state.log(now, "cleared", heard_ms=round(cut.heard_ms), lost_ms=round(cut.lost_ms))
                await self._send(*(self._stream.mark(name) for name in names))
            case None:
                pass

    async def _return_marks(self) -> None:
        """Return each mark at the moment when its audio was played."""
        playback = self._state.playback
        while True:
            await self._send(*(self._stream.mark(name) for name in playback.played_marks(trio.current_time())))
            self._wake_marks = trio.Event()
            due = playback.next_mark_s()
            with trio.move_on_at(math.inf if due is None else due):
                await self._wake_marks.wait()

    async def _send(self, *messages: str) -> None:
        """Send messages to the relay, in order."""
        now = trio.current_time()
        for message in messages:
            self._out_channel.send_nowait((now if self._up.instant else self._up.arrives(now), message))

    async def _deliver(self, socket: TwilioSocket) -> None:
        async for at_s, message in self._out_waiting:
            if not self._up.instant:
                self._on_its_way = message
                await trio.sleep_until(at_s)
                self._on_its_way = ""
            try:
                await socket.send(message)
            except SocketEnded:
                return  # `_hear` gets SocketEnded too, and logs it.

    def _ended(self, ended: SocketEnded) -> None:
        now = trio.current_time()
        if ended.broken:
            self._state.complain(now, 31924, "the WebSocket protocol was broken", ended.broken)
        elif ended.code == 1006:
            self._state.complain(now, 31903, "the connection broke", "no close frame from the relay")
        else:
            level: Any = "note" if ended.code in EXPECTED_CLOSES else "error"
            self._state.complain(now, 31921, "the relay closed the stream", str(ended), level)
        self._state.log(now, "stream_closed_by_relay", code=ended.code, reason=ended.reason)

    def _finish(self) -> None:
        now = trio.current_time()
        self._state.playback.stop(now)
        if self._socket is not None:
            self._state.log(now, "stream_stopped", stream_sid=self._stream.stream_sid)
            self._status("stream-stopped")

    async def _hang_up(self, socket: TwilioSocket) -> None:
        """Send the messages that wait, then `stop`, then a close frame."""
        try:
            if self._on_its_way:
                await socket.send(self._on_its_way)
            while True:
                try:
                    await socket.send(self._out_waiting.receive_nowait()[1])
                except trio.WouldBlock:
                    break
            await socket.send(self._stream.stop())
        except SocketEnded:
            pass  # The relay has closed the socket already.
        await socket.close()

    def _status(self, event: str, error: str = "") -> None:
        """Send the stream's status callback (docs/protocol/twilio.md 1.4)."""
        if not self._verb.status_callback:
            return
        fields = {
            "AccountSid": self._state.account_sid,
            "CallSid": self._state.sid,
            "StreamSid": self._stream.stream_sid,
            "StreamName": self._verb.name or self._stream.stream_sid,
            "StreamEvent": event,
            "Timestamp": self._state.wall(trio.current_time()).isoformat(timespec="milliseconds"),
        }
        if error:
            fields["StreamError"] = error
        self._notify(self._verb.status_callback, self._verb.status_method, fields)
