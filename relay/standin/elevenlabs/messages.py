"""The protocol of the stand-in voice service: checks clients' messages, and writes the messages of the service.

Source: docs/protocol/elevenlabs.md 2. ElevenLabs' examples spell keys in another way than ElevenLabs' package does. So
a client must accept both spellings. An error is a message {message, error, code}, and then a close frame with the same
code (docs/protocol/elevenlabs.md 1.2).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pybase64

POLICY = 1008


@dataclass(frozen=True)
class RefusedError(Exception):
    """A client's message or connection is refused. Holds the error that the service sends before it closes."""

    error: str
    message: str
    status: int = 400  # The HTTP status, if the upgrade is refused.

    def wire(self) -> str:
        """The error as a message."""
        return json.dumps({"message": self.message, "error": self.error, "code": POLICY})

    def body(self) -> str:
        """The error as the body of an HTTP answer."""
        return json.dumps({"detail": {"status": self.error, "message": self.message}})


# The texts of the next two errors and of the time-out are quoted from issues of client libraries
# (livekit/agents-js#1985, elevenlabs/elevenlabs-python#167, elevenlabs/elevenlabs-docs#426). The other errors are
# assumptions (docs/protocol/elevenlabs.md 1.2).
TOO_MANY_CONTEXTS = RefusedError(
    "max_active_conversations",
    "Maximum simultaneous contexts per WebSocket connection exceeded (5). "
    "Please close an existing context before opening a new one.",
)
INVALID = RefusedError(
    "invalid_input_message",
    "Could not parse input message, make sure it is a json and follows the schema outlined in protocol.",
)
WRONG_KEY = RefusedError("invalid_api_key", "Invalid API key", 401)
UNKNOWN_VOICE = RefusedError("voice_id_does_not_exist", "A voice for the voice_id was not found.", 404)
QUOTA = RefusedError("quota_exceeded", "This request exceeds your quota.", 401)
NO_SLOT = RefusedError(
    "too_many_concurrent_requests", "Too many concurrent requests. Your current subscription has a limit.", 429
)
BUSY = RefusedError("system_busy", "We are experiencing heavy traffic, please try again later.", 503)
LATE_SETTINGS = RefusedError(
    "invalid_input_message", "voice_settings and generation_config can only be provided in the first message."
)


def timed_out(timeout_s: float) -> RefusedError:
    """The error if no text came for `timeout_s`. The text is that of the real service (elevenlabs-docs#426)."""
    words = (
        f"Have not received a new text input within the timeout of {timeout_s:.1f} seconds. Streaming input "
        "terminated. Please make sure to either feed the input in the timely manner, or to send the end of input text "
        '(empty string "") when done.'
    )
    return RefusedError("input_timeout_exceeded", words)


@dataclass(frozen=True, slots=True)
class Order:
    """One message of a client."""

    context_id: str
    text: str
    flush: bool
    close_context: bool
    close_socket: bool
    has_settings: bool


_KINDS: dict[str, type | tuple[type, ...]] = {
    "text": str, "flush": bool, "close_context": bool, "close_socket": bool, "context_id": str, "contextId": str,
    "voice_settings": dict, "generation_config": dict, "generator_config": dict, "xi_api_key": str, "xi-api-key": str,
    "authorization": str, "pronunciation_dictionary_locators": list,
}  # fmt: skip


def order_of(message: bytes) -> Order:
    """Read a client's message. Raises RefusedError if it does not belong to the protocol."""
    try:
        table = json.loads(message)
    except ValueError:
        raise INVALID from None
    if not isinstance(table, dict):
        raise INVALID
    for key, value in table.items():
        if value is not None and not isinstance(value, _KINDS.get(key, object)):
            raise INVALID
    return Order(
        table.get("context_id") or table.get("contextId") or "default",
        table.get("text") or "",
        bool(table.get("flush")),
        bool(table.get("close_context")),
        bool(table.get("close_socket")),
        any(table.get(key) for key in ("voice_settings", "generation_config", "generator_config")),
    )


class Spelling:
    """Writes the messages of the service, with keys in snake_case, in camelCase, or alternately in both."""

    def __init__(self, spelling: str, unknown_keys: bool) -> None:
        self._spelling, self._unknown, self._turn = spelling, unknown_keys, 0

    def audio(self, context_id: str, data: bytes, chars: list[tuple[str, int, int]] | None) -> str:
        """A message with a piece of sound. `chars` are (character, start_ms, duration_ms).

        The times count from the beginning of the sound in this message.
        """
        camel = self._is_camel()
        aligned = _alignment(chars, camel, self._turn) if chars is not None else None
        table: dict[str, Any] = {
            "audio": pybase64.b64encode(data).decode(),
            "alignment": aligned,
            "normalizedAlignment" if camel else "normalized_alignment": aligned,
            "isFinal" if camel else "is_final": False if self._turn % 3 else None,
            "contextId" if camel else "context_id": context_id,
        }
        return self._written(table)

    def final(self, context_id: str) -> str:
        """The last message of a context."""
        camel = self._is_camel()
        table = {"isFinal" if camel else "is_final": True, "contextId" if camel else "context_id": context_id}
        return self._written(table | ({"audio": None} if self._turn % 2 else {}))

    def _is_camel(self) -> bool:
        self._turn += 1
        return self._spelling == "camel" or (self._spelling == "mixed" and self._turn % 2 == 1)

    def _written(self, table: dict[str, Any]) -> str:
        if self._unknown:
            table["x_undocumented"] = {"since": 2027}
        return json.dumps(table)


def _alignment(chars: list[tuple[str, int, int]], camel: bool, turn: int) -> dict[str, Any]:
    starts = "charStartTimesMs" if camel else "char_start_times_ms"
    durations = ("charsDurationsMs" if turn % 4 == 3 else "charDurationsMs") if camel else "char_durations_ms"
    return {
        "chars": [char for char, _, _ in chars],
        starts: [start for _, start, _ in chars],
        durations: [duration for _, _, duration in chars],
    }
