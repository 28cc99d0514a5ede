"""The script of the stand-in model: its answers, its speed, and its faults.

A scenario's `[model]` table becomes a `Script`. The same fault names work as a request header,
`X-Standin-Faults: stall_after_deltas=2, response=3`.

```toml
[model]
first_delta_ms = 400
[model.faults]
close_after_deltas = 3
close_code = 1011
response = 2                                   # only the second response has the fault
[[model.reaction]]
heard = "what time do you open"                # words of the caller (or `clip = "ask_hours"`)
call = "lookup_hours"
arguments = { date = "{tomorrow}" }
then = "We are open from {open} until {close}." # said when the function has answered; {open} is a field of the answer
[[model.reaction]]
after = "book_appointment"                     # this function has just answered
output = "alternatives"                        # its answer contains this text
say = "I'm sorry, that time is already taken."
```
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relay.standin.speech.voice import clips

T = TypeVar("T")
# The codes that a close frame may have (RFC 6455, 7.4). 1004, 1005, 1006 and 1015 are never sent. Here, 1006 means that
# the connection ends without a close frame.
CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1006, *range(1007, 1015), *range(3000, 5000)})


class ScriptError(ValueError):
    """A `[model]` table or a list of faults has a mistake. The message names the key."""


@dataclass(frozen=True)
class Reaction:
    """One reaction of the script: its conditions, and what the model does. All conditions that are set must be true.

    The first reaction that fits is used. When a function has just answered, only reactions with `after` are tried, and
    of their other conditions only `output` and `turn` count. At all other times only reactions without `after` are
    tried. Words are compared without capitals and punctuation.
    """

    heard: str = ""  # Condition: the caller has said these words since the model last spoke.
    clip: str = ""  # Condition: the caller has said the words of the clip with this id.
    # Condition: these words are in the response's instructions, or in a system item since the model last spoke.
    told: str = ""
    after: str = ""  # Condition: this function has just answered.
    output: str = ""  # Condition: the function's answer, as JSON text, contains this.
    turn: int = 0  # Condition: the number of the caller's turn, from 1. Turns without words count too.
    times: int = 0  # The reaction is used at most this many times in a session. 0 means without limit.

    say: str = ""
    call: str = ""  # A function to call after the words.
    arguments: Mapping[str, Any] = field(default_factory=dict)
    then: str = ""  # The text to say when the function has answered and no reaction with `after` fits.

    def __post_init__(self) -> None:
        if self.then and not self.call:
            raise ScriptError("a reaction with `then` needs `call`: there is no answer to speak about otherwise")
        if self.output and not self.after:
            raise ScriptError("a reaction with `output` needs `after`: name the function whose output it is")


def _within(table: object, low: float, high: float, *names: str) -> None:
    """Raise ScriptError if a number is out of range, or if the first number of a pair is larger than the second.

    The value None is allowed.
    """
    for name in names:
        value = getattr(table, name)
        numbers = value if isinstance(value, tuple) else (value,)
        inside = all(number is None or (low <= number <= high and number != math.inf) for number in numbers)
        if not inside or (len(numbers) == 2 and numbers[0] > numbers[1]):
            span = f"{low} or more" if high == math.inf else f"{low} to {high}"
            raise ScriptError(f"{name} must be {span}{', the smaller first' * (len(numbers) == 2)}, not {value!r}")


def _fault(default: Any, says: str) -> Any:
    """A fault, and what `relay standin model --help` says about it."""
    return field(default=default, metadata={"says": says})


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and when. With the defaults, nothing goes wrong."""

    # The responses and connections that have the faults
    response: int = _fault(0, "only the n-th response of the default conversation suffers")
    connections: int = _fault(0, "only the first n connections to this stand-in suffer, so that a reconnect succeeds")

    # Connecting
    connect_refused: bool = _fault(False, "nothing listens (if a request header sets it: the connection is reset)")
    handshake_hangs: bool = _fault(False, "the upgrade is never answered")
    silent_after_connect: bool = _fault(False, "101, then nothing, ever")
    connect_error: str = _fault(
        "", "the socket opens, then an error with this code comes: invalid_api_key, model_not_found ..."
    )
    refuse_update: bool = _fault(False, "every session.update is answered with an error")
    wrong_format: bool = _fault(False, "the server announces and sends the audio format that was not asked for")

    # Listening
    deaf_after_turns: int | None = _fault(None, "after this many turns no speech is detected (0: from the beginning)")
    transcription_failed: bool = _fault(False, "no turn is transcribed")
    noise_words: str = _fault("", "the transcript of a turn without words: real transcribers invent some")
    slow_read_s: float = _fault(0.0, "pause after each read of at most 1 KiB, so that what the client sends piles up")

    # Speaking
    pace: float = _fault(0.0, "times real time: 1 is as slow as speech, 0.5 starves the caller")
    stall_after_deltas: int | None = _fault(None, "a response has no more deltas after this many")
    stall_s: float = _fault(0.0, "the stall ends after this time (0: never)")
    odd_deltas: bool = _fault(False, "deltas of an odd number of bytes")
    late_deltas: int = _fault(0, "after a cancel this many deltas still come, the first one twice")
    cancel_first: bool = _fault(False, "response.done(cancelled) comes before speech_started")
    huge_event: bool = _fault(False, "one event of 15 MiB in the middle of a response")
    empty_response: bool = _fault(False, "a response completes without any output")

    # Ending
    response_failed: str = _fault("", "response.done fails by code: server_error, rate_limit_exceeded ...")
    close_after_deltas: int | None = _fault(None, "the connection ends at this delta, counted from 1")
    close_code: int = _fault(1006, "the code of that end; 1006 cuts TCP in the middle of the delta's message")

    # Protocol
    broken_arguments: bool = _fault(False, "a function call is cancelled with half its JSON")
    duplicate_ids: bool = _fault(False, "the .done events of items and responses come twice, with the same ids")
    two_messages: bool = _fault(
        False, "an answer of several sentences is two messages: gpt-realtime-2 does this with long answers"
    )
    swap_done: bool = _fault(False, "output_item.done comes before conversation.item.done")
    null_usage: bool = _fault(False, "no response has a bill")
    unknown_events: bool = _fault(False, "event types and keys that nobody has documented")

    def __post_init__(self) -> None:
        _within(self, 0, math.inf, "response", "connections", "slow_read_s", "pace", "stall_s", "late_deltas")
        _within(self, 0, math.inf, "deaf_after_turns", "stall_after_deltas")
        _within(self, 1, math.inf, "close_after_deltas")
        if self.close_code not in CLOSE_CODES:
            raise ScriptError(
                f"close_code must be a code that a close message may have, or 1006, not {self.close_code}"
            )

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Faults:
        """Read faults from a TOML table. Raises ScriptError if a name is unknown or a value has the wrong type."""
        return _fill(cls, table, "model.faults")

    @classmethod
    def described(cls) -> list[tuple[str, str]]:
        """For `--help`: each fault as it is written in the header, and what it does."""
        kinds = typing.get_type_hints(cls)
        values = {bool: "", int: "=N", float: "=X", str: "=CODE"}
        return [
            (each.name + values[(typing.get_args(kinds[each.name]) or (kinds[each.name],))[0]], each.metadata["says"])
            for each in dataclasses.fields(cls)
        ]

    def with_header(self, header: str) -> Faults:
        """These faults, changed by `name=value, name`. A name alone means true.

        Raises ScriptError like `from_table`.
        """
        kinds = typing.get_type_hints(Faults)
        changes: dict[str, Any] = {}
        for entry in filter(None, (part.strip() for part in header.split(","))):
            name, given, value = (part.strip() for part in entry.partition("="))
            if name not in kinds:
                raise ScriptError(_unknown(name, kinds, "fault"))
            changes[name] = _from_text(name, value if given else "true", kinds[name])
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Script:
    """How the stand-in model behaves in one scenario. `Script()` has the demo's reactions."""

    reactions: tuple[Reaction, ...] = field(default_factory=lambda: DEMO_REACTIONS)
    opening: str = "Hello, how can I help you?"  # What the model says if nobody has spoken yet.
    default: str = "Sorry, could you repeat that?"  # What the model says if no reaction fits.
    faults: Faults = Faults()

    seed: int = 1
    # The delay before a new connection is served. A real connection needs time for TCP, TLS and the upgrade.
    connect_ms: float = 0.0
    # The time to the first delta: a random value between these two, for each response (docs/protocol/openai.md 3).
    first_delta_ms: tuple[int, int] = (300, 700)
    delta_ms: int = 250  # A real delta has 12,000 bytes of PCM16 (docs/protocol/openai.md 3).
    pace: float = 5.0  # Audio is sent this many times faster than real time (docs/protocol/openai.md 3).
    # The time from the commit to the caller's words (docs/protocol/openai.md 3).
    transcription_s: tuple[float, float] = (1.0, 1.5)
    lifetime_s: float = 3600.0  # docs/protocol/openai.md 1.4
    ping_s: float = 20.0  # docs/protocol/openai.md 1.3
    api_key: str = ""  # The only API key that is accepted. "" accepts every key.
    time_zone: str = "America/New_York"  # The business's time zone, for {today}, {tomorrow} and {offset} in arguments.
    utc_offset: str = ""  # A fixed UTC offset, instead of a time zone.
    # If true, and if piper is installed, piper speaks a text that has no clip. Otherwise such a text is babbled: it
    # becomes a sound like speech, without words. One second of piper's speech blocks this process for half a second. So
    # piper is the default only in `relay standin model`, where no relay runs in the same process.
    piper: bool = False

    def __post_init__(self) -> None:
        _within(self, 0, math.inf, "connect_ms", "first_delta_ms", "transcription_s")
        _within(self, 1, 60_000, "delta_ms")
        _within(self, 0.01, 1_000, "pace")
        _within(self, 0.001, math.inf, "lifetime_s", "ping_s")
        try:
            _ = self.zone
        except ValueError:
            raise ScriptError(f"utc_offset must be like -05:00, not {self.utc_offset!r}") from None
        except (ZoneInfoNotFoundError, OSError):  # OSError: "America" alone is a folder of zones.
            raise ScriptError(f"time_zone must be like America/New_York, not {self.time_zone!r}") from None

    @property
    def zone(self) -> datetime.tzinfo:
        """The time zone of the business."""
        if not self.utc_offset:
            return ZoneInfo(self.time_zone)
        zone = datetime.datetime.strptime(self.utc_offset, "%z").tzinfo
        assert zone is not None
        return zone

    @classmethod
    def from_table(cls, table: Mapping[str, Any], time_zone: str = "") -> Script:
        """Read a script from a scenario's `[model]` table. Raises ScriptError, which names the wrong key.

        `time_zone` is used if the table has none. `first_delta_ms` and `transcription_s` may be one number. The demo's
        reactions come after the table's reactions. With `only_these = true` there are only the table's reactions.
        """
        if not isinstance(table, Mapping):
            raise ScriptError(f"model must be a table, not {table!r}")
        rest = ({"time_zone": time_zone} if time_zone else {}) | dict(table)
        entries = rest.pop("reaction", [])
        if not isinstance(entries, list):
            raise ScriptError("model.reaction must be written [[model.reaction]], as there may be many")
        reactions = tuple(_reaction(entry, f"model.reaction {number}") for number, entry in enumerate(entries, 1))
        if not rest.pop("only_these", False):
            reactions += DEMO_REACTIONS
        faults = Faults.from_table(rest.pop("faults", {}))
        for name in ("first_delta_ms", "transcription_s"):
            if isinstance(rest.get(name), int | float):
                rest[name] = [rest[name], rest[name]]
        if wrong := {"reactions"} & rest.keys():
            raise ScriptError(f"model.{wrong.pop()} is spelled [[model.reaction]]")
        return dataclasses.replace(_fill(cls, rest, "model"), reactions=reactions, faults=faults)


