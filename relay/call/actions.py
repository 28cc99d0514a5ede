"""Defines the actions: what must be done on the caller's socket, on the model's session, or elsewhere.

machine.py returns actions, and session/ carries them out. All actions are frozen values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from relay.call.vocabulary import ItemId, OrderAnswer, ResponseId

# To the caller's socket


@dataclass(frozen=True, slots=True)
class Play:
    """Write audio to the caller's socket: whole frames of 160 bytes, and then `mark` if it is not None."""

    mulaw: bytes = field(repr=False)
    mark: str | None
    item_id: ItemId


@dataclass(frozen=True, slots=True)
class ClearPlayback:
    """Make Twilio drop the audio that it has not played."""


# To the model


@dataclass(frozen=True, slots=True)
class AskForResponse:
    """Send `response.create` with `ref` in its metadata. The response repeats `ref`, so that it can be recognised."""

    ref: str
    instructions: str | None = None


# The event id of a `response.cancel` is this prefix and the response's id. An error about the cancellation repeats this
# event id.
CANCEL_PREFIX = "cancel-"


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Send `response.cancel` for this response."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Tell the model how much of its item was heard. `audio_end_ms` is above 0, and at most the length of its audio."""

    item_id: ItemId
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove an item from the conversation: nobody has heard it, or it has no words, or a shorter item replaces it."""

    item_id: ItemId


@dataclass(frozen=True, slots=True)
class CreateItem:
    """Put a text into the conversation, at the end or after the item `behind`.

    `role`: "user", "assistant" or "system".
    """

    item_id: ItemId
    role: str
    text: str
    behind: ItemId | None = None


@dataclass(frozen=True, slots=True)
class CreateFunctionPair:
    """Put an earlier function call, and its output if there is one, into the conversation of a new session."""

    function_call_id: str
    name: str
    arguments: str
    output: str | None


@dataclass(frozen=True, slots=True)
class SendFunctionOutput:
    """Send a function's output (JSON) to the model."""

    function_call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class UseOwnVoice:
    """Let the model itself speak from now on, because the voice that spoke its text (ElevenLabs) has failed."""


@dataclass(frozen=True, slots=True)
class SendSilence:
    """Send `ms` milliseconds of silence to the model, because no caller audio comes, or only noise.

    The model's VAD can then end a turn.
    """

    ms: int


# Elsewhere


@dataclass(frozen=True, slots=True)
class KeepAudio:
    """Keep the sound of this response from now on, because the response is a live greeting."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class LearnGreeting:
    """Store the kept sound of this live greeting for later callers. The model has generated it to its end."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class RunFunction:
    """Start a function as a task of the call."""

    function_call_id: str
    name: str
    arguments: str
    caller_turn: int = -1  # The number of the caller's newest turn. -1 if the caller has said nothing.


@dataclass(frozen=True, slots=True)
class DialModel:
    """Open a session with this model, and use it as soon as it is ready, because the call has no session.

    `why` is for the log. The result is the event ModelReady, or the event ModelLost with code 0. sessions.py lists the
    orders about sessions with their results.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class DialBeside:
    """Open a model session and keep it ready, while the call uses the present one.

    The result is the event NextModelReady or the event MoveFailed.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """Close the present model session, and use the one that is kept ready.

    The result is the event ModelReady, or the event ModelLost with code 0.
    """


@dataclass(frozen=True, slots=True)
class ForgetNext:
    """Close the model session that is kept ready, because the call does not need it any more. No event follows."""


@dataclass(frozen=True, slots=True)
class ReleaseModel:
    """Close the model session, because the call does not need it any more."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the phone call by Twilio's REST API (a test call has none). Then close the stream."""


@dataclass(frozen=True, slots=True)
class LeaveStream:
    """Close the caller's socket. Then Twilio asks `/twilio/after` what comes next."""


@dataclass(frozen=True, slots=True)
class RecordTurn:
    """Write a row of the transcript. A later row with the same `seq` replaces it."""

    seq: int
    item_id: ItemId
    role: str
    said: str | None
    heard: str | None
    started_ms: int
    ended_ms: int
    interrupted: bool = False
    gap: bool = False  # True if words of a caller's turn are missing.
    latency: TurnLatency | None = None


@dataclass(frozen=True, slots=True)
class TurnLatency:
    """When the steps of one answer happened, in ms after the caller's last sound. None if a step was not seen.

    `stopped_heard`: the model reported that speech stopped. `first_delta`: the model's first audio came.
    `first_written`: the first frame was written to Twilio. `first_heard`: the first mark came back.
    """

    stopped_heard: int | None
    first_delta: int | None
    first_written: int | None
    first_heard: int | None


@dataclass(frozen=True, slots=True)
class RecordConsent:
    """Write down that the caller heard the notice to its end, `heard_ms` milliseconds after the stream began."""

    heard_ms: int


@dataclass(frozen=True, slots=True)
class StopKeepingWords:
    """Store no words and record no sound of this call any more, because the caller does not want it."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class AnswerOwner:
    """Tell the owner the result of their order."""

    answer: OrderAnswer


@dataclass(frozen=True, slots=True)
class Report:
    """Write a line to the operator's log: a dotted name, and fields.

    No field may have words of the call or phone numbers.
    """

    name: str
    level: str = "info"
    fields: tuple[tuple[str, object], ...] = ()


Action: TypeAlias = (
    Play
    | ClearPlayback
    | AskForResponse
    | CancelResponse
    | TruncateItem
    | DeleteItem
    | CreateItem
    | CreateFunctionPair
    | SendFunctionOutput
    | UseOwnVoice
    | SendSilence
    | KeepAudio
    | LearnGreeting
    | RunFunction
    | DialModel
    | DialBeside
    | SwitchModel
    | ForgetNext
    | ReleaseModel
    | HangUp
    | LeaveStream
    | RecordTurn
    | RecordConsent
    | StopKeepingWords
    | AnswerOwner
    | Report
)
