"""Turns OpenAI's messages (Realtime API, GA) into our events, and our actions into messages.

Only the keys that the relay needs are decoded, into one struct for all events. Unknown events and keys are ignored.
Caller audio is sent fifty times a second, so its message is made from a byte template. Source: OpenAI API reference,
Realtime events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec
import pybase64

from relay.call.actions import (
    CANCEL_PREFIX,
    AskForResponse,
    CancelResponse,
    CreateFunctionPair,
    CreateItem,
    DeleteItem,
    SendFunctionOutput,
    TruncateItem,
)
from relay.call.vocabulary import (
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    Event,
    FunctionAsked,
    ItemId,
    ItemPlaced,
    ModelObjected,
    ModelWorded,
    RateLimitsTold,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
)


class ModelProtocolError(Exception):
    """A message from OpenAI breaks the protocol. The text says what is wrong. It has no words of the conversation."""


class _Error(msgspec.Struct):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class _Item(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    role: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _StatusDetails(msgspec.Struct):
    reason: str | None = None
    error: _Error | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    status: str | None = None
    status_details: _StatusDetails | None = None
    usage: dict[str, object] | None = None
    metadata: dict[str, object] | None = None


class _RateLimit(msgspec.Struct):
    limit: float | None = None
    remaining: float | None = None


class Message(msgspec.Struct):
    """A server event, with the keys that the relay reads. All other keys are skipped without decoding."""

    type: str
    event_id: str | None = None
    response_id: str | None = None
    item_id: str | None = None
    previous_item_id: str | None = None
    delta: str | None = None
    transcript: str | None = None
    audio_start_ms: float | None = None
    audio_end_ms: float | None = None
    item: _Item | None = None
    response: _Response | None = None
    error: _Error | None = None
    usage: dict[str, object] | None = None
    rate_limits: list[_RateLimit] | None = None
    session: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(Message)
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Message) if field.name != "session"}
_encode = msgspec.json.Encoder().encode

AUDIO_DELTA = "response.output_audio.delta"
AUDIO_DONE = "response.output_audio.done"
TEXT_DELTA = "response.output_text.delta"
TEXT_DONE = "response.output_text.done"
RESPONSE_DONE = "response.done"
ITEM_DONE = "response.output_item.done"

# Events of the API that cause no event of the machine. They do not count as unknown. Two files read some of them:
# client.py (`session.created`, `session.updated`) and session/spoken_answers.py (TEXT_DONE).
_KNOWN_AND_SKIPPED = frozenset(
    {
        "session.created",
        "session.updated",
        "conversation.created",
        "conversation.item.created",
        "conversation.item.done",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "input_audio_buffer.timeout_triggered",
        "response.output_item.added",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_audio_transcript.done",
        TEXT_DONE,
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    }
)


def decode(message: bytes) -> Message:
    """Decode a server event. Raises ModelProtocolError if it is no JSON object with a type.

    A field that cannot be read is left out. But if this field is the `delta`, `decode` raises ModelProtocolError.
    """
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _decode_what_can_be_read(message, error)


def _decode_what_can_be_read(message: bytes, error: Exception) -> Message:
    """Decode an event field by field, which is slow.

    It may have a lone surrogate (half an emoji), broken UTF-8, or a field of another type than documented.
    """
    try:
        table = json.loads(message.decode(errors="replace"))
        kind = table["type"]
    except (ValueError, RecursionError, TypeError, KeyError):
        kind = None
    if not isinstance(kind, str):
        raise ModelProtocolError(f"an event of {len(message)} bytes could not be read: {error}") from None
    fields: dict[str, Any] = {}
    for name, value in table.items():
        if name in _FIELDS:
            try:
                fields[name] = msgspec.convert(_whole_text(value), _FIELDS[name])
            except msgspec.ValidationError:
                if name == "delta":  # Without its delta, such an event says nothing.
                    raise ModelProtocolError(f"an event of {len(message)} bytes could not be read: {error}") from None
    if isinstance(table.get("session"), dict):
        fields["session"] = msgspec.Raw(_encode(_whole_text(table["session"])))
    return Message(**fields)


def _whole_text(value: Any) -> Any:
    """The value without lone surrogates, because text that has one cannot be encoded."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_text(each) for each in value]
    if isinstance(value, dict):
        return {_whole_text(key): _whole_text(each) for key, each in value.items()}
    return value


def is_known(message: Message) -> bool:
    """True for an event that the relay reads, or ignores on purpose."""
    return message.type in _READERS or message.type in _KNOWN_AND_SKIPPED or message.type in (AUDIO_DELTA, AUDIO_DONE)


def parse(raw: bytes) -> tuple[Message, Event | None]:
    """Decode a server event. Returns the results of `decode` and of `event_of`. Raises ModelProtocolError."""
    message = decode(raw)
    return message, event_of(message)


def event_of(message: Message) -> Event | None:
    """The machine's event for this message.

    None if the machine does not need it. Audio deltas give None, because session/call_session.py reads them itself.
    """
    reader = _READERS.get(message.type)
    return reader(message) if reader else None


