"""Our messages to the model and the events from it, checked with the types of OpenAI's own package."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from pydantic import TypeAdapter

from relay.call.actions import (
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
    FunctionAsked,
    ItemId,
    ItemPlaced,
    ModelObjected,
    ModelWorded,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
)
from relay.realtime import protocol
from relay.realtime.session_config import session_config
from relay.standin.model.script import Faults, Script
from tests.helpers.realtime_line import PCM, Line

CLIENT_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
PARAMETERS = {"type": "object", "properties": {"date": {"type": "string"}}, "required": ["date"]}
TEXTS = st.text(max_size=200)
IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=32)


def accepted(message: bytes) -> dict[str, Any]:
    """The parsed message. It fails if OpenAI's types do not accept it or do not know a key of it."""
    sent: dict[str, Any] = json.loads(message)
    typed = CLIENT_EVENT.validate_json(message)
    assert typed.type == sent["type"]
    known = json.loads(typed.model_dump_json(exclude_unset=True))
    assert not typed.model_extra
    assert known == sent
    return sent


# From us to OpenAI


@given(ref=IDS, instructions=st.none() | TEXTS)
def test_the_request_for_a_response_has_its_reference(ref: str, instructions: str | None) -> None:
    sent = accepted(protocol.ask_for_response(AskForResponse(ref, instructions)))
    assert sent["response"]["metadata"] == {"ref": ref}
    assert sent["event_id"] == ref
    assert sent["response"].get("instructions") == instructions
    assert ("tool_choice" in sent["response"]) == (instructions is not None)


@given(item=IDS, ms=st.integers(0, 10**6), role=st.sampled_from(["user", "assistant", "system"]), text=TEXTS)
def test_messages_that_create_and_truncate_and_delete_items_have_the_form_of_the_api(
    item: str, ms: int, role: str, text: str
) -> None:
    created = accepted(protocol.create_item(CreateItem(ItemId(item), role, text)))
    kind = "output_text" if role == "assistant" else "input_text"
    assert created["item"]["content"] == [{"type": kind, "text": text}]
    assert "previous_item_id" not in created
    behind = accepted(protocol.create_item(CreateItem(ItemId("anew"), role, text, behind=ItemId(item))))
    assert behind["previous_item_id"] == item
    cut = accepted(protocol.truncate_item(TruncateItem(ItemId(item), ms)))
    assert (cut["audio_end_ms"], cut["content_index"]) == (ms, 0)
    assert accepted(protocol.delete_item(DeleteItem(ItemId(item))))["item_id"] == item
    assert accepted(protocol.cancel_response(CancelResponse(ResponseId(item))))["response_id"] == item


@given(call=IDS, arguments=TEXTS, output=st.none() | TEXTS)
def test_a_function_call_of_an_earlier_session_is_sent_with_its_output(
    call: str, arguments: str, output: str | None
) -> None:
    pair = [
        accepted(each)
        for each in protocol.create_function_pair(CreateFunctionPair(call, "lookup_hours", arguments, output))
    ]
    assert [each["item"]["type"] for each in pair] == ["function_call", "function_call_output"][: len(pair)]
    assert len(pair) == (1 if output is None else 2)
    assert all(each["item"]["call_id"] == call for each in pair)
    answer = accepted(protocol.function_output(SendFunctionOutput(call, output or "")))
    assert answer["item"]["output"] == (output or "")


@given(pcm24k=st.binary(max_size=2_000))
def test_the_append_that_is_built_from_bytes_is_valid_json(pcm24k: bytes) -> None:
    sent = accepted(protocol.append_audio(pcm24k))
    assert base64.b64decode(sent["audio"]) == pcm24k


def test_openais_types_accept_the_session_update() -> None:
    accepted(protocol.update_session(session_config("gpt-realtime-2.1", "marin", "gpt-transcribe", "…", [])))


# From OpenAI to us


