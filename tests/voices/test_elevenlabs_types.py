"""Every message that we send, and that the stand-in answers, is one of the `elevenlabs` package's own types.

Its types tolerate anything (UncheckedBaseModel), so they are looked at strictly here: each key must be one that the
type knows, by its name or its alias, and each value must be what it says.
"""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
import trio
from elevenlabs.v_1_text_to_speech_voice_id_multi_stream_input import ReceiveMessageMulti, SendMessageMulti
from pydantic import BaseModel, ValidationError, create_model
from trio.testing import MockClock

from relay.call.vocabulary import ItemId
from tests.helpers.voice_stage import ANSWER, voice_stage, write


def strict(model: type[BaseModel]) -> type[BaseModel]:
    """The same type, with its nested ones, that takes no key which it does not know."""
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind = info.annotation
        inner = [each for each in (kind, *typing.get_args(kind)) if isinstance(each, type)]
        nested = next((each for each in inner if issubclass(each, BaseModel)), None)
        fields[name] = (strict(nested) | None if nested is not None else kind, info)
    config: Any = {"extra": "forbid", "populate_by_name": True, "strict": True}
    return create_model(f"Strict{model.__name__}", __config__=config, **fields)


SENT = [strict(each) for each in typing.get_args(SendMessageMulti)]
RECEIVED = [strict(each) for each in typing.get_args(ReceiveMessageMulti)]


def fits(message: dict[str, Any], kinds: list[type[BaseModel]]) -> bool:
    for kind in kinds:
        try:
            kind.model_validate_json(json.dumps(message))
            return True
        except ValidationError:
            pass
    return False


async def test_every_message_of_a_call_is_of_the_packages_types_both_ways(autojump_clock: MockClock) -> None:
    for spelling in ("camel", "snake", "mixed"):
        async with voice_stage({"spelling": spelling, "faults": {"late_chunks": 1}}) as stage:
            voice, _ = await stage.speaking()
            write(voice, ItemId("a"), ANSWER)
            await trio.sleep(0.5)
            voice.cut(ItemId("a"))
            write(voice, ItemId("b"), "No problem. What can I do for you?")
            await trio.sleep(70)  # a keep-alive among them
            await voice.close()
            await trio.sleep(1)
            report = stage.service.connections[0]
        sent = [json.loads(message) for message in report.received]
        assert {"text", "flush", "close_context", "close_socket", "voice_settings"} <= {k for m in sent for k in m}
        assert any(message.get("text") == "" for message in sent)
        assert [message for message in sent if not fits(message, SENT)] == []
        answered = [json.loads(message) for message in report.sent]
        assert len(answered) > 10
        odd = [without_what_examples_add(message) for message in answered]
        assert [message for message in odd if not fits(message, RECEIVED)] == []


def without_what_examples_add(message: dict[str, Any]) -> dict[str, Any]:
    """The reference's examples have an isFinal beside the audio and an older spelling of a key; its types have not."""
    last = message.get("isFinal", message.get("is_final"))
    kept = {k: v for k, v in message.items() if not (k in ("isFinal", "is_final") and last is not True)}
    if last is True:
        kept.pop("audio", None)
    for name in ("alignment", "normalizedAlignment", "normalized_alignment"):
        if isinstance(kept.get(name), dict) and "charsDurationsMs" in kept[name]:
            kept[name] = {"charDurationsMs" if k == "charsDurationsMs" else k: v for k, v in kept[name].items()}
    return kept


@pytest.mark.parametrize(
    "message", [{"text": 5}, {"context": "x"}, {"text": "a ", "contxt_id": "x"}, {"context_id": "x", "close": True}]
)
def test_a_message_with_a_key_or_value_that_is_none_of_theirs_fits_no_type(message: dict[str, Any]) -> None:
    assert not fits(message, SENT)
