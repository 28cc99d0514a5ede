"""Defines what a function returns: an outcome for the model, and at most one effect on the call.

A function never uses the call's sockets or Twilio's API. To end or transfer the call, it returns an effect. The call's
state machine (relay/call/machine.py) ends or transfers the call after the caller has heard what the agent is saying.

The model reads each output again in every later turn, and this costs money (docs/protocol/openai.md 4). So an output
has at most 1 kB. A larger one is shortened and is still valid JSON: lists lose elements (`more` says how many), and
strings lose their end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from relay.call.vocabulary import (
    Effect,
    EndCall,
    PauseRecording,
    ResumeRecording,
    StaySilent,
    TakeMessage,
    TransferCall,
)
from relay.functions.arguments import plain

__all__ = [
    "Effect", "EndCall", "NotPossible", "Outcome", "PauseRecording", "ResumeRecording", "StaySilent", "TakeMessage",
    "TransferCall", "at_a_word", "envelope",
]  # fmt: skip

# Where the caller's name in a result comes from. "known": the business knows it. "said": the caller said it.
NamesCaller: TypeAlias = Literal["known", "said"]
OUTPUT_LIMIT_BYTES: Final = 1024
# How a result is shortened: (most elements of a list or mapping, most characters of a string). The pairs are tried in
# this order until the result fits.
_STEPS: Final = ((40, 400), (20, 240), (12, 160), (6, 120), (4, 80), (2, 60), (1, 40))
_KEY_CHARS: Final = 40


@dataclass(frozen=True)
class Outcome:
    """The outcome of one function call.

    `output`: JSON for the model, at most 1,024 bytes. `ok`: False if the function failed or was refused. `error`: what
    went wrong. If `refused`, this text is for the model, and may repeat the caller's words. If not, it is for the log.
    `key`: the idempotency key if the function writes. `effect`: None on a repeat, because it was carried out the first
    time. `blocked_s`: the longest time in which the function kept all calls waiting. `names_caller`: where the caller's
    name in the output comes from, if there is one.
    """

    output: str
    ok: bool
    effect: Effect | None = None
    writes: bool = False
    key: str | None = None
    took_s: float = 0.0
    # True if the answer is no: for example, a time is taken or an argument is wrong. This is not a fault.
    refused: bool = False
    unsure: bool = False  # True if a write may have been done although it failed. Only a repeat can show this.
    # True if nothing was done, because the function or the backend refused. The next attempt needs a new key.
    is_no: bool = False
    error: str | None = None
    blocked_s: float = 0.0
    is_known: bool = True  # False if there is no function of this name.
    names_caller: NamesCaller | None = None


class NotPossible(Exception):
    """A function raises this to say no, in words for the model. `fields` (alternatives, choices) are added.

    The function must have written nothing.
    """

    def __init__(self, words: str, **fields: Any) -> None:
        super().__init__(words)
        self.words = words
        self.fields = fields


def envelope(result: Mapping[str, Any], limit_bytes: int = OUTPUT_LIMIT_BYTES) -> str:
    """The result as JSON of at most `limit_bytes`. If the result has no `status`, it gets the status "ok".

    Raises TypeError if something in it is not JSON, which is a mistake in the function.
    """
    whole = msgspec.to_builtins({"status": "ok", **result}, str_keys=True, enc_hook=plain)
    text = _json(whole)
    for elements, characters in _STEPS:
        if len(text) <= limit_bytes:
            return text.decode()
        text = _json(_shorten(whole, elements, characters, top=True))
    return (text if len(text) <= limit_bytes else _leave_out(whole, limit_bytes)).decode()


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _shorten(value: Any, elements: int, characters: int, top: bool = False) -> Any:
    if isinstance(value, dict):
        return _shorten_mapping(value, elements if not top else max(elements, 12), characters, elements)
    if isinstance(value, list):
        return [_shorten(each, elements, characters) for each in value[:elements]]
    if isinstance(value, str):
        return at_a_word(value, characters)
    if isinstance(value, int) and value.bit_length() > 64:
        return "a very large number"
    return value


def _shorten_mapping(value: dict[str, Any], keys: int, characters: int, elements: int) -> dict[str, Any]:
    kept = dict(list(value.items())[:keys])
    short = {at_a_word(name, _KEY_CHARS): _shorten(each, elements, characters) for name, each in kept.items()}
    lists = {name: len(each) for name, each in kept.items() if isinstance(each, list)}
    more = {at_a_word(name, _KEY_CHARS): count - elements for name, count in lists.items() if count > elements}
    if len(value) > len(kept):
        more["fields"] = len(value) - len(kept)
    return {**short, "more": more} if more else short


def at_a_word(text: str, limit: int) -> str:
    """The text. If it is longer than `limit` characters: its beginning and "…", cut between two words if possible."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    space = head.rfind(" ")
    return (head[:space] if space > limit // 2 else head).rstrip(" ,;:") + "…"


def _leave_out(whole: dict[str, Any], limit_bytes: int) -> bytes:
    """The fields that fit, each in its shortest form. `more` says how many were left out."""
    elements, characters = _STEPS[-1]
    kept: dict[str, Any] = {}
    for name, value in whole.items():
        trial = {**kept, at_a_word(name, _KEY_CHARS): _shorten(value, elements, characters)}
        if len(_json({**trial, "more": {"fields": len(whole)}})) <= limit_bytes:
            kept = trial
    return _json({**kept, "more": {"fields": len(whole) - len(kept)}})
