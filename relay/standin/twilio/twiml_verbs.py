"""The TwiML verbs that the stand-in Twilio can run. Pure data.

twiml_interpreter.py makes them of a document: checked, and with absolute URLs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    loop: int


@dataclass(frozen=True, slots=True)
class Play:
    url: str
    digits: str
    loop: int


@dataclass(frozen=True, slots=True)
class Pause:
    length_s: int


Prompt = Say | Play | Pause


@dataclass(frozen=True, slots=True)
class Gather:
    prompts: tuple[Prompt, ...]
    speech: bool
    dtmf: bool
    timeout_s: int
    num_digits: int | None
    finish_on_key: str
    action: str
    method: str
    action_on_empty: bool


@dataclass(frozen=True, slots=True)
class Number:
    number: str
    url: str
    method: str
    send_digits: str
    status_callback: str
    status_method: str
    status_events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dial:
    numbers: tuple[Number, ...]
    sequential: bool
    action: str
    method: str
    timeout_s: int
    time_limit_s: int
    caller_id: str
    answer_on_bridge: bool


@dataclass(frozen=True, slots=True)
class Record:
    action: str
    method: str
    timeout_s: int
    max_length_s: int
    finish_on_key: str
    play_beep: bool
    status_callback: str
    status_method: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: Literal["rejected", "busy"]


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str


@dataclass(frozen=True, slots=True)
class Connect:
    """`<Connect><Stream>`.

    `fault` is the stream's error: Twilio's error code, and the rule that the document breaks. Twilio finds it only when
    it runs this verb.
    """

    url: str
    name: str
    parameters: dict[str, str]
    status_callback: str
    status_method: str
    action: str
    method: str
    fault: tuple[int, str] | None


Verb = Say | Play | Pause | Gather | Dial | Record | Hangup | Reject | Redirect | Connect


@dataclass(frozen=True, slots=True)
class Document:
    """A document that can be run. `warnings`: Twilio's code and the rule. Twilio logs them, and runs the document."""

    url: str
    verbs: tuple[Verb, ...]
    warnings: tuple[tuple[int, str], ...]
