"""A caller who does not want their words kept, in the call machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.call.actions import AskForResponse, RecordTurn, StopKeepingWords
from relay.call.call_config import CallPlan
from relay.call.vocabulary import ResponseBegan, ResponseEnded, ResponseId
from relay.call.wording import CONFIRM_NOT_KEPT
from tests.helpers.answering import of
from tests.helpers.playbook import PLAIN, PLAN, Stage


def said(stage: Stage) -> list[str]:
    return [row.said for row in of(stage, RecordTurn) if row.said]


def test_after_a_refusal_no_word_is_recorded_and_the_agent_confirms_it() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time do you open", 1)
    stage.answer(1, 1_000, "We open at nine.")
    stage.wait(2_000)
    assert "We open at nine." in said(stage)
    stage.actions.clear()
    stage.caller_says("Please don't record this.", 2)
    assert len(of(stage, StopKeepingWords)) == 1
    old = ResponseId("resp_2")  # the answer was asked for before the transcript of these words came
    stage.tell(ResponseBegan(old, of(stage, AskForResponse)[-1].ref), ResponseEnded(old, "cancelled", None, None))
    stage.wait(1_000)
    assert of(stage, AskForResponse)[-1].instructions == CONFIRM_NOT_KEPT
    stage.answer(3, 1_000, "Nothing is kept from now on.")
    stage.wait(2_000)
    stage.caller_says("My card number is four one one one", 3)
    stage.wait(1_000)
    assert said(stage) == []
    assert len(of(stage, RecordTurn)) >= 3, "a turn without its words must still be a row"
    stage.caller_says("And don't record me!", 4)
    assert len(of(stage, StopKeepingWords)) == 1, "the refusal was acted on more than once"


def test_a_call_without_a_refusal_stores_its_words() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("is this call recorded?", 1)
    assert of(stage, StopKeepingWords) == []
    assert said(stage)[-1] == "is this call recorded?"


@pytest.mark.parametrize("plan", [replace(PLAIN, keep_words=False), PLAN])
def test_a_refusal_is_also_noted_before_the_notice_was_heard_and_in_a_call_that_stores_no_words(plan: CallPlan) -> None:
    stage = Stage(plan).arrive(1_000 if plan is PLAN else 1_500)
    stage.caller_says("stop recording me", 1)
    stage.wait(3_000)
    assert len(of(stage, StopKeepingWords)) == 1
    assert not any("recording" in words for words in said(stage))


def test_after_a_refusal_the_next_stream_of_the_call_stores_no_words_either() -> None:
    stage = Stage(replace(PLAIN, words_refused=True)).arrive(1_500)
    stage.caller_says("what time do you open", 1)
    stage.wait(1_000)
    assert said(stage) == []
    assert len(of(stage, RecordTurn)) >= 1
