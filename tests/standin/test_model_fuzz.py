"""The stand-in model answers any message of a client as documented, and goes on. Every answer has its official type."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.standin.model.client_events import EVENTS, ITEMS
from relay.standin.model.script import Script
from relay.standin.model.settings import fresh
from relay.standin.speech.voice import clips
from tests.helpers.model_peer import HOURS_TOOL
from tests.helpers.realtime_line import PCM, PCMU, Line

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
WORDS = st.sampled_from(
    [*EVENTS, *ITEMS, "user", "assistant", "system", "input_text", "input_audio", "output_text", "audio/pcm", "root",
     "audio/pcmu", "server_vad", "semantic_vad", "none", "auto", "item_reference", "AAAA", "text", "audio", "function"]
)  # fmt: skip
KEYS = st.sampled_from(
    [*{key.rstrip("!") for keys in [*EVENTS.values(), *ITEMS.values()] for key in keys}, "type", "id", "text", "format",
     "rate", *fresh("", "", 0), "input", "output", "turn_detection", "transcription", "conversation", "metadata"]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 40_000), st.floats(allow_nan=False), st.text(max_size=5), WORDS
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4))
)


@SLOW
@given(st.lists(st.tuples(st.sampled_from([*EVENTS]), st.dictionaries(KEYS, VALUES, max_size=5)), max_size=8))
def test_any_event_is_answered_or_refused(events: list[tuple[str, dict[str, Any]]]) -> None:
    line = Line()
    for type_, fields in events:
        line.send_raw(json.dumps({**fields, "type": type_}))
        line.wait(0.3)
    if line.closed is None:
        assert line.send("nope")[-1]["type"] == "error"


@SLOW
@given(
    st.recursive(LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)))
)
def test_any_session_update_is_applied_as_a_whole_or_refused_as_a_whole(session: Any) -> None:
    line = Line()
    before = json.dumps(line.peer.session)
    (answer,) = line.send("session.update", session=session)
    if answer["type"] == "error":
        assert json.dumps(line.peer.session) == before
    else:
        assert answer["session"] == json.loads(json.dumps(line.peer.session))


@SLOW
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40)))
def test_any_frame_is_refused_and_the_session_goes_on(frame: str | bytes) -> None:
    line = Line()
    assert line.send_raw(frame)[0]["type"] == "error"
    assert line.closed is None


MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say exactly: Hello."}]}
GOOD: list[dict[str, Any]] = [
    {"type": "session.update", "session": {
        "type": "realtime", "instructions": "Be brief.", "tools": [HOURS_TOOL], "tool_choice": "required",
        "max_output_tokens": 40, "prompt": {"id": "x", "variables": {}}, "tracing": {"metadata": {}},
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8}, "reasoning": {"effort": "low"},
        "audio": {
            "input": {"format": PCMU, "noise_reduction": {"type": "near_field"},
                      "transcription": {"model": "whisper-1", "language": "en"},
                      "turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}},
            "output": {"format": PCM, "voice": "marin", "speed": 1.0}}}},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(clips()["hello"].mulaw + b"\xff" * 8000).decode()},
    {"type": "conversation.item.create", "previous_item_id": "root", "item": MESSAGE},
    {"type": "conversation.item.create",
     "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}},
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "{}"}},
    {"type": "response.create", "response": {
        "conversation": "none", "metadata": {"a": "b"}, "output_modalities": ["text"], "tools": [HOURS_TOOL],
        "tool_choice": {"type": "function", "name": "lookup_hours"}, "input": [MESSAGE], "instructions": "Be brief.",
        "audio": {"output": {"format": PCMU}}}},
    {"type": "response.create"},
]  # fmt: skip
ODD = st.one_of(VALUES, st.sampled_from(["Say exactly: ", 'Say exactly: "', 2**70, 10**400, {"type": "function"}]))


def changed(whole: Any, where: int, odd: Any) -> Any:
    """A copy of `whole` in which the part with the number `where` is replaced by `odd`."""
    whole = copy.deepcopy(whole)
    places: list[tuple[Any, Any]] = []
    inside = [whole]
    while inside:
        place = inside.pop()
        for key in place if isinstance(place, dict) else range(len(place)):
            places.append((place, key))
            if isinstance(place[key], dict | list):
                inside.append(place[key])
    place, key = places[where % len(places)]
    place[key] = odd
    return whole


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the profile sets the number of examples
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 99), ODD), min_size=1, max_size=8))
def test_any_event_that_is_nearly_right_is_answered_or_refused(events: list[tuple[int, int, Any]]) -> None:
    line = Line()
    for number, where, odd in events:
        line.send_raw(json.dumps(GOOD[number]))
        line.send_raw(json.dumps(changed(GOOD[number], where, odd)))
        line.wait(0.5)
    line.wait(10)


ACTIONS = st.sampled_from(["speak", "hush", "create", "cancel", "truncate", "delete", "update", "wait"])


@SLOW
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 3000)), max_size=12), st.integers(0, 5))
def test_in_any_conversation_each_response_is_created_once_and_done_once(
    actions: list[tuple[str, int]], seed: int
) -> None:
    line = Line(Script(seed=seed))
    item_id = ""
    for action, number in actions:
        match action:
            case "speak":
                line.hear(clips()["oh_wait"].mulaw[: 8 * number])
            case "hush":
                line.hear(number)
            case "create":
                line.send("response.create")
            case "cancel":
                line.send("response.cancel")
            case "truncate":
                line.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=number)
            case "delete":
                line.send("conversation.item.delete", item_id=item_id)
            case "update":
                line.configure(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
            case "wait":
                line.wait(number / 1000)
        added = [event["item"]["id"] for _, event in line.events if event["type"] == "response.output_item.added"]
        item_id = added[-1] if added else ""
    line.wait(60)
    created = [event["response"]["id"] for _, event in line.events if event["type"] == "response.created"]
    done = [event["response"]["id"] for _, event in line.events if event["type"] == "response.done"]
    assert created == done
    assert len(set(created)) == len(created)
