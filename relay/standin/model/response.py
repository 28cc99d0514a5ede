"""One response of the stand-in model.

Its events come in the order and at the pace of the real model (docs/protocol/openai.md 2.3, 3). `Response.run` is a
generator that yields the seconds to wait before it goes on. `stop` ends the response early, and sends the closing
events with the content so far.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from relay.standin.model.audio import bytes_per_ms, to_wire
from relay.standin.model.errors import failure
from relay.standin.model.items import CHARACTERS_A_TOKEN, History, Item, tokens_of, usage
from relay.standin.model.reactions import Plan
from relay.standin.model.script import Faults, Script

HUGE_EVENT_BYTES = 15 * 2**20
TEXT_DELTA_S = 0.02
ARGUMENTS_DELTA_S = 0.02


class Stage(Protocol):
    """What a response needs from its session."""

    history: History
    chance: random.Random
    script: Script
    session_id: str

    def emit(self, type_: str, **fields: Any) -> None:
        """Send an event."""

    def new_id(self, prefix: str) -> str:
        """An id in the form of the server's ids."""

    def padding(self) -> str:
        """The value of an event's field `obfuscation`.

        Its length is random, so that the length of a frame does not show the length of the text in it.
        """

    def close(self, code: int, reason: str) -> None:
        """End the session. Code 1006 cuts the connection in the middle of the last message."""

    def called(self, call_id: str, plan: Plan) -> None:
        """Note that the response calls a function."""


@dataclass
class Order:
    """What a response.create asks for. An option that it does not name has the session's value."""

    plan: Plan
    speech: list[tuple[str, bytes]]  # The messages to say: the text and the mu-law of each.
    modality: str  # The output: audio | text.
    format: dict[str, Any]
    voice: Any
    max_output_tokens: int | str
    metadata: dict[str, str] | None
    input_tokens: dict[str, Any]
    conversation_id: str | None  # None if the response is out of band, so that it is not part of the conversation.


@dataclass
class _Open:
    """An item of the response whose closing events were not sent yet."""

    item: Item
    index: int
    said: str = ""
    audio_ms: int = 0


