"""Makes and reads messages of ElevenLabs' multi-context protocol. Source: docs/protocol/elevenlabs.md 2.

The service writes keys in two ways: contextId and context_id. Its reference, its examples and its own package do not
agree. Both ways are read here. Unknown keys are skipped and counted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import msgspec
import pybase64

from relay.voices.voice import VoiceFault, VoiceUnavailable

# The longest time that the service allows. Its default is 20 s.
INACTIVITY_TIMEOUT_S = 180
# These are the defaults of the documentation. They are sent all the same, because the owner of a voice may change its
# settings in the library.
VOICE_SETTINGS = {"stability": 0.5, "similarity_boost": 0.75, "speed": 1.0}

_encode = msgspec.json.Encoder().encode


class VoiceProtocolError(Exception):
    """A message of the service breaks the protocol. The text says what is wrong, and quotes nothing of the message."""


def path(voice_id: str, model: str) -> str:
    """The path and query of the URL for a call's socket.

    `auto_mode`: the service does not wait for 120 characters or more before it speaks. We send clauses and flush them.
    `apply_text_normalization` is off, because spoken_words.py writes numbers out, and because positions refer to the
    text that we send.
    """
    query = {
        "model_id": model,
        "output_format": "ulaw_8000",
        "inactivity_timeout": INACTIVITY_TIMEOUT_S,
        "auto_mode": "true",
        "sync_alignment": "true",
        "apply_text_normalization": "off",
    }
    return f"/v1/text-to-speech/{quote(voice_id, safe='')}/multi-stream-input?{urlencode(query)}"


# From us to ElevenLabs


def begin_context(context_id: str) -> bytes:
    """Make the first message of a context. It has one space and the settings, which later messages cannot change."""
    return _encode({"text": " ", "voice_settings": VOICE_SETTINGS, "context_id": context_id})


def speak(context_id: str, text: str, *, flush: bool) -> bytes:
    """Make a message with a piece of text. The text ends with a space.

    If `flush`, the service speaks the text at once, even if the text is short.
    """
    message: dict[str, object] = {"text": text, "context_id": context_id}
    return _encode(message | {"flush": True} if flush else message)


def close_context(context_id: str) -> bytes:
    """Make the message that ends the text of a context.

    The service speaks the text that it has not spoken yet, and then sends the context's last message.
    """
    return _encode({"context_id": context_id, "close_context": True})


def keep_alive(context_id: str) -> bytes:
    """Make the message that starts the time limit of a context again."""
    return _encode({"text": "", "context_id": context_id})


def close_socket() -> bytes:
    """Make the message that asks the service to close the socket."""
    return _encode({"close_socket": True})


# From ElevenLabs to us


@dataclass(frozen=True, slots=True)
class Aligned:
    """The characters of a piece of sound, and when each has been spoken, in ms from the beginning of the piece."""

    chars: tuple[str, ...]
    ends_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the service."""

    context_id: str = ""
    audio: bytes = field(default=b"", repr=False)
    aligned: Aligned | None = None
    is_final: bool = False
    error: str = ""  # The code of an error. "" if the message is no error.
    words: str = ""  # The service's text about the error.
    unknown_keys: int = 0


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEYS = {
    "audio": "audio",
    "alignment": "alignment",
    "normalizedAlignment": "",
    "normalized_alignment": "",
    "isFinal": "is_final",
    "is_final": "is_final",
    "contextId": "context_id",
    "context_id": "context_id",
    "error": "error",
    "message": "message",
    "code": "code",
    "detail": "detail",
    "status": "",
}


def read(raw: bytes) -> Message:
    """Decode a message. Raises VoiceProtocolError if it is no JSON object, or if its audio is not base64."""
    try:
        table = _fields.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise VoiceProtocolError(f"a message of {len(raw)} bytes is no JSON object") from None
    known: dict[str, msgspec.Raw] = {}
    unknown = 0
    for key, value in table.items():
        name = _KEYS.get(key)
        if name is None:
            unknown += 1
        elif name and bytes(value) != b"null":
            known[name] = value
    error, words = _error(known)
    try:
        audio = pybase64.b64decode(_text(known.get("audio")), validate=True)
    except ValueError:
        raise VoiceProtocolError("the audio is not base64") from None
    return Message(
        _text(known.get("context_id")),
        audio,
        _aligned(known.get("alignment")),
        _text(known.get("is_final")).lower() == "true",
        error,
        words,
        unknown,
    )


def _text(raw: msgspec.Raw | None) -> str:
    """A JSON value as text, if it is text, a number, true or false. Otherwise ""."""
    if raw is None:
        return ""
    value = _value(raw)
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool | int | float) else ""


