"""Names the events of a call, and the reasons for its end. actions.py has the actions.

Events are in the past tense, actions in the imperative. All are frozen values, so that a call can be recorded and
replayed. Caller audio is not an event: it comes fifty times a second and has a method of its own
(`Machine.caller_audio`). This file imports nothing of the relay.
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
    """A message from the caller's socket breaks the protocol.

    The text says what is wrong, and repeats no words of the caller.
    """


class Rung(enum.StrEnum):
    """How the caller was greeted: from where the first audio came (greeting.py)."""

    # The greeting was rendered before the call, in the agent's own voice. Or the caller is back and hears no greeting.
    KEPT = "kept"
    LIVE = "live"  # The model generated the greeting for this call.
    CLIP = "clip"  # A clip that ships with the relay was played first.
    NONE = "none"  # No audio was written: the call ended too early.


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
        """True if something broke. Then the call's last log line is an error."""
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
    """Twilio's `start` was read. From now on the caller hears us and we hear the caller."""

    stream_sid: StreamSid


@dataclass(frozen=True, slots=True)
class MarkReturned:
    """A mark came back. The audio before it was played, or a clear dropped it."""

    name: str


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The caller pressed a key: 0-9, *, # or A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """The stream has ended: Twilio said so, its socket has closed or is dead, or the relay cannot go on.

    `reason` says why.
    """

    reason: EndReason


# Events: from the model's side


@dataclass(frozen=True, slots=True)
class ModelReady:
    """A model session is configured. It uses the audio formats that the relay asked for."""

    session_id: str
    model: str
    greeting_asked: bool = False  # True if this session was asked for a live greeting when the phone rang.


@dataclass(frozen=True, slots=True)
class CallerSpoke:
    """The server's VAD heard the caller begin to speak (`speech_started`)."""

    item_id: ItemId
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class CallerPaused:
    """The server's VAD heard the caller stop speaking (`speech_stopped`)."""

    item_id: ItemId
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class CallerCommitted:
    """The caller's speech became an item of the conversation."""

    item_id: ItemId
    previous_item_id: ItemId | None


@dataclass(frozen=True, slots=True)
class CallerTranscribed:
    """The words of a caller's item. `text` is None if the transcription failed. `usage` is what the API reports."""

    item_id: ItemId
    text: str | None
    usage: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ResponseBegan:
    """The model began to answer. `ref` is the reference of our request. None if the server sends no reference."""

    response_id: ResponseId
    ref: str | None


@dataclass(frozen=True, slots=True)
class ItemPlaced:
    """The server reports where an item stands in the conversation."""

    item_id: ItemId
    previous_item_id: ItemId | None
    role: str  # "user", "assistant" or "system". For an item that is no message, its kind, such as "function_call".


@dataclass(frozen=True, slots=True)
class Position:
    """When `item_ms` of an item's sound have been played, the first `chars` characters of its text were spoken."""

    chars: int
    item_ms: float


@dataclass(frozen=True, slots=True)
class ModelSpoke:
    """A delta as mu-law at 8 kHz. `said_ms` is the length of the item's sound so far, by the bytes received.

    `positions` is None if the model itself speaks. Otherwise the model's item is text, and another voice speaks it.
    Then `positions` says how far the sound has come in the text. It is empty if the voice has not reported that.
    """

    response_id: ResponseId
    item_id: ItemId
    mulaw: bytes = field(repr=False)
    said_ms: float
    positions: tuple[Position, ...] | None = None


@dataclass(frozen=True, slots=True)
class ModelWorded:
    """A piece of the text of the model's speech."""

    response_id: ResponseId
    item_id: ItemId
    text: str


