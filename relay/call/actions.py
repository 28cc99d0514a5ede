"""Names what a call can do: on the caller's socket, on the model's session, and elsewhere.

All actions are frozen values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from relay.call.vocabulary import ItemId, OrderAnswer, ResponseId

# To the caller's socket


@dataclass(frozen=True, slots=True)
class Play:
    """Write audio: whole frames of 160 bytes, then the mark, if there is one."""

    mulaw: bytes = field(repr=False)
    mark: str | None
    item_id: ItemId


@dataclass(frozen=True, slots=True)
class ClearPlayback:
    """Make Twilio drop the audio that it has not played."""


# To the model


@dataclass(frozen=True, slots=True)
class AskForResponse:
    """Send `response.create`. The response comes with `ref`, so that it can be recognised."""

    ref: str
    instructions: str | None = None


# The event id of a cancellation is this prefix and the response's id. An error about the cancellation repeats it.
CANCEL_PREFIX = "cancel-"


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Send `response.cancel` for the active response."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Tell the model how much of its item was heard. `audio_end_ms` is above 0, and at most what the model has sent."""

    item_id: ItemId
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove an item from the conversation: nobody has heard it, or it has no words, or a shorter one replaces it."""

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
    """Put an earlier function call into a new session's conversation, with its output if there is one."""

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
    """Let the model speak by itself from now on, because the other voice is lost."""


@dataclass(frozen=True, slots=True)
class SendSilence:
    """Send `ms` of silence to the model, because no caller audio comes or only noise. So its VAD can end a turn."""

    ms: int


# Elsewhere


@dataclass(frozen=True, slots=True)
class KeepAudio:
    """Store the sound of this response, which is a live greeting."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class LearnGreeting:
    """The live greeting was generated to its end. Its stored sound may greet the next caller."""

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
    """Open a model session. The call uses it at once, because it has none. `model` is its model, `why` is for the log.

    The result is ModelReady, or ModelLost with code 0. sessions.py lists all orders and their results.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class DialBeside:
    """Open a model session and keep it ready, while the call uses the present one.

    The result is NextModelReady or MoveFailed.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """Close the present model session, and use the kept one. The result is as for DialModel."""


@dataclass(frozen=True, slots=True)
class ForgetNext:
    """Close the model session that is kept ready, because the call does not need it any more. There is no result."""


@dataclass(frozen=True, slots=True)
class ReleaseModel:
    """Close the model session, because the call does not need it any more. An open session costs money."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the phone call by Twilio's REST API. Then close the stream."""


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
    gap: bool = False
    latency: TurnLatency | None = None


@dataclass(frozen=True, slots=True)
class TurnLatency:
    """When the steps of one answer happened, in ms after the caller's last sound. None: this step was not seen.

    `stopped_heard`: the model reported that speech stopped. `first_delta`: the model's first audio. `first_written`:
    our first frame to Twilio. `first_heard`: the first mark came back.
    """

    stopped_heard: int | None
    first_delta: int | None
    first_written: int | None
    first_heard: int | None


@dataclass(frozen=True, slots=True)
class RecordConsent:
    """The notice was heard to its end. `heard_ms` says when."""

    heard_ms: int


@dataclass(frozen=True, slots=True)
class StopKeepingWords:
    """The caller does not want their words kept. From now on no row of the conversation and no recording gets any."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class AnswerOwner:
    """Tell the owner the result of their order."""

    answer: OrderAnswer


@dataclass(frozen=True, slots=True)
class Report:
    """Write a line to the operator's log: a dotted name, and fields.

    No field has words of the call or phone numbers.
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