def _value(raw: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _error(known: dict[str, msgspec.Raw]) -> tuple[str, str]:
    """The code and the text of an error.

    A message of the socket has {message, error, code}. An HTTP answer has {detail: {...}}.
    """
    if "detail" in known:
        return error_in_body(bytes(known["detail"]).decode(errors="replace"))
    if "error" in known or "code" in known:
        return _text(known.get("error")) or _text(known.get("code")), _text(known.get("message"))
    return "", ""


def error_in_body(body: str) -> tuple[str, str]:
    """The code and the text of an error in an HTTP answer: {"detail": {"status", "message"}}, or only a text."""
    try:
        table = json.loads(body)
    except ValueError:
        return "", body
    if isinstance(table, dict):
        table = table.get("detail", table)
    if not isinstance(table, dict):
        return "", table if isinstance(table, str) else ""
    code = table.get("status") or table.get("code") or table.get("error") or ""
    words = table.get("message") or ""
    return str(code), words if isinstance(words, str) else ""


_SPELLINGS = (
    ("charStartTimesMs", "char_start_times_ms", "charsStartTimesMs"),
    ("charDurationsMs", "charsDurationsMs", "char_durations_ms", "chars_durations_ms"),
)


def _aligned(raw: msgspec.Raw | None) -> Aligned | None:
    """Decode an alignment. None if it cannot be used."""
    table = _value(raw) if raw is not None else None
    if not isinstance(table, dict):
        return None
    chars = table.get("chars")
    starts, durations = (next((table[key] for key in keys if key in table), None) for keys in _SPELLINGS)
    if not (isinstance(chars, list) and isinstance(starts, list) and isinstance(durations, list)):
        return None
    if not (len(chars) == len(starts) == len(durations)) or not chars:
        return None
    if not all(isinstance(each, int | float) for each in (*starts, *durations)):
        return None
    return Aligned(tuple(map(str, chars)), tuple(s + d for s, d in zip(starts, durations, strict=True)))


# Errors, and whose fault they are

_KEY = re.compile(r"\bsk_\w+")  # What a key looks like. A refusal may quote the key.
_BY_CODE = {
    "invalid_api_key": VoiceFault.WRONG_KEY,
    "missing_api_key": VoiceFault.WRONG_KEY,
    "needs_authorization": VoiceFault.WRONG_KEY,
    "missing_permissions": VoiceFault.WRONG_KEY,
    "voice_id_does_not_exist": VoiceFault.UNKNOWN_VOICE,
    "voice_not_found": VoiceFault.UNKNOWN_VOICE,
    "quota_exceeded": VoiceFault.QUOTA,
    "too_many_concurrent_requests": VoiceFault.NO_SLOT,
    "concurrent_limit_exceeded": VoiceFault.NO_SLOT,
}
KNOWN_ERRORS = tuple(_BY_CODE)
_BY_STATUS = {
    401: VoiceFault.WRONG_KEY,
    402: VoiceFault.QUOTA,
    403: VoiceFault.WRONG_KEY,
    404: VoiceFault.UNKNOWN_VOICE,
    429: VoiceFault.NO_SLOT,
}
_DO = {
    VoiceFault.WRONG_KEY: "set ELEVENLABS_API_KEY to a key that may use text to speech (elevenlabs.io, API keys)",
    VoiceFault.UNKNOWN_VOICE: "set ELEVENLABS_VOICE_ID to a voice of this account (elevenlabs.io, Voices, copy its ID)",
    VoiceFault.QUOTA: "buy characters or wait for the next month at elevenlabs.io, or set VOICE=openai",
    VoiceFault.NO_SLOT: "lower MAX_CALLS, or take a plan with more concurrent requests; each call holds one",
}


def fault_of(code: str, status: int = 0) -> VoiceFault:
    """The fault for an error. The error's code decides, or the HTTP status if the code is not known."""
    return _BY_CODE.get(code) or _BY_STATUS.get(status) or VoiceFault.REFUSED


def remedy(fault: VoiceFault) -> str:
    """What the operator must do about this fault. "" if nothing."""
    return _DO.get(fault, "")


def refused(code: str, words: str, status: int = 0) -> VoiceUnavailable:
    """The exception for an error of the service, with the error's code and the beginning of the service's text."""
    fault = fault_of(code, status)
    told = f"ElevenLabs refused: {code or f'HTTP {status}'}"
    return VoiceUnavailable(fault, f"{told}: {without_key(words)}".rstrip(": "), remedy(fault))


def without_key(words: str) -> str:
    """The beginning of the service's text in one line, without a key."""
    return _KEY.sub("sk_...", " ".join(words.split()))[:160]
