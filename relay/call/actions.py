"""What a call can do (actions): to the caller's socket, the model, the world. Frozen values, in the imperative."""

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
    """`response.create`; `ref` comes back with the response."""

    ref: str
    instructions: str | None = None


# The event id of a cancellation is this and the response's id. An error about it then names the response.
CANCEL_PREFIX = "cancel-"


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """`response.cancel` of the response that is active."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Tell the model how much of its item was heard: 0 < audio_end_ms <= received."""

    item_id: ItemId
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Take an item out of the conversation: it was never heard, or has no words."""

    item_id: ItemId


@dataclass(frozen=True, slots=True)
class CreateItem:
    """Put text into the conversation: role "user", "assistant" or "system"; at the end, or `behind` an item."""

    item_id: ItemId
    role: str
    text: str
    behind: ItemId | None = None


@dataclass(frozen=True, slots=True)
class CreateFunctionPair:
    """Put a past function call into a new session's conversation, with its output if it has ended."""

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
    """The model speaks by itself from now on: the voice that spoke its text is lost."""


@dataclass(frozen=True, slots=True)
class SendSilence:
    """Silence in place of caller audio that never came: `ms` of it, so that the model's VAD can end a turn."""

    ms: int


# To the world


@dataclass(frozen=True, slots=True)
class KeepAudio:
    """The response that begins is the greeting, spoken live: keep its sound."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class LearnGreeting:
    """The live greeting was generated to its end. Its sound, which was kept, may greet the next caller."""

    response_id: ResponseId


@dataclass(frozen=True, slots=True)
class RunFunction:
    """Start a function as a child of the call."""

    function_call_id: str
    name: str
    arguments: str
    caller_turn: int = -1  # the number of the caller's newest turn; -1 for none


@dataclass(frozen=True, slots=True)
class DialModel:
    """Open a model session that serves at once, because none does. `model` names which, `why` goes to the log.

    It is answered by ModelReady, or by ModelLost with code 0. sessions.py has all orders and their answers.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class DialBeside:
    """Open a model session and keep it, while the present one serves.

    It is answered by NextModelReady or MoveFailed.
    """

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """Close the present model session, and serve with the one that is kept. Its answer is that of DialModel."""


@dataclass(frozen=True, slots=True)
class ForgetNext:
    """Close the model session that is kept: it is not needed any more. It has no answer."""


@dataclass(frozen=True, slots=True)
class ReleaseModel:
    """Close the model session: nothing more is wanted of it, so nothing more is paid."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the phone call by Twilio's REST API; then the stream."""


@dataclass(frozen=True, slots=True)
class LeaveStream:
    """Close the caller's socket. Twilio then asks `/twilio/after` what comes next."""


@dataclass(frozen=True, slots=True)
class RecordTurn:
    """A row of the transcript, or its newer version: same `seq`."""

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
    """Where the time of a turn went: milliseconds after the caller stopped; None if a step was not seen.

    `stopped_heard`: the model said that speech stopped. `first_delta`: its first audio. `first_written`: our first
    frame to Twilio. `first_heard`: the first mark came back.
    """

    stopped_heard: int | None
    first_delta: int | None
    first_written: int | None
    first_heard: int | None


@dataclass(frozen=True, slots=True)
class RecordConsent:
    """The notice was heard in full."""

    heard_ms: int


@dataclass(frozen=True, slots=True)
class StopKeepingWords:
    """The caller does not want their words kept. From now on no row and no recording has any."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class AnswerOwner:
    """Tell the owner what becomes of their order."""

    answer: OrderAnswer


@dataclass(frozen=True, slots=True)
class Report:
    """A line for the operator's log: a dotted name, and fields without words and without people's numbers."""

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