def _reaction(entry: Any, where: str) -> Reaction:
    reaction = _fill(Reaction, entry, where)
    if reaction.clip and reaction.clip not in clips():
        raise ScriptError(f"{where}: there is no clip {reaction.clip!r}; the ids are in clips/index.toml")
    return reaction


def _fill(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    if not isinstance(table, Mapping):
        raise ScriptError(f"{where} must be a table, not {table!r}")
    for name, value in table.items():
        if name not in hints:
            raise ScriptError(f"{where}: {_unknown(name, hints, 'key')}")
        if not _fits(value, hints[name]):
            raise ScriptError(f"{where}.{name} must be {_spell(hints[name])}, not {value!r}")
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in table.items()})
    except ScriptError as wrong:
        raise ScriptError(f"{where}: {wrong}") from None


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        return any(_fits(value, each) for each in typing.get_args(hint))
    if origin is tuple:
        each = typing.get_args(hint)
        return isinstance(value, list | tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if origin is not None:
        return isinstance(value, Mapping)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _from_text(name: str, text: str, hint: Any) -> object:
    kinds = typing.get_args(hint) or (hint,)
    try:
        if bool in kinds:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return next(kind(text) for kind in (int, float, str) if kind in kinds)
    except (KeyError, ValueError):
        raise ScriptError(f"fault {name} must be {_spell(hint)}, not {text!r}") from None


def _spell(hint: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "nothing"}
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        return " or ".join(names[each] for each in typing.get_args(hint) if each is not type(None))
    if origin is tuple:
        return "one number or two"
    return names.get(hint, "a table")


def _unknown(name: str, known: Iterable[str], what: str) -> str:
    return f"unknown {what} {name!r}; there are: {', '.join(sorted(known))}"


# The conversation of `relay demo`, and of `relay standin model` without a script. Texts that have a clip are spoken as
# the clip. Times are local times without an offset, as the relay's functions want them. So these times are right in
# every time zone.
DEMO_REACTIONS: tuple[Reaction, ...] = (
    Reaction(after="book_appointment", output="alternatives", say="I'm sorry, that time is already taken. "
             "Would half past seven work for you?"),
    Reaction(after="book_appointment", output="error", say="I'm sorry, I can't reach our booking system right now. "
             "Shall I connect you with a colleague?"),
    Reaction(after="lookup_hours", output="error", say="I'm sorry, I can't reach our booking system right now. "
             "Shall I connect you with a colleague?"),
    Reaction(clip="ask_hours", call="lookup_hours", arguments={"date": "{tomorrow}"},
             then="We are open tomorrow from eleven in the morning until ten at night, and the kitchen takes its last "
             "orders at half past nine. Was there anything else you wanted to know about our opening hours, "
             "or shall I book a table for you?"),
    Reaction(clip="oh_wait", say="No problem. What can I do for you?"),
    Reaction(clip="ask_booking", say="A table for two, tomorrow at seven in the evening, under the name Jane Doe. "
             "Is that right?"),
    Reaction(clip="yes_right", say="Let me book that for you.", call="book_appointment",
             arguments={"name": "Jane Doe", "service": "table for two", "start": "{tomorrow}T19:00:00"},
             then="Your table for two is booked for tomorrow at seven in the evening. Is there anything else?"),
    Reaction(clip="yes_half_past", say="Let me book that for you.", call="book_appointment",
             arguments={"name": "Jane Doe", "service": "table for two", "start": "{tomorrow}T19:30:00"},
             then="Your table for two is booked for tomorrow at half past seven in the evening. "
             "Is there anything else?"),
    Reaction(clip="ask_card", say="I'm sorry, I can't share anything about other guests."),
    Reaction(clip="ask_human", say="Of course. I'm connecting you with a colleague now.", call="transfer_to_human",
             arguments={"reason": "the caller asked for a person",
                        "summary": "The caller would like to talk to a person."}),
    Reaction(clip="operator", say="Of course. I'm connecting you with a colleague now.", call="transfer_to_human",
             arguments={"reason": "the caller asked for a person",
                        "summary": "The caller would like to talk to a person."}),
    Reaction(clip="fire", say="If this is an emergency, please hang up and dial nine one one. "
             "I am connecting you with a person now.", call="transfer_to_human",
             arguments={"reason": "emergency", "summary": "The caller reports an emergency."}),
    Reaction(clip="angry", say="I'm sorry that this has been frustrating. I'm connecting you with a colleague now.",
             call="transfer_to_human", arguments={"reason": "the caller is angry", "summary": "The caller is upset."}),
    Reaction(clip="bye", say="Goodbye, and thank you for calling.", call="end_call",
             arguments={"reason": "the caller said goodbye"}),
    Reaction(clip="no_thanks", say="You're welcome. Goodbye, and thank you for calling.", call="end_call",
             arguments={"reason": "the caller is done"}),
    Reaction(clip="hello", say="How can I help you?"),
    Reaction(clip="can_you_hear", say="Yes, I'm here. How can I help?"),
    Reaction(clip="still_here_caller", say="How can I help you?"),
    Reaction(clip="off_topic", say="I'm sorry, I can only help with questions about Harbor Table."),
    Reaction(clip="ignore_rules", say="I'm sorry, I can only help with questions about Harbor Table."),
)  # fmt: skip
