"""Every message of ours and of the stand-in fits one of the `elevenlabs` package's own types.

The package's types accept anything (UncheckedBaseModel). So this test makes them strict: each key must be known to the
type by its name or its alias, and each value must have the declared type.
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
    """The same type and its nested types, made to refuse unknown keys."""
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


async def test_every_message_of_a_call_fits_the_packages_types_in_both_directions(autojump_clock: MockClock) -> None:
    for spelling in ("camel", "snake", "mixed"):
        async with voice_stage({"spelling": spelling, "faults": {"late_chunks": 1}}) as stage:
            voice, _ = await stage.speaking()
            write(voice, ItemId("a"), ANSWER)
            await trio.sleep(0.5)
            voice.cut(ItemId("a"))
            write(voice, ItemId("b"), "No problem. What can I do for you?")
            await trio.sleep(70)  # s; long enough for a keep-alive
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
    """Remove what only the examples in the service's reference have, and not the types of the package.

    These are `isFinal` in a message with audio, and an old name of a key.
    """
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
def test_a_message_with_an_unknown_key_or_a_wrong_value_fits_no_type(message: dict[str, Any]) -> None:
    assert not fits(message, SENT)
