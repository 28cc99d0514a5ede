"""Each event of the stand-in model has exactly the keys that the real one's has (docs/protocol/openai.md 2.2).

The official types accept an event whose optional keys are missing. A strict client such as Pipecat's refuses it.
"""

from __future__ import annotations

from typing import Any

import pytest

from relay.standin.model.script import Faults, Reaction, Script
from tests.helpers.model_peer import BOOKING, HOURS_TOOL, listening
from tests.helpers.realtime_line import Line

RESPONSE = {
    "object", "id", "status", "status_details", "output", "conversation_id", "output_modalities", "max_output_tokens",
    "audio", "usage", "metadata",
}  # fmt: skip
SESSION = {
    "type", "object", "id", "model", "output_modalities", "instructions", "tools", "tool_choice", "max_output_tokens",
    "tracing", "truncation", "prompt", "expires_at", "audio", "include",
}  # fmt: skip
IN_ITEM = {"item_id", "content_index"}
IN_RESPONSE = {"response_id", "item_id", "output_index", "content_index"}
IN_CALL = {"response_id", "item_id", "output_index", "call_id"}
TRANSCRIPTION = "conversation.item.input_audio_transcription"
EVENTS = {
    "session.created": {"session"},
    "session.updated": {"session"},
    "input_audio_buffer.speech_started": {"audio_start_ms", "item_id"},
    "input_audio_buffer.speech_stopped": {"audio_end_ms", "item_id"},
    "input_audio_buffer.committed": {"previous_item_id", "item_id"},
    "input_audio_buffer.cleared": set(),
    "input_audio_buffer.timeout_triggered": {"audio_start_ms", "audio_end_ms", "item_id"},
    "conversation.item.added": {"previous_item_id", "item"},
    "conversation.item.done": {"previous_item_id", "item"},
    f"{TRANSCRIPTION}.delta": IN_ITEM | {"delta", "obfuscation"},
    f"{TRANSCRIPTION}.completed": IN_ITEM | {"transcript", "usage"},
    f"{TRANSCRIPTION}.failed": IN_ITEM | {"error"},
    "response.created": {"response"},
    "response.output_item.added": {"response_id", "output_index", "item"},
    "response.content_part.added": IN_RESPONSE | {"part"},
    "response.output_audio_transcript.delta": IN_RESPONSE | {"delta", "obfuscation"},
    "response.output_audio.delta": IN_RESPONSE | {"delta"},
    "response.output_audio.done": IN_RESPONSE,
    "response.output_audio_transcript.done": IN_RESPONSE | {"transcript"},
    "response.content_part.done": IN_RESPONSE | {"part"},
    "response.output_text.delta": IN_RESPONSE | {"delta", "obfuscation"},
    "response.output_text.done": IN_RESPONSE | {"text"},
    "response.function_call_arguments.delta": IN_CALL | {"delta", "obfuscation"},
    "response.function_call_arguments.done": IN_CALL | {"name", "arguments"},
    "response.output_item.done": {"response_id", "output_index", "item"},
    "response.done": {"response"},
    "conversation.item.truncated": IN_ITEM | {"audio_end_ms"},
    "conversation.item.deleted": {"item_id"},
    "conversation.item.retrieved": {"item"},
    "rate_limits.updated": {"rate_limits"},
    "error": {"error"},
}
ITEMS = {  # none of them has the key `object` (docs/protocol/openai.md 2.2)
    "message": {"id", "type", "status", "role", "content"},
    "function_call": {"id", "type", "status", "call_id", "name", "arguments"},
    "function_call_output": {"id", "type", "call_id", "output"},
}
# The same content has another name in CONTENT (of an item) than in PARTS: for example output_audio and audio.
CONTENT = {
    "input_text": {"text"}, "input_audio": {"transcript"}, "output_text": {"text"}, "output_audio": {"transcript"},
}  # fmt: skip
PARTS = {"audio": {"transcript"}, "text": {"text"}}
DETAILS = {
    "in_progress": None, "completed": None, "cancelled": {"type", "reason"}, "incomplete": {"type", "reason"},
    "failed": {"type", "error"},
}  # fmt: skip
USAGE = {"total_tokens", "input_tokens", "output_tokens", "input_token_details", "output_token_details"}
INPUT_USAGE = {"text_tokens", "audio_tokens", "image_tokens", "cached_tokens", "cached_tokens_details"}


def check_item(item: dict[str, Any], *, retrieved: bool = False) -> None:
    assert item.keys() == ITEMS[item["type"]]
    for part in item.get("content", ()):
        sound = {"audio"} if retrieved and "audio" in part["type"] else set()
        assert part.keys() == CONTENT[part["type"]] | sound | {"type"}


