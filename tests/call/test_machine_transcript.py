"""The transcript has the order of the conversation, and not of the events. Each turn has its own figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.call.actions import RecordTurn
from relay.call.vocabulary import (
    CallerCommitted,
    CallerSpoke,
    CallerTranscribed,
    EndReason,
    ItemId,
    ItemPlaced,
    ModelFinished,
    ModelLost,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
)
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, SPEECH_DBFS, Stage, phrase, tone

R1 = ResponseId("resp_1")
FIRST, ANSWER, SECOND = ItemId("caller_1"), ItemId("item_1"), ItemId("caller_2")


def order(stage: Stage) -> list[str]:
    """The turns in the conversation's order. The ledger sorts by their numbers, which must give the same order."""
    turns = stage.machine.conversation.turns()
    assert [turn.seq for turn in turns] == sorted(turn.seq for turn in turns)
    return [turn.item_id for turn in turns]


def test_an_answer_keeps_its_place_although_the_callers_next_turn_began_before_its_first_sound() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.tell(CallerCommitted(FIRST, ItemId("own_0_1")), ResponseBegan(R1, None))
    stage.tell(ItemPlaced(ANSWER, FIRST, "assistant"), CallerCommitted(SECOND, ANSWER))
    stage.tell(ModelWorded(R1, ANSWER, "At ten."), ModelSpoke(R1, ANSWER, tone(300), 300.0))
    assert order(stage) == ["own_0_1", FIRST, ANSWER, SECOND]


def test_turns_keep_their_place_after_an_answer_whose_second_part_was_given_up() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    parts = (ItemId("item_1"), ItemId("item_2"))
    stage.tell(CallerCommitted(FIRST, ItemId("own_0_1")), ResponseBegan(R1, "turn-1"))
    for part, previous in zip(parts, (FIRST, parts[0]), strict=True):
        stage.tell(ItemPlaced(part, previous, "assistant"), ModelWorded(R1, part, "At ten."))
        stage.tell(ModelSpoke(R1, part, tone(2_000), 2_000.0), ModelFinished(R1, part, b""))
    stage.tell(ResponseEnded(R1, "completed", None, None))
    stage.wait(1_000)
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(SECOND, 0))
    stage.wait(400)
    stage.level_dbfs = SILENCE_DBFS
    last = parts[0]  # the second part is deleted, so for the model the next turn comes after the first part
    later = [SECOND, *(ItemId(f"later_{number}") for number in range(8))]
    for item in later:
        stage.tell(CallerCommitted(item, last))
        last = item
    assert order(stage) == ["own_0_1", FIRST, *parts, *later]


def test_the_row_of_words_that_are_transcribed_last_has_its_place_where_they_were_said() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.tell(CallerCommitted(FIRST, ItemId("own_0_1")))
    stage.answer(1, 300, "At ten.", ref="")
    stage.wait(600)
    stage.tell(CallerTranscribed(FIRST, "what time"))
    rows = sorted((a for a in stage.actions if isinstance(a, RecordTurn)), key=lambda row: row.seq)
    assert [row.item_id for row in rows] == ["own_0_1", FIRST, ANSWER]


@pytest.mark.parametrize(("words", "reason"), [("a long story", None), ("operator please", EndReason.TRANSFERRED)])
def test_words_of_a_long_turn_that_come_after_seven_seconds_are_written_down_and_acted_on(
    words: str, reason: EndReason | None
) -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says(None, 1, ms=65_000)
    stage.answer(1, 9_000, "I see.")
    stage.wait(7_000)
    assert not stage.machine.call.awaits_words(stage.now), "the call still waits for the words, so they are not late"
    stage.tell(CallerTranscribed(FIRST, words))
    (row,) = [a for a in stage.actions if isinstance(a, RecordTurn) and a.role == "caller"]
    assert (row.said, row.gap) == (words, False)
    assert (stage.machine.ending.reason if stage.machine.ending else None) is reason


def test_a_turn_keeps_its_place_after_a_phrase_that_was_cut_and_created_again() -> None:
    slow = replace(PLAIN, greeting=replace(PLAIN.greeting, question=phrase("How can I help you?", 4_000)))
    stage = Stage(slow).arrive(2_000)
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(FIRST, 0))
    stage.wait(300)
    # The phrase got its place in the conversation before the caller's turn got one.
    stage.answer(1, 300, "Yes?", ref="")
    stage.tell(CallerCommitted(FIRST, ItemId("own_0_1_h")))
    assert order(stage) == ["own_0_1", FIRST, ANSWER]


def test_a_turn_keeps_its_place_after_an_earlier_turn_that_was_sent_to_a_new_session() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.tell(CallerCommitted(FIRST, ItemId("own_0_1")), CallerTranscribed(FIRST, "what time"))
    stage.tell(ModelLost(1006, ""), ModelReady("sess_2", "mini"))
    stage.tell(CallerCommitted(SECOND, ItemId("r0_2_1")))  # the first turn's name in this session
    assert order(stage) == ["own_0_1", FIRST, SECOND, "own_0_2"]