@dataclass(frozen=True, slots=True)
class ModelFinished:
    """All audio of an item has come. `mulaw` is its last piece. The caller may not have heard all of it."""

    response_id: ResponseId
    item_id: ItemId
    mulaw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FunctionAsked:
    """The model calls a function. This event comes when all arguments have come."""

    response_id: ResponseId
    function_call_id: str
    name: str
    arguments: str
    item_id: ItemId = ItemId("")  # The item of this function call. Empty if the server does not name it.


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The model's answer has ended: completed, cancelled, incomplete or failed. Its audio may still be playing.

    `retry_after_s`: the answer failed because of a limit. The relay must wait this long before it asks again.
    """

    response_id: ResponseId
    status: str
    detail: str | None
    usage: dict[str, object] | None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ModelObjected:
    """The server sent an `error` event. The session goes on, because only a close of its socket ends it.

    `retry_after_s`: how long the relay must wait before it asks again. None if it need not wait.
    """

    code: str
    message: str
    event_id: str | None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimitsTold:
    """The share of the account's rate limits that is left for this minute (0 to 1).

    If there are several limits, this is the smallest share.
    """

    left: float


@dataclass(frozen=True, slots=True)
class DayMoneyShort:
    """All calls of today together have spent most of MAX_DAY_USD."""


@dataclass(frozen=True, slots=True)
class ModelLost:
    """The model's socket has closed. `code` 0: the session that was ordered could not be opened."""

    code: int
    reason: str


# Events: from the owner, who watches the call in the console. For each, the owner gets one AnswerOwner.


@dataclass(frozen=True, slots=True)
class PutThroughOrdered:
    """The owner wants the caller to be connected with the human now."""


@dataclass(frozen=True, slots=True)
class HangUpOrdered:
    """The owner wants the call to end now."""


@dataclass(frozen=True, slots=True)
class SentenceOrdered:
    """The owner wants the agent to say this sentence to the caller."""

    text: str


Order: TypeAlias = PutThroughOrdered | HangUpOrdered | SentenceOrdered


class OrderAnswer(enum.StrEnum):
    """The result of an order."""

    DONE = "done"  # The order is being carried out.
    ALREADY = "already"  # The same order came before, or the call has done it already.
    TOO_LATE = "too_late"  # The agent does not have the call, or says last words that this order cannot change.


# Events: from the voice that speaks the model's text


@dataclass(frozen=True, slots=True)
class VoiceBilled:
    """This many characters were sent to the voice and must be paid for. `response_id`: the response, if it is known."""

    characters: int
    response_id: ResponseId | None = None


@dataclass(frozen=True, slots=True)
class VoiceFailed:
    """The voice cannot speak any more in this call. `fault` is the reason in one word."""

    fault: str


# Events: from the relay itself


@dataclass(frozen=True, slots=True)
class FunctionReturned:
    """A function has returned. `output` is the JSON for the model. `effect` is what the function does to the call."""

    function_call_id: str
    name: str
    output: str
    ok: bool
    took_ms: int
    effect: Effect | None = None
    refused: bool = False  # True if the function said no (taken, unknown). That is no failure of the function.
    unsure: bool = False  # True if the function writes and its answer was lost: nobody knows whether it has written.


@dataclass(frozen=True, slots=True)
class Ticked:
    """The watchdog ticks."""


@dataclass(frozen=True, slots=True)
class NextModelReady:
    """The session that is opened beside the present one is configured. The call still uses the present one."""


@dataclass(frozen=True, slots=True)
class MoveFailed:
    """The session that was ordered beside the present one could not be opened."""

    reason: str


@dataclass(frozen=True, slots=True)
class NextModelLost:
    """The session that was kept beside the present one was closed before the call used it."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClaimDoubted:
    """The agent's words and the deeds do not agree.

    Either the agent said that something was done, and no function did it. Or a function did something, and the agent
    did not say so. `correction` is the note that tells the model about it.
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


# The effects of functions on their call


@dataclass(frozen=True, slots=True)
class TransferCall:
    """Connect the caller with the human. Holds the reason, and one sentence that the human hears."""

    reason: str
    summary: str


@dataclass(frozen=True, slots=True)
class EndCall:
    """Hang up when the caller has heard the goodbye."""

    reason: str


@dataclass(frozen=True, slots=True)
class StaySilent:
    """The caller's last words need no spoken answer."""


@dataclass(frozen=True, slots=True)
class TakeMessage:
    """Write a row in `messages`. `delivered`: the business's server already has the message."""

    name: str
    phone: str
    message: str
    delivered: bool


@dataclass(frozen=True, slots=True)
class PauseRecording:
    """Record silence from now on, because the caller will say something that nobody may store, such as a card number.

    It does nothing if calls are not recorded. `why` is a word for the operator ("card number"). It is written in a row,
    so it must not be a word of the caller.
    """

    why: str


@dataclass(frozen=True, slots=True)
class ResumeRecording:
    """Record again after PauseRecording."""


Effect: TypeAlias = TransferCall | EndCall | StaySilent | TakeMessage | PauseRecording | ResumeRecording
