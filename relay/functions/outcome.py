"""What a function hands back: an outcome for the model, and at most one effect on the call.

Functions never touch the call's sockets or the telephone. One that wants the call to end or to go to a human
returns an effect, and the call's machine carries it out when the words before it have been heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relay.call.vocabulary import EndCall, StaySilent, TransferCall

__all__ = [
    "Effect", "EndCall", "NotPossible", "Outcome", "PauseRecording", "ResumeRecording", "StaySilent", "TakeMessage",
    "TransferCall",
]  # fmt: skip


@dataclass(frozen=True)
class TakeMessage:
    """Keep a row in `messages`. `delivered` says whether the backend has the message as well."""

    name: str
    phone: str
    message: str
    delivered: bool


@dataclass(frozen=True)
class PauseRecording:
    """Record silence from now on, where calls are recorded: the caller is about to say what nobody may keep.

    `why` is a word for the operator, like "card number"; it stands in a row, so it must be none of the caller's.
    """

    why: str


@dataclass(frozen=True)
class ResumeRecording:
    """Record again after a PauseRecording."""


Effect = TransferCall | EndCall | StaySilent | TakeMessage | PauseRecording | ResumeRecording


@dataclass(frozen=True)
class Outcome:
    """The end of one function call.

    `output` is JSON for the model, at most 1,024 bytes. `ok` is true only when the thing asked for was done.
    `error` is for the operator, in words without phone numbers; None when nothing went wrong.
    `key` is the exactly-once key of a function that writes, else None. `effect` is None on a repeat: it was carried
    out the first time.
    """

    output: str
    ok: bool
    effect: Effect | None = None
    writes: bool = False
    key: str | None = None
    took_s: float = 0.0
    refused: bool = False  # a definite no that the caller can be told (taken, unknown): nothing broke
    unsure: bool = False  # a write that may have been done all the same: only a repeat can tell
    error: str | None = None


class NotPossible(Exception):
    """A definite no that the model should hear in words; `fields` go into its output (alternatives, choices).

    Nothing was written when this is raised.
    """

    def __init__(self, words: str, **fields: Any) -> None:
        super().__init__(words)
        self.words = words
        self.fields = fields
