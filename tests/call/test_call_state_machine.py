"""The whole call machine with events in any order: deltas, marks, speech, words, functions, losses.

The rules act as a model server, as a Twilio that plays step by step, and as a caller. `Watched` compares every action
with both protocols. Late and repeated events have rules of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.call.actions import DialBeside, SwitchModel
from relay.call.early_answer import VAD_SILENCE_MS
from relay.call.machine import Phase
from relay.call.vocabulary import (
    CallerArrived,
    CallerCommitted,
    CallerLeft,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    ClaimDoubted,
    DigitPressed,
    DrainBegan,
    EndCall,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ItemPlaced,
    MarkReturned,
    ModelFinished,
    ModelLost,
    ModelObjected,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    MoveFailed,
    NextModelLost,
    NextModelReady,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    StaySilent,
    StreamSid,
    TransferCall,
)
from tests.helpers.playbook import PLAN, SILENCE_DBFS, SPEECH_DBFS, tone
from tests.helpers.watched import Watched

WORDS = st.sampled_from(
    ["", None, "yes please", "okay", "hello", "you misunderstood", "an allergy", "ridiculous", "how can I help you"]
)
LEAVING_WORDS = st.sampled_from(["operator", "on fire"])


class Calls(RuleBasedStateMachine):
    """One example is one call."""

    @initialize(
        notice=st.booleans(),
        words=st.booleans(),
        delay_ms=st.sampled_from([0, 40]),
        early=st.booleans(),
        kept=st.sampled_from([True, True, False]),
        played_ms=st.sampled_from([0, 1_500, 4_000]),
        answer_early=st.booleans(),
    )
    def begin(
        self, notice: bool, words: bool, delay_ms: int, early: bool, kept: bool, played_ms: int, answer_early: bool
    ) -> None:
        greeting = PLAN.greeting if notice else replace(PLAN.greeting, notice="")
        if not kept:
            greeting = replace(greeting, opening=replace(greeting.opening, mulaw=None))
        plan = replace(PLAN, greeting=greeting, keep_words=words, answer_early=answer_early)
        self.stage = Watched(plan, delay_ms)
        self.vad_silence_ms = VAD_SILENCE_MS if answer_early else 500
        self.number = 0
        self.caller_items: list[ItemId] = []
        self.open_item: ItemId | None = None  # the item of the caller's speech, from its first report to its commit
        self.response_items: dict[ResponseId, list[ItemId]] = {}
        self.stage.items_of = lambda response: self.response_items.get(response, [])
        self.old_marks: list[str] = []
        arrive, ready = CallerArrived(StreamSid("MZ")), ModelReady("sess", "mini")
        self.is_open = True
        for event in (ready, arrive) if early else (arrive, ready):
            self.stage.tell(event)
        self.stage.wait(played_ms)

    @property
    def session(self) -> bool:
        """True while the present session reports what it hears. It reports nothing after the order to replace it."""
        return self.is_open and not isinstance(self.stage.order, SwitchModel)

    def new(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}_{self.number}"

    # Time and the caller

    @rule(ms=st.sampled_from([5, 20, 60, 200, 700, 3_000]))
    def time_passes(self, ms: int) -> None:
        self.stage.wait(ms)

    @rule(loud=st.booleans(), frames=st.sampled_from([True, True, True, False]))
    def line(self, loud: bool, frames: bool) -> None:
        self.stage.level_dbfs = SPEECH_DBFS if loud else SILENCE_DBFS
        self.stage.frames_come = frames

    @precondition(lambda self: self.session)
    @rule(again=st.booleans())
    def vad_starts(self, again: bool) -> None:
        if not (again and self.open_item):
            self.open_item = ItemId(self.new("caller"))
        self.stage.tell(CallerSpoke(self.open_item, 0))

    @precondition(lambda self: self.session and self.open_item)
    @rule()
    def vad_stops(self) -> None:
        assert self.open_item is not None
        self.stage.tell(CallerPaused(self.open_item, 0))

    @precondition(lambda self: self.session)
    @rule(untold=st.sampled_from([False, False, True]))
    def turn_is_committed(self, untold: bool) -> None:
        item = self.open_item if self.open_item and not untold else ItemId(self.new("caller"))
        self.open_item = None if item == self.open_item else self.open_item
        self.caller_items.append(item)
        self.stage.items[item] = "caller"
        self.stage.tell(CallerCommitted(item, None))

    @precondition(lambda self: self.session and self.caller_items)
    @rule(data=st.data(), text=WORDS)
    def words_come(self, data: st.DataObject, text: str | None) -> None:
        self.stage.tell(CallerTranscribed(data.draw(st.sampled_from(self.caller_items)), text))

    @precondition(lambda self: self.session and self.caller_items)
    @rule(data=st.data())
    def turn_is_committed_again(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.caller_items))
        if item in self.stage.items:
            self.stage.tell(CallerCommitted(item, None))

    @precondition(lambda self: self.session)
    @rule(ms=st.sampled_from([60, 160, 240, 280, 500]), ends=st.booleans())
    def caller_talks(self, ms: int, ends: bool) -> None:
        self.stage.frames_come = True
        self.stage.level_dbfs = SPEECH_DBFS
        self.vad_starts(again=False)
        self.stage.wait(ms)
        if ends:
            self.stage.level_dbfs = SILENCE_DBFS
            self.stage.wait(self.vad_silence_ms)
            self.vad_stops()
            self.turn_is_committed(untold=False)

    @precondition(lambda self: self.session and not self.open_item)
    @rule(
        pieces=st.lists(st.sampled_from([100, 240, 300, 700]), min_size=1, max_size=4),
        pauses_ms=st.lists(st.sampled_from([0, 20, 100, 280, 300, 320, 600]), min_size=4, max_size=4),
        answers=st.sampled_from(["not", "begins", "sounds", "calls", "ends"]),
        words=WORDS,
    )
    def caller_speaks_in_pieces(self, pieces: list[int], pauses_ms: list[int], answers: str, words: str | None) -> None:
        """One turn or several, depending on the pauses. In the pauses the model answers or calls a function."""
        for ms, pause_ms in zip(pieces, pauses_ms, strict=False):
            self.caller_talks(ms, True)
            if answers != "not" and self.session and self.stage.asked and not self.stage.active:
                self.answer_begins()
                if answers in ("sounds", "ends"):
                    self.delta_comes(3_000, True, True)
                if answers == "calls":
                    self.function_is_asked(twice=False)
                if answers == "ends" and self.stage.active:
                    self.item_is_complete(0)
                    self.answer_ends("completed", False)
            self.stage.wait(pause_ms)
            if answers in ("begins", "sounds") and self.stage.active in self.stage.cancelled:
                self.answer_ends("cancelled", False)
            if not self.session:
                return
        if self.caller_items:
            self.stage.tell(CallerTranscribed(self.caller_items[-1], words))

    @rule(key=st.sampled_from("123#"))
    def key_is_pressed(self, key: str) -> None:
        self.stage.tell(DigitPressed(key))

    @rule(name=st.sampled_from(["0.1", "0.2", "1.3", "9.9", "nonsense", ""]))
    def strange_mark(self, name: str) -> None:
        if name not in self.stage.machine.playout._marks:
            self.stage.tell(MarkReturned(name))

    # The model

    @precondition(lambda self: self.session and self.stage.asked and not self.stage.active)
    @rule()
    def answer_begins(self) -> None:
        self.begin_answer(self.stage.asked.ref if self.stage.asked else None)

    def begin_answer(self, ref: str | None) -> None:
        response = ResponseId(self.new("resp"))
        self.stage.begins(response)
        self.response_items[response] = []
        self.stage.tell(ResponseBegan(response, ref))

    @precondition(lambda self: self.session and self.stage.active)
    @rule(size=st.integers(1, 4_000), fresh=st.booleans(), words=st.booleans())
    def delta_comes(self, size: int, fresh: bool, words: bool) -> None:
        response = self.stage.active
        assert response is not None
        items = self.response_items[response]
        if not items or (fresh and (items[-1] in self.stage.tails or items[-1] in self.stage.gone)):
            items.append(ItemId(self.new("item")))
        if items[-1] in self.stage.tails:
            return
        if items[-1] not in self.stage.items and items[-1] not in self.stage.gone:
            self.stage.items[items[-1]] = "audio"
            self.stage.tell(ItemPlaced(items[-1], None, "assistant"))
        if words:
            self.stage.tell(ModelWorded(response, items[-1], "some words more "))
        self.sound(response, items[-1], size)

    @precondition(lambda self: self.session and (self.stage.asked or self.stage.active))
    @rule(sizes=st.lists(st.integers(500, 4_000), min_size=1, max_size=6), played_ms=st.sampled_from([0, 20, 200, 900]))
    def answer_comes(self, sizes: list[int], played_ms: int) -> None:
        if not self.stage.active:
            self.answer_begins()
        for size in sizes:
            self.delta_comes(size, True, True)
        self.stage.wait(played_ms)

    @precondition(lambda self: self.session and not self.open_item)
    @rule(
        sizes=st.lists(st.integers(500, 4_000), min_size=1, max_size=6),
        played_ms=st.sampled_from([0, 20, 60, 400, 1_500]),
        complete=st.booleans(),
        talks_ms=st.sampled_from([0, 60, 200, 240, 300, 300, 500]),
        calls=st.sampled_from([0, 0, 0, 1, 2]),
    )
    def question_and_answer(self, sizes: list[int], played_ms: int, complete: bool, talks_ms: int, calls: int) -> None:
        """The caller asks, the model answers, and the caller coughs or talks during the answer."""
        self.caller_talks(500, True)
        if not self.stage.asked and not self.stage.active:
            return
        self.answer_comes(sizes, played_ms)
        for _ in range(calls if self.stage.active else 0):
            self.function_is_asked(twice=False)
        if complete and self.stage.active:
            self.item_is_complete(13)
            self.answer_ends("completed", False)
        if talks_ms:
            self.caller_talks(talks_ms, False)

    @precondition(lambda self: self.session and self.open_item and self.stage.level_dbfs == SPEECH_DBFS)
    @rule(ms=st.sampled_from([100, 600]), words=WORDS)
    def caller_is_done(self, ms: int, words: str | None) -> None:
        self.stage.level_dbfs = SILENCE_DBFS
        self.stage.wait(ms)
        self.vad_stops()
        self.turn_is_committed(untold=False)
        self.stage.wait(1_000)
        if self.session and self.caller_items:
            self.stage.tell(CallerTranscribed(self.caller_items[-1], words))

    @precondition(lambda self: self.session and not self.open_item)
    @rule(
        ms=st.sampled_from([420, 300, 900]),
        words=st.sampled_from(["Mm-hmm.", "", "okay", "stop", None]),
        answered_ms=st.sampled_from([0, 100, 0, 200, 700]),
    )
    def listener_makes_a_sound(self, ms: int, words: str | None, answered_ms: int) -> None:
        """The caller makes a sound during a complete answer.

        The model's answer to this sound comes before or after the sound's transcript.
        """
        self.question_and_answer([4_000] * 6, 900, True, 0, 0)
        self.stage.tell(*(CallerTranscribed(item, "what time") for item in self.caller_items))
        self.caller_talks(ms, True)
        if answered_ms and self.stage.asked and not self.stage.active:
            self.stage.wait(900)
            self.answer_comes([2_000, 4_000], answered_ms)
        self.stage.tell(CallerTranscribed(self.caller_items[-1], words))
        self.stage.wait(100)

    def sound(self, response: ResponseId, item: ItemId, size: int) -> None:
        had = self.stage.received.get(item, 0)
        self.stage.received[item] = had + size
        mulaw = tone((had + size) // 8 + 1)[had : had + size]
        if self.stage.machine.wants(response, item):
            self.stage.tell(ModelSpoke(response, item, mulaw, (had + size) / 8))

    @precondition(lambda self: self.session and self.stage.active)
    @rule(tail=st.sampled_from([0, 13]))
    def item_is_complete(self, tail: int) -> None:
        response = self.stage.active
        assert response is not None
        items = self.response_items[response]
        if items and items[-1] not in self.stage.tails:
            self.finish(response, items[-1], tail)

    def finish(self, response: ResponseId, item: ItemId, tail: int) -> None:
        had = self.stage.received.get(item, 0)
        self.stage.tails[item] = tail
        self.stage.tell(ModelFinished(response, item, tone((had + tail) // 8 + 1)[had : had + tail]))

    @precondition(lambda self: self.session and self.stage.active)
    @rule(status=st.sampled_from(["completed", "completed", "completed", "incomplete", "failed"]), twice=st.booleans())
    def answer_ends(self, status: str, twice: bool) -> None:
        response = self.stage.active
        assert response is not None
        if response in self.stage.cancelled:
            status = "cancelled"
        for item in self.response_items[response]:
            self.stage.tails.setdefault(item, 0)
        self.stage.active = None
        event = ResponseEnded(response, status, None, {"total_tokens": 3})
        self.stage.tell(event, *([event] if twice else []))

    @precondition(lambda self: self.session and self.response_items)
    @rule(data=st.data(), size=st.integers(1, 3_000))
    def late_delta(self, data: st.DataObject, size: int) -> None:
        response = data.draw(st.sampled_from(sorted(self.response_items)))
        for item in self.response_items[response]:
            ended = item in self.stage.tails and response != self.stage.active  # an active one may send more
            if ended or item in self.stage.gone:
                if self.stage.machine.wants(response, item):
                    assert False, "wants a complete or cut item"  # noqa: B011, PT015 -- says what went wrong
                self.stage.tell(ModelSpoke(response, item, tone(size // 8 + 1)[:size], 10_000.0))

    @precondition(lambda self: self.session)
    @rule(
        code=st.sampled_from(
            ["conversation_already_has_active_response", "response_cancel_not_active", "invalid_value"]
        )
    )
    def model_objects(self, code: str) -> None:
        asked = self.stage.asked
        refuses = asked is not None and code != "response_cancel_not_active"
        self.stage.asked = None if refuses else asked
        self.stage.tell(ModelObjected(code, "words", asked.ref if asked is not None and refuses else None))

    @precondition(lambda self: self.session and self.stage.active)
    @rule(twice=st.booleans())
    def function_is_asked(self, twice: bool) -> None:
        assert self.stage.active is not None
        self.item_is_complete(0)  # in the protocol, a message ends before the function call after it begins
        item = ItemId(self.new("function"))
        self.stage.items[item] = "call"
        self.stage.tell(ItemPlaced(item, None, "function_call"))
        event = FunctionAsked(self.stage.active, self.new("call"), "lookup_hours", "{}", item)
        self.stage.called_by[event.function_call_id] = self.stage.active
        self.stage.tell(event, *([event] if twice else []))

    @precondition(lambda self: self.stage.ran)
    @rule(
        data=st.data(),
        ok=st.booleans(),
        effect=st.sampled_from([None, None, None, None, StaySilent(), EndCall("bye"), TransferCall("why", "words")]),
    )
    def function_returns(self, data: st.DataObject, ok: bool, effect: Any) -> None:
        call = data.draw(st.sampled_from(self.stage.ran))
        self.stage.tell(FunctionReturned(call, "lookup_hours", "{}", ok, 10, effect))

    # Losses and moves

    @precondition(lambda self: self.session)
    @rule()
    def model_is_lost(self) -> None:
        self.forget_session()
        self.stage.tell(ModelLost(1011, "gone"))

    def forget_session(self) -> None:
        self.is_open, self.stage.active, self.stage.asked, self.open_item = False, None, None, None
        self.stage.items.clear()
        self.caller_items.clear()
        for items in self.response_items.values():
            for item in items:
                self.stage.tails.setdefault(item, 0)

    @precondition(lambda self: self.stage.order is not None)
    @rule(works=st.sampled_from([True, True, True, False]), first_lost=st.booleans())
    def order_is_answered(self, works: bool, first_lost: bool) -> None:
        """Answer the order to dial or switch. `first_lost`: the present session is lost just before the answer."""
        order, self.stage.order = self.stage.order, None
        if isinstance(order, DialBeside):
            if works:
                self.stage.kept = True
            self.answer(NextModelReady() if works else MoveFailed("no answer"))
            return
        if isinstance(order, SwitchModel):
            assert self.stage.kept, "a session was refused, and no other one is kept"
            self.stage.kept = False
            self.forget_session()
            if first_lost:
                self.stage.order = order
                self.stage.tell(ModelLost(1000, ""))
                self.stage.order = None
        assert not self.is_open, "two sessions serve the call at once"
        self.is_open = works
        self.answer(ModelReady("sess", "mini") if works else ModelLost(0, "no answer"))

    def answer(self, event: Any) -> None:
        self.stage.answered += 1
        self.stage.tell(event)

    @precondition(lambda self: self.stage.kept and self.stage.order is None)
    @rule()
    def kept_session_is_lost(self) -> None:
        self.stage.kept = False
        self.stage.tell(NextModelLost("closed"))

    # The end

    @rule(event=st.sampled_from([ClaimDoubted("Say that it is not booked."), DrainBegan(300.0)]))
    def from_the_relay(self, event: Any) -> None:
        self.stage.tell(event)

    @precondition(lambda self: self.number > 25)
    @rule(reason=st.sampled_from([EndReason.CALLER_HUNG_UP, EndReason.CALLER_SOCKET_LOST]))
    def caller_leaves(self, reason: EndReason) -> None:
        self.stage.tell(CallerLeft(reason))

    @precondition(lambda self: self.session and self.number > 20)
    @rule(words=LEAVING_WORDS)
    def caller_wants_a_person(self, words: str) -> None:
        item = ItemId(self.new("caller"))
        self.stage.items[item] = "caller"
        self.stage.tell(CallerCommitted(item, None), CallerTranscribed(item, words))

    @invariant()
    def nothing_is_stranded(self) -> None:
        if not hasattr(self, "stage"):
            return
        machine = self.stage.machine
        assert not machine.playout.is_held or machine.floor.is_holding, (
            "the playout is held, and nothing will end the hold"
        )
        assert machine.figures.late_deltas >= 0
        assert not self.stage.ear.holes, self.stage.ear.holes

    def teardown(self) -> None:
        """End the call, and check that nothing is open and that its figures are right."""
        if not hasattr(self, "stage"):
            return
        stage = self.stage
        stage.level_dbfs, stage.frames_come = SILENCE_DBFS, True
        assert stage.orders == stage.answered + (stage.order is not None), "an order has no answer, or more than one"
        if self.session and self.open_item:
            self.vad_stops()
        if self.session and stage.active:
            response = stage.active
            for item in self.response_items[response]:
                if item not in stage.tails:
                    self.finish(response, item, 0)
            self.answer_ends("completed", False)
        left_ms = int(stage.machine.playout.left_ms(stage.now))
        if stage.machine.phase is Phase.TALKING:
            stage.wait(min(left_ms, 60_000) // 5 * 5 + 3_000)
        else:
            stage.wait(100)  # audio that was on its way to the caller when the call ended
        assert not stage.ear.holes, stage.ear.holes
        self.check_truncations()
        if stage.machine.phase is Phase.TALKING and left_ms < 60_000:
            self.check_all_was_heard()
        stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
        for call in stage.ran:  # the end waits for a booking that still runs
            stage.tell(FunctionReturned(call, "lookup_hours", "{}", True, 10))
        stage.wait(3_000)
        assert stage.machine.is_over
        assert stage.released

    def check_truncations(self) -> None:
        """Check that each truncated item was truncated at the position up to which the caller heard it."""
        for item, ms in self.stage.truncated.items():
            heard_ms = min(self.stage.ear.heard.get(item, 0), self.stage.received[item]) / 8
            assert abs(heard_ms - ms) <= 20, f"{item}: truncated at {ms} ms, heard {heard_ms} ms"

    def check_all_was_heard(self) -> None:
        """Check that each item that was not given up was heard to its end, and that its turn says so."""
        given_up = {item for response in self.stage.cancelled for item in self.response_items[response]}
        cut = {turn.item_id for turn in self.stage.machine.conversation.turns() if turn.interrupted}
        for item, size in self.stage.received.items():
            if item in self.stage.gone or item in given_up or item in cut:
                continue
            if self.stage.machine.conversation.turn(item) is None:
                continue  # an item that came while the call was ending gets no turn
            assert self.stage.ear.heard.get(item, 0) >= size, f"{item} was not heard to its end"
            turn = self.stage.machine.conversation.turn(item)
            assert turn is not None
            assert turn.whole, f"{item} was heard in full, and was not reported so"
        assert sum(self.stage.ear.repeated.values()) <= self.stage.clears * 168


Calls.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow], deadline=None
)
TestCalls = Calls.TestCase


@pytest.mark.deep
class TestManyCalls(Calls.TestCase):  # type: ignore[misc, valid-type] # hypothesis makes it at run time
    """Runs many more and longer examples of the same rules."""

    settings = settings(max_examples=3_000, stateful_step_count=120, deadline=None, derandomize=False)