def check_response(response: dict[str, Any]) -> None:
    assert response.keys() == RESPONSE
    assert response["audio"].keys() == {"output"}
    assert response["audio"]["output"].keys() == {"format", "voice"}
    for item in response["output"]:
        check_item(item)
    details = response["status_details"]
    assert (details and details.keys()) == DETAILS[response["status"]]
    if response["status"] == "failed":
        assert details["error"].keys() == {"type", "code", "message"}
    if response["usage"] is not None:
        assert response["usage"].keys() == USAGE
        given = response["usage"]["input_token_details"]
        assert given.keys() == INPUT_USAGE
        assert given["cached_tokens_details"].keys() == {"text_tokens", "audio_tokens", "image_tokens"}
        assert response["usage"]["output_token_details"].keys() == {"text_tokens", "audio_tokens"}


def check(event: dict[str, Any]) -> None:
    type_ = event["type"]
    assert event.keys() == EVENTS[type_] | {"type", "event_id"}
    if "item" in event:
        check_item(event["item"], retrieved=type_ == "conversation.item.retrieved")
    if "part" in event:
        assert event["part"].keys() == PARTS[event["part"]["type"]] | {"type"}
    if "response" in event:
        check_response(event["response"])
    if type_ == f"{TRANSCRIPTION}.failed":
        assert event["error"].keys() == {"type", "code", "message", "param"}
    elif "error" in event:
        assert event["error"].keys() == {"type", "code", "message", "param", "event_id"}
    if "session" in event:
        check_session(event["session"])
    if "rate_limits" in event:
        assert [each.keys() for each in event["rate_limits"]] == [{"name", "limit", "remaining", "reset_seconds"}]


def check_session(session: dict[str, Any]) -> None:
    assert session.keys() == SESSION
    assert session["audio"]["input"].keys() == {"format", "transcription", "noise_reduction", "turn_detection"}
    assert session["audio"]["output"].keys() == {"format", "voice", "speed"}
    assert session["audio"]["input"]["turn_detection"].keys() == {
        "type", "threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms", "create_response",
        "interrupt_response",
    }  # fmt: skip
    transcription = session["audio"]["input"]["transcription"]
    assert transcription is None or transcription.keys() == {"model", "language", "prompt"}


def talk(line: Line, model: str) -> None:
    """A turn, an answer with a function call, an interruption, and everything that a client can do to items."""
    heard = listening(idle_timeout_ms=5000)["input"] | {"transcription": {"model": model}}
    line.configure(tools=[HOURS_TOOL], audio={"input": heard})
    line.caller("ask_hours")
    line.wait(2.5)
    for call in [each for each in line.peer.history.items if each.type == "function_call"]:
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "{}"}
        line.send("conversation.item.create", item=output)
    line.send("response.create")
    line.wait(0.75)
    line.caller("oh_wait")
    line.wait(3)
    spoken = next(each for each in line.peer.history.items if each.role == "assistant" and each.audio_ms)
    line.send("conversation.item.truncate", item_id=spoken.id, content_index=0, audio_end_ms=100)
    for item in list(line.peer.history.items):
        line.send("conversation.item.retrieve", item_id=item.id)
    line.send("conversation.item.delete", item_id=spoken.id)
    line.send("input_audio_buffer.clear")
    line.send("response.cancel")
    line.hear(12_000)
    line.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    line.send("response.create", response={"conversation": "none", "max_output_tokens": 1})
    line.wait(5)


def test_every_event_has_the_same_keys_as_the_real_event() -> None:
    lines = [
        Line(BOOKING),
        Line(Script(reactions=(Reaction(say="This answer is not said in one token."),))),
        Line(Script(faults=Faults(transcription_failed=True))),
        Line(Script(faults=Faults(response_failed="server_error", response=2))),
    ]
    for line, model in zip(
        lines, ("gpt-4o-mini-transcribe", "gpt-transcribe", "whisper-1", "gpt-transcribe"), strict=True
    ):
        talk(line, model)
        for _, event in line.events:
            check(event)
    events = [event for line in lines for _, event in line.events]
    assert {event["type"] for event in events} == EVENTS.keys()
    statuses = {event["response"]["status"] for event in events if "response" in event}
    assert statuses == DETAILS.keys()


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("gpt-4o-transcribe", {"type", "total_tokens", "input_tokens", "input_token_details", "output_tokens"}),
        ("whisper-1", {"type", "seconds"}),
    ],
)
def test_the_bill_of_a_transcription_has_the_keys_for_its_model(model: str, keys: set[str]) -> None:
    line = Line()
    talk(line, model)
    (usage, *_) = [event["usage"] for _, event in line.events if event["type"] == f"{TRANSCRIPTION}.completed"]
    assert usage.keys() == keys
