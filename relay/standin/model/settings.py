"""Makes the session object of the Realtime API, and applies session.update to it. Pure.

Like the real model, it checks an update completely before it applies any part (docs/protocol/openai.md 2.1). Fields
that the update does not name keep their values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from relay.standin.model.errors import (
    VOICE_FIXED,
    Refusal,
    RefusedError,
    above_maximum,
    below_minimum,
    invalid_type,
    invalid_value,
    missing_parameter,
    unknown_parameter,
)

Check = Callable[[str, Any], None]

# The models of docs/protocol/openai.md 1.5, without those that were switched off before November 2026.
MODELS = (
    "gpt-realtime",
    "gpt-realtime-2025-08-28",
    "gpt-realtime-1.5",
    "gpt-realtime-2",
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-realtime-mini",
    "gpt-realtime-mini-2025-12-15",
)
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
TRANSCRIBERS = (  # The list of the official Python package.
    "whisper-1",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-realtime-whisper",
)
SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,  # OpenAI's documentation says 500, but captures show 200 (docs/protocol/openai.md 2.1).
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
TRANSCRIPTION = {"model": "gpt-4o-mini-transcribe", "language": None, "prompt": None}
INSTRUCTIONS = "Your knowledge cutoff is 2023-10. You are a helpful, witty, and friendly AI."


def fresh(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """The session object of session.created."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def updated(session: Mapping[str, Any], change: Any, has_model_audio: bool) -> dict[str, Any]:
    """The session object after an update. Raises RefusedError. The given session object is not changed."""
    SESSION("session", change)
    if change.get("model", session["model"]) != session["model"]:
        raise RefusedError(Refusal("Cannot update the model of an existing session.", "invalid_value", "session.model"))
    if "reasoning" in change or "parallel_tool_calls" in change:
        _only_reasoning_models(session["model"], "reasoning" if "reasoning" in change else "parallel_tool_calls")
    if session["tracing"] is not None and change.get("tracing", session["tracing"]) != session["tracing"]:
        message = "Cannot update tracing once it is enabled for the session."
        raise RefusedError(Refusal(message, "invalid_value", "session.tracing"))
    voice = change.get("audio", {}).get("output", {}).get("voice", session["audio"]["output"]["voice"])
    if has_model_audio and voice != session["audio"]["output"]["voice"]:
        raise RefusedError(VOICE_FIXED)
    return _merged(session, change)


def check_response(model: str, response: Any) -> None:
    """Check the `response` of response.create. Raises RefusedError."""
    RESPONSE("response", response)
    if "reasoning" in response or "parallel_tool_calls" in response:
        _only_reasoning_models(model, "reasoning" if "reasoning" in response else "parallel_tool_calls")


def _only_reasoning_models(model: str, key: str) -> None:
    if not model.startswith("gpt-realtime-2") or model.startswith("gpt-realtime-2025"):
        raise RefusedError(
            Refusal(f"'{key}' is only supported by reasoning Realtime models.", "invalid_value", f"session.{key}")
        )


# Keys whose value is replaced as a whole, and not merged.
WHOLE = {"format", "tool_choice", "truncation", "tracing", "prompt", "reasoning"}


