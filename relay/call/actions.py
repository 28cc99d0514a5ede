"""Actions: what a call can do on the caller's socket, on the model, and elsewhere. Frozen values, in the imperative."""

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
    """Make Twilio drop what it has not played."""


# To the model


@dataclass(frozen=True, slots=True)
class AskForResponse:
    """`response.create`. `ref` is a reference: the response brings it back."""

    ref: str
    instructions: str | None = None


# The event id of a cancellation is this prefix and the response's id. So an error about it names the response.
CANCEL_PREFIX = "cancel-"


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """`response.cancel` for the response that is active."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Tell the model how much of its item was heard: 0 < audio_end_ms <= received."""

    item_id: ItemId
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove an item from the conversation: it was never heard, or it has no words."""

    item_id: ItemId


@dataclass(frozen=True, slots=True)
class CreateItem:
    """Put text into the conversation, at the end or `behind` an item. `role` is "user", "assistant" or "system"."""

    item_id: ItemId
    role: str
    text: str
    behind: ItemId | None = None


@dataclass(frozen=True, slots=True)
class CreateFunctionPair:
    """Put an earlier function call into a new session's conversation, with its output if it has one."""

    function_call_id: str
    name: str
    arguments: str
    output: str | None


@dataclass(frozen=True, slots=True)
class SendFunctionOutput:
    """A function's JSON, for the model."""

    function_call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class UseOwnVoice:
    """The model speaks by itself from now on, because the voice that spoke its text is lost."""


@dataclass(frozen=True, slots=True)
class SendSilence:
    """Send `ms` of silence in place of caller audio that never came. So the model's VAD can end a turn."""

    ms: int


# Elsewhere


@dataclass(frozen=True, slots=True)
class KeepAudio:
    """Keep the sound of the response that begins. This response is the greeting, spoken live."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class LearnGreeting:
    """The live greeting was generated to its end. The sound that was kept may greet the next caller."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class RunFunction:
    """Start a function as a child of the call."""

    function_call_id: str
    name: str
    arguments: str
    caller_turn: int = -1  # The number of the caller's newest turn. -1 if there is none.


@dataclass(frozen=True, slots=True)
class DialModel:
    """Open a model session that serves at once, because no session serves. `model` is its model, `why` is for the log.

    The answer is ModelReady, or ModelLost with code 0. sessions.py lists all orders and their answers.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class DialBeside:
    """Open a model session and keep it, while the present session serves.

    The answer is NextModelReady or MoveFailed.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """Close the present model session, and serve with the kept one. The answer is as for DialModel."""


@dataclass(frozen=True, slots=True)
class ForgetNext:
    """Close the model session that is kept, because it is not needed any more. There is no answer."""


@dataclass(frozen=True, slots=True)
class ReleaseModel:
    """Close the model session. The session is not needed any more, and an open session costs money."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the phone call by Twilio's REST API, and then the stream."""


@dataclass(frozen=True, slots=True)
class LeaveStream:
    """Close the caller's socket. After that, Twilio asks `/twilio/after` what comes next."""


@dataclass(frozen=True, slots=True)
class RecordTurn:
    """A row of the transcript, or a newer version of it with the same `seq`."""

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
    """The times of a turn's steps, in milliseconds after the caller stopped. A time is None if its step was not seen.

    `stopped_heard`: the model reported that speech stopped. `first_delta`: the model's first audio. `first_written`:
    our first frame to Twilio. `first_heard`: the first mark came back.
    """

    stopped_heard: int | None
    first_delta: int | None
    first_written: int | None
    first_heard: int | None


@dataclass(frozen=True, slots=True)
class RecordConsent:
    """The notice was heard to its end."""

    heard_ms: int


@dataclass(frozen=True, slots=True)
class StopKeepingWords:
    """The caller does not want their words kept. From now on no row and no recording contains any."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class AnswerOwner:
    """Tell the owner the result of their order."""

    answer: OrderAnswer


@dataclass(frozen=True, slots=True)
class Report:
    """A line for the operator's log: a dotted name, and fields without words and without phone numbers."""

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
