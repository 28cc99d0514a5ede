"""A stage (playbook.py) that checks each action of the call machine against the rules of Twilio and OpenAI."""

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
    """A stage that fails when an action breaks a rule."""

    def __init__(self, plan: CallPlan, delay_ms: int) -> None:
        self.items: dict[ItemId, str] = {}  # the items of the present session, by kind: "audio", "text", "caller"
        self.gone: set[ItemId] = set()  # truncated or deleted items, which must not be heard any more
        self.received: dict[ItemId, int] = {}  # bytes of model audio, by item
        self.tails: dict[ItemId, int] = {}
        self.truncated: dict[ItemId, int] = {}
        self.active: ResponseId | None = None
        self.cancelled: set[ResponseId] = set()
        self.asked: AskForResponse | None = None
        self.open_turn: object = None  # the turn of the caller that was open when `asked` was sent
        self.open_turns: dict[ResponseId, object] = {}  # the turn that was open when this response was asked for
        self.called_by: dict[str, ResponseId] = {}
        self.order: Action | None = None  # an action that dials or switches a session, and has no answer yet
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
        while self.probes:  # refuse each request that was sent while a response was active, as the real model does
            self.tell(ModelObjected(ALREADY_ACTIVE, "words", self.probes.pop().ref))
        return done

    def check(self, action: Action) -> None:
        """Fail if an action is wrong at this moment."""
        gone = self.machine.phase is Phase.GONE
        match action:
            case Play(mulaw, mark, item):
                assert not self.released, "audio after the end"
                assert not self.hung_up, "audio after the relay hung up"
                assert len(mulaw) % 160 == 0
                assert mulaw
                assert mark is not None
                assert mark not in self.marks, "a mark's name was used before"
                self.marks.add(mark)
                assert item not in self.gone, f"{item} was given up, and is sent"
                early = [each for each in self.open_turns if self.is_early(each)]
                assert all(item not in self.items_of(each) for each in early), f"{item} comes in the caller's turn"
            case ClearPlayback():
                assert not gone, "a clear after the end"
                self.clears += 1
            case HangUp() | LeaveStream():
                assert not self.hung_up, "hung up twice"
                self.hung_up = True
            case AskForResponse():
                assert not self.hung_up, "an answer is asked for after the end"
                assert self.asked is None, "an answer is asked for twice"
                self.open_turn = self.machine.call.early.turn
                assert self.machine.phase is Phase.TALKING
                if self.active is None:
                    self.asked = action
                else:  # a request during an answer means that its end was probably lost
                    complete = all(item in self.tails or item in self.gone for item in self.items_of(self.active))
                    assert self.active in self.cancelled or complete, "two responses at a time"
                    self.probes.append(action)
            case CancelResponse(response):
                assert response == self.active, "a response that is not active is cancelled"
                assert response not in self.cancelled, "cancelled twice"
                self.cancelled.add(response)
            case TruncateItem(item, ms):
                assert self.items.get(item) == "audio", f"{item} is not an audio item of this session"
                assert 0 < ms <= self.received[item] / 8
                assert item not in self.gone, "truncated twice"
                self.gone.add(item)
                self.truncated[item] = ms
            case DeleteItem(item):
                assert item in self.items, f"{item} is not in this session"
                del self.items[item]
                self.gone.add(item)
            case CreateItem(item):
                assert item not in self.items, f"{item} exists already"
                assert not gone, "an item after the end"
                self.items[item] = "text"
            case RunFunction(call):
                assert call not in self.ran, "a function runs twice"
                called_by = self.called_by.get(call)
                assert not (called_by and self.is_early(called_by)), "a function runs before the caller's turn is over"
                self.ran.append(call)
            case RecordTurn(said=said, heard=heard):
                assert self.plan.keep_words or (said is None and heard is None), "words in a call that keeps none"
                assert self.consented or (said is None and heard is None), "words are stored before the notice"
            case RecordConsent():
                assert not self.consented
                self.consented = True
            case DialModel() | DialBeside() | SwitchModel():
                assert self.order is None, "an order is given before the last one was answered"
                self.order = action
                self.orders += 1
            case ForgetNext():
                assert self.kept, "a session is refused, and no other one is kept"
                self.kept = False
            case ReleaseModel():
                assert not self.released, "released twice"
                self.released = True
            case SendFunctionOutput() | CreateFunctionPair() | _:
                pass

    def begins(self, response: ResponseId) -> None:
        """Let the model begin the answer that was asked for last."""
        self.open_turns[response] = self.open_turn
        self.active, self.asked = response, None

    def is_early(self, response: ResponseId) -> bool:
        """True if the turn in which the response was asked for is still open. Then the caller must not hear it."""
        turn = self.open_turns[response]
        return turn is not None and turn is self.machine.call.early.turn and self.machine.phase is Phase.TALKING

    @property
    def plan(self) -> CallPlan:
        return self.machine.plan if hasattr(self, "machine") else PLAN
