"""Twilio's side of a media socket, without the socket: its messages, and its complaints about the relay's messages.

Pure. Sources: docs/protocol/twilio.md 3.1 (the messages; numbers in them are strings), 3.2 (what the relay
may send), 3.5 (the debugger's codes).
"""

from __future__ import annotations

import base64
import binascii
import json
import random
from dataclasses import dataclass
from typing import Any, Literal

FRAME_MS = 20
FRAME_BYTES = 160

FIRST_TIMESTAMP_MS = (100, 171)
"""The range of a stream's first media timestamp. In captured streams it was 102, 155 and 171."""

TIMESTAMP_WOBBLE_MS = 2
"""In a capture 72 frames took 1,438 ms, not 1,440: the steps are about 20 ms, but not exactly."""

PARAMETER_LIMIT = 500
"""A <Parameter>'s name and value together must have fewer characters than this."""

_SHAPES: dict[str, dict[str, Any]] = {
    "media": {"event": str, "streamSid": str, "media": {"payload": str}},
    "mark": {"event": str, "streamSid": str, "mark": {"name": str}},
    "clear": {"event": str, "streamSid": str},
}
"""The only messages that a relay may send, with all their fields. A missing or a further field is error 31951."""

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """An entry in Twilio's debugger. A `note` also appears in good calls, such as 31921 when the relay closes."""

    code: int
    rule: str
    detail: str
    at_s: float
    level: Level

    def __str__(self) -> str:
        return f"{self.code} {self.rule}: {self.detail}" if self.detail else f"{self.code} {self.rule}"


@dataclass(frozen=True, slots=True)
class PlayMedia:
    """The relay sent audio."""

    mulaw: bytes


@dataclass(frozen=True, slots=True)
class SetMark:
    """The relay asks Twilio to send this mark back when the audio that was sent before it has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearBuffer:
    """The relay wants to drop the audio that was not played."""


Order = PlayMedia | SetMark | ClearBuffer


class FrameTimes:
    """The timestamps of a stream's frames, in ms from the start of the stream."""

    def __init__(self, rng: random.Random) -> None:
        self.first_ms = rng.randint(*FIRST_TIMESTAMP_MS)
        self._rng = rng
        self._last_ms = -1

    def timestamp_ms(self, frame: int) -> int:
        """The timestamp of the frame with this number. The numbers must grow from call to call, and may leave out
        frames that are not sent."""
        wobble = self._rng.randint(-TIMESTAMP_WOBBLE_MS, TIMESTAMP_WOBBLE_MS) if frame else 0
        self._last_ms = max(self._last_ms + 1, self.first_ms + frame * FRAME_MS + wobble)
        return self._last_ms


