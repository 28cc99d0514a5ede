"""Checks a client's events before the session handles them, and makes the items that a client creates."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from relay.standin.model.errors import (
    BINARY_FRAME,
    NO_TYPE,
    NOT_BASE64,
    NOT_JSON,
    Refusal,
    RefusedError,
    below_minimum,
    invalid_type,
    invalid_value,
    missing_parameter,
    unknown_parameter,
)
from relay.standin.model.items import History, Item

Kind = type | tuple[type, ...]

# The keys of each event, with the JSON types of their values. `!` marks required keys (docs/protocol/openai.md 2.1).
EVENTS: Mapping[str, Mapping[str, Kind]] = {
    "session.update": {"session!": dict},
    "session.close": {},
    "session.input_audio_buffer.append": {"audio!": str},
    "input_audio_buffer.append": {"audio!": str},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "conversation.item.create": {"item!": dict, "previous_item_id": (str, type(None))},
    "conversation.item.truncate": {"item_id!": str, "content_index!": int, "audio_end_ms!": int},
    "conversation.item.delete": {"item_id!": str},
    "conversation.item.retrieve": {"item_id!": str},
    "response.create": {"response": (dict, type(None))},
    "response.cancel": {"response_id": str},
}
ITEMS: Mapping[str, Mapping[str, Kind]] = {
    "message": {"role!": str, "content!": list},
    "function_call": {"call_id": str, "name!": str, "arguments!": str},
    "function_call_output": {"call_id!": str, "output!": str},
}
ALWAYS: Mapping[str, Kind] = {"id": (str, type(None)), "type": str, "object": str, "status": str}
CONTENT: Mapping[str, Mapping[str, Mapping[str, Kind]]] = {
    "system": {"input_text": {"text!": str}},
    "user": {
        "input_text": {"text!": str},
        "input_audio": {"audio!": str, "transcript": (str, type(None))},
        "input_image": {"image_url!": str, "detail": str},
    },
    # A client may not create an item with audio of the assistant (docs/protocol/openai.md 1.4).
    "assistant": {"output_text": {"text!": str}},
}
NAMES = {str: "a string", int: "an integer", dict: "an object", list: "an array"}


def decoded(message: str | bytes) -> dict[str, Any]:
    """The event in a WebSocket message (docs/protocol/openai.md 1.3).

    Raises RefusedError if it is not a JSON object with a `type`.
    """
    if isinstance(message, bytes):
        raise RefusedError(BINARY_FRAME)
    try:
        event = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise RefusedError(NOT_JSON) from None
    if not isinstance(event, dict) or "type" not in event:
        raise RefusedError(NO_TYPE)
    return event


def check_client_event(event: dict[str, Any]) -> None:
    """Check the event's type, its keys and the types of their values. Raises RefusedError with the real server's
    text."""
    if not isinstance(event["type"], str):
        raise RefusedError(invalid_type("type", "a string", event["type"]))
    if event["type"] not in EVENTS:
        raise RefusedError(invalid_value("type", event["type"], tuple(EVENTS)))
    _check("", event, {**EVENTS[event["type"]], "type": str, "event_id": (str, type(None))})
    if event["type"] == "conversation.item.truncate" and event["audio_end_ms"] < 0:
        raise RefusedError(below_minimum("audio_end_ms", 0, event["audio_end_ms"]))


def item_from_wire(wire: Any, fresh_id: str, hear: Callable[[bytes], tuple[str, int]], history: History | None) -> Item:
    """Make the item that a client wants to create. `hear` returns the text and the length (ms) of the item's audio.

    If `history` is given and the item is a function's output, the history must have the function call.
    """
    if not isinstance(wire, dict):
        raise RefusedError(invalid_type("item", "an object", wire))
    kind = wire.get("type", "message" if "role" in wire else None)
    if kind is None:
        raise RefusedError(missing_parameter("item.type"))
    if not isinstance(kind, str):
        raise RefusedError(invalid_type("item.type", "a string", kind))
    if kind not in ITEMS:
        raise RefusedError(invalid_value("item.type", kind, tuple(ITEMS)))
    _check("item.", wire, {**ITEMS[kind], **ALWAYS})
    item = Item(wire.get("id") or fresh_id, kind)
    if kind == "message":
        _read_message(item, wire, hear)
    else:
        item.call_id = wire.get("call_id") or "call_" + fresh_id.partition("_")[2]
        item.name, item.arguments = wire.get("name", ""), wire.get("arguments", "")
        item.output = wire.get("output", "")
    if kind == "function_call_output" and history is not None:
        calls = [each for each in history.items if each.type == "function_call" and each.call_id == item.call_id]
        if not calls:
            message = f"Tool call ID '{item.call_id}' not found in conversation."
            raise RefusedError(Refusal(message, "invalid_tool_call_id", "item.call_id"))
    return item


def _read_message(item: Item, wire: dict[str, Any], hear: Callable[[bytes], tuple[str, int]]) -> None:
    if wire["role"] not in CONTENT:
        raise RefusedError(invalid_value("item.role", wire["role"], tuple(CONTENT)))
    item.role = wire["role"]
    texts = []
    for index, part in enumerate(wire["content"]):
        path = f"item.content[{index}]"
        if not isinstance(part, dict):
            raise RefusedError(invalid_type(path, "an object", part))
        allowed = CONTENT[item.role]
        if "type" not in part:
            raise RefusedError(missing_parameter(f"{path}.type"))
        if not isinstance(part["type"], str):
            raise RefusedError(invalid_type(f"{path}.type", "a string", part["type"]))
        if part["type"] not in allowed:
            raise RefusedError(invalid_value(f"{path}.type", part["type"], tuple(allowed)))
        _check(f"{path}.", part, {**allowed[part["type"]], "type": str})
        shown = {key: value for key, value in part.items() if key != "audio"}
        if part["type"] == "input_audio":
            text, audio_ms = hear(decoded_audio(part["audio"]))
            texts.append(text)
            item.audio_ms += audio_ms
            shown = {"type": "input_audio", "transcript": None}
        else:
            texts.append(part.get("text", ""))
        item.content.append(shown)
    item.text = " ".join(texts)


def decoded_audio(text: str) -> bytes:
    """Decode audio in base64. Raises RefusedError if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(NOT_BASE64) from None


def _check(path: str, value: dict[str, Any], keys: Mapping[str, Kind]) -> None:
    known = {key.rstrip("!"): kind for key, kind in keys.items()}
    for key in value:
        if key not in known:
            raise RefusedError(unknown_parameter(path + key))
    for key, kind in keys.items():
        name = key.rstrip("!")
        if name not in value:
            if key.endswith("!"):
                raise RefusedError(missing_parameter(path + name))
            continue
        if not isinstance(value[name], kind) or isinstance(value[name], bool):
            expected = NAMES[kind[0] if isinstance(kind, tuple) else kind]
            raise RefusedError(invalid_type(path + name, expected, value[name]))
