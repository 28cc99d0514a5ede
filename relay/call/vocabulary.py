"""The events of a call, and the reasons for its end. The actions of a call are in actions.py.

Events are in the past tense, actions in the imperative. All are frozen values, so that a call can be written down and
played again. Caller audio is no event (`Machine.caller_audio`), because it comes fifty times a second.
This file is pure: it imports nothing of ours.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NewType, TypeAlias

CallSid = NewType("CallSid", str)
StreamSid = NewType("StreamSid", str)
ItemId = NewType("ItemId", str)
ResponseId = NewType("ResponseId", str)


class CallerProtocolError(Exception):
    """A message from the caller's socket breaks the protocol. The text says what is wrong, never what was said."""


class Rung(enum.StrEnum):
    """The rung of the ladder (greeting.py) from which the first audio came that the caller heard."""

    KEPT = "kept"  # Rendered before, in the agent's own voice.
    LIVE = "live"  # Asked for in the warm session when the phone rang.
    CLIP = "clip"  # The clip that ships with the relay.
    NONE = "none"  # No audio was written, because the call ended too early.


class EndReason(enum.StrEnum):
    """Why a call ended: who ended it, or what broke."""

    CALLER_HUNG_UP = "caller_hung_up"
    AGENT_SAID_GOODBYE = "agent_said_goodbye"
    TRANSFERRED = "transferred"
    EMERGENCY = "emergency"
    HUNG_UP_BY_OWNER = "hung_up_by_owner"
    DURATION_CAP = "duration_cap"
    SILENCE_CAP = "silence_cap"
    COST_CAP = "cost_cap"
    MODEL_LOST = "model_lost"
    MODEL_UNREACHABLE = "model_unreachable"
    CALLER_SOCKET_LOST = "caller_socket_lost"
    CALLER_SOCKET_STALLED = "caller_socket_stalled"
    NO_CALLER_AUDIO = "no_caller_audio"
    TWILIO_PROTOCOL = "twilio_protocol"
    DRAINED = "drained"
    REJECTED = "rejected"
    RELAY_FAULT = "relay_fault"

    @property
    def is_fault(self) -> bool:
        """True if something broke. The line in the log is then an error."""
        return self in _FAULTS


_FAULTS = frozenset(
    {
        EndReason.MODEL_LOST,
        EndReason.MODEL_UNREACHABLE,
        EndReason.CALLER_SOCKET_LOST,
        EndReason.CALLER_SOCKET_STALLED,
        EndReason.NO_CALLER_AUDIO,
        EndReason.TWILIO_PROTOCOL,
        EndReason.RELAY_FAULT,
    }
)


# Events: from the caller's side


@dataclass(frozen=True, slots=True)
class CallerArrived:
    """Twilio's `start` was read. The caller can hear, and can be heard."""

    stream_sid: StreamSid


@dataclass(frozen=True, slots=True)
class MarkReturned:
    """A mark came back: the audio before it was played, or dropped by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The caller pressed a key: 0-9 * # A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """This stream has ended on the caller's side, by `stop` or with the socket. `reason` says which."""

    reason: EndReason


# Events: from the model's side


@dataclass(frozen=True, slots=True)
class ModelReady:
    """A model session is configured, with the formats that we asked for."""

    session_id: str
    model: str
    greeting_asked: bool = False  # The live greeting was asked for in it when the phone rang.


@dataclass(frozen=True, slots=True)
class CallerSpoke:
    """The server's VAD heard the caller start (`speech_started`)."""

    item_id: ItemId
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class CallerPaused:
    """The server's VAD heard the caller stop (`speech_stopped`)."""

    item_id: ItemId
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class CallerCommitted:
    """The caller's turn became an item of the conversation."""

    item_id: ItemId
    previous_item_id: ItemId | None


@dataclass(frozen=True, slots=True)
class CallerTranscribed:
    """The words of a caller's item. None if the transcription failed. `usage` is as the API sent it."""

    item_id: ItemId
    text: str | None
    usage: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ResponseBegan:
    """The model began to answer. `ref` is the reference that we sent, if we asked for this answer."""

    response_id: ResponseId
    ref: str | None


@dataclass(frozen=True, slots=True)
class ItemPlaced:
    """An item got its place in the conversation."""

    item_id: ItemId
    previous_item_id: ItemId | None
    role: str  # "user", "assistant", "system", or the kind of an item that is no message, like "function_call".


@dataclass(frozen=True, slots=True)
class Position:
    """When `item_ms` of an item's sound have played, the first `chars` characters of its text were spoken."""

    chars: int
    item_ms: float


@dataclass(frozen=True, slots=True)
class ModelSpoke:
    """A delta, already mu-law at 8 kHz. `said_ms` is the item's length so far, by the bytes received.

    `positions` is None if the model itself speaks. Otherwise the item is text in the conversation, and another voice
    speaks it. Then the positions say how far in the text the sound is, as far as that is known.
    """

    response_id: ResponseId
    item_id: ItemId
    mulaw: bytes = field(repr=False)
    said_ms: float
    positions: tuple[Position, ...] | None = None


@dataclass(frozen=True, slots=True)
class ModelWorded:
    """A piece of the transcript of the model's speech."""

    response_id: ResponseId
    item_id: ItemId
    text: str


