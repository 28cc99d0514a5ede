"""Who may speak: when the agent holds, gives up or goes on, and whether a turn of the caller is answered."""

from __future__ import annotations

import pytest

from relay.call.level_vad import CallerVoice
from relay.call.turn_taking import (
    DECIDING_WORDS_LIMIT_S,
    GIVE_UP_MS,
    Agent,
    Floor,
    Step,
    Worth,
    is_echo,
)
from relay.call.vocabulary import ItemId
from tests.helpers.playbook import PLAN

SPEAKING = Agent(speaking=True, thinking=False, protected=False, early=False)
PROTECTED = Agent(speaking=True, thinking=False, protected=True, early=False)
EARLY = Agent(speaking=True, thinking=False, protected=False, early=True)
THINKING = Agent(speaking=False, thinking=True, protected=False, early=False)
SILENT = Agent(speaking=False, thinking=False, protected=False, early=False)
ITEM = ItemId("caller_1")


class Line:
    """A caller's line. It returns what the agent must do (`Step`) after each frame and each event."""

    def __init__(self) -> None:
        self.voice, self.floor = CallerVoice(), Floor()

    def frames(self, level_dbfs: float, ms: int, agent: Agent) -> list[Step]:
        moves = []
        for _ in range(ms // 20):
            self.voice.hear(level_dbfs, 20)
            moves.append(self.floor.frame(agent, self.voice))
        return [move for move in moves if move is not Step.NOTHING]

    def spoke(self, agent: Agent, heard_ms: int = 60) -> Step:
        self.frames(-20.0, heard_ms, agent)
        return self.floor.spoke(ITEM, agent, self.voice)

    def transcribed(self, text: str | None, agent: Agent, said: str = "") -> Worth:
        return self.floor.transcribed(ITEM, text, agent, said, PLAN.rules.words.judge(text or ""))


def test_speech_holds_the_agent_at_once_and_interrupts_it_after_a_quarter_of_a_second() -> None:
    line = Line()
    assert line.spoke(SPEAKING) is Step.HOLD
    assert line.frames(-20.0, GIVE_UP_MS - 80, SPEAKING) == []
    assert line.frames(-20.0, 40, SPEAKING) == [Step.GIVE_UP]
    assert line.frames(-20.0, 500, SPEAKING) == []


def test_the_hold_of_a_cough_is_undone_as_soon_as_the_cough_is_over() -> None:
    line = Line()
    line.spoke(SPEAKING)
    assert line.frames(-20.0, 120, SPEAKING) == []
    assert line.frames(-75.0, 200, SPEAKING) == [Step.RESUME]
    assert line.floor.paused(ITEM) is Step.NOTHING


def test_two_coughs_that_the_vad_reports_as_one_speech_hold_the_agent_twice() -> None:
    line = Line()
    line.spoke(SPEAKING)
    assert line.frames(-75.0, 300, SPEAKING) == [Step.RESUME]
    assert line.frames(-20.0, 200, SPEAKING) == [Step.HOLD]
    assert line.frames(-75.0, 300, SPEAKING) == [Step.RESUME]


def test_speech_that_becomes_loud_later_holds_the_agent_at_that_moment() -> None:
    line = Line()
    assert line.floor.spoke(ITEM, SPEAKING, line.voice) is Step.NOTHING
    assert line.frames(-75.0, 200, SPEAKING) == []
    assert line.frames(-20.0, 20, SPEAKING) == [Step.HOLD]


def test_speech_over_the_notice_does_not_interrupt_it_but_speech_that_goes_on_after_the_notice_counts() -> None:
    line = Line()
    assert line.spoke(PROTECTED) is Step.NOTHING
    assert line.frames(-20.0, 1_000, PROTECTED) == []
    assert line.frames(-20.0, 20, SPEAKING) == [Step.GIVE_UP]
    assert line.floor.became_item(ITEM, SPEAKING, 1.0) is Worth.ANSWER


def test_speech_that_began_over_the_notice_and_goes_on_after_it_is_answered_at_once() -> None:
    line = Line()
    line.spoke(PROTECTED)
    line.frames(-20.0, 400, PROTECTED)
    line.frames(-20.0, 400, SILENT)
    assert line.floor.became_item(ITEM, SILENT, 1.0) is Worth.ANSWER


def test_hello_over_the_first_words_of_the_greeting_does_not_interrupt_them() -> None:
    line = Line()
    assert line.spoke(EARLY) is Step.NOTHING
    assert line.frames(-20.0, 400, EARLY) == []
    assert line.floor.became_item(ITEM, SPEAKING, 1.0) is Worth.WAIT
    assert line.transcribed("Hello?", SPEAKING) is Worth.LEAVE


def test_if_the_caller_goes_on_while_the_answer_is_being_generated_the_answer_is_cancelled() -> None:
    line = Line()
    line.floor.spoke(ITEM, THINKING, line.voice)
    assert line.frames(-20.0, GIVE_UP_MS + 20, THINKING) == [Step.HOLD, Step.GIVE_UP]


def test_a_hold_whose_end_was_never_reported_is_undone_by_the_next_speech() -> None:
    line = Line()
    line.spoke(SPEAKING)
    line.voice = CallerVoice()
    assert line.floor.spoke(ItemId("caller_2"), SPEAKING, line.voice) is Step.RESUME


def test_a_turn_that_is_long_enough_is_answered_at_once() -> None:
    line = Line()
    line.spoke(SILENT)
    line.frames(-20.0, 400, SILENT)
    assert line.floor.became_item(ITEM, SILENT, 1.0) is Worth.ANSWER
    assert line.transcribed("anything", SILENT) is Worth.LEAVE


@pytest.mark.parametrize(
    ("text", "agent", "worth"),
    [
        ("Yes.", SILENT, Worth.ANSWER),
        ("Stop!", SPEAKING, Worth.BARGE_IN),
        ("Mm-hmm.", SPEAKING, Worth.LEAVE),
        ("", SILENT, Worth.DELETE),
        ("  ", SPEAKING, Worth.DELETE),
        (None, SILENT, Worth.LEAVE),
    ],
)
def test_the_transcript_of_a_short_turn_decides_whether_the_turn_is_answered(
    text: str | None, agent: Agent, worth: Worth
) -> None:
    line = Line()
    line.floor.spoke(ITEM, agent, line.voice)
    assert line.floor.became_item(ITEM, agent, 1.0) is Worth.WAIT
    assert line.transcribed(text, agent) is worth


def test_a_turn_with_our_own_words_that_came_back_as_an_echo_is_deleted() -> None:
    line = Line()
    line.floor.spoke(ITEM, SPEAKING, line.voice)  # the server heard it, but it was too quiet for our own level VAD
    assert line.floor.became_item(ITEM, SPEAKING, 1.0) is Worth.WAIT
    said = "We are open until ten at night."
    assert line.transcribed("until ten at night", SILENT, said) is Worth.DELETE


def test_loud_words_of_the_caller_are_not_an_echo_even_if_the_agent_said_the_same() -> None:
    line = Line()
    line.spoke(PROTECTED)
    line.frames(-20.0, 400, PROTECTED)
    line.floor.became_item(ITEM, PROTECTED, 1.0)
    assert line.transcribed("ten at night", SILENT, "until ten at night") is Worth.ANSWER


def test_the_call_does_not_wait_for_ever_for_a_transcript_that_never_comes() -> None:
    line = Line()
    line.floor.spoke(ITEM, SPEAKING, line.voice)
    line.floor.became_item(ITEM, SPEAKING, 1.0)
    assert line.floor.expired(1.0 + DECIDING_WORDS_LIMIT_S - 0.1, SPEAKING) == []
    assert line.floor.expired(1.0 + DECIDING_WORDS_LIMIT_S, SPEAKING) == [(ITEM, False)]
    assert not line.floor.is_waiting
    assert line.floor.expired(100.0, SPEAKING) == []
    assert line.transcribed("Stop!", SPEAKING) is Worth.BARGE_IN


def test_a_question_over_the_notice_is_answered_though_its_words_come_late() -> None:
    line = Line()
    line.spoke(PROTECTED)
    line.frames(-20.0, 600, PROTECTED)
    assert line.floor.became_item(ITEM, PROTECTED, 1.0) is Worth.WAIT
    assert line.floor.expired(1.0 + DECIDING_WORDS_LIMIT_S, PROTECTED) == [(ITEM, False)]
    assert line.transcribed("what time do you open", SILENT) is Worth.ANSWER


def test_an_item_whose_beginning_was_not_reported_waits_for_its_words() -> None:
    line = Line()
    line.spoke(SILENT)
    line.frames(-20.0, 400, SILENT)
    assert line.floor.became_item(ItemId("another"), SILENT, 1.0) is Worth.WAIT
    assert line.floor.became_item(ITEM, SILENT, 1.0) is Worth.ANSWER


def test_words_are_sorted_by_their_meaning() -> None:
    judge = PLAN.rules.words.judge
    assert judge("Uh-huh, okay.").is_backchannel
    assert not judge("okay but stop").is_backchannel
    assert not judge("").is_backchannel
    assert judge("Hello? Anybody there?").is_hello
    assert not judge("Hello, I'd like a table").is_hello
    assert is_echo("the kitchen takes", "and the kitchen takes its last orders")
    assert not is_echo("kitchen the", "and the kitchen takes its last orders")
    assert not is_echo("kitchen", "the kitchen")
