"""The texts with which the real model refuses something.

Captured texts are quoted word for word (docs/protocol/openai.md 1.2, 2.2). "Our words" means that the text was not
captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """The content of an `error` event. The client's event is not carried out, and the session goes on."""

    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"

    def fields(self, client_event_id: str | None) -> dict[str, str | None]:
        """The `error` object of the event."""
        return {
            "type": self.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": client_event_id,
        }


class RefusedError(Exception):
    """A client's event is wrong. Holds the error to send."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def one_of(values: Sequence[str]) -> str:
    """Write allowed values as the real server does: 'a', 'b', and 'c'."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return ", ".join(quoted[:-1]) + f", and {quoted[-1]}"


def unknown_parameter(param: str) -> Refusal:
    """A key that the API does not have."""
    return Refusal(f"Unknown parameter: '{param}'.", "unknown_parameter", param)


def missing_parameter(param: str) -> Refusal:
    """A key that the API needs."""
    return Refusal(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)


def invalid_value(param: str, value: object, supported: Sequence[str]) -> Refusal:
    """A value that is not one of the allowed values."""
    return Refusal(f"Invalid value: '{value}'. Supported values are: {one_of(supported)}.", "invalid_value", param)


def invalid_type(param: str, expected: str, value: object) -> Refusal:
    """A value of the wrong JSON type."""
    names = {str: "a string", int: "an integer", float: "a decimal", bool: "a boolean", dict: "an object"}
    got = "null" if value is None else names.get(type(value), "an array")
    return Refusal(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", "invalid_type", param)


def below_minimum(param: str, minimum: float, value: float) -> Refusal:
    """A number that is too small."""
    kind = "integer" if isinstance(value, int) else "decimal"
    return Refusal(
        f"Invalid '{param}': {kind} below minimum value. Expected a value >= {minimum}, but got {value} instead.",
        f"{kind}_below_min_value",
        param,
    )


def above_maximum(param: str, maximum: float, value: float) -> Refusal:
    """A number that is too large."""
    kind = "integer" if isinstance(value, int) else "decimal"
    return Refusal(
        f"Invalid '{param}': {kind} above maximum value. Expected a value <= {maximum}, but got {value} instead.",
        f"{kind}_above_max_value",
        param,
    )


NOT_JSON = Refusal(
    "Invalid event: failed to parse JSON value. Please check the value to ensure it is valid JSON.", "invalid_json"
)
BINARY_FRAME = Refusal("Expected a text WebSocket message; binary frames are not supported.", "invalid_event")
NO_TYPE = Refusal("The 'type' field is missing.", "invalid_event", "type")
NOT_BASE64 = Refusal(
    "Invalid 'audio'. Expected base64-encoded audio bytes in the session's input format, but got an invalid value.",
    "invalid_value",
    "audio",
)
CANCEL_IDLE = Refusal("Cancellation failed: no active response found", "response_cancel_not_active")
NO_MODEL_AUDIO = Refusal("Only model output audio messages can be truncated", "invalid_value")
VOICE_FIXED = Refusal("Cannot update a conversation's voice if assistant audio is present.", "cannot_update_voice")
EXPIRED = Refusal("Your session hit the maximum duration of 60 minutes.", "session_expired")
RATE_LIMIT = Refusal(
    "Rate limit reached for this model on tokens per min (TPM). Please try again later.",
    "rate_limit_exceeded",
    None,
    "rate_limit_error",
)
NO_QUOTA = Refusal(
    "You exceeded your current quota, please check your plan and billing details.",
    "insufficient_quota",
    None,
    "insufficient_quota",
)


def server_error(session_id: str) -> Refusal:
    """An error inside the server."""
    return Refusal(
        "The server had an error while processing your request. Sorry about that! Please contact us through our help "
        f"center at help.openai.com if the error persists. (include session ID in your message: {session_id}). "
        "We recommend you retry your request.",
        type="server_error",
    )


def failure(code: str, session_id: str) -> Refusal:
    """The error of a response that a scenario makes fail with this code. Texts that were not captured are our words."""
    known = {
        "server_error": server_error(session_id),
        "rate_limit_exceeded": RATE_LIMIT,
        "insufficient_quota": NO_QUOTA,
    }
    return known.get(code) or Refusal(f"The response failed: {code}.", code)


def already_active(response_id: str) -> Refusal:
    """A client asks for a second response in the default conversation."""
    return Refusal(
        f"Conversation already has an active response in progress: {response_id}. "
        "Wait until the response is finished before creating a new one.",
        "conversation_already_has_active_response",
    )


def already_shorter(audio_ms: int, asked_ms: int) -> Refusal:
    """A truncation beyond the audio that was generated."""
    return Refusal(f"Audio content of {audio_ms}ms is already shorter than {asked_ms}ms", "invalid_value")


def commit_empty(buffered_ms: float) -> Refusal:
    """A commit of less than 100 ms of audio."""
    return Refusal(
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
        f"but buffer only has {buffered_ms:.2f}ms of audio.",
        "input_audio_buffer_commit_empty",
    )


def no_such_item(verb: str, item_id: str) -> Refusal:
    """Delete, truncate or retrieve for an item that is not in the conversation. Code and text are our words."""
    doing = {"delete": "deleting", "truncate": "truncating", "retrieve": "retrieving"}[verb]
    return Refusal(
        f"Error {doing} item: the item with id '{item_id}' does not exist.", f"item_{verb}_invalid_item_id", "item_id"
    )


# Refusals of a connection, after its upgrade: the close code and the error. Code 3000 means a wrong key, and 4000 means
# a wrong request (docs/protocol/openai.md 1.2).
def bad_key(key: str) -> tuple[int, Refusal]:
    """The API key is wrong. The server masks it in the text."""
    masked = key if len(key) < 12 else f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"
    return 3000, Refusal(
        f"Incorrect API key provided: {masked}. "
        "You can find your API key at https://platform.openai.com/account/api-keys.",
        "invalid_api_key",
    )


NO_KEY = 3000, Refusal("Missing bearer or basic authentication in header")
NO_MODEL = (
    4000,
    Refusal(
        "You must provide a model parameter, for example wss://api.openai.com/v1/realtime?model=gpt-realtime-1.5",
        "missing_model",
    ),
)
BETA = (
    4000,
    Refusal(
        "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
        "beta_api_shape_disabled",
    ),
)


def unknown_model(model: str) -> tuple[int, Refusal]:
    """A model that has no Realtime API."""
    return 4000, Refusal(f'Model "{model}" is not supported in realtime mode.', "invalid_model")


def connect_error(code: str, model: str) -> tuple[int, Refusal]:
    """The refusal that a scenario orders with this code. Texts that were not captured are our words."""
    known = {
        "invalid_api_key": bad_key("sk-standin-refused"),
        "invalid_model": unknown_model(model),
        "missing_model": NO_MODEL,
        "beta_api_shape_disabled": BETA,
        "model_not_found": (
            4000,
            Refusal(f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"),
        ),
        "insufficient_quota": (4000, NO_QUOTA),
    }
    return known.get(code) or (4000, Refusal(f"The connection was refused: {code}.", code))
