"""How a call ends, with scripted events: last words, limits, silence, transfer, and rows that come after the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.call import wording
from relay.call.actions import (
    Action,
    AskForResponse,
    ClearPlayback,
    CreateItem,
    HangUp,
    LeaveStream,
    Play,
    RecordTurn,
    ReleaseModel,
)
from relay.call.call_config import Bill
from relay.call.machine import Next, Phase
from relay.call.vocabulary import (
    CallerArrived,
    CallerCommitted,
    CallerLeft,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    DigitPressed,
    DrainBegan,
    Effect,
    EndCall,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    MarkReturned,
    ModelFinished,
    ModelLost,
    ModelReady,
    ModelSpoke,
    ResponseEnded,
    ResponseId,
    StreamSid,
    Ticked,
    TransferCall,
)
from tests.helpers.playbook import PLAIN, PLAN, SILENCE_DBFS, SPEECH_DBFS, Stage, tone

R1 = ResponseId("resp_1")
GOODBYE = ItemId("own_0_2")


def talking(**plan: object) -> Stage:
    stage = Stage(replace(PLAIN, **plan)).arrive(1_500)  # type: ignore[arg-type] # fields of the plan
    stage.actions.clear()
    return stage


def ended(stage: Stage) -> tuple[EndReason, Next]:
    assert stage.machine.ending is not None
    return stage.machine.ending.reason, stage.machine.ending.then


def is_over(stage: Stage) -> bool:
    return stage.machine.is_over


def press_zero(stage: Stage) -> list[Action]:
    """Press the key for a human, and wait until it is clear that no other key follows."""
    return stage.tell(DigitPressed("0")) + stage.wait(1_600)


def asked_to_end(stage: Stage, says_ms: int) -> None:
    stage.caller_says("bye", 1)
    stage.answer(1, says_ms, "Goodbye.", ended=False)
    stage.tell(FunctionAsked(R1, "call_1", "end_call", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("bye")))


def test_the_agents_own_goodbye_is_heard_to_its_end_before_the_relay_hangs_up() -> None:
    stage = talking()
    asked_to_end(stage, 2_000)
    stage.wait(1_900)
    assert HangUp() not in stage.actions
    stage.wait(200)
    assert HangUp() in stage.actions
    assert stage.ear.heard[ItemId("item_1")] == 2_000 * 8
    assert ended(stage) == (EndReason.AGENT_SAID_GOODBYE, Next.HANG_UP)


@pytest.mark.parametrize("says_s", [11, 13, 18, 45])
@pytest.mark.parametrize(
    ("name", "effect"), [("end_call", EndCall("bye")), ("transfer_to_human", TransferCall("asked", ""))]
)
def test_last_words_are_heard_to_their_end_however_long_they_are(says_s: int, name: str, effect: Effect) -> None:
    stage = talking()
    stage.caller_says("bye", 1)
    stage.answer(1, says_s * 1_000, "word " * (3 * says_s), ended=False)
    stage.tell(FunctionAsked(R1, "call_1", name, "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(FunctionReturned("call_1", name, "{}", True, 1, effect))
    stage.wait(says_s * 1_000 + 500)
    assert stage.ear.heard[ItemId("item_1")] == says_s * 8_000
    assert stage.machine.phase is Phase.GONE


def test_last_words_that_are_still_being_generated_are_heard_to_their_end() -> None:
    stage = talking()
    stage.caller_says("bye", 1)
    stage.answer(1, 1_000, "You are booked.", ended=False)
    stage.tell(FunctionAsked(R1, "call_1", "end_call", "{}"))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("bye")))
    for second in range(2, 21):
        stage.tell(ModelSpoke(R1, ItemId("item_1"), tone(second * 1_000)[-8_000:], second * 1_000.0))
        stage.wait(800)
    stage.tell(ModelFinished(R1, ItemId("item_1"), b""), ResponseEnded(R1, "completed", None, None))
    stage.wait(6_000)
    assert stage.ear.heard[ItemId("item_1")] == 20 * 8_000
    assert HangUp() in stage.actions


def test_last_words_that_never_end_do_not_keep_the_line_for_ever() -> None:
    stage = talking()
    stage.caller_says("bye", 1)
    stage.answer(1, 180_000, "word " * 500, ended=False)
    stage.tell(FunctionAsked(R1, "call_1", "end_call", "{}"))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("bye")))
    stage.wait(121_000)
    assert HangUp() in stage.actions


def test_when_the_model_ends_the_call_without_a_goodbye_a_phrase_says_goodbye() -> None:
    stage = talking()
    asked_to_end(stage, 0)
    stage.wait(900)
    assert HangUp() not in stage.actions
    stage.wait(300)
    assert HangUp() in stage.actions
    assert stage.ear.heard[GOODBYE] == 1_000 * 8


def test_a_goodbye_cannot_be_interrupted() -> None:
    stage = talking()
    asked_to_end(stage, 2_000)
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(100)
    done = stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    done += stage.wait(1_700)
    assert ClearPlayback() not in done
    assert stage.ear.heard[ItemId("item_1")] >= 1_800 * 8


def test_a_hold_does_not_delay_the_last_words_for_ever() -> None:
    stage = talking()
    stage.caller_says("bye", 1)
    stage.answer(1, 2_000, "Goodbye.", ended=False)
    stage.wait(400)
    stage.level_dbfs = -30.0
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0), FunctionAsked(R1, "call_1", "end_call", "{}"))
    stage.tell(ResponseEnded(R1, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("bye")))
    stage.wait(1_700)
    assert stage.ear.heard[ItemId("item_1")] == 2_000 * 8
    assert HangUp() not in stage.actions, "the relay hung up while the caller spoke"
    stage.wait(4_000)
    assert HangUp() in stage.actions, "the relay did not hang up, although its own level shows that nobody speaks"


BYE_S = 2.0


def speaks_over(text: str | None, *, after_ms: int = 600, says_ms: int = 3_000, reason: str = "goodbye") -> Stage:
    """The caller begins to speak over the goodbye. The transcript comes 1.5 s after the end of the speech."""
    limits = replace(PLAIN.limits, call_s=25.0) if reason == "cap" else replace(PLAIN.limits, silence_s=10.0)
    stage = talking(limits=limits)
    if reason == "goodbye":
        asked_to_end(stage, int(BYE_S * 1_000))
    else:
        while stage.machine.phase is Phase.TALKING:
            stage.wait(20)
    stage.actions.clear()
    stage.wait(after_ms)
    item = ItemId("caller_2")
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(100)
    stage.tell(CallerSpoke(item, 0))
    for _ in range((says_ms - 100) // 200):  # speech has pauses, and steady noise has none
        stage.level_dbfs = SPEECH_DBFS
        stage.wait(140)
        stage.level_dbfs = SILENCE_DBFS
        stage.wait(60)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.tell(CallerPaused(item, 0), CallerCommitted(item, None))
    stage.wait(1_000)
    if text is not None:
        stage.tell(CallerTranscribed(item, text))
    return stage


@pytest.mark.parametrize("after_ms", [100, 600, 1_500, 1_950])
@pytest.mark.parametrize("says_ms", [800, 3_000, 9_000])
@pytest.mark.parametrize("reason", ["goodbye", "silence"])
def test_words_over_a_goodbye_cancel_the_hang_up(after_ms: int, says_ms: int, reason: str) -> None:
    after_ms = after_ms if reason == "goodbye" else after_ms // 3
    stage = speaks_over("one more thing, do you have parking?", after_ms=after_ms, says_ms=says_ms, reason=reason)
    stage.wait(1_000)
    assert HangUp() not in stage.actions
    assert stage.machine.phase is Phase.TALKING
    assert stage.machine.ending is None
    assert [ask.ref for ask in stage.actions if isinstance(ask, AskForResponse)][-1:]
    assert any(isinstance(a, CreateItem) and a.text == wording.GOODBYE_TAKEN_BACK for a in stage.actions)


@pytest.mark.parametrize(
    "text", ["Bye.", "Thank you, bye bye!", "Okay, thanks.", "You too, have a nice day.", "", "Thanks for watching!"]
)
def test_a_farewell_of_the_caller_over_the_goodbye_does_not_cancel_the_hang_up(text: str) -> None:
    stage = speaks_over(text, says_ms=800)
    stage.wait(500)
    assert HangUp() in stage.actions


def test_words_said_before_a_goodbye_and_transcribed_during_it_do_not_cancel_the_hang_up() -> None:
    stage = talking()
    stage.caller_says(None, 1)
    stage.answer(1, 2_000, "Goodbye.", ended=False)
    stage.tell(FunctionAsked(R1, "call_1", "end_call", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("bye")))
    stage.wait(700)
    stage.tell(CallerTranscribed(ItemId("caller_1"), "I think that is everything that I wanted to know"))
    stage.wait(2_500)
    assert HangUp() in stage.actions


def test_words_of_the_caller_over_the_last_words_at_a_limit_do_not_cancel_the_hang_up() -> None:
    stage = speaks_over("but I have one more question", reason="cap", after_ms=200)
    stage.wait(3_000)
    assert HangUp() in stage.actions


def test_hello_over_the_goodbye_to_a_silent_caller_cancels_the_hang_up() -> None:
    stage = speaks_over("Hello?", reason="silence", after_ms=300, says_ms=800)
    assert stage.machine.phase is Phase.TALKING


def test_the_hang_up_waits_for_the_words_of_a_caller_who_spoke_but_not_for_ever() -> None:
    stage = speaks_over(None)
    assert HangUp() not in stage.actions
    stage.wait(5_000)
    assert HangUp() in stage.actions


@pytest.mark.parametrize(
    ("words", "reason"), [("an operator please", EndReason.TRANSFERRED), ("it is on fire", EndReason.EMERGENCY)]
)
def test_if_the_caller_asks_for_a_person_over_a_goodbye_the_caller_is_connected(words: str, reason: EndReason) -> None:
    stage = talking()
    asked_to_end(stage, 2_000)
    stage.wait(600)
    done = stage.caller_says(words, 2)
    assert HangUp() not in stage.actions, "the relay hung up before it knew the caller's words"
    assert ClearPlayback() not in done
    stage.wait(1_300)
    assert LeaveStream() in stage.actions
    assert HangUp() not in stage.actions
    assert ended(stage) == (reason, Next.HUMAN)


def test_if_the_key_for_a_person_is_pressed_over_a_goodbye_the_caller_is_connected() -> None:
    stage = talking()
    asked_to_end(stage, 4_000)
    stage.wait(600)
    assert ClearPlayback() in press_zero(stage)
    stage.wait(1_300)
    assert ended(stage) == (EndReason.TRANSFERRED, Next.HUMAN)
    assert LeaveStream() in stage.actions


def test_a_key_pressed_over_the_last_word_of_a_goodbye_is_judged_before_the_relay_hangs_up() -> None:
    stage = talking()
    asked_to_end(stage, 2_000)
    stage.wait(1_900)
    stage.tell(DigitPressed("0"))
    stage.wait(3_500)
    assert HangUp() not in stage.actions
    assert ended(stage) == (EndReason.TRANSFERRED, Next.HUMAN)


@pytest.mark.parametrize("keys", ["2125550123", "07911123456", "0044", "10", "0#", "*0"])
@pytest.mark.parametrize("apart_ms", [100, 700, 1_400])
def test_a_zero_between_other_keys_counts_as_a_digit_of_a_number(keys: str, apart_ms: int) -> None:
    stage = talking()
    for key in keys:
        stage.tell(DigitPressed(key))
        stage.wait(apart_ms)
    stage.wait(2_000)
    assert stage.machine.phase is Phase.TALKING
    assert [action.text for action in stage.actions if isinstance(action, CreateItem)] == [f"[keys: {keys}]"]


@pytest.mark.parametrize("keys", ["0", "00", "0000"])
def test_if_the_caller_presses_only_zeros_a_human_is_called(keys: str) -> None:
    stage = talking()
    for key in keys:
        stage.tell(DigitPressed(key))
        stage.wait(200)
    stage.wait(3_500)
    assert ended(stage) == (EndReason.TRANSFERRED, Next.HUMAN)
    assert LeaveStream() in stage.actions


def test_a_zero_long_after_a_number_leads_to_a_human_and_the_model_gets_the_number() -> None:
    stage = talking()
    stage.tell(DigitPressed("4"))
    stage.wait(2_000)
    press_zero(stage)
    assert next(action.text for action in stage.actions if isinstance(action, CreateItem)) == "[keys: 4]"
    assert ended(stage) == (EndReason.TRANSFERRED, Next.HUMAN)


def test_a_zero_brings_a_human_although_an_answer_is_asked_for_in_the_meantime() -> None:
    stage = talking()
    stage.tell(DigitPressed("0"))
    stage.wait(200)
    stage.caller_says("what time", 1)
    stage.wait(400)
    assert ended(stage) == (EndReason.TRANSFERRED, Next.HUMAN)


def test_a_zero_leads_to_a_human_without_a_model() -> None:
    stage = talking()
    stage.tell(ModelLost(1006, "gone"))
    press_zero(stage)
    assert ended(stage) == (EndReason.TRANSFERRED, Next.HUMAN)


def test_without_a_human_an_emergency_over_a_goodbye_is_put_through_and_a_request_for_a_person_is_answered() -> None:
    for words, then in (("an operator please", None), ("it is on fire", Next.HUMAN)):
        stage = Stage(replace(PLAIN, human_available=False)).arrive(1_500)
        asked_to_end(stage, 2_000)
        stage.wait(600)
        stage.caller_says(words, 2)
        stage.wait(1_300)
        assert (stage.machine.ending and stage.machine.ending.then) is then
        assert HangUp() not in stage.actions


def test_a_second_zero_of_a_caller_who_is_being_transferred_changes_nothing() -> None:
    stage = talking()
    press_zero(stage)
    before = stage.machine.ending
    assert before is not None
    assert ClearPlayback() not in stage.tell(DigitPressed("0"))
    assert stage.machine.ending is before


def test_a_caller_who_reports_an_emergency_during_a_transfer_is_told_once_what_to_dial() -> None:
    stage = talking()
    press_zero(stage)
    stage.tell(CallerCommitted(ItemId("caller_1"), None), CallerCommitted(ItemId("caller_2"), None))
    stage.wait(400)
    assert ClearPlayback() in stage.tell(CallerTranscribed(ItemId("caller_1"), "my kitchen is on fire"))
    stage.wait(400)
    assert ClearPlayback() not in stage.tell(CallerTranscribed(ItemId("caller_2"), "it is on fire, an operator please"))
    stage.wait(1_300)
    assert LeaveStream() in stage.actions
    assert ended(stage) == (EndReason.EMERGENCY, Next.HUMAN)
    assert "emergency" in [turn.heard for turn in stage.machine.conversation.turns()]
    assert stage.machine.dialled == "emergency"


def test_words_that_the_caller_was_saying_when_the_line_broke_are_marked_as_missing_in_the_transcript() -> None:
    stage = talking()
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_1"), 0))
    stage.wait(600)
    stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
    (row,) = [action for action in stage.actions if isinstance(action, RecordTurn) and action.role == "caller"]
    assert (row.said, row.gap, row.ended_ms - row.started_ms) == (None, True, 600)


def test_a_mark_that_never_returns_does_not_keep_the_line_for_ever() -> None:
    stage = talking()
    press_zero(stage)
    for _ in range(20):  # Twilio sends nothing: no mark and no frame
        stage.ear.step()
    later = stage.now + 4.0
    assert LeaveStream() in stage.machine.handle(Ticked(), later)


@pytest.mark.parametrize(
    ("words", "reason"), [("operator please", EndReason.TRANSFERRED), ("it is on fire", EndReason.EMERGENCY)]
)
def test_words_that_ask_for_a_person_lead_to_a_person_without_the_model(words: str, reason: EndReason) -> None:
    stage = talking()
    stage.caller_says(words, 1)
    stage.wait(1_300)
    assert LeaveStream() in stage.actions
    assert ended(stage) == (reason, Next.HUMAN)


def test_a_key_for_a_person_does_not_wait_for_the_end_of_a_long_answer() -> None:
    stage = talking()
    stage.caller_says("what time", 1)
    stage.answer(1, 30_000, "We are open.")
    stage.wait(1_000)
    assert ClearPlayback() in press_zero(stage)
    stage.wait(1_300)
    assert LeaveStream() in stage.actions
    assert stage.machine.figures.barge_ins == 0


def test_a_transfer_that_the_agent_announces_is_heard_to_its_end() -> None:
    stage = talking()
    stage.caller_says("my table", 1)
    stage.answer(1, 2_000, "I am connecting you.", ended=False)
    stage.tell(FunctionAsked(R1, "call_1", "transfer_to_human", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "transfer_to_human", "{}", True, 1, TransferCall("asked", "summary")))
    stage.wait(1_900)
    assert LeaveStream() not in stage.actions
    stage.wait(300)
    assert LeaveStream() in stage.actions
    assert stage.machine.ending is not None
    assert stage.machine.ending.summary == "summary"


def test_when_no_human_is_available_the_model_is_told_to_say_so() -> None:
    stage = talking(human_available=False)
    stage.caller_says("operator", 1)
    assert stage.machine.phase is Phase.TALKING
    assert any(isinstance(a, CreateItem) and a.role == "system" and "No person" in a.text for a in stage.actions)


@pytest.mark.parametrize("there", [True, False])
def test_a_transfer_follows_the_humans_hours_also_when_they_begin_or_end_during_the_call(there: bool) -> None:
    for wait_ms, reachable in ((6_000, there), (12_000, not there)):
        stage = Stage(replace(PLAIN, human_available=there, human_changes_s=10.0)).arrive(wait_ms)
        press_zero(stage)
        assert (stage.machine.ending is not None) == reachable


def test_after_a_lost_session_the_next_one_is_told_that_no_human_is_available() -> None:
    stage = talking(human_available=False)
    stage.tell(ModelLost(1006, "gone"))
    press_zero(stage)
    stage.tell(ModelReady("sess_2", "mini"))
    told = [action.text for action in stage.actions if isinstance(action, CreateItem)]
    assert wording.NO_HUMAN_NOW in told  # a key leaves no words in the conversation
    assert any(isinstance(action, AskForResponse) for action in stage.actions)


def test_a_silent_caller_is_asked_twice_and_then_the_call_ends() -> None:
    stage = talking(limits=replace(PLAIN.limits, silence_s=10.0))
    stage.wait(40_000)
    texts = [action.text for action in stage.actions if isinstance(action, CreateItem)]
    assert texts == ["still there", "still there", "nobody there"]
    assert ended(stage) == (EndReason.SILENCE_CAP, Next.HANG_UP)


def test_a_call_ends_at_its_cap_in_duration() -> None:
    stage = talking(limits=replace(PLAIN.limits, call_s=40.0, silence_s=600.0))
    stage.wait(42_000)
    assert ended(stage) == (EndReason.DURATION_CAP, Next.HANG_UP)
    assert HangUp() in stage.actions


def test_a_call_ends_at_its_cap_in_dollars_and_the_agent_is_cut_off() -> None:
    stage = talking(bill=Bill(usd_by={"mini": 1.99999}))
    stage.caller_says("what time", 1)
    stage.answer(1, 60_000, "We are open.", ended=False)
    stage.wait(1_700)
    assert ended(stage) == (EndReason.COST_CAP, Next.HANG_UP)


def test_a_process_that_stops_transfers_the_caller() -> None:
    stage = talking()
    stage.tell(DrainBegan(5.0))
    stage.wait(5_500)
    assert ended(stage) == (EndReason.DRAINED, Next.RESUME)
    assert LeaveStream() in stage.actions


def test_nothing_reaches_the_caller_after_the_end() -> None:
    stage = talking()
    stage.caller_says("what time", 1)
    stage.answer(1, 4_000, "We are open.", ended=False)
    stage.wait(500)
    stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
    stage.level_dbfs = SPEECH_DBFS
    done = stage.tell(
        ModelSpoke(R1, ItemId("item_1"), tone(250), 5_000.0),
        CallerArrived(StreamSid("MZ2")),
        CallerSpoke(ItemId("caller_2"), 0),
        MarkReturned("0.3"),
    )
    done += stage.wait(3_000)
    assert not any(isinstance(action, Play | ClearPlayback | CreateItem) for action in done)
    assert is_over(stage)


def test_what_was_heard_of_the_last_answer_is_written_down_at_the_end() -> None:
    stage = talking()
    stage.caller_says("what time", 1)
    stage.answer(1, 4_000, "We are open from eleven in the morning until ten at night.")
    stage.wait(2_000)
    stage.actions.clear()
    stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
    (row,) = [action for action in stage.actions if isinstance(action, RecordTurn)]
    assert row.heard == "We are open from eleven in"
    assert row.interrupted


def test_after_the_end_the_call_waits_two_seconds_for_late_words_and_then_marks_them_as_missing() -> None:
    stage = talking()
    for number in (1, 2):
        stage.tell(CallerCommitted(ItemId(f"caller_{number}"), None))
    stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
    assert not is_over(stage)
    stage.wait(1_000)
    stage.tell(CallerTranscribed(ItemId("caller_1"), "goodbye"))
    assert not is_over(stage)
    stage.wait(1_200)
    assert is_over(stage)
    rows = [action for action in stage.actions if isinstance(action, RecordTurn) and action.role == "caller"]
    assert [(row.said, row.gap) for row in rows] == [("goodbye", False), (None, True)]
    assert stage.actions.count(ReleaseModel()) == 1


def test_a_caller_who_is_still_on_the_line_waits_one_second_at_most_for_late_words() -> None:
    stage = talking()
    stage.tell(CallerCommitted(ItemId("caller_1"), None))
    stage.tell(CallerLeft(EndReason.CALLER_SOCKET_LOST))
    stage.wait(800)
    assert not is_over(stage)
    stage.wait(400)
    assert is_over(stage)


def test_when_a_caller_hangs_up_before_the_stream_begins_nothing_stays_open() -> None:
    stage = Stage(PLAIN)
    stage.tell(CallerLeft(EndReason.CALLER_SOCKET_LOST))
    assert is_over(stage)
    assert ReleaseModel() in stage.actions
    assert not any(isinstance(action, Play) for action in stage.wait(1_000))


def test_a_notice_that_was_cut_off_by_a_lost_stream_is_said_again_but_a_notice_that_was_heard_is_not() -> None:
    again = Stage(replace(PLAN, resumed="lost")).arrive(3_500)
    assert again.ear.heard[ItemId("own_0_1")] == 2_000 * 8
    assert again.machine.call.consented
    heard = Stage(replace(PLAN, resumed="lost", notice_heard=True)).arrive(3_500)
    assert heard.ear.heard == {ItemId("own_0_1"): 1_000 * 8}


def test_the_end_of_a_call_waits_for_a_function_that_still_runs() -> None:
    stage = talking()
    stage.tell(FunctionAsked(R1, "call_1", "book_appointment", "{}"), CallerLeft(EndReason.CALLER_HUNG_UP))
    stage.wait(3_000)
    assert not is_over(stage)
    stage.tell(FunctionReturned("call_1", "book_appointment", '{"status":"ok"}', True, 3_000))
    assert is_over(stage)
    assert ReleaseModel() in stage.actions


def test_the_end_of_a_call_waits_for_a_booking_that_still_runs_when_the_agent_hangs_up() -> None:
    stage = talking()
    stage.tell(FunctionAsked(R1, "call_1", "book_appointment", "{}"), FunctionAsked(R1, "call_2", "end_call", "{}"))
    stage.tell(FunctionReturned("call_2", "end_call", '{"status":"ok"}', True, 0, EndCall("done")))
    stage.wait(2_000)
    assert HangUp() in stage.actions
    assert not is_over(stage)
    stage.tell(FunctionReturned("call_1", "book_appointment", '{"status":"ok"}', True, 2_400))
    stage.wait(200)
    assert is_over(stage)


def test_if_another_stream_follows_the_call_waits_for_a_function_only_as_long_as_for_late_words() -> None:
    stage = talking()
    stage.tell(FunctionAsked(R1, "call_1", "book_appointment", "{}"), CallerLeft(EndReason.CALLER_SOCKET_LOST))
    stage.wait(800)
    assert not is_over(stage)
    stage.tell(FunctionReturned("call_1", "book_appointment", '{"done":"booked"}', True, 800))
    assert is_over(stage)
    assert "booked" in stage.machine.conversation.past()[-1].text


def test_the_next_stream_is_told_that_the_result_of_an_unfinished_function_is_not_known() -> None:
    stage = talking()
    stage.tell(FunctionAsked(R1, "call_1", "book_appointment", "{}"), CallerLeft(EndReason.CALLER_SOCKET_LOST))
    stage.wait(1_200)
    assert is_over(stage)
    assert "not known whether it was done" in stage.machine.conversation.past()[-1].text
