"""The interface of a voice: text deltas and cuts go in, mu-law with text positions comes out.

An item is a message of the model's conversation. This file knows no service, no clock and no socket. `say`, `finish`,
`cut` and `tick` return at once and never fail. If something goes wrong, `VoiceLost` comes out once, and nothing after
it.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from relay.call.vocabulary import ItemId, Position


class VoiceFault(enum.StrEnum):
    """Why a voice cannot speak. The comments say whose fault it is."""

    WRONG_KEY = "wrong_key"  # Operator: the key is wrong, or it does not allow text to speech.
    UNKNOWN_VOICE = "unknown_voice"  # Operator: with this key there is no voice of this id.
    QUOTA = "quota"  # Operator: the account's characters are used up.
    NO_SLOT = "no_slot"  # Operator: the account, or ELEVENLABS_SLOTS, allows no further socket.
    UNREACHABLE = "unreachable"  # Service or network: no connection.
    DROPPED = "dropped"  # Service or network: the connection ended.
    SILENT = "silent"  # Service: it does not speak a text that was flushed.
    SLOW = "slow"  # Service: it generates speech more slowly than it is played.
    BAD_AUDIO = "bad_audio"  # Service: it sent something that is not mu-law.
    REFUSED = "refused"  # Service: it refused for another reason. Its code is in `words`.


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of an item's sound, in order: mu-law at 8 kHz, and its positions in order, if they are known."""

    item_id: ItemId
    mulaw: bytes = field(repr=False)
    positions: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class SpokenWhole:
    """All sound of an item has come out, and its text was complete."""

    item_id: ItemId


@dataclass(frozen=True, slots=True)
class VoiceLost:
    """This voice cannot speak any more. `words` are for the operator, without the key and without words of the call.

    `do`: what the operator must do, or "". `unspoken`: the items whose sound is not complete.
    """

    fault: VoiceFault
    words: str
    do: str = ""
    unspoken: tuple[ItemId, ...] = ()


VoiceEvent: TypeAlias = Spoken | SpokenWhole | VoiceLost


class VoiceUnavailable(Exception):
    """There is no voice. `fault`, the words and `do` are as in VoiceLost."""

    def __init__(self, fault: VoiceFault, words: str, do: str = "") -> None:
        super().__init__(words)
        self.fault, self.do = fault, do


class Voice(Protocol):
    """The voice of one call."""

    @property
    def characters(self) -> int:
        """How many characters were sent to be spoken. All of them are charged, even if the caller did not hear them."""

    @property
    def is_lost(self) -> bool:
        """True after its VoiceLost."""

    def say(self, item_id: ItemId, text: str) -> None:
        """A piece of an item's text, as the model writes it."""

    def finish(self, item_id: ItemId) -> None:
        """The item's text is complete. SpokenWhole follows after its last sound."""

    def cut(self, item_id: ItemId) -> None:
        """The item is not wanted any more. From now on no sound of it and no SpokenWhole comes out."""

    def tick(self) -> None:
        """Must be called a few times a second. `tick` keeps the connection alive and notices silence."""

    async def keep(self) -> None:
        """Answer the service before the call begins, until cancelled. `run` later reports what happened."""

    async def run(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        """Report events until the voice is closed or lost, or until cancelled. One task of the call runs this."""

    async def close(self) -> None:
        """Close the connection. It never raises, and may be called again."""


class Voices(Protocol):
    """Opens voices. There is one for each process."""

    @property
    def name(self) -> str:
        """The service, the voice and the model: for bills, and for the keys of kept phrases."""

    @property
    def usd_per_character(self) -> float:
        """The price of one character, by the dated table in prices.py."""

    async def open(self) -> Voice:
        """A voice for a call, opened when the phone rings.

        If it fails, no socket is left open. Raises VoiceUnavailable.
        """

    async def render(self, text: str) -> bytes:
        """The whole sound of a phrase, mu-law at 8 kHz. Raises VoiceUnavailable."""
