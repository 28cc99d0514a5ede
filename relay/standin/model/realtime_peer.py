"""One session of the stand-in model: takes client events and audio, and makes server events. The clock is passed in.

This file does no I/O. server.py passes in what arrives, and calls `due` at `next_deadline`. `take()` returns what must
be sent. Sources: docs/protocol/openai.md 1 (the connection), 2.3 (the order of events), 6 (what the stand-in does like
the real model).
"""

from __future__ import annotations

import base64
import datetime
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from relay.standin.model import errors, settings
from relay.standin.model.agenda import Agenda
from relay.standin.model.audio import bytes_a_sample, rate_hz
from relay.standin.model.client_events import check_client_event, decoded, decoded_audio, item_from_wire
from relay.standin.model.connect import asked_model, refusal
from relay.standin.model.errors import Refusal, RefusedError
from relay.standin.model.items import History, Item
from relay.standin.model.listening import InputBuffer
from relay.standin.model.reactions import Director, Plan
from relay.standin.model.script import Faults, Script
from relay.standin.model.transcription import transcribe
from relay.standin.model.turns import Responses
from relay.standin.model.vad import Started
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import Voice

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Send:
    """A text frame to send."""

    text: str


@dataclass(frozen=True)
class Ping:
    """A WebSocket ping to send."""


@dataclass(frozen=True)
class Close:
    """A close frame to send. Code 1006 means: write half of the last text frame, and cut the connection."""

    code: int
    reason: str


Out = Send | Ping | Close


@dataclass
class Report:
    """What happened in a session, for tests and for the operator. `story` has all but `received` as lines, in order."""

    heard: list[str] = field(default_factory=list)  # The words of the caller's turns. "" for a turn without words.
    said: list[str] = field(default_factory=list)  # The texts that the model began to say.
    called: list[str] = field(default_factory=list)  # The names of functions.
    errors: list[str] = field(default_factory=list)  # The messages of the error events that were sent.
    received: list[str] = field(default_factory=list)  # The types of the client's events, except appends.
    notes: list[str] = field(default_factory=list)  # Mistakes of the script (reactions.py, `_allowed`).
    story: list[str] = field(default_factory=list)


