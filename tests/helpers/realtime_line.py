"""A client of the stand-in model, without a socket. The test moves the clock. The client checks each event's type."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter

import dsp
from relay.standin.model.realtime_peer import Close, Ping, RealtimePeer, Send
from relay.standin.model.script import Script
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import Voice, clips

URL = "/v1/realtime?model=gpt-realtime-2.1-mini"
HEADERS = {"authorization": "Bearer sk-test-key-of-nobody"}
EPOCH_S = 1_795_392_000  # 2026-11-23 00:00 UTC
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
EAR = ClipRecogniser()
PCM = {"type": "audio/pcm", "rate": 24000}
PCMU = {"type": "audio/pcmu"}


class Line:
    """A connected client. `events` has (time, event) for each event that came. `closed` is the close of the model."""

    def __init__(
        self, script: Script | None = None, url: str = URL, headers: dict[str, str] | None = None, typed: bool = True
    ) -> None:
        """`typed` is False if a fault sends events that do not fit the official types."""
        self.now = 0.0
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.closed: Close | None = None
        self.pings: list[float] = []
        self._typed = typed
        self.voice = Voice()
        self.peer = RealtimePeer(
            script or Script(), self.voice, EAR, url, HEADERS if headers is None else headers, EPOCH_S
        )
        self.peer.opened(self.now)
        self._listen()

    def send(self, type_: str, **fields: Any) -> list[dict[str, Any]]:
        """Send an event. Return the events that come back at once."""
        return self.send_raw(json.dumps({"type": type_, **fields}))

    def send_raw(self, message: str | bytes) -> list[dict[str, Any]]:
        """Send a WebSocket message. Return the events that come back at once."""
        start = len(self.events)
        self.peer.receive(message, self.now)
        self._listen()
        return [event for _, event in self.events[start:]]

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass. Return the events that came meanwhile."""
        start, until = len(self.events), self.now + seconds
        while self.peer.next_deadline <= until:
            self.now = self.peer.next_deadline
            self.peer.due(self.now)
            self._listen()
        self.now = until
        return [event for _, event in self.events[start:]]

    def configure(self, **session: Any) -> dict[str, Any]:
        """Send session.update. Return the answer, which must be one event."""
        (answer,) = self.send("session.update", session={"type": "realtime", **session})
        return answer

    def hear(self, *parts: bytes | int, form: dict[str, Any] | None = None, frame_ms: int = 20) -> list[dict[str, Any]]:
        """Send audio in frames at the pace of speech. Return the events that came.

        Each part is mu-law, or a number of ms of silence.
        """
        start = len(self.events)
        mulaw = b"".join(part if isinstance(part, bytes) else b"\xff" * (8 * part) for part in parts)
        form = form or self.peer.session["audio"]["input"]["format"]
        up = dsp.Uplink()
        for at in range(0, len(mulaw), 8 * frame_ms):
            piece = mulaw[at : at + 8 * frame_ms]
            audio = up.feed(piece) if form["type"] == "audio/pcm" else piece
            self.wait(frame_ms / 1000)
            self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())
        return [event for _, event in self.events[start:]]

    def caller(self, clip: str, silence_ms: int = 700) -> list[dict[str, Any]]:
        """Send a caller's clip, and silence after it."""
        return self.hear(clips()[clip].mulaw, silence_ms)

    def audio(self, item_id: str | None = None) -> bytes:
        """All audio that came, or only that of one item."""
        return b"".join(
            base64.b64decode(event["delta"])
            for _, event in self.events
            if event["type"] == "response.output_audio.delta" and item_id in (None, event["item_id"])
        )

    def when(self, type_: str) -> list[float]:
        """The times at which events of a type came."""
        return [at for at, event in self.events if event["type"] == type_]

    def _listen(self) -> None:
        for out in self.peer.take():
            match out:
                case Send(text):
                    event = json.loads(text)
                    if self._typed:
                        SERVER_EVENT.validate_python(event, strict=False)
                    self.events.append((self.now, event))
                case Ping():
                    self.pings.append(self.now)
                case Close():
                    assert self.closed is None
                    self.closed = out


def types(events: list[dict[str, Any]]) -> list[str]:
    """The types of the events. Several deltas in a row count as one."""
    folded: list[str] = []
    for event in events:
        if not (folded and folded[-1] == event["type"] and event["type"].endswith("delta")):
            folded.append(event["type"])
    return folded


def one(events: list[dict[str, Any]], type_: str) -> dict[str, Any]:
    """The only event of a type."""
    (event,) = [each for each in events if each["type"] == type_]
    return event


def samples(mulaw: bytes) -> npt.NDArray[np.int16]:
    """The decoded samples, for comparisons."""
    return dsp.decode(mulaw)