class MediaStream:
    """One stream. It makes and numbers Twilio's messages, checks the relay's messages, and keeps the complaints."""

    def __init__(self, *, account_sid: str, call_sid: str, stream_sid: str, parameters: dict[str, str]) -> None:
        self.stream_sid = stream_sid
        self.complaints: list[Complaint] = []
        self.broken_rules: dict[str, int] = {}
        self._account_sid, self._call_sid, self._parameters = account_sid, call_sid, parameters
        self._sequence = 0
        self._chunk = 0

    # Twilio to the relay

    def connected(self) -> str:
        """The first message. It has neither a stream's SID nor a sequence number."""
        return _json({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self) -> str:
        """The second message: the call, the format, and the <Parameter>s of the TwiML."""
        return _json(
            {
                "event": "start",
                "sequenceNumber": self._number(),
                "start": {
                    "accountSid": self._account_sid,
                    "streamSid": self.stream_sid,
                    "callSid": self._call_sid,
                    "tracks": ["inbound"],
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": self._parameters,
                },
                "streamSid": self.stream_sid,
            }
        )

    def media(self, mulaw: bytes, timestamp_ms: int) -> str:
        """A piece of the caller's audio."""
        self._chunk += 1
        payload = base64.b64encode(mulaw).decode("ascii")
        media = {"track": "inbound", "chunk": str(self._chunk), "timestamp": str(timestamp_ms), "payload": payload}
        return _json({"event": "media", "sequenceNumber": self._number(), "media": media, "streamSid": self.stream_sid})

    def dtmf(self, digit: str) -> str:
        """A key that the caller pressed. The track is called `inbound_track` here, but `inbound` in media messages."""
        return _json(
            {
                "event": "dtmf",
                "streamSid": self.stream_sid,
                "sequenceNumber": self._number(),
                "dtmf": {"track": "inbound_track", "digit": digit},
            }
        )

    def mark(self, name: str) -> str:
        """The message that returns a mark to the relay."""
        return _json(
            {
                "event": "mark",
                "sequenceNumber": self._number(),
                "streamSid": self.stream_sid,
                "mark": {"name": name},
            }
        )

    def stop(self) -> str:
        """The last message: the call has ended, or it goes on with another document."""
        return _json(
            {
                "event": "stop",
                "sequenceNumber": self._number(),
                "streamSid": self.stream_sid,
                "stop": {"accountSid": self._account_sid, "callSid": self._call_sid},
            }
        )

    # the relay to Twilio

    def receive(self, message: str | bytes, now: float) -> Order | None:
        """Read a message of the relay. If Twilio would drop it, keep a complaint and return None."""
        if isinstance(message, bytes):
            self._complain(31950, "text frames only", f"a binary frame of {len(message)} bytes", now)
            return None
        try:
            value = json.loads(message)
        except (ValueError, RecursionError):
            self._complain(31951, "messages are JSON", message[:80], now)
            return None
        if broken := self._broken_rule(value):
            self._complain(31951, *broken, now)
            return None
        if value["event"] == "mark":
            return SetMark(value["mark"]["name"])
        if value["event"] == "clear":
            return ClearBuffer()
        return self._audio(value["media"]["payload"], now)

    def _broken_rule(self, value: object) -> tuple[str, str] | None:
        if not isinstance(value, dict):
            return "messages are JSON objects", repr(value)[:80]
        event = value.get("event")
        shape = _SHAPES.get(event) if isinstance(event, str) else None
        if shape is None:
            return "only media, mark and clear are known", f"event {event!r}"
        if broken := _differs(value, shape, str(event)):
            return broken
        if value["streamSid"] != self.stream_sid:
            return "streamSid is that of this stream", repr(value["streamSid"])[:80]
        return None

    def _audio(self, payload: str, now: float) -> PlayMedia | None:
        try:
            mulaw = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            self._complain(31951, "media.payload is base64", payload[:40], now)
            return None
        # Twilio plays the header as a click, and reports no error (docs/protocol/twilio.md 3.2)
        if mulaw[:4] == b"RIFF":
            self._complain(0, "audio has no file header", "a RIFF header is heard as a click", now)
        return PlayMedia(mulaw)

    def _complain(self, code: int, rule: str, detail: str, now: float) -> None:
        """Keep one complaint for each broken rule, and count the repeats in `broken_rules`.

        Twilio itself warns once in a stream for each code.
        """
        self.broken_rules[rule] = self.broken_rules.get(rule, 0) + 1
        if self.broken_rules[rule] == 1:
            self.complaints.append(Complaint(code, rule, detail, now, "warning"))

    def _number(self) -> str:
        self._sequence += 1
        return str(self._sequence)


def _differs(value: dict[str, Any], shape: dict[str, Any], path: str) -> tuple[str, str] | None:
    for key in shape:
        if key not in value:
            return "no field is missing", f"{path} has no {key!r}"
    for key, item in value.items():
        if key not in shape:
            return "no field is extra", f"{path} has {key!r}"
        if isinstance(shape[key], dict):
            if not isinstance(item, dict):
                return "fields have their type", f"{path}.{key} is no object"
            if broken := _differs(item, shape[key], f"{path}.{key}"):
                return broken
        elif not isinstance(item, shape[key]):
            return "fields have their type", f"{path}.{key} is {type(item).__name__}"
    return None


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