def _need(value: str | None, what: str, message: Message) -> str:
    if not value:
        raise ModelProtocolError(f"{message.type} came without {what}")
    return value


def _spoke(m: Message) -> Event:
    return CallerSpoke(ItemId(_need(m.item_id, "item_id", m)), int(m.audio_start_ms or 0))


def _paused(m: Message) -> Event:
    return CallerPaused(ItemId(_need(m.item_id, "item_id", m)), int(m.audio_end_ms or 0))


def _committed(m: Message) -> Event:
    previous = ItemId(m.previous_item_id) if m.previous_item_id else None
    return CallerCommitted(ItemId(_need(m.item_id, "item_id", m)), previous)


def _transcribed(m: Message) -> Event:
    return CallerTranscribed(ItemId(_need(m.item_id, "item_id", m)), m.transcript or "", m.usage)


def _not_transcribed(m: Message) -> Event:
    return CallerTranscribed(ItemId(_need(m.item_id, "item_id", m)), None)


def _placed(m: Message) -> Event | None:
    if m.item is None or not m.item.id:
        return None
    previous = ItemId(m.previous_item_id) if m.previous_item_id else None
    return ItemPlaced(ItemId(m.item.id), previous, m.item.role or m.item.type or "")


def _began(m: Message) -> Event:
    if m.response is None:
        raise ModelProtocolError("response.created came without a response")
    ref = (m.response.metadata or {}).get("ref")
    return ResponseBegan(ResponseId(_need(m.response.id, "an id", m)), ref if isinstance(ref, str) else None)


def _ended(m: Message) -> Event | None:
    if m.response is None:
        raise ModelProtocolError("response.done came without a response")
    r = m.response
    detail = r.status_details.reason if r.status_details else None
    error = r.status_details.error if r.status_details else None
    if detail is None and error is not None:
        detail = error.code or error.type or error.message
    response_id = ResponseId(_need(r.id, "an id", m))
    return ResponseEnded(response_id, r.status or "completed", detail, r.usage, _retry_after_s(error))


# Finds the time in "Rate limit reached for ... Please try again in 2.5s.", also "in 820ms" and "in 1m2.5s".
_TRY_AGAIN = re.compile(r"try again in (?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|s))?", re.IGNORECASE)
# If the server refuses because of a rate limit and names no time, the relay waits this long.
RATE_LIMIT_S = 1.0


def _retry_after_s(error: _Error | None) -> float | None:
    """How many seconds to wait before the next request. None if the error names no time and is no rate limit."""
    if error is None:
        return None
    found = _TRY_AGAIN.search(error.message or "")
    if found is not None and any(found.groups()):
        hours, minutes, number, unit = found.groups()
        seconds = float(number or 0) / (1000 if unit and unit.lower() == "ms" else 1)
        return int(hours or 0) * 3600 + int(minutes or 0) * 60 + seconds
    return RATE_LIMIT_S if error.code == "rate_limit_exceeded" else None


def _worded(m: Message) -> Event:
    response_id = ResponseId(_need(m.response_id, "response_id", m))
    return ModelWorded(response_id, ItemId(_need(m.item_id, "item_id", m)), m.delta or "")


def _item_done(m: Message) -> Event | None:
    item = m.item
    if item is None or item.type != "function_call" or item.status != "completed":
        return None  # The arguments of a cancelled function call may not be complete.
    if not item.call_id or not item.name:
        raise ModelProtocolError("a function call came without call_id or name")
    response_id, item_id = ResponseId(m.response_id or ""), ItemId(item.id or "")
    return FunctionAsked(response_id, item.call_id, item.name, item.arguments or "{}", item_id)


def _limits(m: Message) -> Event | None:
    known = [each for each in m.rate_limits or [] if each.limit and each.remaining is not None]
    shares = [max(0.0, (each.remaining or 0.0) / each.limit) for each in known if each.limit]
    return RateLimitsTold(min(shares)) if shares else None


def _erred(m: Message) -> Event:
    error = m.error or _Error()
    return ModelObjected(
        error.code or error.type or "unknown", error.message or "", error.event_id, _retry_after_s(error)
    )


_READERS = {
    "input_audio_buffer.speech_started": _spoke,
    "input_audio_buffer.speech_stopped": _paused,
    "input_audio_buffer.committed": _committed,
    "conversation.item.input_audio_transcription.completed": _transcribed,
    "conversation.item.input_audio_transcription.failed": _not_transcribed,
    "conversation.item.added": _placed,
    "response.created": _began,
    RESPONSE_DONE: _ended,
    "response.output_audio_transcript.delta": _worded,
    TEXT_DELTA: _worded,  # From a model that answers in text. Another voice speaks it.
    ITEM_DONE: _item_done,
    "rate_limits.updated": _limits,
    "error": _erred,
}


# From us to OpenAI


def append_audio(pcm24k: bytes) -> bytes:
    """Make the message with caller audio: PCM16, little-endian, 24 kHz."""
    return b'{"type":"input_audio_buffer.append","audio":"%b"}' % pybase64.b64encode(pcm24k)


