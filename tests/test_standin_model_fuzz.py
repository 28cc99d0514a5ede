"""Whatever a client sends, the stand-in model answers by the book and lives; every answer has its official type."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.standin.model_client_events import EVENTS, ITEMS
from relay.standin.model_settings import fresh
from tests.realtime_line import Line

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
def test_any_session_is_taken_whole_or_refused_whole(session: Any) -> None:
    line = Line()
    before = json.dumps(line.peer.session)
    (answer,) = line.send("session.update", session=session)
    if answer["type"] == "error":
        assert json.dumps(line.peer.session) == before
    else:
        assert answer["session"] == json.loads(json.dumps(line.peer.session))


@SLOW
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40)))
def test_any_frame_is_refused_without_harm(frame: str | bytes) -> None:
    line = Line()
    assert line.send_raw(frame)[0]["type"] == "error"
    assert line.closed is None


ACTIONS = st.sampled_from(["speak", "hush", "create", "cancel", "truncate", "delete", "update", "wait"])


@SLOW
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 3000)), max_size=12), st.integers(0, 5))
def test_response_is_created_and_done_once_in_any_conversation(actions: list[tuple[str, int]], seed: int) -> None:
    from relay.standin.script import Script
    from relay.standin.voice import clips

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