def _merged(old: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(dict(old))
    for key, value in change.items():
        if key == "turn_detection" and value is not None:
            known = SERVER_VAD if value["type"] == "server_vad" else SEMANTIC_VAD
            same = new[key] is not None and new[key]["type"] == value["type"]
            new[key] = {**(new[key] if same else known), **value}
        elif key == "transcription" and value is not None:
            new[key] = {**(new[key] or TRANSCRIPTION), **value}
        elif isinstance(value, dict) and isinstance(new.get(key), dict) and key not in WHOLE:
            new[key] = _merged(new[key], value)
        else:
            new[key] = copy.deepcopy(value)
    return new


# The schema. Each check raises the refusal that the real server would send.


def _text(path: str, value: Any) -> None:
    if not isinstance(value, str):
        raise RefusedError(invalid_type(path, "a string", value))


def _boolean(path: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise RefusedError(invalid_type(path, "a boolean", value))


def _anything(path: str, value: Any) -> None:
    pass


def _object(path: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise RefusedError(invalid_type(path, "an object", value))


def _choice(*values: str) -> Check:
    def check(path: str, value: Any) -> None:
        _text(path, value)
        if value not in values:
            raise RefusedError(invalid_value(path, value, values))

    return check


def _number(minimum: float, maximum: float, whole: bool = True) -> Check:
    def check(path: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise RefusedError(invalid_type(path, "an integer" if whole else "a decimal", value))
        if value < minimum:
            raise RefusedError(below_minimum(path, minimum, value))
        if value > maximum:
            raise RefusedError(above_maximum(path, maximum, value))

    return check


def _or_null(inner: Check) -> Check:
    return lambda path, value: None if value is None else inner(path, value)


def _table(keys: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    def check(path: str, value: Any) -> None:
        _object(path, value)
        for key in value:
            if key not in keys:
                raise RefusedError(unknown_parameter(f"{path}.{key}"))
        for key in required:
            if key not in value:
                raise RefusedError(missing_parameter(f"{path}.{key}"))
        for key, inner in value.items():
            keys[key](f"{path}.{key}", inner)

    return check


def _by_type(tables: Mapping[str, Check]) -> Check:
    """An object that may have several schemas. Its `type` says which."""

    def check(path: str, value: Any) -> None:
        _object(path, value)
        if "type" not in value:
            raise RefusedError(missing_parameter(f"{path}.type"))
        _choice(*tables)(f"{path}.type", value["type"])
        tables[value["type"]](path, value)

    return check


def _array(inner: Check) -> Check:
    def check(path: str, value: Any) -> None:
        if not isinstance(value, list):
            raise RefusedError(invalid_type(path, "an array", value))
        for index, each in enumerate(value):
            inner(f"{path}[{index}]", each)

    return check


def _word_or_table(words: tuple[str, ...], table: Check) -> Check:
    return lambda path, value: _choice(*words)(path, value) if isinstance(value, str) else table(path, value)


def _modalities(path: str, value: Any) -> None:
    _array(_choice("text", "audio"))(path, value)
    if sorted(value) not in (["audio"], ["text"]):
        allowed = "Supported combinations are: ['text'] and ['audio']."
        raise RefusedError(Refusal(f"Invalid modalities: {value}. {allowed}", "invalid_value", path))


def _max_output_tokens(path: str, value: Any) -> None:
    if value != "inf":
        _number(1, 4096)(path, value)


def _metadata(path: str, value: Any) -> None:
    _object(path, value)
    if len(value) > 16:
        too_many = f"Invalid '{path}': too many properties. Expected at most 16."
        raise RefusedError(Refusal(too_many, "object_above_max_properties", path))
    for key, text in value.items():
        _text(f"{path}.{key}", text)
        if len(key) > 64 or len(text) > 512:
            too_long = f"Invalid '{path}.{key}': string too long."
            raise RefusedError(Refusal(too_long, "string_above_max_length", f"{path}.{key}"))


def _parameters(path: str, value: Any) -> None:
    """Check a function's JSON schema. Only its outline is checked."""
    _object(path, value)
    required = value.get("required", [])
    if not (
        value.get("type", "object") == "object"
        and isinstance(value.get("properties", {}), dict)
        and isinstance(required, list)
        and all(isinstance(name, str) for name in required)
    ):
        why = f"Invalid schema for function: '{path}' is no schema of an object."
        raise RefusedError(Refusal(why, "invalid_function_parameters", path))


_TYPE = {"type": _anything}
FORMAT = _by_type(
    {
        "audio/pcm": _table({**_TYPE, "rate": _number(24000, 24000)}, required=("rate",)),
        "audio/pcmu": _table(_TYPE),
        "audio/pcma": _table(_TYPE),
    }
)
VOICE = _word_or_table(VOICES, _table({"id": _text}, required=("id",)))
TOOL = _by_type(
    {
        "function": _table(
            {**_TYPE, "name": _text, "description": _text, "parameters": _parameters}, required=("name",)
        ),
        "mcp": _table(
            {
                **_TYPE,
                **dict.fromkeys(
                    ("server_label", "server_url", "server_description", "connector_id", "tunnel_id"), _text
                ),
                **dict.fromkeys(("authorization", "headers", "allowed_tools", "require_approval"), _anything),
            },
            required=("server_label",),
        ),
    }
)
TOOL_CHOICE = _word_or_table(
    ("none", "auto", "required"),
    _by_type(
        {
            "function": _table({**_TYPE, "name": _text}, required=("name",)),
            "mcp": _table({**_TYPE, "server_label": _text, "name": _text}, required=("server_label",)),
        }
    ),
)
TURN_DETECTION = _by_type(
    {
        "server_vad": _table(
            {
                **_TYPE,
                "threshold": _number(0, 1, whole=False),
                "prefix_padding_ms": _number(0, 10_000),
                "silence_duration_ms": _number(0, 10_000),
                "idle_timeout_ms": _or_null(_number(5000, 30_000)),
                "create_response": _boolean,
                "interrupt_response": _boolean,
            }
        ),
        "semantic_vad": _table(
            {
                **_TYPE,
                "eagerness": _choice("low", "medium", "high", "auto"),
                "create_response": _boolean,
                "interrupt_response": _boolean,
            }
        ),
    }
)
TRANSCRIPTION_SETTINGS = _table(
    {
        "model": _choice(*TRANSCRIBERS),
        "language": _or_null(_text),
        "prompt": _or_null(_text),
        "keywords": _array(_text),
        "languages": _array(_text),
        "delay": _anything,
    }
)
NOISE_REDUCTION = _table({"type": _choice("near_field", "far_field"), "strength": _number(0, 1, whole=False)})
INPUT = _table(
    {
        "format": FORMAT,
        "transcription": _or_null(TRANSCRIPTION_SETTINGS),
        "noise_reduction": _or_null(NOISE_REDUCTION),
        "turn_detection": _or_null(TURN_DETECTION),
    }
)
REASONING = _table({"effort": _choice("minimal", "low", "medium", "high", "xhigh")})
PROMPT = _table({"id": _text, "version": _or_null(_text), "variables": _or_null(_object)}, required=("id",))
COMMON: Mapping[str, Check] = {
    "output_modalities": _modalities,
    "instructions": _text,
    "tools": _array(TOOL),
    "tool_choice": TOOL_CHOICE,
    "parallel_tool_calls": _boolean,
    "max_output_tokens": _max_output_tokens,
    "reasoning": REASONING,
    "prompt": _or_null(PROMPT),
}
SESSION = _table(
    {
        **COMMON,
        "type": _choice("realtime"),
        "model": _text,
        "audio": _table(
            {
                "input": INPUT,
                "output": _table({"format": FORMAT, "voice": VOICE, "speed": _number(0.25, 1.5, whole=False)}),
            }
        ),
        "tracing": _or_null(
            _word_or_table(("auto",), _table({"workflow_name": _text, "group_id": _text, "metadata": _object}))
        ),
        "include": _or_null(_array(_choice("item.input_audio_transcription.logprobs"))),
        "truncation": _word_or_table(
            ("auto", "disabled"),
            _table(
                {
                    "type": _choice("retention_ratio"),
                    "retention_ratio": _number(0, 1, whole=False),
                    "token_limits": _table({"post_instructions": _number(0, 1_000_000)}),
                },
                required=("type", "retention_ratio"),
            ),
        ),
    },
    required=("type",),
)
RESPONSE = _table(
    {
        **COMMON,
        "conversation": _choice("auto", "none"),
        "input": _array(_anything),
        "audio": _table({"output": _table({"format": FORMAT, "voice": VOICE})}),
        "metadata": _or_null(_metadata),
    }
)