class Response:
    """One response, from response.created to response.done."""

    def __init__(self, stage: Stage, order: Order, faults: Faults) -> None:
        self.id = stage.new_id("resp")
        self.over = False
        self.order = order
        self.audio_ms = 0
        self._stage, self._faults = stage, faults
        self._output: list[Item] = []
        self._open: list[_Open] = []
        self._said = ""
        self._arguments = ""
        self._deltas = 0
        self._per_ms = bytes_per_ms(order.format)
        self._unsent = b""  # The audio of the current message that was not sent yet.
        self._limit = order.max_output_tokens if isinstance(order.max_output_tokens, int) else sys.maxsize
        self._limited = False

    def run(self) -> Iterator[float]:
        """Generate the response. Yields the seconds to wait."""
        self._emit("response.created", response=self._wire("in_progress", None, None))
        low_ms, high_ms = self._stage.script.first_delta_ms
        yield self._stage.chance.uniform(low_ms, high_ms) / 1000
        if self._faults.response_failed:
            self._fail(self._faults.response_failed)
            return
        plan = self.order.plan if not self._faults.empty_response else Plan()
        if plan.say:
            yield from self._speak() if self.order.modality == "audio" else self._write(plan.say)
        if plan.call and not self._limited:
            yield from self._call(plan)
        if not self.over:
            incomplete = {"type": "incomplete", "reason": "max_output_tokens"}
            self._finish("incomplete", incomplete) if self._limited else self._finish("completed", None)

    def stop(self, reason: str) -> None:
        """Cancel the response. The reason is `turn_detected` or `client_cancelled`."""
        if self.over:
            return
        late = self._late_deltas()
        self._close_open("incomplete")
        self._finish("cancelled", {"type": "cancelled", "reason": reason})
        for event in late:
            self._emit("response.output_audio.delta", **event)

    # The message

    def _speak(self) -> Iterator[float]:
        """Speak all messages. If there are several, all are closed at the end of the last one."""
        step = self._stage.script.delta_ms * self._per_ms
        pace = self._faults.pace or self._stage.script.pace
        # A token of audio is 50 ms. For three tokens of audio there is one of text (docs/protocol/openai.md 5).
        left = self._limit * 3 // 4 * 50 * self._per_ms
        for words, mulaw in self.order.speech:
            if self._limited:
                break
            message = self._begin_message({"type": "audio", "transcript": ""})
            whole = self._unsent = to_wire(mulaw, self.order.format)
            while self._unsent and left:
                yield from self._mishap()
                data, self._unsent = self._unsent[: min(step, left)], self._unsent[min(step, left) :]
                left -= len(data)
                self._words_until(message, words[: len(words) * (len(whole) - len(self._unsent)) // len(whole)])
                self._send_audio(message, data)
                yield from self._hang_up()
                yield len(data) / self._per_ms / 1000 / pace
            self._limited = bool(self._unsent)
        self._close_open("incomplete" if self._limited else "completed")

    def _words_until(self, message: _Open, said: str) -> None:
        """Send the transcript up to `said`. Text comes a little before its audio (docs/protocol/openai.md 2.3)."""
        part, message.said = said[len(message.said) :], said
        if part:
            self._said += part
            self._emit(
                "response.output_audio_transcript.delta",
                **self._at(message), delta=part, obfuscation=self._stage.padding(),
            )  # fmt: skip

    def _send_audio(self, message: _Open, data: bytes) -> None:
        odd = self._faults.odd_deltas and len(data) > 1
        pieces = [data[: len(data) // 2 - 1 + len(data) // 2 % 2], data[len(data) // 2 - 1 + len(data) // 2 % 2 :]]
        for piece in pieces if odd else [data]:
            self._emit("response.output_audio.delta", **self._at(message), delta=base64.b64encode(piece).decode())
        self._deltas += 1
        self.audio_ms += len(data) // self._per_ms
        message.audio_ms += len(data) // self._per_ms
        if not message.item.truncated:  # The client may truncate an item while it is being spoken.
            message.item.audio += data
            message.item.audio_ms = message.audio_ms

    def _late_deltas(self) -> list[dict[str, Any]]:
        """The deltas that the fault `late_deltas` sends after the cancellation.

        They are the deltas that would have come next. The first of them comes twice.
        """
        step = self._stage.script.delta_ms * self._per_ms
        pieces = [self._unsent[start : start + step] for start in range(0, len(self._unsent), step)]
        late = [*pieces[:1], *pieces][: self._faults.late_deltas]
        return [{**self._at(self._open[-1]), "delta": base64.b64encode(each).decode()} for each in late]

    def _write(self, text: str) -> Iterator[float]:
        message = self._begin_message({"type": "text", "text": ""})
        end = min(len(text), self._limit * CHARACTERS_A_TOKEN)
        for start in range(0, end, 16):
            yield from self._mishap()
            part = text[start : min(start + 16, end)]
            message.said += part
            self._said += part
            self._deltas += 1
            self._emit("response.output_text.delta", **self._at(message), delta=part, obfuscation=self._stage.padding())
            yield from self._hang_up()
            yield TEXT_DELTA_S
        self._limited = end < len(text)
        self._close_open("incomplete" if self._limited else "completed")

    def _begin_message(self, part: dict[str, str]) -> _Open:
        message = self._begin(Item(self._stage.new_id("item"), "message", "assistant", "in_progress"))
        self._emit("response.content_part.added", **self._at(message), part=part)
        return message

    def _begin(self, item: Item) -> _Open:
        begun = _Open(item, len(self._output))
        self._open.append(begun)
        self._output.append(item)
        wire = item.wire()
        self._emit("response.output_item.added", response_id=self.id, output_index=begun.index, item=wire)
        if self.order.conversation_id is not None:
            previous = self._stage.history.add(item)
            self._emit("conversation.item.added", previous_item_id=previous, item=wire)
        return begun

    # The function call

    def _call(self, plan: Plan) -> Iterator[float]:
        call_id = self._stage.new_id("call")
        self._stage.called(call_id, plan)
        item = Item(self._stage.new_id("item"), "function_call", status="in_progress", call_id=call_id, name=plan.call)
        index = self._begin(item).index
        whole = json.dumps(dict(plan.arguments))
        stop_at = min(len(whole), (self._limit - sum(self._output_tokens())) * CHARACTERS_A_TOKEN)
        self._limited = stop_at < len(whole)
        if self._faults.broken_arguments:
            stop_at = len(whole) // 2
        for start in range(0, stop_at, 12):
            yield ARGUMENTS_DELTA_S
            part = whole[start : min(start + 12, stop_at)]
            self._arguments += part
            self._emit(
                "response.function_call_arguments.delta",
                response_id=self.id, item_id=item.id, output_index=index, call_id=call_id, delta=part,
                obfuscation=self._stage.padding(),
            )  # fmt: skip
        if self._faults.broken_arguments:
            self.stop("turn_detected")
        else:
            self._close_open("incomplete" if self._limited else "completed")

    # The end

    def _close_open(self, status: str) -> None:
        """Send the closing events of the open items.

        These events also come if the response was cancelled (docs/protocol/openai.md 2.2). Then only the last item is
        incomplete.
        """
        open_, self._open = self._open, []
        for each in open_:
            self._close(each, status if each is open_[-1] else "completed")

    def _close(self, closing: _Open, status: str) -> None:
        item = closing.item
        item.status = status
        if item.type == "function_call":
            item.arguments = self._arguments
            self._emit(
                "response.function_call_arguments.done",
                response_id=self.id, item_id=item.id, output_index=closing.index, call_id=item.call_id, name=item.name,
                arguments=item.arguments,
            )  # fmt: skip
        else:
            self._close_part(closing)
        last: list[tuple[str, dict[str, Any]]] = []
        if self.order.conversation_id is not None and self._stage.history.find(item.id):
            before = self._stage.history.before(item)
            last.append(("conversation.item.done", {"previous_item_id": before, "item": item.wire()}))
        done = {"response_id": self.id, "output_index": closing.index, "item": item.wire()}
        last.append(("response.output_item.done", done))
        for type_, fields in reversed(last) if self._faults.swap_done else last:
            self._emit_closing(type_, **fields)

    def _close_part(self, closing: _Open) -> None:
        at, item, said = self._at(closing), closing.item, closing.said
        if not item.truncated:  # The truncation has already shortened the text.
            item.text = said
        if self.order.modality == "audio":
            item.content = [{"type": "output_audio", "transcript": None if item.truncated else said}]
            self._emit("response.output_audio.done", **at)
            self._emit("response.output_audio_transcript.done", **at, transcript=said)
            self._emit("response.content_part.done", **at, part={"type": "audio", "transcript": said})
        else:
            item.content = [{"type": "output_text", "text": said}]
            self._emit("response.output_text.done", **at, text=said)
            self._emit("response.content_part.done", **at, part={"type": "text", "text": said})

    def _fail(self, what: str) -> None:
        refusal = failure(what, self._stage.session_id)
        error = {"type": refusal.type, "code": refusal.code, "message": refusal.message}
        self._finish("failed", {"type": "failed", "error": error})

    def _finish(self, status: str, details: dict[str, Any] | None) -> None:
        self.over = True
        bill = usage(self.order.input_tokens, *self._output_tokens())
        spent = None if self._faults.null_usage or status == "failed" else bill
        self._emit_closing("response.done", response=self._wire(status, details, spent))

    def _output_tokens(self) -> tuple[int, int]:
        """The text tokens and audio tokens so far, function calls included."""
        audio = self.audio_ms // 50
        words = audio // 3 if audio else tokens_of(self._said)
        return words + tokens_of(self._arguments), audio

    def _wire(self, status: str, details: dict[str, Any] | None, spent: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.wire() for item in self._output],
            "conversation_id": self.order.conversation_id,
            "output_modalities": [self.order.modality],
            "max_output_tokens": self.order.max_output_tokens,
            "audio": {"output": {"format": self.order.format, "voice": self.order.voice}},
            "usage": spent,
            "metadata": self.order.metadata,
        }

    # Faults, and small things

    def _mishap(self) -> Iterator[float]:
        """Do a fault before the next delta is sent, if the script orders one for this moment."""
        faults = self._faults
        if faults.huge_event and self._deltas == 1:
            padding = "x" * HUGE_EVENT_BYTES
            at = self._at(self._open[-1])
            self._emit("response.output_audio_transcript.delta", **at, delta="", obfuscation=padding)
        if faults.stall_after_deltas == self._deltas:
            yield faults.stall_s or float("inf")

    def _hang_up(self) -> Iterator[float]:
        """End the connection if the script names the last delta. Code 1006 cuts it in the message of that delta."""
        if self._faults.close_after_deltas == self._deltas:
            self._stage.close(self._faults.close_code, "")
            yield float("inf")

    def _emit(self, type_: str, **fields: Any) -> None:
        self._stage.emit(type_, **fields)

    def _emit_closing(self, type_: str, **fields: Any) -> None:
        event_id = self._stage.new_id("event")
        for _ in range(2 if self._faults.duplicate_ids else 1):
            self._emit(type_, event_id=event_id, **fields)

    def _at(self, place: _Open) -> dict[str, Any]:
        return {"response_id": self.id, "item_id": place.item.id, "output_index": place.index, "content_index": 0}
