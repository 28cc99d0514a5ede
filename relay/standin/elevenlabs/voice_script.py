"""What the stand-in voice service is told: its timing, its limits, and what goes wrong on order.

None of these times was measured at the real service; each line names what it rests on. [API]: ElevenLabs' API
reference, "Multi-Context WebSocket" (read 2026-11). [MODELS]: ElevenLabs' documentation, "Models" (Flash v2.5: about
75 ms of inference). [LATENCY]: its page "Latency optimization" (150-200 ms to the first byte from the US, about 230 ms
from Europe). [HELP]: help.elevenlabs.io, "How can I keep the WebSocket open?".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from relay.standin.table_errors import in_words

Count = Annotated[int, msgspec.Meta(ge=1)]
Duration = Annotated[float, msgspec.Meta(ge=0)]
Place = Literal["", "http", "socket"]


class VoiceScriptError(Exception):
    """A script or a fault that is none: the place, and what could stand there."""


class VoiceFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong, on the connections from `from_connection` on, `connections` of them (0: all)."""

    from_connection: Count = 1
    connections: Annotated[int, msgspec.Meta(ge=0)] = 0
    # Opening. "http": the upgrade is refused; "socket": 101, and then an error and the end. Which of the two the real
    # service does is not documented, so both must be borne.
    connect_refused: bool = False
    connect_hangs: bool = False
    wrong_key: Place = ""
    unknown_voice: Place = ""
    no_slot: Place = ""
    quota_after: Annotated[int, msgspec.Meta(ge=0)] | None = None  # so many characters, then quota_exceeded
    # Speaking; `after_ms` of a connection's audio
    drops_after_ms: Duration | None = None  # the connection is cut inside a frame
    silent_after_ms: Duration | None = None  # it stays open, and says nothing more
    error_after_ms: Duration | None = None  # an error in the protocol's own shape, and the end
    json_after_ms: Duration | None = None  # the "audio" is a JSON error (twilio-labs/call-gpt#18)
    slow_ms: Duration = 0.0  # later with each generation
    pace: Annotated[float, msgspec.Meta(gt=0)] | None = None  # times real time: 0.5 starves the caller
    riff: bool = False  # audio begins with a WAV header
    wrong_format: Literal["", "pcm_8000", "pcm_16000", "mp3", "empty"] = ""  # other audio than was asked for
    late_chunks: Annotated[int, msgspec.Meta(ge=0)] = 0  # so many pieces of a context behind its last message
    no_alignment: bool = False
    never_final: bool = False  # no context's last message comes
    unknown_keys: bool = False  # messages and keys that nobody has documented

    def strikes(self, connection: int) -> bool:
        """Whether they hit the n-th connection, counted from 1."""
        past = connection - self.from_connection
        return past >= 0 and (self.connections == 0 or past < self.connections)


class VoiceScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the service behaves. `VoiceScript()` speaks at once, in whole clauses, to everybody."""

    faults: VoiceFaults = VoiceFaults()
    seed: int = 1
    connect_ms: Duration = 0.0  # TCP, TLS and the upgrade on a real way
    # From a flush to its first audio: 75 ms of inference [MODELS] and the way there and back from the US [LATENCY].
    first_audio_ms: tuple[Duration, Duration] = (130.0, 180.0)
    chunk_ms: Count = 300  # assumption: captures in issues show some 0.2-0.6 s of sound in a message
    pace: Annotated[float, msgspec.Meta(gt=0)] = 8.0  # assumption: times real time, once it speaks
    holds_characters: Count = 40  # with auto_mode: what is shorter waits for more text, or a flush (assumption)
    contexts: Count = 5  # elevenlabs: "Maximum simultaneous contexts per WebSocket connection exceeded (5)"
    slots: Annotated[int, msgspec.Meta(ge=0)] = 0  # sockets at once; 0: without a limit
    slot_refusal: Literal["http", "socket"] = "http"
    characters: Annotated[int, msgspec.Meta(ge=0)] | None = None  # of the account; None: without end
    spelling: Literal["mixed", "camel", "snake"] = "mixed"  # of keys: the two that its own sources have
    api_key: str = ""  # the only key that is accepted; empty: any
    voices: tuple[str, ...] = ()  # the only voices there are; empty: any
    piper: bool = False  # texts without a clip by piper, where it is installed

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> VoiceScript:
        """A script from a scenario's `[voice]` table. Raises VoiceScriptError in words."""
        try:
            return msgspec.convert(dict(table), cls)
        except msgspec.ValidationError as error:
            raise VoiceScriptError(in_words(error, cls)) from None

    def with_faults(self, header: str) -> VoiceScript:
        """This script with `name=value, name`: a bare name is true. Raises VoiceScriptError in words."""
        given = msgspec.structs.asdict(self.faults)
        for part in filter(None, (part.strip() for part in header.split(","))):
            name, has_value, value = (each.strip() for each in part.partition("="))
            given[name] = value if has_value else "socket" if given.get(name) == "" else "true"
        try:
            return msgspec.structs.replace(self, faults=msgspec.convert(given, VoiceFaults, strict=False))
        except msgspec.ValidationError as error:
            raise VoiceScriptError(in_words(error, VoiceFaults)) from None
