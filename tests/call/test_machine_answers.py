"""The model's side of the machine, with scripted events: answers, functions, errors, sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.call import wording
from relay.call.actions import (
    AskForResponse,
    CancelResponse,
    CreateFunctionPair,
    CreateItem,
    DeleteItem,
    DialBeside,
    DialModel,
    RecordTurn,
    Report,
    SendFunctionOutput,
    SwitchModel,
)
from relay.call.call_config import PastTurn
from relay.call.failover import RECONNECTS, SESSION_LIMIT_S
from relay.call.machine import Next, Phase
from relay.call.vocabulary import (
    CallerCommitted,
    CallerLeft,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    ClaimDoubted,
    DigitPressed,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ItemPlaced,
    ModelLost,
    ModelObjected,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    MoveFailed,
    NextModelReady,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    Ticked,
)
from tests.helpers.answering import R1, begun, of, talking
from tests.helpers.playbook import NOTICE, PLAIN, PLAN, SILENCE_DBFS, SPEECH_DBFS, Stage, tone

# Errors and accidents


def test_an_error_of_the_model_does_not_end_the_call_and_harmless_errors_are_counted_separately() -> None:
    stage = begun(talking())
    figures = stage.machine.figures
    stage.tell(ModelObjected("response_cancel_not_active", "Cancellation failed", None))
    assert (figures.model_errors, figures.crossings, of(stage, Report)) == (0, 1, [])
    stage.tell(ModelObjected("invalid_value", "already shorter than", None))
    assert (figures.model_errors, figures.crossings) == (1, 1)
    assert stage.machine.phase is Phase.TALKING


def test_if_a_request_is_refused_because_another_answer_runs_it_is_sent_again_later_and_not_at_once() -> None:
    stage = talking()
    done = stage.tell(ModelObjected("conversation_already_has_active_response", "resp_9 is active", "turn-1"))
    assert not any(isinstance(action, AskForResponse) for action in done)
    stage.wait(800)
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["turn-2"]


def test_after_three_failures_of_the_model_the_caller_is_connected_with_the_human() -> None:
    stage = talking()
    for number in range(3):
        response = ResponseId(f"resp_{number}")
        ref = stage.machine.answers._asked_ref
        stage.tell(ResponseBegan(response, ref), ResponseEnded(response, "failed", "server_error", None))
        stage.wait(1_400)
    assert stage.machine.ending is not None
    assert (stage.machine.ending.reason, stage.machine.ending.then) == (EndReason.MODEL_LOST, Next.HUMAN)


def test_a_bill_that_is_reported_twice_is_counted_once() -> None:
    stage = begun(talking())
    stage.tell(ModelSpoke(R1, ItemId("item_1"), tone(100), 100.0))
    ended = ResponseEnded(R1, "completed", None, {"output_token_details": {"audio_tokens": 1_000}})
    stage.tell(ended)
    usd = stage.machine.meter.usd
    stage.tell(ended)
    assert stage.machine.meter.usd == usd


def test_a_transcript_that_is_reported_twice_counts_once() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    item = ItemId("caller_1")
    words = CallerTranscribed(item, "you misunderstood")
    stage.tell(CallerCommitted(item, None), words, words, words)
    assert stage.machine.figures.misunderstandings == 1
    assert stage.machine.phase is Phase.TALKING


def test_a_transcript_that_comes_after_its_audio_was_heard_completes_the_row() -> None:
    stage = talking()
    item = stage.answer(1, 500, "We are")
    stage.wait(1_000)
    stage.tell(ModelWorded(R1, item, " open."))
    rows = [row for row in of(stage, RecordTurn) if row.item_id == item]
    assert [row.heard for row in rows] == ["We are", "We are open."]
    assert rows[0].seq == rows[1].seq


def test_a_doubted_claim_is_corrected_unless_the_call_is_ending() -> None:
    stage = talking()
    stage.answer(1, 300, "Booked.")
    stage.actions.clear()
    stage.tell(ClaimDoubted("Nothing was booked."))
    assert [item.text for item in of(stage, CreateItem)] == ["Nothing was booked."]
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["correct-2"]


def test_words_without_sound_are_deleted_and_asked_for_again_because_nobody_heard_them() -> None:
    stage = begun(talking())
    silent = ItemId("item_1")
    stage.tell(ItemPlaced(silent, None, "assistant"), ModelWorded(R1, silent, "At ten."))
    stage.tell(ResponseEnded(R1, "completed", None, None))
    assert [action.item_id for action in of(stage, DeleteItem)] == [silent]
    assert stage.machine.conversation.turn(silent) is None
    stage.wait(1_000)
    assert [action.ref for action in of(stage, AskForResponse)] == ["turn-2"], (
        "no answer is asked for, and the caller would wait in silence"
    )
    stage.answer(2, 500, "At ten.")
    stage.wait(1_000)
    assert stage.ear.heard[ItemId("item_2")] == 4_000


def test_words_without_sound_beside_a_function_call_are_deleted_and_the_function_runs() -> None:
    stage = begun(talking())
    silent = ItemId("item_1")
    stage.tell(ModelWorded(R1, silent, "I will look."), FunctionAsked(R1, "call_1", "lookup_hours", "{}"))
    stage.tell(ResponseEnded(R1, "completed", None, None))
    stage.wait(1_000)
    assert [action.item_id for action in of(stage, DeleteItem)] == [silent]
    assert of(stage, AskForResponse) == []


def test_several_keys_in_a_row_are_one_input_for_the_model_and_part_of_the_history() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.tell(*[DigitPressed(key) for key in "4711"])
    stage.wait(2_000)
    assert [item.text for item in of(stage, CreateItem)][-1] == "[keys: 4711]"
    assert len(of(stage, AskForResponse)) == 1
    assert stage.machine.conversation.past()[-1] == PastTurn("user", "[keys: 4711]")


# The rows in the ledger


def test_no_word_is_recorded_before_the_notice_was_heard() -> None:
    stage = Stage(PLAN).arrive(0)
    item = ItemId("caller_1")
    stage.tell(CallerCommitted(item, None), CallerTranscribed(item, "Hello?"))
    assert of(stage, RecordTurn) == []
    stage.wait(2_100)
    assert {row.said for row in of(stage, RecordTurn)} == {"Hello?", f"Hello. {NOTICE}"}


def test_a_call_that_keeps_no_words_records_none() -> None:
    stage = Stage(replace(PLAIN, keep_words=False)).arrive(1_500)
    stage.caller_says("my name is Jane", 1)
    stage.answer(1, 500, "Hello Jane.")
    stage.wait(1_500)
    rows = of(stage, RecordTurn)
    assert len(rows) >= 3
    assert {(row.said, row.heard) for row in rows} == {(None, None)}


def test_a_cough_does_not_change_the_measured_times_of_the_turn_before_the_cough() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    # The words come 1.5 s after the last sound. The answer was asked for 0.5 s after the last sound.
    stage.caller_says("what time", 1, ms=600)
    stage.answer(1, 500, "At ten.")
    stage.wait(1_000)
    (row,) = [row for row in of(stage, RecordTurn) if row.item_id == "item_1"]
    assert row.latency is not None
    assert row.latency.stopped_heard == 500
    assert row.latency.first_delta == row.latency.first_written == 1_500
    assert row.latency.first_heard == 1_520


# Sessions


def test_after_the_loss_of_a_session_another_one_is_opened_and_gets_the_whole_conversation() -> None:
    stage = begun(talking())
    stage.tell(FunctionAsked(R1, "call_1", "hours", "{}"))
    stage.actions.clear()
    stage.tell(ModelLost(1006, ""))
    assert [dial.why for dial in of(stage, DialModel)] == ["lost"]
    stage.actions.clear()
    stage.tell(ModelReady("sess_2", "mini"))
    texts = [item.text for item in of(stage, CreateItem)]
    assert texts[:2] == ["How can I help you?", "what time"]
    assert "do not greet again" in texts[-1]
    assert of(stage, CreateFunctionPair) == [CreateFunctionPair("call_1", "hours", "{}", None)]
    stage.tell(FunctionReturned("call_1", "hours", "{}", True, 5))
    assert len(of(stage, SendFunctionOutput)) == 1


@pytest.mark.parametrize(
    ("served", "hears"),
    [
        (True, "a pause, or a request to wait; then the same conversation"),
        (False, "the greeting, or a request to wait; if no session opens within some seconds, a person's phone"),
    ],
    ids=["a session was lost", "no session was ever opened"],
)
def test_the_log_line_of_a_lost_model_promises_the_same_conversation_only_if_a_session_was_open_before(
    served: bool, hears: str
) -> None:
    stage = begun(talking()) if served else Stage(PLAIN)
    stage.actions.clear()
    stage.tell(ModelLost(0, "the session could not be opened"))
    assert [dict(line.fields)["caller_hears"] for line in of(stage, Report) if line.name == "model.lost"] == [hears]


def test_an_answer_that_was_lost_with_its_session_is_asked_for_in_the_next_session() -> None:
    stage = begun(talking())
    stage.tell(ModelLost(1006, ""))
    assert "one moment again" in [turn.said for turn in stage.machine.conversation.turns()]
    stage.actions.clear()
    stage.tell(ModelReady("sess_2", "mini"))
    assert len(of(stage, AskForResponse)) == 1


def test_if_words_were_lost_with_a_session_the_model_asks_for_them_even_after_a_phrase() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says(None, 1)  # the turn is committed, and the session is lost before its words come
    stage.tell(ModelLost(1006, ""))
    stage.wait(300)
    stage.tell(ModelReady("sess_2", "mini"))
    texts = [action.text for action in of(stage, CreateItem)]
    assert texts[-3:] == ["one moment again", wording.CONTINUE, wording.LAST_WORDS_LOST]


@pytest.mark.parametrize(("ms", "lost"), [(100, False), (800, True)], ids=["a cough", "words"])
def test_when_a_session_is_lost_while_the_caller_speaks_the_model_asks_the_caller_to_repeat_the_words(
    ms: int, lost: bool
) -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_1"), 0))
    stage.wait(ms - 60)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(200)
    stage.tell(ModelLost(1006, ""), ModelReady("sess_2", "mini"))
    assert (wording.LAST_WORDS_LOST in [action.text for action in of(stage, CreateItem)]) is lost
    stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
    gaps = [(row.role, row.said) for row in of(stage, RecordTurn) if row.gap]
    assert gaps == ([("caller", None)] if lost else [])


def test_a_session_that_is_lost_in_silence_is_replaced_and_the_caller_hears_nothing_of_it() -> None:
    stage = talking()
    stage.answer(1, 500, "At ten.")
    stage.wait(1_500)
    stage.actions.clear()
    stage.tell(ModelLost(1006, ""), ModelReady("sess_2", "mini"), Ticked())
    assert of(stage, AskForResponse) == []
    assert not any("moment" in item.text for item in of(stage, CreateItem))


def test_a_third_loss_of_a_session_leads_to_the_human() -> None:
    stage = talking()
    for number in range(3):
        stage.tell(ModelLost(1006, ""), ModelReady(f"sess_{number}", "mini"))
    assert stage.machine.ending is not None
    assert stage.machine.ending.then is Next.HUMAN


def test_the_new_session_gets_an_interrupted_answer_with_the_words_that_were_heard() -> None:
    stage = talking()
    item = stage.answer(1, 4_000, "We are open from eleven in the morning until ten at night.")
    stage.wait(1_000)
    stage.tell(ModelLost(1006, ""), ModelReady("sess_2", "mini"))
    stage.actions.clear()
    stage.level_dbfs = -20.0
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    stage.wait(300)
    assert [action.item_id for action in of(stage, DeleteItem)] == ["r0_2_2"]
    assert [action.text for action in of(stage, CreateItem)] == ["We are open"]
    assert stage.machine.conversation.turn(item) is not None


def test_a_stuck_model_is_replaced_by_a_session_that_is_opened_beside_it() -> None:
    stage = talking()
    stage.wait(5_400)
    assert [dial.why for dial in of(stage, DialBeside)] == ["stuck"]
    stage.tell(NextModelReady())
    assert of(stage, SwitchModel) == [SwitchModel()]
    stage.actions.clear()
    stage.tell(ModelLost(1000, ""), ModelReady("sess_2", "mini"))
    assert of(stage, DialBeside) == []
    assert len(of(stage, AskForResponse)) == 1
    assert stage.machine.figures.reconnects == 1


def test_a_model_that_never_answers_leads_to_the_human_after_the_third_session() -> None:
    stage = talking()
    stuck, models = 0, []
    while stage.machine.phase is Phase.TALKING:
        assert stuck <= RECONNECTS, "too many stuck sessions, and no human is dialled"
        stage.actions.clear()
        stage.wait(5_400)
        if of(stage, DialBeside):
            stuck += 1
            models += [dial.model for dial in of(stage, DialBeside)]
            assert "one moment again" in [turn.said for turn in stage.machine.conversation.turns()]
            stage.tell(NextModelReady(), ModelLost(1000, ""), ModelReady(f"sess_{stuck}", "mini"))
    assert stage.machine.ending is not None
    assert (stage.machine.ending.reason, stage.machine.ending.then) == (EndReason.MODEL_LOST, Next.HUMAN)
    assert stuck == RECONNECTS
    plan = stage.machine.plan
    assert models == [plan.model, plan.model_hard]


def test_after_a_phrase_has_replaced_an_answer_that_stopped_its_late_sound_is_not_heard() -> None:
    stage = talking()
    item = stage.answer(1, 1_000, "We are open", ended=False)
    stage.wait(8_000)
    assert [dial.why for dial in of(stage, DialBeside)] == ["stuck"]
    assert not stage.machine.wants(R1, item)
    assert stage.ear.heard[ItemId("own_0_2")] == 8_000, "the phrase after the answer that never ended was not heard"


def test_a_move_waits_until_nobody_speaks_and_until_the_callers_transcript_has_come() -> None:
    stage = talking()
    item = ItemId("caller_9")
    stage.answer(1, 1_000, "At ten.")
    stage.machine.call.sessions.ready_at = stage.now - SESSION_LIMIT_S - 1
    stage.wait(200)
    assert [dial.why for dial in of(stage, DialBeside)] == ["expiry"]
    stage.tell(NextModelReady())
    assert of(stage, SwitchModel) == [], "the move came while the agent was speaking"
    stage.tell(CallerCommitted(item, None))
    stage.wait(1_500)
    assert of(stage, SwitchModel) == [], "the move came before the caller's words were known"
    stage.tell(CallerTranscribed(item, ""))
    stage.wait(100)
    assert of(stage, SwitchModel) == [SwitchModel()]


def test_a_move_does_not_wait_for_ever_for_a_transcript_that_does_not_come() -> None:
    stage = talking()
    stage.answer(1, 1_000, "At ten.")
    stage.machine.call.sessions.ready_at = stage.now - SESSION_LIMIT_S - 1
    stage.wait(200)
    stage.tell(CallerCommitted(ItemId("caller_9"), None), NextModelReady())
    stage.wait(4_600)
    assert of(stage, SwitchModel) == []
    stage.wait(600)
    assert of(stage, SwitchModel) == [SwitchModel()]


def test_a_session_is_replaced_after_50_minutes_because_the_server_ends_it_after_60() -> None:
    stage = Stage(replace(PLAIN, limits=replace(PLAIN.limits, call_s=7_200.0, silence_s=7_200.0))).arrive(1_500)
    ready_s = stage.machine.call.sessions.ready_at
    assert stage.machine.handle(Ticked(), ready_s + 49 * 60 + 59) == []
    done = stage.machine.handle(Ticked(), ready_s + 50 * 60 + 1)
    assert [action for action in done if isinstance(action, DialBeside)] == [DialBeside("mini", "expiry")]


def test_a_move_that_fails_changes_nothing_and_is_tried_again_a_minute_later() -> None:
    stage = Stage(replace(PLAIN, limits=replace(PLAIN.limits, call_s=7_200.0, silence_s=7_200.0))).arrive(1_500)
    stage.answer(1, 300, "At ten.")
    stage.machine.call.sessions.ready_at = stage.now - SESSION_LIMIT_S - 1
    stage.wait(1_000)
    stage.tell(MoveFailed("no answer"))
    assert not stage.machine.is_moving
    assert stage.machine.model_is_ready
    assert stage.machine.figures.reconnects == 0
    assert stage.machine.handle(Ticked(), stage.now + 59.9) == []
    done = stage.machine.handle(Ticked(), stage.now + 60.1)
    assert [action for action in done if isinstance(action, DialBeside)] == [DialBeside("mini", "expiry")]


def test_after_a_failed_move_to_the_harder_model_the_session_is_still_replaced_in_time() -> None:
    stage = talking()
    ready_at = stage.machine.call.sessions.ready_at
    stage.machine.call.sessions.dial_beside("hard", "escalation", urgent=False)
    stage.tell(MoveFailed("no answer"))
    assert stage.machine.call.sessions.ready_at == ready_at


def test_a_misunderstanding_counts_once_although_both_the_caller_and_the_agent_mention_it() -> None:
    rules = replace(PLAIN.rules, repeat_words=("could you repeat",), _patterns={})
    stage = Stage(replace(PLAIN, rules=rules)).arrive(1_500)
    for number in (1, 2):
        stage.caller_says(None, number)
        stage.answer(number, 600, "Sorry, could you repeat that?")
        stage.wait(1_000)
        stage.tell(CallerTranscribed(ItemId(f"caller_{number}"), "you misunderstood"))
        assert stage.machine.figures.misunderstandings == number
    assert stage.machine.ending is None
    stage.caller_says("my name is Doe", 3)
    stage.answer(3, 600, "Sorry, could you repeat that?")
    assert stage.machine.phase is Phase.LEAVING


@pytest.mark.parametrize(("words", "why"), [("an allergy", "escalation"), ("you misunderstood", None)])
def test_a_hard_topic_moves_the_call_to_the_harder_model_at_once_but_one_misunderstanding_does_not(
    words: str, why: str | None
) -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says(words, 1)
    assert [dial.why for dial in of(stage, DialBeside)] == ([why] if why else [])


def test_if_the_session_of_a_live_greeting_is_lost_before_the_first_sound_the_greeting_is_asked_for_again() -> None:
    greeting = replace(PLAIN.greeting, question=replace(PLAIN.greeting.question, mulaw=None))
    stage = Stage(replace(PLAIN, greeting=greeting)).arrive(100)
    (ask,) = of(stage, AskForResponse)
    assert ask.instructions is not None
    stage.tell(ModelLost(1006, ""), ModelReady("sess_2", "mini"))
    assert of(stage, AskForResponse)[-1].instructions == ask.instructions


def test_an_answer_that_the_relay_did_not_ask_for_is_heard_like_any_other_answer() -> None:
    stage = talking()
    stage.answer(1, 300, "At ten.")
    stage.answer(2, 300, "Anything else?", ref="")
    stage.wait(1_500)
    assert stage.ear.heard[ItemId("item_2")] == 300 * 8


def test_if_the_caller_goes_on_before_the_answer_begins_the_answer_is_cancelled() -> None:
    stage = talking()  # the answer is asked for and has not begun
    stage.level_dbfs = -20.0
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    stage.wait(400)
    assert of(stage, CancelResponse) == []
    stage.tell(ResponseBegan(R1, "turn-1"))
    assert of(stage, CancelResponse) == [CancelResponse(R1)]


@pytest.mark.parametrize("words_after_ms", [200, 1_200], ids=["while the answer is made", "while it is heard"])
def test_a_short_turn_whose_words_come_after_the_next_turn_is_answered_together_with_the_next_turn(
    words_after_ms: int,
) -> None:
    stage = talking()
    stage.answer(1, 500, "At ten.")
    stage.wait(1_000)
    stage.actions.clear()
    short, long = ItemId("caller_2"), ItemId("caller_3")
    for item, ms in ((short, 140), (long, 500)):
        stage.level_dbfs = SPEECH_DBFS
        stage.wait(60)
        stage.tell(CallerSpoke(item, 0))
        stage.wait(ms)
        stage.level_dbfs = SILENCE_DBFS
        stage.wait(500)
        stage.tell(CallerPaused(item, 0), CallerCommitted(item, None))
    stage.wait(100)
    answer = stage.answer(2, 3_000, "Yes, we do.") if words_after_ms > 1_000 else ItemId("item_2")
    stage.wait(words_after_ms)
    stage.tell(CallerTranscribed(short, "Well,"), CallerTranscribed(long, "do you have tables outside?"))
    if answer not in stage.ear.heard:
        stage.answer(2, 3_000, "Yes, we do.")
    stage.wait(4_000)
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["turn-2"]
    assert stage.ear.heard[answer] == 3_000 * 8
    assert stage.machine.figures.barge_ins == 0
