"""The sentences with which the real model refuses, word for word: a test causes each row of the table.

Source: docs/protocol/openai.md 1.2, 2.2.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from relay.standin.model.script import Faults, Script
from tests.helpers.model_peer import error, say
from tests.helpers.realtime_line import Line, one

Answer = list[dict[str, Any]]
TYPES = (
    "'session.update', 'session.close', 'session.input_audio_buffer.append', 'input_audio_buffer.append', "
    "'input_audio_buffer.commit', 'input_audio_buffer.clear', 'conversation.item.create', "
    "'conversation.item.truncate', 'conversation.item.delete', 'conversation.item.retrieve', 'response.create', "
    "and 'response.cancel'"
)


def active(line: Line) -> str:
    """Let a response begin, and return its id."""
    return str(one(say(line, "How can I help you?"), "response.created")["response"]["id"])


def answer_item(line: Line) -> str:
    """Let an answer be spoken to its end, and return its item."""
    start = len(line.events)
    say(line, "How can I help you?")
    line.wait(10)
    done = [event for _, event in line.events[start:] if event["type"] == "response.output_item.done"]
    return str(done[0]["item"]["id"])


def truncate(line: Line, item_id: str, audio_end_ms: int) -> Answer:
    return line.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=audio_end_ms)


def update(**session: Any) -> Callable[[Line], Answer]:
    return lambda line: line.send("session.update", session={"type": "realtime", **session})


def beyond(line: Line) -> Answer:
    item = answer_item(line)
    return truncate(line, item, 60_000)


def user_item(line: Line) -> Answer:
    item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    line.send("conversation.item.create", item=item)
    return truncate(line, "a", 10)


def voice_after_audio(line: Line) -> Answer:
    answer_item(line)
    return update(tools=[], audio={"output": {"voice": "cedar"}})(line)


def short_commit(line: Line) -> Answer:
    line.configure(audio={"input": {"turn_detection": None}})
    line.send("input_audio_buffer.append", audio=base64.b64encode(bytes(960)).decode())
    return line.send("input_audio_buffer.commit")


def rate(**form: Any) -> Callable[[Line], Answer]:
    return update(audio={"output": {"format": {"type": "audio/pcm", **form}}})


ROWS: dict[str, tuple[Callable[[Line], Answer], str, str | None, str]] = {
    "a cancellation of nothing": (
        lambda line: line.send("response.cancel"),
        "response_cancel_not_active", None, "Cancellation failed: no active response found",
    ),
    "a cut of what the caller said": (
        user_item, "invalid_value", None, "Only model output audio messages can be truncated",
    ),
    "an unknown type": (
        lambda line: line.send("nope"),
        "invalid_value", "type", f"Invalid value: 'nope'. Supported values are: {TYPES}.",
    ),
    "an unknown key": (
        update(bogus_field=1), "unknown_parameter", "session.bogus_field", "Unknown parameter: 'session.bogus_field'.",
    ),
    "no rate": (
        rate(), "missing_required_parameter", "session.audio.output.format.rate",
        "Missing required parameter: 'session.audio.output.format.rate'.",
    ),
    "a rate that is too low": (
        rate(rate=16000), "integer_below_min_value", "session.audio.output.format.rate",
        "Invalid 'session.audio.output.format.rate': integer below minimum value. Expected a value >= 24000, "
        "but got 16000 instead.",
    ),
    "a wrong JSON type": (
        update(instructions=7), "invalid_type", "session.instructions",
        "Invalid type for 'session.instructions': expected a string, but got an integer instead.",
    ),
    "an item's type that is no string": (
        lambda line: line.send("conversation.item.create", item={"type": {}, "role": "user", "content": []}),
        "invalid_type", "item.type", "Invalid type for 'item.type': expected a string, but got an object instead.",
    ),
    "a part's type that is no string": (
        lambda line: line.send(
            "conversation.item.create", item={"type": "message", "role": "user", "content": [{"type": []}]}
        ),
        "invalid_type", "item.content[0].type",
        "Invalid type for 'item.content[0].type': expected a string, but got an array instead.",
    ),
    "JSON that nests too deep": (
        lambda line: line.send_raw("[" * 100_000), "invalid_json", None,
        "Invalid event: failed to parse JSON value. Please check the value to ensure it is valid JSON.",
    ),
    "a type that is no string": (
        lambda line: line.send_raw('{"type": []}'), "invalid_type", "type",
        "Invalid type for 'type': expected a string, but got an array instead.",
    ),
    "no JSON": (
        lambda line: line.send_raw("{"), "invalid_json", None,
        "Invalid event: failed to parse JSON value. Please check the value to ensure it is valid JSON.",
    ),
    "a binary frame": (
        lambda line: line.send_raw(b"{}"), "invalid_event", None,
        "Expected a text WebSocket message; binary frames are not supported.",
    ),
    "no type": (lambda line: line.send_raw("{}"), "invalid_event", "type", "The 'type' field is missing."),
    "a commit of too little": (
        short_commit, "input_audio_buffer_commit_empty", None,
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
        "but buffer only has 20.00ms of audio.",
    ),
    "another voice after the first sound": (
        voice_after_audio, "cannot_update_voice", None,
        "Cannot update a conversation's voice if assistant audio is present.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_a_refusal_has_the_same_words_as_the_captured_refusal(row: str) -> None:
    do, code, param, message = ROWS[row]
    line = Line()
    refused = error(do(line))
    assert refused == {
        "type": "invalid_request_error", "code": code, "message": message, "param": param, "event_id": None,
    }  # fmt: skip
    assert line.closed is None


@pytest.mark.parametrize("form", [{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}])
def test_half_a_sample_in_a_clients_item_is_refused_as_in_an_append(form: dict[str, Any]) -> None:
    line = Line()
    line.configure(audio={"input": {"format": form}})
    audio = base64.b64encode(bytes(3)).decode()
    part = {"type": "input_audio", "audio": audio}
    answer = line.send("conversation.item.create", item={"type": "message", "role": "user", "content": [part]})
    appended = line.send("input_audio_buffer.append", audio=audio)
    if form["type"] == "audio/pcm":
        assert error(answer)["message"] == error(appended)["message"]
    else:
        assert [event["type"] for event in answer] == ["conversation.item.added", "conversation.item.done"]
        assert appended == []


def test_a_second_response_is_refused_with_the_id_of_the_first() -> None:
    line = Line()
    first = active(line)
    assert error(line.send("response.create"))["message"] == (
        f"Conversation already has an active response in progress: {first}. "
        "Wait until the response is finished before creating a new one."
    )


def test_a_truncation_beyond_the_audio_names_both_lengths() -> None:
    line = Line()
    refused = error(beyond(line))
    item = next(each for each in line.peer.history.items if each.role == "assistant")
    assert refused["code"] == "invalid_value"
    assert refused["message"] == f"Audio content of {item.audio_ms}ms is already shorter than 60000ms"


def test_the_error_for_a_fault_of_the_server_names_the_session() -> None:
    line = Line(Script(faults=Faults(refuse_update=True)))
    refused = error(line.send("session.update", session={"type": "realtime"}))
    assert (refused["type"], refused["code"]) == ("server_error", None)
    assert refused["message"] == (
        "The server had an error while processing your request. Sorry about that! Please contact us through our help "
        f"center at help.openai.com if the error persists. (include session ID in your message: "
        f"{line.peer.session['id']}). We recommend you retry your request."
    )


def test_an_expired_session_sends_an_error_and_is_closed_with_the_same_words() -> None:
    line = Line(Script(lifetime_s=10.0))
    expired = one(line.wait(11), "error")["error"]
    assert (expired["code"], expired["message"]) == (
        "session_expired", "Your session hit the maximum duration of 60 minutes.",
    )  # fmt: skip
    assert line.closed is not None
    assert (line.closed.code, line.closed.reason) == (1001, expired["message"])


def test_four_errors_in_a_row_leave_the_session_working() -> None:
    line = Line()
    for _ in range(4):
        error(line.send("response.cancel"))
    assert line.configure()["type"] == "session.updated"
