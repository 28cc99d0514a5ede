"""The interface of a voice: text deltas and cuts in, mu-law with text positions out.

An item is a message of the model's conversation. What is in here knows no service, no clock and no socket.
The methods that put something in return at once and never fail: what goes wrong comes out as `VoiceLost`, once, and
is the last that comes out.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from relay.call.vocabulary import ItemId, Position


class VoiceFault(enum.StrEnum):
    """Whose fault it is that a voice cannot speak, and which."""

    WRONG_KEY = "wrong_key"  # ours: the key is wrong, or may not do this
    UNKNOWN_VOICE = "unknown_voice"  # ours: there is no voice of this id for this key
    QUOTA = "quota"  # ours: the account's characters are used up
    NO_SLOT = "no_slot"  # ours: as many sockets are open as the account, or ELEVENLABS_SLOTS, allows
    UNREACHABLE = "unreachable"  # the service or the way there: no connection
    DROPPED = "dropped"  # the service or the way there: the connection ended
    SILENT = "silent"  # the service: text that was flushed is not spoken
    SLOW = "slow"  # the service: it speaks more slowly than it sounds
    BAD_AUDIO = "bad_audio"  # the service: what came is no mu-law, or no audio
    REFUSED = "refused"  # the service refused for another reason; its code is in the words


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of an item's sound, in order: mu-law at 8 kHz, and the positions in it, in order, if they are known."""

    item_id: ItemId
    mulaw: bytes = field(repr=False)
    positions: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class SpokenWhole:
    """All sound of an item, whose text was said to be complete, has come out."""

    item_id: ItemId


@dataclass(frozen=True, slots=True)
class VoiceLost:
    """This voice speaks no more. `words`: for the operator, never with a key or with words of the call.

    `do`: what to do about it, where it does not pass by itself. `unspoken`: the items whose sound is not whole.
    """

    fault: VoiceFault
    words: str
    do: str = ""
    unspoken: tuple[ItemId, ...] = ()


VoiceEvent: TypeAlias = Spoken | SpokenWhole | VoiceLost


class VoiceUnavailable(Exception):
    """No voice could be had. Its `fault`, words and `do` are as in VoiceLost."""

    def __init__(self, fault: VoiceFault, words: str, do: str = "") -> None:
        super().__init__(words)
        self.fault, self.do = fault, do


class Voice(Protocol):
    """One call's voice: text deltas and cuts in, mu-law with text positions out."""

    @property
    def characters(self) -> int:
        """So many characters have been sent to be spoken, and are paid for, heard or not."""

    @property
    def is_lost(self) -> bool:
        """True from its VoiceLost on."""

    def say(self, item_id: ItemId, text: str) -> None:
        """A piece of an item's text, as the model writes it."""

    def finish(self, item_id: ItemId) -> None:
        """The item's text is complete: SpokenWhole follows behind the last of its sound."""

    def cut(self, item_id: ItemId) -> None:
        """Nothing more of this item is wanted: from now on none of its sound and no SpokenWhole comes out."""

    def tick(self) -> None:
        """Look at the clock (a few times a second): keeps the connection alive, notices silence."""

    async def keep(self) -> None:
        """Answer the service until cancelled, before the call begins; what happens is told by `run`."""

    async def run(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        """Tell what comes out until the voice is closed, lost, or this is cancelled. One task of the call."""

    async def close(self) -> None:
        """Hang up. Never raises, may be called again."""


class Voices(Protocol):
    """Where voices come from; one a process."""

    @property
    def name(self) -> str:
        """Whose voice it is, by which model: for bills, and for the keys of what is kept."""

    @property
    def usd_per_character(self) -> float:
        """What `Voice.characters` costs (dated table: prices.py)."""

    async def open(self) -> Voice:
        """A voice for a call; dialled when the phone rings. Raises VoiceUnavailable; no socket is left then."""

    async def render(self, text: str) -> bytes:
        """A phrase's whole sound, mu-law at 8 kHz, to be kept. Raises VoiceUnavailable."""
