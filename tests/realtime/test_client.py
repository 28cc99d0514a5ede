"""Opening a model session: every failure has its sentence and its time limit, and leaves no socket open."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from openai.types.realtime import RealtimeSessionCreateRequest
from pydantic import TypeAdapter
from trio.testing import MockClock

from relay.realtime.client import CONFIGURE_LIMIT_S, CONNECT_LIMIT_S, ModelUnreachable, Realtime, Wanted
from relay.realtime.session_config import is_reasoning, session_config
from relay.standin.model.script import Faults, Script
from tests.helpers.model_door import ACCESS, MODEL, ModelDoor

TOOL: dict[str, object] = {
    "type": "function",
    "name": "lookup_hours",
    "description": "When the business is open.",
    "parameters": {"type": "object", "properties": {}, "required": []},
}


async def test_an_open_session_has_our_formats_and_prompt_and_voice_and_functions(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery)
        session = await door.realtime.open(Wanted(MODEL, "You answer the phone.", (TOOL,)))
        (peer,) = door.model.sessions
        told = peer.session
        assert told["instructions"] == "You answer the phone."
        assert told["audio"]["output"]["voice"] == "marin"
        for side in ("input", "output"):
            assert told["audio"][side]["format"] == {"type": "audio/pcm", "rate": 24000}
        turns = told["audio"]["input"]["turn_detection"]
        assert (turns["create_response"], turns["interrupt_response"]) == (False, False)
        assert [tool["name"] for tool in told["tools"]] == ["lookup_hours"]
        assert door.urls == [f"{ACCESS.url}?model={MODEL}"]
        assert door.headers[0]["Authorization"] == f"Bearer {ACCESS.key}"
        assert session.backlog == []
        assert not session.greeting_asked
        await session.end.close()
        nursery.cancel_scope.cancel()


async def test_the_query_of_a_url_is_kept(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery)
        access = type(ACCESS)(f"{ACCESS.url}?api-version=1", ACCESS.key, ACCESS.voice, ACCESS.transcribe_model)
        session = await Realtime(access, door.dial).open(Wanted(MODEL, "…"))
        assert door.urls == [f"{ACCESS.url}?api-version=1&model={MODEL}"]
        await session.end.close()
        nursery.cancel_scope.cancel()


FAULTS: list[tuple[Faults, str]] = [
    (Faults(connect_refused=True), "no connection: nobody listens"),
    (Faults(handshake_hangs=True), f"no connection within {CONNECT_LIMIT_S:.0f} s"),
    (Faults(silent_after_connect=True), f"not configured within {CONFIGURE_LIMIT_S:.0f} s"),
    (Faults(connect_error="invalid_api_key"), "the model refused: invalid_api_key"),
    (Faults(connect_error="model_not_found"), "the model refused: model_not_found"),
    (Faults(connect_error="insufficient_quota"), "the model refused: insufficient_quota"),
    (Faults(refuse_update=True), "the model refused: "),
    (Faults(wrong_format=True), "audio is audio/pcmu"),
]


@pytest.mark.parametrize(("faults", "words"), FAULTS, ids=[words for _, words in FAULTS])
async def test_a_session_that_cannot_be_opened_is_reported_with_a_sentence_and_leaves_no_socket(
    autojump_clock: MockClock, faults: Faults, words: str
) -> None:
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, Script(faults=faults))
        with pytest.raises(ModelUnreachable) as failed:
            await door.realtime.open(Wanted(MODEL, "…"))
        assert words in str(failed.value)
        assert ACCESS.key not in str(failed.value)
        assert door.open_ends == 0
        assert trio.current_time() <= CONNECT_LIMIT_S + CONFIGURE_LIMIT_S
        nursery.cancel_scope.cancel()


async def test_a_session_that_is_given_up_while_it_is_configured_is_closed(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, Script(faults=Faults(silent_after_connect=True)))
        with trio.move_on_after(1):
            await door.realtime.open(Wanted(MODEL, "…"))
        assert len(door.ends) == 1
        assert door.open_ends == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("model", ["gpt-realtime-2.1-mini", "gpt-realtime-2.1", "gpt-realtime", "gpt-realtime-mini"])
def test_openais_own_types_accept_the_session(model: str) -> None:
    config = session_config(model, "marin", "gpt-transcribe", "You answer the phone.", [TOOL])
    json.dumps(config)
    known: TypeAdapter[Any] = TypeAdapter(RealtimeSessionCreateRequest)
    parsed = known.validate_python(config, extra="forbid")
    assert parsed.audio.input.turn_detection.create_response is False
    assert ("reasoning" in config) == model.startswith("gpt-realtime-2.1")


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("gpt-realtime-2", True),
        ("gpt-realtime-2.1-mini", True),
        ("gpt-realtime-2025-08-28", False),
        ("gpt-realtime-2026-03-01", False),
        ("gpt-realtime-2-2026-03-01", True),
        ("gpt-realtime-3", True),
        ("gpt-realtime", False),
    ],
)
def test_only_models_that_reason_get_a_reasoning_effort(model: str, reasons: bool) -> None:
    assert is_reasoning(model) is reasons