class RealtimePeer:
    """One session. Create it after the upgrade, then use `opened`, `receive`, `due` and `take`."""

    def __init__(
        self, script: Script, voice: Voice, recogniser: ClipRecogniser, path: str, headers: Mapping[str, str],
        epoch_s: int, connection: int = 1,
    ) -> None:  # fmt: skip
        """The names in `headers` are in lower case. `epoch_s` is the present time, for expires_at and {tomorrow}.

        `connection` is the number of this connection to the stand-in, counted from 1.
        """
        self.script, self._recogniser = script, recogniser
        faults = script.faults.with_header(headers.get("x-standin-faults", ""))
        self.faults = faults if not faults.connections or connection <= faults.connections else Faults()
        self.chance = random.Random(f"{script.seed}/{connection}")
        self.history = History()
        self.report = Report()
        self._path, self._headers = path, headers
        self.session = settings.fresh(self.new_id("sess"), asked_model(path), epoch_s + int(script.lifetime_s))
        self.session_id = str(self.session["id"])
        self._agenda = Agenda()
        self._director = Director(script, datetime.datetime.fromtimestamp(epoch_s, datetime.UTC))
        self.report.notes = self._director.notes
        self._responses = Responses(
            self, self._agenda, voice, self._director, self.faults, self.new_id("conv"), self._response_is_over
        )
        self._input = InputBuffer()
        self._input.configure(self.session["audio"]["input"])
        self._speech_item = ""  # The id of the item that speech_started has announced.
        self._speech_start_ms = 0
        self._turns = 0
        self._idle_round = 0  # If this number has changed when a planned idle timeout comes, the timeout is ignored.
        self._outs: list[Out] = []
        self.closed = False

    # For server.py

    def opened(self, now: float) -> None:
        """The upgrade is done: send session.created, or refuse the connection (docs/protocol/openai.md 1.2)."""
        self._agenda.now = now
        if self.faults.silent_after_connect:
            return
        refused = refusal(self._path, self._headers, self.script.api_key)
        if self.faults.connect_error:
            refused = errors.connect_error(self.faults.connect_error, self.session["model"])
        if refused is not None:
            code, why = refused
            self._error(why)
            self.close(code, why.type + (f".{why.code}" if why.code else ""))
            return
        self.emit("session.created", session=self.session)
        self._agenda.after(self.script.ping_s, self._ping)
        self._agenda.after(self.script.lifetime_s, self._expire)

    def receive(self, message: str | bytes, now: float) -> None:
        """Handle a message of the client. `bytes` means a binary frame, which the real model refuses."""
        self.due(now)
        if self.closed or self.faults.silent_after_connect:
            return
        client_event_id = None
        try:
            event = decoded(message)
            given = event.get("event_id")
            client_event_id = given if isinstance(given, str) else None
            if event.get("type") != "input_audio_buffer.append":
                self.report.received.append(str(event.get("type")))
            check_client_event(event)
            self._handlers[event["type"]](self, event)
        except RefusedError as refused:
            self._error(refused.refusal, client_event_id)

    def due(self, now: float) -> None:
        """Do everything whose time has come."""
        self._agenda.due(now)

    @property
    def next_deadline(self) -> float:
        """When `due` must be called next. -Infinity if there are frames to send, infinity if nothing is planned."""
        return -float("inf") if self._outs else self._agenda.next_deadline

    def take(self) -> list[Out]:
        """The frames that must be sent now, in order."""
        outs, self._outs = self._outs, []
        return outs

    # For the responses (response.Stage)

    def emit(self, type_: str, **fields: Any) -> None:
        """Send an event."""
        event = {"type": type_, "event_id": self.new_id("event"), **fields}
        if self.faults.unknown_events:
            event["x_undocumented"] = {"since": 2027}
        self._outs.append(Send(msgspec.json.encode(event).decode()))
        if self.faults.unknown_events and type_.startswith(("response.", "session.")):
            strange = {"type": "response.mood.updated", "event_id": self.new_id("event"), "mood": None}
            self._outs.append(Send(msgspec.json.encode(strange).decode()))

    def new_id(self, prefix: str) -> str:
        """A new id like the server's: the prefix and 21 base62 characters."""
        return f"{prefix}_" + "".join(self.chance.choices(BASE62, k=21))

    def padding(self) -> str:
        """A random text of a random length."""
        return "".join(self.chance.choices(BASE62, k=self.chance.randint(5, 20)))

    def close(self, code: int, reason: str) -> None:
        """End the session."""
        self._outs.append(Close(code, reason))
        self._agenda.clear()
        self.closed = True

    def called(self, call_id: str, plan: Plan) -> None:
        """Note that the response calls a function."""
        self._director.calls(call_id, plan)
        self.report.called.append(plan.call)
        self.report.story.append(f"calls {plan.call}({dict(plan.arguments)})")

    # The life of a session

    def _ping(self) -> None:
        self._outs.append(Ping())
        self._agenda.after(self.script.ping_s, self._ping)

    def _expire(self) -> None:
        self._error(errors.EXPIRED)
        self.close(1001, errors.EXPIRED.message)

    # Client events

    def _session_update(self, event: dict[str, Any]) -> None:
        if self.faults.refuse_update:
            raise RefusedError(errors.server_error(self.session_id))
        session = settings.updated(self.session, event["session"], self.history.has_voice)
        if self.faults.wrong_format:
            pcm = session["audio"]["output"]["format"]["type"] == "audio/pcm"
            session["audio"]["output"]["format"] = (
                {"type": "audio/pcmu"} if pcm else {"type": "audio/pcm", "rate": 24000}
            )
        self.session = session
        self._input.configure(session["audio"]["input"])
        self.emit("session.updated", session=session)

    def _append(self, event: dict[str, Any]) -> None:
        data = decoded_audio(event["audio"])
        if len(data) % bytes_a_sample(self.session["audio"]["input"]["format"]):
            raise RefusedError(errors.NOT_BASE64)
        noticed = self._input.append(data)
        deaf_after = self.faults.deaf_after_turns
        if deaf_after is not None and self._turns >= deaf_after:
            return
        for each in noticed:
            if isinstance(each, Started):
                self._speech_started(each.audio_start_ms)
            elif self._speech_item:
                self._speech_stopped(each.audio_end_ms)

    def _commit(self, event: dict[str, Any]) -> None:
        if self._input.held_ms < 100:
            raise RefusedError(errors.commit_empty(self._input.held_ms))
        self._committed(self.new_id("item"), self._input.take())

    def _clear(self, event: dict[str, Any]) -> None:
        self._input.clear()
        self.emit("input_audio_buffer.cleared")

    def _create_item(self, event: dict[str, Any]) -> None:
        item = item_from_wire(event["item"], self.new_id("item"), self._hear, self.history)
        previous = self.history.add(item, event.get("previous_item_id"))
        self._announce(item, previous)

    def _truncate_item(self, event: dict[str, Any]) -> None:
        self.history.truncate(event["item_id"], event["content_index"], event["audio_end_ms"])
        self.emit(
            "conversation.item.truncated",
            item_id=event["item_id"], content_index=event["content_index"], audio_end_ms=event["audio_end_ms"],
        )  # fmt: skip

    def _delete_item(self, event: dict[str, Any]) -> None:
        self.history.items.remove(self.history.require(event["item_id"], "delete"))
        self.emit("conversation.item.deleted", item_id=event["item_id"])

    def _retrieve_item(self, event: dict[str, Any]) -> None:
        item = self.history.require(event["item_id"], "retrieve")
        self.emit("conversation.item.retrieved", item=item.wire(base64.b64encode(item.audio).decode()))

    def _create_response(self, event: dict[str, Any]) -> None:
        # An option that is null has the session's value. LiveKit's plugin sends `instructions: null`.
        asked = {key: value for key, value in (event.get("response") or {}).items() if value is not None}
        settings.check_response(self.session["model"], asked)
        self._respond(asked, self._context(asked))

    def _context(self, asked: dict[str, Any]) -> list[Item]:
        """The items that a response sees: those of `input`, or the conversation's if there is no `input`."""
        if "input" not in asked:
            return self.history.items
        items = []
        for part in asked["input"]:
            if isinstance(part, dict) and part.get("type") == "item_reference":
                items.append(self.history.require(str(part.get("id")), "retrieve"))
            else:
                items.append(item_from_wire(part, self.new_id("item"), self._hear, None))
        return items

    def _cancel_response(self, event: dict[str, Any]) -> None:
        self._responses.cancel(event.get("response_id"))

    def _close_session(self, event: dict[str, Any]) -> None:
        self.close(1000, "")

    _handlers: Mapping[str, Callable[[RealtimePeer, dict[str, Any]], None]] = {
        "session.update": _session_update,
        "session.close": _close_session,
        "session.input_audio_buffer.append": _append,
        "input_audio_buffer.append": _append,
        "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear,
        "conversation.item.create": _create_item,
        "conversation.item.truncate": _truncate_item,
        "conversation.item.delete": _delete_item,
        "conversation.item.retrieve": _retrieve_item,
        "response.create": _create_response,
        "response.cancel": _cancel_response,
    }

    # Turns of the caller

    def _speech_started(self, audio_start_ms: int) -> None:
        self._idle_round += 1
        self._speech_item, self._speech_start_ms = self.new_id("item"), audio_start_ms
        fields = {"audio_start_ms": audio_start_ms, "item_id": self._speech_item}
        if self._detection.get("interrupt_response", True):
            self._responses.interrupt(lambda: self.emit("input_audio_buffer.speech_started", **fields))
        else:
            self.emit("input_audio_buffer.speech_started", **fields)

    def _speech_stopped(self, audio_end_ms: int) -> None:
        self._responses.settle()
        item_id, self._speech_item = self._speech_item, ""
        self.emit("input_audio_buffer.speech_stopped", audio_end_ms=audio_end_ms, item_id=item_id)
        self._committed(item_id, self._input.take(self._speech_start_ms, audio_end_ms))
        if self._detection.get("create_response", True):
            self._respond_by_itself()

    def _committed(self, item_id: str, samples: Any) -> None:
        self._turns += 1
        form = self.session["audio"]["input"]["format"]
        text = self._recogniser.transcribe(samples, rate_hz(form))
        self.report.heard.append(text)
        self.report.story.append(f"heard {text!r}" if text else "heard no words")
        audio_ms = len(samples) * 1000 // rate_hz(form)
        item = Item(item_id, "message", "user", text=text, audio_ms=audio_ms, audio=samples.astype("<i2").tobytes())
        item.content = [{"type": "input_audio", "transcript": None}]
        previous = self.history.add(item)
        self.emit("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        self._announce(item, previous)
        settings = self.session["audio"]["input"]["transcription"]
        if settings is not None:
            transcribe(self, self._agenda, item, settings["model"], self.faults)

    def _announce(self, item: Item, previous: str | None) -> None:
        self.emit("conversation.item.added", previous_item_id=previous, item=item.wire())
        self.emit("conversation.item.done", previous_item_id=previous, item=item.wire())

    def _hear(self, data: bytes) -> tuple[str, int]:
        """The words and the length (ms) of an input_audio part in a client's item."""
        buffer = InputBuffer()
        buffer.configure({**self.session["audio"]["input"], "turn_detection": None})
        if len(data) % bytes_a_sample(self.session["audio"]["input"]["format"]):
            raise RefusedError(errors.NOT_BASE64)
        buffer.append(data)
        held_ms = round(buffer.held_ms)
        return self._recogniser.transcribe(buffer.take(), rate_hz(self.session["audio"]["input"]["format"])), held_ms

    # The model's turns

    def _respond_by_itself(self) -> None:
        try:
            self._respond({}, self.history.items)
        except RefusedError as refused:
            self._error(refused.refusal)

    def _respond(self, asked: dict[str, Any], items: list[Item]) -> None:
        self._idle_round += 1
        known = len(self.report.notes)
        said = self._responses.respond(self.session, asked, items, self._turns)
        self.report.story += self.report.notes[known:]
        if said:
            self.report.said.append(said)
            self.report.story.append(f"says {said!r}")

    def _response_is_over(self, audio_ms: int) -> None:
        self._idle_round += 1
        idle_ms = self._detection.get("idle_timeout_ms")
        if idle_ms is not None:
            round_, since_ms = self._idle_round, round(self._input.clock_ms)
            self._agenda.after((audio_ms + idle_ms) / 1000, lambda: self._idle(round_, since_ms))

    def _idle(self, round_: int, since_ms: int) -> None:
        """Nobody has spoken for a while after the last answer: make an empty turn (docs/protocol/openai.md 2.3)."""
        if round_ != self._idle_round or self._input.speaking or not self._detection.get("idle_timeout_ms"):
            return
        item_id, now_ms = self.new_id("item"), round(self._input.clock_ms)
        self.emit("input_audio_buffer.timeout_triggered", audio_start_ms=since_ms, audio_end_ms=now_ms, item_id=item_id)
        self._committed(item_id, self._input.take())
        self._respond_by_itself()

    # Small things

    @property
    def _detection(self) -> dict[str, Any]:
        return self.session["audio"]["input"]["turn_detection"] or {}

    def _error(self, why: Refusal, client_event_id: str | None = None) -> None:
        self.report.errors.append(why.message)
        self.report.story.append(f"refuses: {why.message}")
        self.emit("error", error=why.fields(client_event_id))
