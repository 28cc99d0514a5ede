"""Scripted orders of the owner to a running call: at every stage, twice, too late, and from two people at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relay.call import wording
from relay.call.actions import (
    AnswerOwner,
    AskForResponse,
    CancelResponse,
    ClearPlayback,
    CreateItem,
    HangUp,
    LeaveStream,
    ReleaseModel,
)
from relay.call.consent import Words
from relay.call.machine import Next, Phase
from relay.call.view import Said, look
from relay.call.view import Stage as At
from relay.call.vocabulary import (
    CallerLeft,
    CallerSpoke,
    DigitPressed,
    DrainBegan,
    EndCall,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    HangUpOrdered,
    ItemId,
    ModelLost,
    ModelReady,
    Order,
    OrderAnswer,
    PutThroughOrdered,
    ResponseEnded,
    ResponseId,
    SentenceOrdered,
)
from tests.helpers.answering import begun
from tests.helpers.playbook import PLAIN, PLAN, SPEECH_DBFS, Stage

DONE, ALREADY, TOO_LATE = OrderAnswer.DONE, OrderAnswer.ALREADY, OrderAnswer.TOO_LATE
PUT_THROUGH, HANG_UP, SAY = PutThroughOrdered(), HangUpOrdered(), SentenceOrdered("We close early today.")
R1 = ResponseId("resp_1")


def order(stage: Stage, wish: Order) -> OrderAnswer:
    (answer,) = [each.answer for each in stage.tell(wish) if isinstance(each, AnswerOwner)]
    return answer


def has_left(stage: Stage) -> Next | None:
    return stage.machine.ending.then if stage.machine.ending is not None else None


def count(stage: Stage, kind: type) -> int:
    return sum(isinstance(each, kind) for each in stage.actions)


# A call at each of its stages


def greeting() -> Stage:
    return Stage(PLAIN).arrive(300)


def notice() -> Stage:
    return Stage(PLAN).arrive(500)


def quiet() -> Stage:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("Hello?", 9)
    stage.answer(9, 300, "Yes.")
    stage.wait(600)
    return stage


def answering() -> Stage:
    stage = quiet()
    stage.caller_says("When are you open?", 1)
    stage.answer(1, 6_000, "We are open from eleven until ten at night, and on Sundays until nine.", ended=False)
    stage.wait(1_000)
    return stage


def function() -> Stage:
    stage = begun(quiet())
    stage.tell(FunctionAsked(R1, "call_1", "book", "{}"), ResponseEnded(R1, "completed", None, None))
    return stage


def holding() -> Stage:
    stage = answering()
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    return stage


def without_model() -> Stage:
    stage = quiet()
    stage.tell(ModelLost(1006, "gone"))
    return stage


def transferring() -> Stage:
    stage = quiet()
    stage.tell(DigitPressed("0"))
    stage.wait(1_900)
    return stage


def ending() -> Stage:
    stage = quiet()
    stage.caller_says("bye", 1)
    stage.answer(1, 4_000, "Goodbye, and thank you for calling us today.", ended=False)
    stage.tell(FunctionAsked(R1, "call_1", "end_call", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("bye")))
    stage.wait(500)
    return stage


def capped() -> Stage:
    stage = Stage(replace(PLAIN, limits=replace(PLAIN.limits, call_s=5.0))).arrive(5_200)
    assert stage.machine.phase is Phase.LEAVING
    return stage


def drained() -> Stage:
    stage = quiet()
    stage.tell(DrainBegan(0.0))
    stage.wait(200)
    return stage


def caller_gone() -> Stage:
    stage = quiet()
    stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
    return stage


Situation = Callable[[], Stage]
# The situation, the stage that a watcher sees, and the answers to the three orders: put through, hang up, say.
SITUATIONS: list[tuple[Situation, At, OrderAnswer, OrderAnswer, OrderAnswer]] = [
    (greeting, At.GREETING, DONE, DONE, DONE),
    (notice, At.NOTICE, DONE, DONE, DONE),
    (quiet, At.TALK, DONE, DONE, DONE),
    (answering, At.TALK, DONE, DONE, DONE),
    (function, At.FUNCTION, DONE, DONE, DONE),
    (holding, At.HOLDING, DONE, DONE, DONE),
    (without_model, At.TALK, DONE, DONE, DONE),
    (transferring, At.TRANSFERRING, ALREADY, DONE, TOO_LATE),
    (ending, At.ENDING, DONE, DONE, TOO_LATE),
    (capped, At.ENDING, DONE, DONE, TOO_LATE),
    (drained, At.ENDING, TOO_LATE, TOO_LATE, TOO_LATE),
    (caller_gone, At.ENDING, TOO_LATE, TOO_LATE, TOO_LATE),
]
by_name = pytest.mark.parametrize("situation", SITUATIONS, ids=[each[0].__name__ for each in SITUATIONS])


@by_name
def test_a_watcher_sees_the_stage_of_the_call_and_this_changes_nothing_in_the_call(
    situation: tuple[Situation, At, OrderAnswer, OrderAnswer, OrderAnswer],
) -> None:
    make, at, *_ = situation
    watched, alone = make(), make()
    assert look(watched.machine.call, watched.now).stage is at
    for _ in range(40):
        look(watched.machine.call, watched.now)
        assert [str(each) for each in watched.wait(50)] == [str(each) for each in alone.wait(50)]


@by_name
def test_the_order_put_through_leads_to_a_human_once_unless_it_comes_too_late(
    situation: tuple[Situation, At, OrderAnswer, OrderAnswer, OrderAnswer],
) -> None:
    make, _, first, *_ = situation
    stage = make()
    assert order(stage, PUT_THROUGH) is first
    second = order(stage, PUT_THROUGH)  # from a second person, at the same moment
    assert second is (TOO_LATE if first is TOO_LATE else ALREADY)
    stage.wait(6_000)
    assert order(stage, PUT_THROUGH) is second
    if first is not TOO_LATE:
        assert has_left(stage) is Next.HUMAN
        assert count(stage, LeaveStream) == 1
        assert count(stage, HangUp) == 0
        assert count(stage, ReleaseModel) == 1
        if first is DONE:
            assert stage.machine.dialled == "the owner put the call through"


@by_name
def test_the_order_hang_up_ends_the_call_once_unless_it_comes_too_late(
    situation: tuple[Situation, At, OrderAnswer, OrderAnswer, OrderAnswer],
) -> None:
    make, _, _, first, _ = situation
    stage = make()
    before = count(stage, HangUp)
    assert order(stage, HANG_UP) is first
    assert order(stage, HANG_UP) is (ALREADY if first is DONE else TOO_LATE)
    if first is DONE:
        assert count(stage, HangUp) == before + 1
        assert stage.machine.ending is not None
        assert stage.machine.ending.reason is EndReason.HUNG_UP_BY_OWNER
        stage.wait(3_000)
        if stage.machine.call.functions:  # the end waits for the function, so that its result is written down
            assert not stage.machine.is_over
            stage.tell(FunctionReturned("call_1", "book", "{}", True, 5))
            stage.wait(200)
        assert stage.machine.is_over
        assert stage.ear.is_silent
        assert count(stage, HangUp) == before + 1


@by_name
def test_a_sentence_is_told_to_the_model_at_every_stage_at_which_it_can_be_said(
    situation: tuple[Situation, At, OrderAnswer, OrderAnswer, OrderAnswer],
) -> None:
    make, _, _, _, first = situation
    stage = make()
    stage.actions.clear()
    assert order(stage, SAY) is first
    assert order(stage, SAY) is (ALREADY if first is DONE else TOO_LATE)
    told = [each for each in stage.actions if isinstance(each, CreateItem) and SAY.text in each.text]
    if make is without_model:
        assert told == []
        stage.tell(ModelReady("sess_2", "mini"))
        told = [each for each in stage.actions if isinstance(each, CreateItem) and SAY.text in each.text]
    assert len(told) == (first is DONE)


def test_of_two_orders_at_the_same_moment_the_first_one_counts() -> None:
    stage = answering()
    assert [order(stage, PUT_THROUGH), order(stage, SAY)] == [DONE, TOO_LATE]
    assert order(stage, HANG_UP) is DONE  # a call that is being put through can be ended until its stream has ended
    assert order(stage, PUT_THROUGH) is TOO_LATE
    assert count(stage, HangUp) == 1
    assert count(stage, LeaveStream) == 0


def test_the_order_hang_up_stops_the_agent_in_the_middle_of_a_word() -> None:
    stage = answering()
    stage.actions.clear()
    done = stage.tell(HANG_UP)
    assert any(isinstance(each, ClearPlayback) for each in done)
    assert count(stage, CancelResponse) == 1


def test_a_sentence_waits_until_the_answer_has_ended_and_the_caller_is_silent() -> None:
    stage = answering()
    stage.actions.clear()
    assert order(stage, SAY) is DONE
    assert count(stage, AskForResponse) == 0
    stage.tell(ResponseEnded(R1, "completed", None, None))
    assert [each.ref for each in stage.actions if isinstance(each, AskForResponse)] == ["order-3"]
    talking = holding()
    assert order(talking, SAY) is DONE
    talking.actions.clear()
    talking.tell(ResponseEnded(R1, "completed", None, None))
    assert count(talking, AskForResponse) == 0


def test_the_model_gets_both_of_two_sentences_and_may_get_the_same_sentence_again_later() -> None:
    stage = quiet()
    stage.actions.clear()
    other = SentenceOrdered('Please ask for "the back door".')
    assert [order(stage, SAY), order(stage, other)] == [DONE, DONE]
    stage.wait(11_000)
    assert order(stage, other) is DONE
    told = [each.text for each in stage.actions if isinstance(each, CreateItem) and each.role == "system"]
    assert told[0] == wording.OWNER_SAYS.format(text=SAY.text)
    assert "Say exactly: \"Please ask for 'the back door'.\"" in told[1]
    assert len(told) == 3


def test_the_owner_can_put_a_caller_through_outside_the_humans_hours() -> None:
    stage = Stage(replace(PLAIN, human_available=False)).arrive(1_500)
    assert order(stage, PUT_THROUGH) is DONE
    assert stage.machine.call.dialled_by_owner
    assert has_left(stage) is Next.HUMAN


# The words that a watcher may read


def test_words_are_shown_from_the_notice_until_the_caller_refuses() -> None:
    stage = Stage(PLAN).arrive(500)
    notice_until = stage.machine.call.notice_until
    view = look(stage.machine.call, stage.now)
    assert (view.consent, view.said, view.agent_speaks) == (Words.WAITING, (), True)
    assert stage.machine.call.notice_until == notice_until  # reading the view changes nothing
    stage.wait(4_000)
    stage.caller_says("When are you open?", 1)
    stage.answer(1, 1_000, "At eleven.")
    view = look(stage.machine.call, stage.now)
    assert view.consent is Words.KEPT
    assert view.said[-2:] == (Said("caller", "When are you open?"), Said("agent", "At eleven."))
    stage.machine.call.consent.refuse()
    assert look(stage.machine.call, stage.now).said == ()


def test_with_record_off_no_word_is_ever_shown() -> None:
    stage = Stage(replace(PLAIN, keep_words=False)).arrive(1_500)
    stage.caller_says("My card is 4111.", 1)
    stage.answer(1, 1_000, "Thank you.")
    view = look(stage.machine.call, stage.now)
    assert (view.consent, view.said) == (Words.NEVER, ())


def test_a_watcher_sees_who_speaks() -> None:
    stage = answering()
    view = look(stage.machine.call, stage.now)
    assert (view.caller_speaks, view.agent_speaks) == (False, True)
    view = look(holding().machine.call, stage.now)
    assert view.caller_speaks