def everything(script: Script | None = None, *, typed: bool = True) -> list[dict[str, Any]]:
    """The stand-in's events in a call with speech, words, an answer, a function, its output, a cut and an error."""
    line = Line(script, typed=typed)
    tool = {"type": "function", "name": "lookup_hours", "parameters": PARAMETERS}
    audio = {"input": {"format": PCM, "transcription": {"model": "gpt-transcribe"}}, "output": {"format": PCM}}
    line.send("session.update", session={"type": "realtime", "audio": audio, "tools": [tool]})
    line.caller("ask_hours")
    line.wait(6)
    for call in [e for _, e in line.events if e["type"] == "response.function_call_arguments.done"]:
        item = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"open":"11:00"}'}
        line.send("conversation.item.create", item=item)
        line.send("response.create")
    line.wait(1.5)
    line.send("response.cancel")
    line.send("conversation.item.delete", item_id="item_of_nobody")
    line.send("input_audio_buffer.clear")
    line.wait(2)
    return [event for _, event in line.events]


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(transcription_failed=True),
        Faults(null_usage=True, swap_done=True),
        Faults(duplicate_ids=True),
        Faults(odd_deltas=True),
        Faults(broken_arguments=True),
        Faults(response_failed="server_error"),
        Faults(unknown_events=True),
        Faults(empty_response=True),
    ],
    ids=lambda faults: msgspec.json.encode({k: v for k, v in vars(faults).items() if v}).decode(),
)
def test_every_event_of_the_stand_in_is_known(faults: Faults) -> None:
    kinds: set[type] = set()
    for event in everything(Script(faults=faults), typed=not faults.unknown_events):
        message = protocol.decode(json.dumps(event).encode())
        made = protocol.event_of(message)
        kinds.add(type(made))
        if made is None and not faults.unknown_events:
            assert protocol.is_known(message), f"{event['type']} would be counted as unknown"
    assert CallerSpoke in kinds
    assert ResponseBegan in kinds
    assert ResponseEnded in kinds


def test_the_messages_of_a_call_become_events_in_their_order() -> None:
    made = [protocol.event_of(protocol.decode(json.dumps(event).encode())) for event in everything()]
    events = [event for event in made if event is not None]
    kinds = {type(event) for event in events}
    assert kinds >= {
        CallerSpoke, CallerPaused, CallerCommitted, CallerTranscribed, ItemPlaced, ResponseBegan, FunctionAsked,
        ModelWorded, ResponseEnded, ModelObjected,
    }  # fmt: skip
    spoke = next(e for e in events if isinstance(e, CallerSpoke))
    paused = next(e for e in events if isinstance(e, CallerPaused))
    assert spoke.item_id == paused.item_id
    assert spoke.audio_start_ms < paused.audio_end_ms
    asked = next(e for e in events if isinstance(e, FunctionAsked))
    assert asked.name == "lookup_hours"
    assert json.loads(asked.arguments)
    ends = [e for e in events if isinstance(e, ResponseEnded)]
    assert {end.status for end in ends} == {"completed", "cancelled"}
    assert ends[0].usage
    assert ends[0].usage["total_tokens"]


def test_an_interrupted_function_call_is_not_run() -> None:
    events = everything(Script(faults=Faults(broken_arguments=True)))
    made = [protocol.event_of(protocol.decode(json.dumps(event).encode())) for event in events]
    assert not [event for event in made if isinstance(event, FunctionAsked)]


def test_an_answer_in_text_becomes_words_without_sound() -> None:
    message = b'{"type":"response.output_text.delta","response_id":"resp_1","item_id":"item_1","delta":"At ten."}'
    assert protocol.event_of(protocol.decode(message)) == ModelWorded(ResponseId("resp_1"), ItemId("item_1"), "At ten.")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "0 bytes"),
        (b"not json", "8 bytes"),
        (b"[]", "2 bytes"),
        (b'"text"', "6 bytes"),
        (b'{"no":"type"}', "type"),
        (b'{"type":7}', "type"),
        (b"\xff\xfe\x00", "3 bytes"),
        (b'{"type":"response.output_audio.delta","delta":5}', "delta"),
    ],
)
def test_an_invalid_message_is_refused_with_a_sentence(message: bytes, words: str) -> None:
    with pytest.raises(protocol.ModelProtocolError, match=words):
        protocol.decode(message)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('{"type":"input_audio_buffer.speech_started"}', "speech_started came without item_id"),
        ('{"type":"input_audio_buffer.committed"}', "committed came without item_id"),
        ('{"type":"response.created"}', "response.created came without a response"),
        ('{"type":"response.created","response":{}}', "response.created came without an id"),
        ('{"type":"response.done","response":{}}', "response.done came without an id"),
        ('{"type":"response.output_audio_transcript.delta","delta":"x"}', "came without response_id"),
        (
            '{"type":"response.output_item.done","item":{"type":"function_call","status":"completed"}}',
            "call_id or name",
        ),
    ],
)
def test_an_event_without_its_ids_is_refused_with_a_sentence(message: str, words: str) -> None:
    with pytest.raises(protocol.ModelProtocolError, match=words):
        protocol.event_of(protocol.decode(message.encode()))


