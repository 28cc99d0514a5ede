"""Says what every voice must have. Text and cuts go in, and mu-law with text positions comes out.

A voice speaks items: messages of the model's conversation. This file knows no service, no clock and no socket. `say`,
`finish`, `cut` and `tick` return at once and never fail. If the voice fails, it reports `VoiceLost` once, and nothing
after that.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from relay.call.vocabulary import ItemId, Position


class VoiceFault(enum.StrEnum):
    """Why a voice cannot speak. The comments say whose fault it is, and what happened."""

    WRONG_KEY = "wrong_key"  # Operator: the key is wrong, or it does not allow text to speech.
    UNKNOWN_VOICE = "unknown_voice"  # Operator: with this key there is no voice of this id.
    QUOTA = "quota"  # Operator: the account's characters are used up.
    NO_SLOT = "no_slot"  # Operator: the account, or ELEVENLABS_SLOTS, allows no further socket.
    UNREACHABLE = "unreachable"  # Service or network: no connection.
    DROPPED = "dropped"  # Service or network: the connection ended.
    SILENT = "silent"  # Service: it sends no sound for a text.
    SLOW = "slow"  # Service: it generates speech more slowly than it is played.
    BAD_AUDIO = "bad_audio"  # Service: it sent something that is not mu-law.
    REFUSED = "refused"  # Service: it refused for another reason. Its code is in `words`.


@dataclass(frozen=True, slots=True)
class Spoken:
    """The next piece of an item's sound: mu-law at 8 kHz, and its positions if they are known."""

    item_id: ItemId
    mulaw: bytes = field(repr=False)
    positions: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class SpokenWhole:
    """All sound of this item has been reported."""

    item_id: ItemId


@dataclass(frozen=True, slots=True)
class VoiceLost:
    """The voice cannot speak any more. `words` are for the operator. They have no key and no words of the call.

    `do`: what the operator must do, or "". `unspoken`: the items whose sound is not complete.
    """

    fault: VoiceFault
    words: str
    do: str = ""
    unspoken: tuple[ItemId, ...] = ()


VoiceEvent: TypeAlias = Spoken | SpokenWhole | VoiceLost


class VoiceUnavailable(Exception):
    """No voice could be opened, or the voice could not speak. `fault`, `words` and `do` are as in VoiceLost."""

    def __init__(self, fault: VoiceFault, words: str, do: str = "") -> None:
        super().__init__(words)
        self.fault, self.do = fault, do


class Voice(Protocol):
    """Speaks in one call."""

    @property
    def characters(self) -> int:
        """How many characters were sent to the service. All must be paid for, even if the caller did not hear them."""

    @property
    def is_lost(self) -> bool:
        """True after the voice was lost. VoiceLost may not be reported yet."""

    def say(self, item_id: ItemId, text: str) -> None:
        """The model has written a piece of this item's text."""

    def finish(self, item_id: ItemId) -> None:
        """The text of this item is complete. After its last sound, SpokenWhole is reported."""

    def cut(self, item_id: ItemId) -> None:
        """This item is not wanted any more. No more of its sound is reported, and no SpokenWhole."""

    def tick(self) -> None:
        """Must be called a few times a second.

        It keeps the connection alive, and finds out whether the voice is silent.
        """

    async def keep(self) -> None:
        """Keep the voice alive while its call has not begun: until cancelled, lost or closed.

        If the voice is lost meanwhile, `run` reports the loss later.
        """

    async def run(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        """Report events until the voice is closed or lost, or until cancelled. Runs as a task of the call."""

    async def close(self) -> None:
        """Close the connection. Never raises. May be called twice."""


class Voices(Protocol):
    """Opens voices. A process has one such object."""

    @property
    def name(self) -> str:
        """Service, model and voice. Bills use this name."""

    @property
    def usd_per_character(self) -> float:
        """The price of one character, from the table in prices.py."""

    async def open(self) -> Voice:
        """Open the voice of a call. The relay calls this when the phone rings.

        If opening fails, no socket stays open. Raises VoiceUnavailable.
        """

    async def render(self, text: str) -> bytes:
        """Have a phrase spoken. Returns all of its sound, mu-law at 8 kHz. Raises VoiceUnavailable."""
