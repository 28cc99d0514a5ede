"""A caller of the load. It rings and streams as Twilio does, with signatures.

It sends 50 frames a second, and plays audio. It measures four things: the uplink's latency (from a frame with a marker
to the model), the downlink's latency (from a delta to the frame with its marker), gaps inside an answer, and the time
from the model's speech_started to the `clear` of the answer.
"""

from __future__ import annotations

import socket
from collections import deque
from urllib.parse import urlencode, urlsplit

import msgspec

from relay.standin.load import audio
from relay.standin.load.link import Closed, Link, frame
from relay.standin.load.loop import clock
from relay.standin.load.stage import ModelEnd, Stage
from relay.standin.twilio.numbers import fictional_number
from relay.standin.twilio.signing import signature

MARKER_EVERY = 50  # One frame in this many has a marker: one marker a second.
# A shorter break in an answer may come from the clock's resolution, so it is not a gap.
GRAIN_S = 0.001
_HEAD = b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d","payload":"'


class _Media(msgspec.Struct):
    payload: str


class _Mark(msgspec.Struct):
    name: str


class _Message(msgspec.Struct):
    event: str
    media: _Media | None = None
    mark: _Mark | None = None


_decode = msgspec.json.Decoder(_Message).decode


class Caller:
    """One call, from the ring to the end."""

    def __init__(self, load: Stage, number: int) -> None:
        self._load, self.number = load, number
        self.call_sid = f"CA{load.run_id:08x}{number:024x}"
        self._stream_sid = f"MZ{load.run_id:08x}{number:024x}"
        self.session: ModelEnd | None = None
        self.is_streaming = False
        self.speaks = False
        self.began = 0.0
        self.failure = ""
        # The times of the markers that were sent and that the model has not received yet.
        self.up_pending: deque[float] = deque()
        self._sent = 0
        self._head = b""
        self._marks: deque[tuple[float, bytes]] = deque()
        self._play_end = 0.0
        self._answer_left = 0
        self._frames = self._prepare()
        self._link = self._ring()

    def _prepare(self) -> dict[bytes, bytes]:
        tail = b'"},"streamSid":"%b"}' % self._stream_sid.encode()
        return {payload: payload + tail for payload in (audio.QUIET, audio.SPEECH, audio.MARKER)}

    # From the ring to the stream

    def _ring(self) -> Link:
        target = self._load.target
        fields = {
            "CallSid": self.call_sid,
            "AccountSid": target.account_sid,
            "From": fictional_number(self.number),
            "To": "+12125550120",
            "FromState": "NY",
            "FromCountry": "US",
            "CallStatus": "ringing",
            "Direction": "inbound",
        }
        url = target.origin + target.webhook_path
        body = urlencode(fields)
        request = (
            f"POST {target.webhook_path} HTTP/1.1\r\nHost: {urlsplit(target.origin).netloc}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
            f"X-Twilio-Signature: {signature(target.auth_token, url, fields)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        return self._open(request)

    def _open(self, request: str) -> Link:
        self._head = b""
        link = Link(socket.create_connection(("127.0.0.1", urlsplit(self._load.target.origin).port or 80)))
        link.write(request.encode())
        self._link = link
        self._load.loop.watch(self)
        return link

    def fileno(self) -> int:
        """See Loop.watch."""
        return self._link.fileno()

    def on_input(self) -> None:
        """See Loop.watch."""
        try:
            if self.is_streaming:
                for message in self._link.messages():
                    self._on_message(message)
            else:
                self._head += self._link.read()
                self._on_head()
        except Closed as error:
            self.fail(f"the caller's connection ended: {error}")

    def _on_head(self) -> None:
        head, done, rest = self._head.partition(b"\r\n\r\n")
        if not done:
            return
        status = int(head.split(b" ", 2)[1])
        if status == 101:
            self._on_open(rest)
        elif status != 200:
            self.fail(f"HTTP {status}: {rest[:80]!r}")
        elif b"</Response>" in rest:
            self._load.loop.forget(self)
            self._link.close()
            self._upgrade(rest.decode())

    def _upgrade(self, twiml: str) -> None:
        if '<Stream url="' not in twiml:
            self.fail("the answer to the webhook opens no stream")
            return
        url = twiml.split('<Stream url="', 1)[1].split('"', 1)[0]
        parts = urlsplit(url)
        self._open(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"X-Twilio-Signature: {signature(self._load.target.auth_token, url)}\r\n\r\n"
        )

    def _on_open(self, rest: bytes) -> None:
        self.is_streaming = True
        self._send(b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        self._send(msgspec.json.encode(self._start()))
        self.began = self._play_end = clock()
        self._frame()
        for message in self._link.split(rest):
            self._on_message(message)

    def _start(self) -> dict[str, object]:
        return {
            "event": "start",
            "sequenceNumber": "1",
            "start": {
                "accountSid": self._load.target.account_sid,
                "streamSid": self._stream_sid,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {},
            },
            "streamSid": self._stream_sid,
        }

    # The stream

    def _send(self, message: bytes) -> None:
        self._link.write(frame(message, masked=True))

    def _frame(self) -> None:
        """Send the frame that is due, and return the marks whose audio was played. Then plan the next frame."""
        if not self.is_streaming:
            return
        now, number = clock(), self._sent
        self._sent = number + 1
        due = self.began + number * 0.020
        self._load.window.lateness(now - due)
        if number % MARKER_EVERY == self.number % MARKER_EVERY:
            tail = self._frames[audio.MARKER]
            self.up_pending.append(now)
        else:
            tail = self._frames[audio.SPEECH if self.speaks else audio.QUIET]
        self._send(_HEAD % (number + 2, number + 1, 100 + number * 20) + tail)
        marks = self._marks
        while marks and marks[0][0] <= now:
            self._return_mark(marks.popleft()[1])
        self._load.loop.at(due + 0.020, self._frame)

    def _return_mark(self, name: bytes) -> None:
        self._send(
            b'{"event":"mark","sequenceNumber":"%d","streamSid":"%b","mark":{"name":"%b"}}'
            % (self._sent + 1, self._stream_sid.encode(), name)
        )

    def _on_message(self, raw: bytes) -> None:
        now, message = clock(), _decode(raw)
        if message.media is not None:
            self._play(message.media.payload.encode(), now)
        elif message.mark is not None:
            self._marks.append((max(now, self._play_end), message.mark.name.encode()))
        elif message.event == "clear":
            self._cleared(now)
            self._play_end, self._answer_left = now, 0
            while self._marks:
                self._return_mark(self._marks.popleft()[1])

    def _cleared(self, now: float) -> None:
        session = self.session
        if session is not None and session.stop_asked:
            self._load.window.clear.append(now - session.stop_asked)
            session.stop_asked = 0.0

    def hears_for_s(self, now: float) -> float:
        """How long the received audio will still play."""
        return max(0.0, self._play_end - now)

    def _play(self, payload: bytes, now: float) -> None:
        n_bytes = len(payload) * 3 // 4 - payload[-2:].count(b"=")
        session = self.session
        if session is not None and session.down_sent and audio.has_marker(payload, "audio/pcmu"):
            self._load.window.down.append(now - session.down_sent)
            session.down_sent = 0.0
            self._answer_left = audio.ANSWER_MS * 8
        elif self._answer_left > 0 and now > self._play_end + GRAIN_S:
            self._load.window.dry_s.append(now - self._play_end)
        self._answer_left -= n_bytes
        self._play_end = max(now, self._play_end) + n_bytes / 8000

    # The end

    def hang_up(self) -> None:
        """Send stop, and close."""
        if self.is_streaming:
            self._send(
                b'{"event":"stop","sequenceNumber":"%d","streamSid":"%b","stop":{"callSid":"%b"}}'
                % (self._sent + 2, self._stream_sid.encode(), self.call_sid.encode())
            )
            self._send_close()
        self._shut()

    def _send_close(self) -> None:
        self._link.write(frame(b"\x03\xe8", masked=True, opcode=8))

    def fail(self, words: str) -> None:
        """Give up this call. It counts as failed."""
        if not self.failure:
            self.failure = words
            self._load.failures.append(f"call {self.number}: {words}")
        self._shut()

    def _shut(self) -> None:
        if self.fileno() >= 0:
            self._load.loop.forget(self)
            self._link.close()
        self.is_streaming = False
