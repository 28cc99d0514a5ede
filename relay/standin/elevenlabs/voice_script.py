"""What the stand-in voice service is told: its timing, its limits, and its faults.

None of these times was measured at the real service. Sources: docs/protocol/elevenlabs.md 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from relay.standin.table_errors import in_words

Count = Annotated[int, msgspec.Meta(ge=1)]
Duration = Annotated[float, msgspec.Meta(ge=0)]
Ordinal = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Place = Literal["", "http", "socket"]
Format = Literal["", "pcm_8000", "pcm_16000", "mp3", "empty"]


class VoiceScriptError(Exception):
    """A wrong script or fault: its place, and what is allowed there."""


# What each fault does, for `relay standin --help`.
SAYS = {
    "connect_refused": "the connection is reset before the upgrade",
    "connect_hangs": "the upgrade is never answered",
    "wrong_key": "the key is refused: http or socket",
    "unknown_voice": "there is no such voice: http or socket",
    "no_slot": "too many concurrent requests: http or socket",
    "quota_after": "the account has this many characters left",
    "drops_after_ms": "the connection is cut inside a frame",
    "silent_after_ms": "it stays open, and says nothing more",
    "error_after_ms": "an error in the protocol's own shape, and the end",
    "json_after_ms": "the audio is a JSON error (twilio-labs/call-gpt#18)",
    "slow_ms": "each generation begins this much later",
    "pace": "times real time: 0.5 starves the caller",
    "riff": "the audio begins with a WAV header",
    "wrong_format": "other audio than was asked for: pcm_8000, pcm_16000, mp3 or empty",
    "late_chunks": "this many pieces of a context come after its last message",
    "no_alignment": "no message says where the text is",
    "never_final": "no context's last message comes",
    "unknown_keys": "keys that nobody has documented",
}


class VoiceFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong, on the connections from `from_connection` on, `connections` of them (0: all).

    At opening, a fault comes by "http" (the upgrade is refused) or by "socket" (101, then an error and the end). It is
    not documented which of the two the real service does, so a client must handle both. `after_ms` counts the sound of
    one connection.
    """

    from_connection: Count = 1
    connections: Ordinal = 0
    # Opening
    connect_refused: bool = False
    connect_hangs: bool = False
    wrong_key: Place = ""
    unknown_voice: Place = ""
    no_slot: Place = ""
    quota_after: Ordinal | None = None
    # Speaking
    drops_after_ms: Duration | None = None
    silent_after_ms: Duration | None = None
    error_after_ms: Duration | None = None
    json_after_ms: Duration | None = None
    slow_ms: Duration = 0.0
    pace: Positive | None = None
    riff: bool = False
    wrong_format: Format = ""
    late_chunks: Ordinal = 0
    no_alignment: bool = False
    never_final: bool = False
    unknown_keys: bool = False

    def strikes(self, connection: int) -> bool:
        """True if the faults hit the n-th connection, counted from 1."""
        past = connection - self.from_connection
        return past >= 0 and (self.connections == 0 or past < self.connections)

    @classmethod
    def described(cls) -> list[tuple[str, str]]:
        """Each fault in the form in which it is ordered, and what it does."""
        kinds = {bool: "", str: "=..."}
        fields = {field.name: type(field.default) for field in msgspec.structs.fields(cls)}
        return [(name + kinds.get(fields[name], "=N"), says) for name, says in SAYS.items()]


class VoiceScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the service behaves. `VoiceScript()` speaks at once, in whole clauses, and to every client."""

    faults: VoiceFaults = VoiceFaults()
    seed: int = 1
    connect_ms: Duration = 0.0  # A real connection needs TCP, TLS and the upgrade.
    # The time from a flush to its first audio: 75 ms of inference, and the way there and back from the US.
    first_audio_ms: tuple[Duration, Duration] = (130.0, 180.0)
    chunk_ms: Count = 300  # Assumption: captures in issues show 0.2 to 0.6 s of sound in a message.
    pace: Positive = 8.0  # Assumption: this many times real time, as soon as it speaks.
    holds_characters: Count = 40  # With auto_mode, a shorter text waits for more text or a flush (assumption).
    contexts: Count = 5  # docs/protocol/elevenlabs.md 2.3
    slots: Ordinal = 0  # The number of sockets at once. 0: no limit.
    slot_refusal: Literal["http", "socket"] = "http"
    characters: Ordinal | None = None  # The number of characters that the account has. None: no limit.
    # How keys are spelled. ElevenLabs' own sources have both ways.
    spelling: Literal["mixed", "camel", "snake"] = "mixed"
    api_key: str = ""  # The only key that is accepted. Empty: every key.
    voices: tuple[str, ...] = ()  # The only voices that exist. Empty: every voice.
    piper: bool = False  # Texts without a clip are spoken by piper, if it is installed.

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> VoiceScript:
        """A script from a scenario's `[voice]` table. Raises VoiceScriptError in words."""
        try:
            return msgspec.convert(dict(table), cls)
        except msgspec.ValidationError as error:
            raise VoiceScriptError(in_words(error, cls)) from None

    def with_faults(self, header: str) -> VoiceScript:
        """This script, changed by `name=value, name`. A name alone means true. Raises VoiceScriptError in words."""
        given = msgspec.structs.asdict(self.faults)
        for part in filter(None, (part.strip() for part in header.split(","))):
            name, has_value, value = (each.strip() for each in part.partition("="))
            given[name] = value if has_value else "socket" if given.get(name) == "" else "true"
        try:
            return msgspec.structs.replace(self, faults=msgspec.convert(given, VoiceFaults, strict=False))
        except msgspec.ValidationError as error:
            raise VoiceScriptError(in_words(error, VoiceFaults)) from None
