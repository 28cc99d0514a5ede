"""The model of the load: Realtime sessions that look for markers, and answer every turn with two seconds of audio.

audio.py explains the markers. A turn comes every four seconds: speech_started 0.1 s after the caller's voice begins,
speech_stopped and committed 1 s after the voice begins. The answer comes when the relay asks for it, or by itself if
the session is configured so. The answer is eight deltas of 250 ms, sent at five times real time. So the model speaks
half of the time. With turns every 2.4 s (bench/barge_in), each turn interrupts the answer to the turn before.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import msgspec

from relay.standin.load import audio
from relay.standin.load.link import Closed, Link, accept_key, frame
from relay.standin.load.loop import clock
from relay.standin.load.stage import CallerEnd, Stage

TURN_S = 4.0
SPEECH_S = 1.0
ONSET_S = 0.1  # speech_started comes this long after the voice has begun, because a real VAD needs time too.
FIRST_TURN_S = 7.0  # The first turn comes this long after the call has begun, when the greeting is over.
DELTA_EVERY_S = audio.DELTA_MS / 1000 / 5
DELTAS_AN_ANSWER = audio.ANSWER_MS // audio.DELTA_MS
TRANSCRIBED_AFTER_S = 0.3
# The length of a rendered phrase, for each character. In real speech a character takes 40 to 130 ms.
PHRASE_MS_PER_CHARACTER = 45
_SAY = "Say exactly: "  # relay/call/wording.py
_WORDS = "And so it goes on, word by word. ".split()
_USAGE: dict[str, object] = {
    "total_tokens": 300,
    "input_tokens": 260,
    "output_tokens": 40,
    "input_token_details": {
        "text_tokens": 200,
        "audio_tokens": 60,
        "cached_tokens": 180,
        "cached_tokens_details": {"text_tokens": 180, "audio_tokens": 0},
    },
    "output_token_details": {"text_tokens": 8, "audio_tokens": 32},
}
_encode = msgspec.json.encode


def _kind(told: object, before: str) -> str:
    """The audio format that a session.update asks for: an object, or a name as in the old API. If none, `before`."""
    name = told.get("type") if isinstance(told, dict) else told
    if not name:
        return before
    return "audio/pcmu" if name in ("audio/pcmu", "g711_ulaw") else "audio/pcm"


class Listener:
    """Listens for the relay's model sessions: ws or wss, on a free port of this machine."""

    def __init__(self, load: Stage, tls: ssl.SSLContext | None) -> None:
        self._load, self._tls = load, tls
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._sock.setblocking(False)
        self.url = f"{'wss' if tls else 'ws'}://localhost:{self._sock.getsockname()[1]}/v1/realtime"

    def fileno(self) -> int:
        """See Loop.watch."""
        return self._sock.fileno()

    def on_input(self) -> None:
        """See Loop.watch."""
        while True:
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            self._load.loop.watch(self._load.session_class(self._load, Link(sock, self._tls)))

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()