@dataclass(frozen=True, slots=True)
class ModelFinished:
    """All audio of an item has come. `mulaw` is the end of the filter. The caller has not heard all of it yet."""

    response_id: ResponseId
    item_id: ItemId
    mulaw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FunctionAsked:
    """The model calls a function. Only complete calls come here."""

    response_id: ResponseId
    function_call_id: str
    name: str
    arguments: str
    item_id: ItemId = ItemId("")  # The call's item. Empty if the server does not name it.


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The model's answer was generated (not played): completed, cancelled, incomplete or failed.

    `retry_after_s`: the answer failed, and the server says when to ask again.
    """

    response_id: ResponseId
    status: str
    detail: str | None
    usage: dict[str, object] | None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ModelObjected:
    """An `error` event. It does not end the call. Only a close of the socket does.

    `retry_after_s`: when to ask again, if the server says it.
    """

    code: str
    message: str
    event_id: str | None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimitsTold:
    """The share of the account's limits that is left for this minute: the smallest one, 0 to 1."""

    left: float


@dataclass(frozen=True, slots=True)
class DayMoneyShort:
    """All calls together have spent most of the day's money."""


@dataclass(frozen=True, slots=True)
class ModelLost:
    """The model's socket has ended. `code` 0: the session that was ordered could not be opened."""

    code: int
    reason: str


# Events: from the owner, who watches the call in the console. Each is answered by one AnswerOwner.


@dataclass(frozen=True, slots=True)
class PutThroughOrdered:
    """The caller is to be connected with the human now."""


@dataclass(frozen=True, slots=True)
class HangUpOrdered:
    """The call is to end now."""


@dataclass(frozen=True, slots=True)
class SentenceOrdered:
    """The agent is to say this sentence to the caller."""

    text: str


Order: TypeAlias = PutThroughOrdered | HangUpOrdered | SentenceOrdered


class OrderAnswer(enum.StrEnum):
    """The result of an order."""

    DONE = "done"  # The order is being carried out.
    ALREADY = "already"  # An earlier order or the call itself has done the same before.
    TOO_LATE = "too_late"  # The agent no longer has the call, or says its last words.


# Events: from the voice that speaks what the model writes


@dataclass(frozen=True, slots=True)
class VoiceBilled:
    """These characters were sent to the voice, and must be paid for. `response_id`: their answer, if it is known."""

    characters: int
    response_id: ResponseId | None = None


@dataclass(frozen=True, slots=True)
class VoiceFailed:
    """The voice cannot speak any more in this call. `fault` says the reason in one word."""

    fault: str


# Events: from the relay itself


@dataclass(frozen=True, slots=True)
class FunctionReturned:
    """A function's answer. `output` is the JSON for the model, `effect` is what the function wants of the call."""

    function_call_id: str
    name: str
    output: str
    ok: bool
    took_ms: int
    effect: Effect | None = None
    refused: bool = False  # True for a clear no (taken, unknown), which is no failed attempt.
    unsure: bool = False  # True for a write whose answer was lost.


@dataclass(frozen=True, slots=True)
class Ticked:
    """The watchdog has looked at the clock."""


@dataclass(frozen=True, slots=True)
class NextModelReady:
    """The session that is opened beside the present one is configured. The present one still serves."""


@dataclass(frozen=True, slots=True)
class MoveFailed:
    """The session that was ordered beside the present one could not be opened."""

    reason: str


@dataclass(frozen=True, slots=True)
class NextModelLost:
    """The session that was kept beside the present one was closed before it was needed."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClaimDoubted:
    """What the agent said does not fit the deeds. The agent said that something was done, and no function did that.

    Or a function did something, and the agent did not say so.
    """

    correction: str


@dataclass(frozen=True, slots=True)
class DrainBegan:
    """The process is about to stop. The call must end within this time."""

    limit_s: float


Event: TypeAlias = (
    CallerArrived
    | MarkReturned
    | DigitPressed
    | CallerLeft
    | ModelReady
    | CallerSpoke
    | CallerPaused
    | CallerCommitted
    | CallerTranscribed
    | ResponseBegan
    | ItemPlaced
    | ModelSpoke
    | ModelWorded
    | ModelFinished
    | FunctionAsked
    | ResponseEnded
    | ModelObjected
    | RateLimitsTold
    | DayMoneyShort
    | ModelLost
    | VoiceBilled
    | VoiceFailed
    | FunctionReturned
    | Ticked
    | NextModelReady
    | MoveFailed
    | NextModelLost
    | ClaimDoubted
    | DrainBegan
    | PutThroughOrdered
    | HangUpOrdered
    | SentenceOrdered
)


# What a function may want of its call


@dataclass(frozen=True, slots=True)
class TransferCall:
    """Connect the caller with the human. Holds the reason, and one sentence that the human hears."""

    reason: str
    summary: str


@dataclass(frozen=True, slots=True)
class EndCall:
    """Hang up when the goodbye was heard."""

    reason: str


@dataclass(frozen=True, slots=True)
class StaySilent:
    """The latest audio needs no spoken answer."""


@dataclass(frozen=True, slots=True)
class TakeMessage:
    """Keep a row in `messages`. `delivered`: the business's server has the message too."""

    name: str
    phone: str
    message: str
    delivered: bool


@dataclass(frozen=True, slots=True)
class PauseRecording:
    """If calls are recorded, record silence from now on: the caller is about to say something that nobody may keep.

    `why` is a word for the operator, like "card number". This word is kept in a row, so it must not be a word of the
    caller.
    """

    why: str


@dataclass(frozen=True, slots=True)
class ResumeRecording:
    """Record again after a PauseRecording."""


Effect: TypeAlias = TransferCall | EndCall | StaySilent | TakeMessage | PauseRecording | ResumeRecording