def test_an_unknown_event_is_reported_as_unknown() -> None:
    message = protocol.decode(b'{"type":"response.dream.delta","dream":{"of":["sheep"]},"event_id":"event_1"}')
    assert protocol.event_of(message) is None
    assert not protocol.is_known(message)


def test_an_error_without_a_code_becomes_a_model_objected_event() -> None:
    assert protocol.event_of(protocol.decode(b'{"type":"error"}')) == ModelObjected("unknown", "", None)


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "item", "response", "error", "delta", "session", "id", "item_id", "usage"]),
        inner | st.sampled_from(["response.done", "error", "response.output_item.done", "session.updated"]), max_size=6,
    ), max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_give_an_event_or_nothing_or_a_refusal_with_a_sentence(message: bytes) -> None:
    with contextlib.suppress(protocol.ModelProtocolError):
        read = protocol.decode(message)
        assert isinstance(protocol.is_known(read), bool)
        protocol.event_of(read)
        protocol.check_formats(protocol.session_of(read))


@pytest.mark.parametrize(
    "audio",
    [
        None,
        {"input": {"format": {"type": "audio/pcm", "rate": 24000}}},
        {"input": {"format": {"type": "audio/pcm"}}, "output": {"format": {"type": "audio/pcmu"}}},
        {"input": {"format": {"type": "audio/pcm", "rate": 8000}}, "output": {"format": {"type": "audio/pcm"}}},
    ],
)
def test_a_session_with_other_formats_is_refused(audio: dict[str, Any] | None) -> None:
    event = json.dumps({"type": "session.updated", "session": {"id": "sess_1", "audio": audio}}).encode()
    with pytest.raises(protocol.ModelProtocolError, match="audio is"):
        protocol.check_formats(protocol.session_of(protocol.decode(event)))


EMOJI = "\\ud83d"  # the first half of an emoji, as JSON writes it


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (
            f'{{"type":"input_audio_buffer.speech_started","item_id":"i","nobody_reads":"{EMOJI}"}}',
            CallerSpoke(ItemId("i"), 0),
        ),
        (
            f'{{"type":"response.output_audio_transcript.delta","response_id":"r","item_id":"i","delta":"Hi {EMOJI}"}}',
            ModelWorded(ResponseId("r"), ItemId("i"), "Hi \ufffd"),
        ),
        (
            '{"type":"response.done","response":{"id":"r","status":"completed","metadata":{"x":"' + EMOJI + '"}}}',
            ResponseEnded(ResponseId("r"), "completed", None, None),
        ),
        (
            '{"type":"input_audio_buffer.committed","item_id":"i","previous_item_id":7,"usage":"none"}',
            CallerCommitted(ItemId("i"), None),
        ),
        ('{"type":"error","error":"words"}', ModelObjected("unknown", "", None)),
    ],
)
def test_an_unreadable_part_of_an_event_is_left_out_and_the_rest_of_the_event_is_used(
    message: str, event: object
) -> None:
    assert protocol.event_of(protocol.decode(message.encode())) == event


def test_an_event_with_broken_utf8_is_not_lost() -> None:
    raw = b'{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","transcript":"caf\xe9"}'
    assert protocol.event_of(protocol.decode(raw)) == CallerTranscribed(ItemId("i"), "caf\ufffd")


@pytest.mark.parametrize(
    ("words", "retry_after_s"),
    [
        ("Rate limit reached. Please try again in 2.5s. Visit the site.", 2.5),
        ("Please try again in 820ms.", 0.82),
        ("Please try again in 1m2.5s.", 62.5),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 20s.", 20.0),
        ("Rate limit reached.", protocol.RATE_LIMIT_S),
    ],
)
def test_the_wait_before_the_next_request_is_read_from_the_servers_message(words: str, retry_after_s: float) -> None:
    error = {"type": "tokens", "code": "rate_limit_exceeded", "message": words}
    details = {"type": "failed", "error": error}
    done = {"type": "response.done", "response": {"id": "r", "status": "failed", "status_details": details}}
    ended = protocol.event_of(protocol.decode(msgspec.json.encode(done)))
    objected = protocol.event_of(protocol.decode(msgspec.json.encode({"type": "error", "error": error})))
    assert isinstance(ended, ResponseEnded)
    assert isinstance(objected, ModelObjected)
    assert ended.retry_after_s == objected.retry_after_s == pytest.approx(retry_after_s)


def test_another_failure_has_no_wait_before_the_next_request() -> None:
    error = {"code": "server_error", "message": "The server had an error."}
    objected = protocol.event_of(protocol.decode(msgspec.json.encode({"type": "error", "error": error})))
    assert isinstance(objected, ModelObjected)
    assert objected.retry_after_s is None
