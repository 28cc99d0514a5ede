"""The interface of a voice: text deltas and cuts in, mu-law with text positions out.

An item is a message of the model's conversation. This file knows no service, no clock and no socket. The methods that
put something in return at once and never fail. If something goes wrong, `VoiceLost` comes out, once, and nothing after
it.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from relay.call.vocabulary import ItemId, Position


class VoiceFault(enum.StrEnum):
    """Why a voice cannot speak, and whose fault it is."""

    WRONG_KEY = "wrong_key"  # ours: the key is wrong, or has not the right to do this
    UNKNOWN_VOICE = "unknown_voice"  # ours: there is no voice of this id for this key
    QUOTA = "quota"  # ours: the account's characters are used up
    NO_SLOT = "no_slot"  # ours: as many sockets are open as the account, or ELEVENLABS_SLOTS, allows
    UNREACHABLE = "unreachable"  # the service or the way there: no connection
    DROPPED = "dropped"  # the service or the way there: the connection ended
    SILENT = "silent"  # the service: text that was flushed is not spoken
    SLOW = "slow"  # the service: it speaks more slowly than it sounds
    BAD_AUDIO = "bad_audio"  # the service: what came is not mu-law, or not audio
    REFUSED = "refused"  # the service refused for another reason; its code is in the words


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of an item's sound, in order: mu-law at 8 kHz, and its positions in order, if they are known."""

    item_id: ItemId
    mulaw: bytes = field(repr=False)
    positions: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class SpokenWhole:
    """All sound of an item whose text was complete has come out."""

    item_id: ItemId


@dataclass(frozen=True, slots=True)
class VoiceLost:
    """This voice cannot speak any more. `words`: for the operator, never with a key or with words of the call.

    `do`: what to do, if it does not pass by itself. `unspoken`: the items whose sound is not complete.
    """

    fault: VoiceFault
    words: str
    do: str = ""
    unspoken: tuple[ItemId, ...] = ()


VoiceEvent: TypeAlias = Spoken | SpokenWhole | VoiceLost


class VoiceUnavailable(Exception):
    """There is no voice. Its `fault`, words and `do` are as in VoiceLost."""

    def __init__(self, fault: VoiceFault, words: str, do: str = "") -> None:
        super().__init__(words)
        self.fault, self.do = fault, do


class Voice(Protocol):
    """One call's voice: text deltas and cuts in, mu-law with text positions out."""

    @property
    def characters(self) -> int:
        """How many characters were sent to be spoken. They are paid for, heard or not."""

    @property
    def is_lost(self) -> bool:
        """True after its VoiceLost."""

    def say(self, item_id: ItemId, text: str) -> None:
        """A piece of an item's text, as the model writes it."""

    def finish(self, item_id: ItemId) -> None:
        """The item's text is complete. SpokenWhole follows after its last sound."""

    def cut(self, item_id: ItemId) -> None:
        """Nothing more of this item is wanted: no sound of it and no SpokenWhole comes out from now on."""

    def tick(self) -> None:
        """Look at the clock (a few times a second): keeps the connection alive, notices silence."""

    async def keep(self) -> None:
        """Answer the service until cancelled, before the call begins. `run` reports what happens."""

    async def run(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        """Report what comes out until the voice is closed or lost, or until cancelled. One task of the call."""

    async def close(self) -> None:
        """Close the connection. Never raises, may be called again."""


class Voices(Protocol):
    """Where voices come from. One for each process."""

    @property
    def name(self) -> str:
        """Whose voice it is, by which model: for bills, and for the keys of what is kept."""

    @property
    def usd_per_character(self) -> float:
        """What `Voice.characters` costs (dated table: prices.py)."""

    async def open(self) -> Voice:
        """A voice for a call, opened when the phone rings. Raises VoiceUnavailable, and then leaves no socket open."""

    async def render(self, text: str) -> bytes:
        """A phrase's whole sound, mu-law at 8 kHz, to be kept. Raises VoiceUnavailable."""