class Session:
    """One session with the relay. `caller` is None if the session renders a phrase."""

    def __init__(self, load: Stage, link: Link) -> None:
        self._load, self._link = load, link
        self.caller: CallerEnd | None = None
        self.down_sent = 0.0  # When the delta with a marker was sent. 0 if no marker is awaited.
        # When speech_started was sent while the caller heard an answer. 0 if no `clear` is awaited.
        self.stop_asked = 0.0
        self._head = b""
        self._is_open = False
        self._number = 0
        self._config: dict[str, Any] = {}
        self._in_kind = self._out_kind = "audio/pcm"
        self._answers_itself = True
        self._is_answering = False
        self._turns_run = False

    def fileno(self) -> int:
        """See Loop.watch."""
        return self._link.fileno()

    def on_input(self) -> None:
        """See Loop.watch."""
        try:
            if self._is_open:
                for message in self._link.messages():
                    self._on_message(message)
            else:
                self._head += self._link.read()
                self._on_head()
        except Closed:
            self._shut()

    def _on_head(self) -> None:
        head, done, rest = self._head.partition(b"\r\n\r\n")
        if not done:
            return
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        protocol = headers.get(b"sec-websocket-protocol", b"").split(b",")[0].strip()
        self._link.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + (b"Sec-WebSocket-Protocol: " + protocol + b"\r\n" if protocol else b"")
            + b"Sec-WebSocket-Accept: "
            + accept_key(headers.get(b"sec-websocket-key", b""))
            + b"\r\n\r\n"
        )
        self._is_open = True
        self._load.new_session(self)
        self._tell("session.created", session=self._session())
        for message in self._link.split(rest):
            self._on_message(message)

    def _session(self) -> dict[str, Any]:
        pcm = {"type": "audio/pcm", "rate": 24000}
        told = {"object": "realtime.session", "id": f"sess_{id(self):x}", "model": "gpt-realtime-2.1-mini"}
        return {"audio": {"input": {"format": pcm}, "output": {"format": pcm}}} | self._config | told

    # What the relay says

    def _on_message(self, raw: bytes) -> None:
        if b"input_audio_buffer.append" in raw[:160]:
            self._hear(raw)
            return
        message = msgspec.json.decode(raw)
        match message["type"]:
            case "session.update":
                self._configure(message["session"])
            case "response.create":
                self._answer(message.get("response") or {})
            case "conversation.item.create":
                item = {"object": "realtime.item", "status": "completed", "id": self._id("item")} | message["item"]
                self._tell("conversation.item.added", previous_item_id=None, item=item)
                self._tell("conversation.item.done", previous_item_id=None, item=item)
            case "conversation.item.truncate":
                self._tell(
                    "conversation.item.truncated",
                    item_id=message["item_id"],
                    content_index=0,
                    audio_end_ms=message["audio_end_ms"],
                )
            case "conversation.item.delete":
                self._tell("conversation.item.deleted", item_id=message["item_id"])
            case _:
                pass

    def _configure(self, session: dict[str, Any]) -> None:
        self._config |= session
        audio = session.get("audio") or {}
        entrance, exit_ = audio.get("input") or {}, audio.get("output") or {}
        self._in_kind = _kind(entrance.get("format") or session.get("input_audio_format"), self._in_kind)
        self._out_kind = _kind(exit_.get("format") or session.get("output_audio_format"), self._out_kind)
        turns = entrance.get("turn_detection") or {}
        self._answers_itself = turns.get("create_response", self._answers_itself)
        self._tell("session.updated", session=self._session())

    def _hear(self, raw: bytes) -> None:
        caller = self.caller
        if caller is None:
            return
        window = self._load.window
        begin = raw.find(b'"', raw.find(b'"audio"') + 7) + 1
        end = raw.find(b'"', begin)
        window.up_bytes += (end - begin) * 3 // 4
        window.up_messages += 1
        if caller.up_pending and audio.has_marker(raw[begin:end], self._in_kind):
            window.up.append(clock() - caller.up_pending.popleft())

    # What the model says

    def _id(self, kind: str) -> str:
        self._number += 1
        return f"{kind}_{id(self):x}_{self._number}"

    def _tell(self, kind: str, **fields: object) -> None:
        event = {"type": kind, "event_id": self._id("event"), **fields}
        self._link.write(frame(_encode(event), masked=False))

    def begin_turns(self, caller: CallerEnd) -> None:
        """Let the caller of this session speak every `turn_s` seconds from now on.

        The first turn comes at another moment in each call.
        """
        if not self._turns_run:
            self._turns_run = True
            self._load.loop.at(caller.began + FIRST_TURN_S + caller.number * 0.37 % self._load.turn_s, self._turn)

    def _turn(self) -> None:
        caller = self.caller
        if not self._is_open or caller is None or not caller.is_streaming:
            return
        now = clock()
        item_id = self._id("item")
        caller.speaks = True
        self._load.loop.at(now + ONSET_S, lambda: self._turn_begins(item_id))
        self._load.loop.at(now + SPEECH_S, lambda: self._turn_ends(item_id))
        self._load.loop.at(now + self._load.turn_s, self._turn)

    def _turn_begins(self, item_id: str) -> None:
        if not self._is_open or self.caller is None:
            return
        now = clock()
        if self.caller.hears_for_s(now) > 0.0:
            self._load.window.interruptions += 1
            self.stop_asked = now
        self._tell("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=self._ms(now))

    def _ms(self, now: float) -> int:
        return round((now - self.caller.began) * 1000) if self.caller is not None else 0

    def _turn_ends(self, item_id: str) -> None:
        if not self._is_open or self.caller is None:
            return
        now = clock()
        self.caller.speaks = False
        self._tell("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=self._ms(now))
        self._tell("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": item_id, "type": "message", "role": "user", "status": "completed", "content": content}
        self._tell("conversation.item.added", previous_item_id=None, item=item)
        self._load.loop.at(now + TRANSCRIBED_AFTER_S, lambda: self._transcribed(item_id))
        if self._answers_itself:
            self._answer({})

    def _transcribed(self, item_id: str) -> None:
        if self._is_open:
            usage = {"type": "duration", "seconds": SPEECH_S}
            kind = "conversation.item.input_audio_transcription.completed"
            self._tell(kind, item_id=item_id, content_index=0, transcript="I want a table for two.", usage=usage)

    def _answer(self, wanted: dict[str, Any]) -> None:
        if self._is_answering:
            error = {"type": "invalid_request_error", "code": "conversation_already_has_active_response", "message": ""}
            self._tell("error", error=error)
            return
        self._is_answering = True
        told = str(wanted.get("instructions") or "")
        _Answer(self, self._load, wanted.get("metadata"), told[len(_SAY) :] if told.startswith(_SAY) else "")

    def _shut(self) -> None:
        self._is_open = False
        if self.fileno() >= 0:
            self._load.loop.forget(self)
            self._link.close()


class _Answer:
    """One response that is being generated: its deltas and its other events."""

    def __init__(self, session: Session, load: Stage, metadata: object, phrase: str) -> None:
        self._session, self._load = session, load
        self._deltas = audio.DELTAS[session._out_kind]
        self._metadata = metadata
        self._phrase = phrase
        ms = len(phrase) * PHRASE_MS_PER_CHARACTER
        self._left = -(-ms // audio.DELTA_MS) if phrase else DELTAS_AN_ANSWER
        self._words = "" if phrase else "".join(f"{word} " for word in _WORDS)
        self.response_id, self.item_id = session._id("resp"), session._id("item")
        self._place = {"response_id": self.response_id, "item_id": self.item_id, "output_index": 0, "content_index": 0}
        self._head = (
            b'{"type":"response.output_audio.delta","event_id":"event_d","response_id":"%b","item_id":"%b",'
            % (
                self.response_id.encode(),
                self.item_id.encode(),
            )
        )
        self._head += b'"output_index":0,"content_index":0,"delta":"'
        self._begin()

    def _response(self, status: str, **more: object) -> dict[str, object]:
        fixed = {"object": "realtime.response", "id": self.response_id, "status": status, "status_details": None}
        return fixed | {"output": [], "metadata": self._metadata, "conversation_id": "conv_1", "usage": None} | more

    def _item(self, status: str) -> dict[str, object]:
        return {"id": self.item_id, "type": "message", "role": "assistant", "status": status, "content": []}

    def _begin(self) -> None:
        tell = self._session._tell
        tell("response.created", response=self._response("in_progress"))
        tell(
            "response.output_item.added",
            response_id=self.response_id,
            output_index=0,
            item=self._item("in_progress"),
        )
        tell("conversation.item.added", previous_item_id=None, item=self._item("in_progress"))
        tell("response.content_part.added", **self._place, part={"type": "audio", "transcript": ""})
        self._delta(first=self._session.caller is not None and not self._phrase)

    def _delta(self, *, first: bool = False) -> None:
        session, deltas = self._session, self._deltas
        if not session._is_open:
            return
        if self._left == 0:
            self._end()
            return
        self._left -= 1
        now = clock()
        audio = deltas.first if first else deltas.plain
        if first:
            session.down_sent = now
        words = self._phrase if self._phrase and self._left == 0 else self._words[:5]
        session._link.write(frame(self._head + audio + b'"}', masked=False))
        if words:
            session._tell("response.output_audio_transcript.delta", **self._place, delta=words)
        self._load.loop.at(now + DELTA_EVERY_S, self._delta)

    def _end(self) -> None:
        tell = self._session._tell
        self._session._is_answering = False
        tell("response.output_audio.done", **self._place)
        tell("response.output_audio_transcript.done", **self._place, transcript=self._phrase or self._words)
        tell("response.content_part.done", **self._place, part={"type": "audio", "transcript": self._words})
        tell(
            "response.output_item.done",
            response_id=self.response_id,
            output_index=0,
            item=self._item("completed"),
        )
        tell("response.done", response=self._response("completed", usage=_USAGE))