def update_session(session: dict[str, object]) -> bytes:
    """Make `session.update`. The server changes only the keys that are in it."""
    return _encode({"type": "session.update", "session": session})


# Makes a model that answers in text speak from now on. This is allowed at any time. After the first sound, the voice
# cannot be changed (OpenAI API reference, session.update).
SPEAK = update_session({"type": "realtime", "output_modalities": ["audio"]})


ToModel = (
    AskForResponse | CancelResponse | TruncateItem | DeleteItem | CreateItem | CreateFunctionPair | SendFunctionOutput
)


def rendered(actions: Iterable[ToModel | bytes]) -> list[bytes]:
    """The messages for these actions, in order. Bytes are messages already."""
    return [message for action in actions for message in _rendered(action)]


def _rendered(action: ToModel | bytes) -> list[bytes]:
    match action:
        case bytes():
            return [action]
        case AskForResponse():
            return [ask_for_response(action)]
        case CancelResponse():
            return [cancel_response(action)]
        case TruncateItem():
            return [truncate_item(action)]
        case DeleteItem():
            return [delete_item(action)]
        case CreateItem():
            return [create_item(action)]
        case CreateFunctionPair():
            return create_function_pair(action)
        case SendFunctionOutput():
            return [function_output(action)]


def ask_for_response(action: AskForResponse) -> bytes:
    """Make `response.create`. Its metadata has the reference, and the response repeats it."""
    response: dict[str, object] = {"metadata": {"ref": action.ref}}
    if action.instructions is not None:
        response |= {"instructions": action.instructions, "tool_choice": "none"}
    return _encode({"type": "response.create", "event_id": action.ref, "response": response})


def cancel_response(action: CancelResponse) -> bytes:
    """Make `response.cancel` for one response. An error about it repeats the event id, which has the response's id."""
    event_id = f"{CANCEL_PREFIX}{action.response_id}"
    return _encode({"type": "response.cancel", "event_id": event_id, "response_id": action.response_id})


def truncate_item(action: TruncateItem) -> bytes:
    """Make `conversation.item.truncate`: the model forgets what the caller has not heard."""
    return _encode(
        {
            "type": "conversation.item.truncate",
            "item_id": action.item_id,
            "content_index": 0,
            "audio_end_ms": action.audio_end_ms,
        }
    )


def delete_item(action: DeleteItem) -> bytes:
    """Make `conversation.item.delete`."""
    return _encode({"type": "conversation.item.delete", "item_id": action.item_id})


def create_item(action: CreateItem) -> bytes:
    """Make a text item. For the API, text of the assistant is `output_text`, and all other text is `input_text`."""
    kind = "output_text" if action.role == "assistant" else "input_text"
    content = [{"type": kind, "text": action.text}]
    item = {"id": action.item_id, "type": "message", "role": action.role, "content": content}
    place = {} if action.behind is None else {"previous_item_id": action.behind}
    return _encode({"type": "conversation.item.create", **place, "item": item})


def create_function_pair(action: CreateFunctionPair) -> list[bytes]:
    """Make an earlier function call for a new session's conversation, with its output if there is one."""
    call = {
        "type": "function_call",
        "call_id": action.function_call_id,
        "name": action.name,
        "arguments": action.arguments,
    }
    messages = [_encode({"type": "conversation.item.create", "item": call})]
    if action.output is not None:
        messages.append(function_output(SendFunctionOutput(action.function_call_id, action.output)))
    return messages


def function_output(action: SendFunctionOutput) -> bytes:
    """Make the output of a function. The model answers this output only when it is asked to."""
    item = {"type": "function_call_output", "call_id": action.function_call_id, "output": action.output}
    return _encode({"type": "conversation.item.create", "item": item})


class _Format(msgspec.Struct):
    type: str | None = None
    rate: int | None = None


class _Side(msgspec.Struct):
    format: _Format | None = None


class _Audio(msgspec.Struct):
    input: _Side | None = None
    output: _Side | None = None


class _Session(msgspec.Struct):
    id: str = ""
    model: str = ""
    expires_at: float | None = None
    audio: _Audio | None = None


def session_of(message: Message) -> _Session:
    """Decode the session in `session.created` or `session.updated`."""
    if not bytes(message.session):
        raise ModelProtocolError(f"{message.type} came without a session")
    try:
        return msgspec.json.decode(message.session, type=_Session)
    except msgspec.DecodeError as error:
        raise ModelProtocolError(f"{message.type} could not be read: {error}") from None


def check_formats(session: _Session) -> None:
    """Raise ModelProtocolError if the audio is not PCM16 at 24 kHz in both directions.

    With any other format, the caller would hear noise.
    """
    for name in ("input", "output"):
        side = getattr(session.audio, name, None)
        found = side.format if side is not None else None
        if found is None or found.type != "audio/pcm" or found.rate not in (24000, None):
            seen = f"{found.type} at {found.rate}" if found else "no format"
            raise ModelProtocolError(f"the model's {name} audio is {seen}, asked for was audio/pcm at 24000")
