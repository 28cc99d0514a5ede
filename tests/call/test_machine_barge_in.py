"""Barge-in, step by step, with scripted events: the relay's actions after each event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.call.actions import (
    AskForResponse,
    CancelResponse,
    ClearPlayback,
    CreateItem,
    DeleteItem,
    LeaveStream,
    Play,
    RecordTurn,
    Report,
    RunFunction,
    SendFunctionOutput,
    TruncateItem,
)
from relay.call.vocabulary import (
    CallerArrived,
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    FunctionAsked,
    ItemId,
    MarkReturned,
    ModelFinished,
    ModelObjected,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    StreamSid,
    Ticked,
)
from tests.helpers.playbook import PLAIN, PLAN, SILENCE_DBFS, SPEECH_DBFS, Stage, expect, phrase, tone

TEXT = "We are open tomorrow from eleven in the morning until ten at night."
R1, R2 = ResponseId("resp_1"), ResponseId("resp_2")
ITEM = ItemId("item_1")


def talking() -> Stage:
    """A call in which the greeting was heard, and the caller has asked something and waits for the answer."""
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.actions.clear()
    return stage


def rows(stage: Stage) -> list[RecordTurn]:
    return [action for action in stage.actions if isinstance(action, RecordTurn)]


def interrupt(stage: Stage, ms: int) -> None:
    """Let the caller speak for this long. The VAD reports the speech after 60 ms."""
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    stage.wait(ms - 60)


def test_an_answer_that_was_generated_long_ago_is_truncated_where_it_was_heard() -> None:
    stage = talking()
    stage.answer(1, 8_000, TEXT)
    stage.wait(1_000)
    stage.actions.clear()
    interrupt(stage, 300)
    truncate = TruncateItem(ITEM, 1_060)  # 1,000 ms before the caller spoke, and 60 ms more until the agent stopped
    expect([a for a in stage.actions if not isinstance(a, RecordTurn)], [truncate])
    assert stage.ear.heard[ITEM] == 1_060 * 8
    (row,) = rows(stage)
    assert (row.said, row.interrupted) == (TEXT, True)
    assert row.heard == "We are"


def test_an_answer_that_is_still_generated_is_cancelled_first_and_its_late_deltas_are_dropped() -> None:
    stage = talking()
    stage.answer(1, 1_000, TEXT, ended=False)
    stage.wait(400)
    stage.actions.clear()
    interrupt(stage, 300)
    expect([a for a in stage.actions if not isinstance(a, RecordTurn)], [CancelResponse(R1), TruncateItem(ITEM, 460)])
    assert not stage.machine.wants(R1, ITEM)
    assert stage.machine.figures.late_deltas == 0, "the test's own question was counted as a late delta"
    assert stage.tell(ModelSpoke(R1, ITEM, tone(250), 1_250.0)) == []
    assert stage.machine.figures.late_deltas == 1
    stage.wait(500)
    assert stage.ear.heard[ITEM] == 460 * 8


def test_when_more_audio_is_coming_the_answer_is_truncated_at_the_end_of_the_received_part() -> None:
    stage = talking()
    stage.answer(1, 500, TEXT, ended=False)
    stage.wait(700)
    stage.actions.clear()
    interrupt(stage, 300)
    expect([a for a in stage.actions if not isinstance(a, RecordTurn)], [CancelResponse(R1), TruncateItem(ITEM, 500)])


def test_an_answer_that_was_not_heard_at_all_is_deleted_and_not_truncated_at_zero() -> None:
    stage = Stage(PLAIN, delay_ms=40).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.actions.clear()
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(40)
    stage.answer(1, 1_000, TEXT)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    stage.wait(300)
    expect([a for a in stage.actions if not isinstance(a, RecordTurn)], [DeleteItem(ITEM)])
    assert [row.heard for row in rows(stage)] == [""]


def two_items(stage: Stage, first_ms: int) -> tuple[ItemId, ItemId]:
    """An answer of two items, both generated to their end."""
    first, second = ItemId("item_1"), ItemId("item_2")
    stage.tell(ResponseBegan(R1, "turn-1"))
    for item, ms in ((first, first_ms), (second, 3_000)):
        stage.tell(ModelSpoke(R1, item, tone(ms), float(ms)), ModelFinished(R1, item, b""))
    stage.tell(ResponseEnded(R1, "completed", None, None))
    return first, second


def test_an_interruption_gives_up_all_items_that_were_not_heard_to_their_end_and_keeps_the_others() -> None:
    stage = talking()
    first, second = two_items(stage, 2_000)
    stage.wait(1_000)
    interrupt(stage, 300)
    cuts = [action for action in stage.actions if isinstance(action, TruncateItem | DeleteItem)]
    assert cuts == [TruncateItem(first, 1_060), DeleteItem(second)]
    assert second not in stage.ear.heard


def test_if_the_next_item_is_cut_an_item_that_was_heard_to_its_end_stays_complete() -> None:
    stage = talking()
    first, second = two_items(stage, 800)
    stage.wait(1_000)
    interrupt(stage, 300)
    cuts = [action for action in stage.actions if isinstance(action, TruncateItem | DeleteItem)]
    assert cuts == [TruncateItem(second, 260)]
    assert stage.ear.heard[first] == 800 * 8


def test_a_cancellation_that_reaches_the_model_after_the_answers_end_is_not_counted_as_an_error() -> None:
    """This was seen on real sockets, once in 300 interruptions: the answer had ended when `response.cancel` came."""
    stage = talking()
    stage.answer(1, 8_000, TEXT, ended=False)
    stage.wait(400)
    stage.actions.clear()
    interrupt(stage, 600)
    expect([a for a in stage.actions if not isinstance(a, RecordTurn)], [CancelResponse(R1), TruncateItem(ITEM, 460)])
    (row,) = rows(stage)
    stage.actions.clear()
    stage.tell(ModelFinished(R1, ITEM, b""), ResponseEnded(R1, "completed", None, {"total_tokens": 3}))
    stage.tell(ModelObjected("response_cancel_not_active", "Cancellation failed: no active response found", None))
    expect(stage.actions, [])
    assert not [action for action in stage.actions if isinstance(action, Report)]
    figures = stage.machine.figures
    assert (figures.crossings, figures.model_errors) == (1, 0)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.tell(CallerPaused(ItemId("caller_2"), 0), CallerCommitted(ItemId("caller_2"), ITEM))
    assert [action.ref for action in stage.actions if isinstance(action, AskForResponse)] == ["turn-2"]
    stage.answer(2, 500, "Of course.")
    stage.wait(1_000)
    assert stage.ear.heard == {ItemId("own_0_1"): 8_000, ITEM: 460 * 8, ItemId("item_2"): 500 * 8}
    assert [turn.heard for turn in stage.machine.conversation.turns()][-1] == "Of course."
    assert row.heard == "We"


def test_an_answer_that_comes_while_the_caller_goes_on_is_given_up_before_it_is_heard() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"))
    interrupt(stage, 160)
    done = stage.tell(ModelWorded(R1, ITEM, "We are"), ModelSpoke(R1, ITEM, tone(250), 250.0))
    done += stage.wait(200)
    assert not any(isinstance(action, Play | ClearPlayback) for action in done), (
        "a part of the answer was played while the caller spoke"
    )
    expect([a for a in stage.actions if not isinstance(a, RecordTurn)], [CancelResponse(R1), DeleteItem(ITEM)])
    assert stage.machine.figures.barge_ins == 0, "a barge-in was counted although nothing was interrupted"


def test_an_answer_that_comes_during_a_cough_is_heard_after_the_cough() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"))
    interrupt(stage, 160)
    stage.tell(ModelSpoke(R1, ITEM, tone(500), 500.0))
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(100)
    assert ITEM not in stage.ear.heard
    stage.wait(600)
    assert stage.ear.heard[ITEM] == 500 * 8
    assert stage.machine.figures.false_stops == 0, "a false stop was counted although nothing was stopped"


def test_the_words_of_an_answer_without_sound_are_deleted_when_it_has_ended() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"), ModelWorded(R1, ITEM, "We are"))
    stage.actions.clear()
    interrupt(stage, 400)
    expect(stage.actions, [CancelResponse(R1)])
    stage.actions.clear()
    stage.tell(ResponseEnded(R1, "cancelled", None, None))
    expect(stage.actions, [DeleteItem(ITEM)])
    assert stage.machine.conversation.turn(ITEM) is None


def test_a_cough_causes_a_pause_and_changes_nothing_else() -> None:
    stage = talking()
    stage.answer(1, 3_000, TEXT)
    stage.wait(1_000)
    stage.actions.clear()
    interrupt(stage, 180)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.tell(CallerPaused(ItemId("caller_2"), 0), CallerCommitted(ItemId("caller_2"), None))
    stage.wait(4_000)
    stage.tell(CallerTranscribed(ItemId("caller_2"), ""))
    expect([a for a in stage.actions if not isinstance(a, RecordTurn)], [DeleteItem(ItemId("caller_2"))])
    assert stage.ear.heard[ITEM] == 3_000 * 8
    assert stage.ear.holes == []
    assert stage.ear.repeated[ITEM] <= 168
    (row,) = rows(stage)
    assert (row.heard, row.interrupted) == (TEXT, False)
    assert stage.machine.figures.false_stops == 1
    assert stage.machine.figures.barge_ins == 0
    assert stage.machine.playout.gaps_ms == 0


def test_a_hold_on_a_line_without_frames_ends_by_itself() -> None:
    stage = talking()
    stage.answer(1, 3_000, TEXT)
    stage.wait(1_000)
    interrupt(stage, 100)
    stage.frames_come = False  # no more frames come, and the VAD does not report an end
    stage.wait(1_000)
    heard = stage.ear.heard[ITEM]
    stage.wait(500)
    assert stage.ear.heard[ITEM] == heard
    stage.wait(1_000)
    assert stage.ear.heard[ITEM] > heard
    stage.wait(4_000)
    assert stage.ear.heard[ITEM] == 3_000 * 8


def test_after_an_interruption_the_model_is_told_which_words_of_our_phrase_were_heard() -> None:
    slow = replace(PLAIN, greeting=replace(PLAIN.greeting, question=phrase("How can I help you?", 4_000)))
    stage = Stage(slow).arrive(2_000)  # the first 1.5 seconds cannot be interrupted
    own = ItemId("own_0_1")
    stage.actions.clear()
    interrupt(stage, 300)
    kept = [action for action in stage.actions if isinstance(action, DeleteItem | CreateItem)]
    assert kept == [CreateItem(ItemId("own_0_1_h"), "assistant", "How can I", behind=own), DeleteItem(own)]


def test_the_notice_is_heard_to_its_end_whatever_the_caller_says() -> None:
    stage = Stage(PLAN).arrive(500)
    interrupt(stage, 1_000)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(2_000)
    assert stage.ear.heard[ItemId("own_0_1")] == 2_000 * 8
    assert stage.machine.call.consented


@pytest.mark.parametrize("words", ["it is on fire", "operator please"])
def test_our_last_words_before_an_emergency_call_or_a_human_are_heard_to_their_end(words: str) -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says(words, 1)
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    done = stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    done += stage.wait(2_000)
    assert ClearPlayback() not in done
    assert stage.ear.heard[ItemId("own_0_2")] == 1_000 * 8
    assert LeaveStream() in stage.actions


def test_a_late_mark_of_cleared_audio_does_not_prove_that_the_audio_was_heard() -> None:
    stage = talking()
    stage.answer(1, 2_000, TEXT)
    stage.wait(1_000)
    interrupt(stage, 300)
    before = len(rows(stage))
    for mark in range(40):
        stage.tell(MarkReturned(f"0.{mark}"))
    assert len(rows(stage)) == before


def test_a_function_whose_announcement_the_caller_interrupts_is_not_run() -> None:
    stage = talking()
    stage.answer(1, 1_000, "Let me book that.", ended=False)
    stage.wait(300)
    interrupt(stage, 300)
    stage.actions.clear()
    stage.tell(FunctionAsked(R1, "call_1", "book_appointment", "{}"))
    assert not any(isinstance(action, RunFunction) for action in stage.actions)
    (output,) = [action for action in stage.actions if isinstance(action, SendFunctionOutput)]
    assert "not_run" in output.output


def test_the_turn_of_an_interruption_is_answered_when_the_cancelled_answer_has_ended() -> None:
    stage = talking()
    stage.answer(1, 1_000, TEXT, ended=False)
    stage.wait(300)
    interrupt(stage, 600)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.actions.clear()
    stage.tell(CallerPaused(ItemId("caller_2"), 0), CallerCommitted(ItemId("caller_2"), None))
    assert not any(isinstance(action, AskForResponse) for action in stage.actions)
    stage.tell(ResponseEnded(R1, "cancelled", None, None))
    assert [action.ref for action in stage.actions if isinstance(action, AskForResponse)] == ["turn-2"]


def test_short_words_that_ask_for_silence_interrupt_the_agent_when_their_transcript_has_come() -> None:
    stage = talking()
    stage.answer(1, 6_000, TEXT)
    stage.wait(1_000)
    interrupt(stage, 180)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(600)
    stage.tell(CallerPaused(ItemId("caller_2"), 0), CallerCommitted(ItemId("caller_2"), None))
    stage.wait(1_000)
    stage.actions.clear()
    done = stage.tell(CallerTranscribed(ItemId("caller_2"), "Stop!"))
    assert ClearPlayback() in done
    assert any(isinstance(action, TruncateItem) for action in stage.actions)
    assert any(isinstance(action, AskForResponse) for action in stage.actions)


def test_silence_is_counted_from_the_moment_of_the_cut_and_not_from_the_planned_end_of_the_answer() -> None:
    stage = Stage(replace(PLAIN, limits=replace(PLAIN.limits, silence_s=10.0))).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.answer(1, 60_000, TEXT)
    stage.wait(1_000)
    interrupt(stage, 400)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.tell(CallerPaused(ItemId("caller_2"), 0))
    stage.machine.call.floor.speech = None
    stage.actions.clear()
    stage.wait(11_000)
    assert any(isinstance(a, CreateItem) and a.text == "still there" for a in stage.actions)


def test_if_the_end_of_the_answer_is_reported_after_the_interruption_this_changes_nothing() -> None:
    stage = talking()
    stage.answer(1, 1_000, TEXT, ended=False)
    stage.wait(300)
    interrupt(stage, 300)
    stage.actions.clear()
    stage.tell(ModelFinished(R1, ITEM, tone(2)), ModelFinished(R1, ITEM, tone(2)), Ticked())
    expect(stage.actions, [])


def test_a_stall_of_the_relay_that_delays_marks_does_not_move_the_cut() -> None:
    stage = talking()
    stage.answer(1, 8_000, TEXT)
    stage.wait(980)
    held: list[str] = []
    for _ in range(30):  # for 150 ms nothing is read: frames and marks wait in the socket, in their order
        stage.ear.step()
        held += stage.ear.returned()
    stage.machine.caller_audio(SPEECH_DBFS, 20, stage.now)
    assert held, "no mark was held back, so this test shows nothing"
    for name in held:
        stage.tell(MarkReturned(name))
    stage.actions.clear()
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    for _ in range(6):
        stage._do(stage.machine.caller_audio(SPEECH_DBFS, 20, stage.now))
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(300)
    (truncate,) = [action for action in stage.actions if isinstance(action, TruncateItem)]
    assert abs(truncate.audio_end_ms - stage.ear.heard[ITEM] / 8) <= 20


def test_speech_of_the_model_before_the_stream_begins_waits_for_the_caller() -> None:
    greeting = replace(PLAIN.greeting, question=replace(PLAIN.greeting.question, mulaw=None))
    stage = Stage(replace(PLAIN, greeting=greeting))
    stage.tell(ModelReady("sess", "mini", True), ResponseBegan(R1, "greeting"))
    done = stage.tell(ModelSpoke(R1, ITEM, tone(1_000), 1_000.0))
    done += stage.wait(500)
    assert not any(isinstance(action, Play) for action in done)
    stage.tell(CallerArrived(StreamSid("MZ")))
    stage.wait(1_100)
    assert stage.ear.heard[ITEM] == 8_000
