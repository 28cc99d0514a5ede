"""The script of the stand-in voice service: its timing, its limits, and its faults.

None of the times was measured at the real service. Sources: docs/protocol/elevenlabs.md 3.
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
    """A script or a fault has a mistake. The message says where, and what is allowed there."""


# What each fault does. `relay standin --help` prints it.
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
    """What goes wrong, and on which connections.

    The connection with the number `from_connection` is the first that has the faults. `connections` is the number of
    connections that have them, and 0 means all later connections. A refusal comes by "http" (the upgrade is refused) or
    by "socket" (101, then an error message and a close). It is not documented which of the two ways the real service
    uses, so a client must handle both. The faults `..._after_ms` count the sound of one connection, in ms.
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
        """True if the n-th connection has the faults. Connections are counted from 1."""
        past = connection - self.from_connection
        return past >= 0 and (self.connections == 0 or past < self.connections)

    @classmethod
    def described(cls) -> list[tuple[str, str]]:
        """For `--help`: each fault as it is written, and what it does."""
        kinds = {bool: "", str: "=..."}
        fields = {field.name: type(field.default) for field in msgspec.structs.fields(cls)}
        return [(name + kinds.get(fields[name], "=N"), says) for name, says in SAYS.items()]


class VoiceScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the service behaves. With the defaults it has no faults, and `contexts` is its only limit."""

    faults: VoiceFaults = VoiceFaults()
    seed: int = 1
    # The delay before a connection is served. A real connection needs time for TCP, TLS and the upgrade.
    connect_ms: Duration = 0.0
    # The time from a flush to its first audio: 75 ms of inference, and the network delay in the US, both ways.
    first_audio_ms: tuple[Duration, Duration] = (130.0, 180.0)
    chunk_ms: Count = 300  # The sound in one message. This is an assumption: captures in issues show 0.2 to 0.6 s.
    pace: Positive = 8.0  # Sound is sent this many times faster than real time (assumption).
    # With auto_mode, a text shorter than this waits for more text or for a flush (assumption).
    holds_characters: Count = 40
    contexts: Count = 5  # docs/protocol/elevenlabs.md 2.3
    slots: Ordinal = 0  # The most sockets at the same time. 0 means no limit.
    slot_refusal: Literal["http", "socket"] = "http"
    characters: Ordinal | None = None  # How many characters the account has. None means no limit.
    # How keys are spelled. ElevenLabs' own sources have both spellings.
    spelling: Literal["mixed", "camel", "snake"] = "mixed"
    api_key: str = ""  # The only API key that is accepted. "" accepts every key.
    voices: tuple[str, ...] = ()  # The only voices that exist. If empty, every voice exists.
    piper: bool = False  # If true, and if piper is installed, piper speaks texts that have no clip.

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> VoiceScript:
        """Read a script from a scenario's `[voice]` table. Raises VoiceScriptError."""
        try:
            return msgspec.convert(dict(table), cls)
        except msgspec.ValidationError as error:
            raise VoiceScriptError(in_words(error, cls)) from None

    def with_faults(self, header: str) -> VoiceScript:
        """This script with the faults `name=value, name`. Raises VoiceScriptError.

        A name alone means true, or "socket" for a refusal.
        """
        given = msgspec.structs.asdict(self.faults)
        for part in filter(None, (part.strip() for part in header.split(","))):
            name, has_value, value = (each.strip() for each in part.partition("="))
            given[name] = value if has_value else "socket" if given.get(name) == "" else "true"
        try:
            return msgspec.structs.replace(self, faults=msgspec.convert(given, VoiceFaults, strict=False))
        except msgspec.ValidationError as error:
            raise VoiceScriptError(in_words(error, VoiceFaults)) from None
