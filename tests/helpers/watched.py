"""A stage that compares each action with what the peers would say to it."""

from __future__ import annotations

from collections.abc import Callable

from relay.call.actions import (
    Action,
    AskForResponse,
    CancelResponse,
    ClearPlayback,
    CreateFunctionPair,
    CreateItem,
    DeleteItem,
    DialBeside,
    DialModel,
    ForgetNext,
    HangUp,
    LeaveStream,
    Play,
    RecordConsent,
    RecordTurn,
    ReleaseModel,
    RunFunction,
    SendFunctionOutput,
    SwitchModel,
    TruncateItem,
)
from relay.call.call_config import CallPlan
from relay.call.machine import Phase
from relay.call.responses import ALREADY_ACTIVE
from relay.call.vocabulary import (
    ItemId,
    ModelObjected,
    ResponseId,
)
from tests.helpers.playbook import PLAN, Stage


class Watched(Stage):
    """A stage that compares each action with what the peers would say to it."""

    def __init__(self, plan: CallPlan, delay_ms: int) -> None:
        self.items: dict[ItemId, str] = {}  # what the present model session has: "audio", "text", "caller"
        self.gone: set[ItemId] = set()  # truncated or deleted: must not be heard any more
        self.received: dict[ItemId, int] = {}  # bytes of model audio, by item
        self.tails: dict[ItemId, int] = {}
        self.truncated: dict[ItemId, int] = {}
        self.active: ResponseId | None = None
        self.cancelled: set[ResponseId] = set()
        self.asked: AskForResponse | None = None
        self.open_turn: object = None  # of the caller's, when that was asked
        self.open_turns: dict[ResponseId, object] = {}  # the same, of what has begun
        self.called_by: dict[str, ResponseId] = {}
        self.order: Action | None = None  # about sessions, and not answered yet
        self.orders = self.answered = 0
        self.kept = False  # a session is ready beside the present one
        self.items_of: Callable[[ResponseId], list[ItemId]] = lambda _: []
        self.probes: list[AskForResponse] = []
        self.ran: list[str] = []
        self.consented = not plan.greeting.announces
        self.released = False
        self.clears = 0
        self.marks: set[str] = set()
        self.hung_up = False
        super().__init__(plan, delay_ms)

    def _do(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            self.check(action)
        done = super()._do(actions)
        while self.probes:  # the server has not ended the answer before
            self.tell(ModelObjected(ALREADY_ACTIVE, "words", self.probes.pop().ref))
        return done

    def check(self, action: Action) -> None:
        """Say what is wrong with an action, when it is done."""
        gone = self.machine.phase is Phase.GONE
        match action:
            case Play(mulaw, mark, item):
                assert not self.released, "audio after the end"
                assert not self.hung_up, "audio after the line was given up"
                assert len(mulaw) % 160 == 0
                assert mulaw
                assert mark is not None
                assert mark not in self.marks, "a mark's name was used before"
                self.marks.add(mark)
                assert item not in self.gone, f"{item} was given up and is heard all the same"
                early = [each for each in self.open_turns if self.is_early(each)]
                assert all(item not in self.items_of(each) for each in early), f"{item}: the caller's turn is not over"
            case ClearPlayback():
                assert not gone, "a clear after the end"
                self.clears += 1
            case HangUp() | LeaveStream():
                assert not self.hung_up, "hung up twice"
                self.hung_up = True
            case AskForResponse():
                assert not self.hung_up, "an answer after the end"
                assert self.asked is None, "asked twice"
                self.open_turn = self.machine.call.early.turn
                assert self.machine.phase is Phase.TALKING
                if self.active is None:
                    self.asked = action
                else:  # a request over an answer means that its end was probably lost
                    complete = all(item in self.tails or item in self.gone for item in self.items_of(self.active))
                    assert self.active in self.cancelled or complete, "two responses at a time"
                    self.probes.append(action)
            case CancelResponse(response):
                assert response == self.active, "cancelled what is not active"
                assert response not in self.cancelled, "cancelled twice"
                self.cancelled.add(response)
            case TruncateItem(item, ms):
                assert self.items.get(item) == "audio", f"{item} is no audio of this session"
                assert 0 < ms <= self.received[item] / 8
                assert item not in self.gone, "truncated twice"
                self.gone.add(item)
                self.truncated[item] = ms
            case DeleteItem(item):
                assert item in self.items, f"{item} is not in this session"
                del self.items[item]
                self.gone.add(item)
            case CreateItem(item):
                assert item not in self.items, f"{item} exists"
                assert not gone, "an item after the end"
                self.items[item] = "text"
            case RunFunction(call):
                assert call not in self.ran, "ran twice"
                called_by = self.called_by.get(call)
                assert not (called_by and self.is_early(called_by)), "a function runs before the caller's turn is over"
                self.ran.append(call)
            case RecordTurn(said=said, heard=heard):
                assert self.plan.keep_words or (said is None and heard is None), "words in a call without words"
                assert self.consented or (said is None and heard is None), "words before the notice was heard"
            case RecordConsent():
                assert not self.consented
                self.consented = True
            case DialModel() | DialBeside() | SwitchModel():
                assert self.order is None, "an order before the one before it was answered"
                self.order = action
                self.orders += 1
            case ForgetNext():
                assert self.kept, "no session is kept"
                self.kept = False
            case ReleaseModel():
                assert not self.released, "released twice"
                self.released = True
            case SendFunctionOutput() | CreateFunctionPair() | _:
                pass

    def begins(self, response: ResponseId) -> None:
        """The model begins what was asked for last."""
        self.open_turns[response] = self.open_turn
        self.active, self.asked = response, None

    def is_early(self, response: ResponseId) -> bool:
        """True for what was asked for while a turn of the caller's was open that still is: nobody may hear it."""
        turn = self.open_turns[response]
        return turn is not None and turn is self.machine.call.early.turn and self.machine.phase is Phase.TALKING

    @property
    def plan(self) -> CallPlan:
        return self.machine.plan if hasattr(self, "machine") else PLAN
