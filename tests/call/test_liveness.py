"""Dead air: the caller waits and hears nothing. These tests show what the relay does then."""

from __future__ import annotations

from dataclasses import replace

import pytest

import dsp
from relay.call import wording
from relay.call.actions import (
    AskForResponse,
    CancelResponse,
    ClearPlayback,
    CreateItem,
    DialBeside,
    DialModel,
    ForgetNext,
    HangUp,
    LeaveStream,
    Play,
    Report,
    SwitchModel,
)
from relay.call.machine import Next, Phase
from relay.call.responses import ALREADY_ACTIVE, NOT_ACTIVE
from relay.call.vocabulary import (
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    DigitPressed,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ModelFinished,
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
    StaySilent,
)
from relay.standin.speech import voice
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, SPEECH_DBFS, Stage, tone

R1, R2 = ResponseId("resp_1"), ResponseId("resp_2")
LONGEST_S = 6.0


def of(stage: Stage, kind: type) -> list:  # type: ignore[type-arg] # of whatever kind was asked for
    return [action for action in stage.actions if isinstance(action, kind)]


def talking(**plan: object) -> Stage:
    """A call in which the caller has asked something, and the answer has been asked for."""
    stage = Stage(replace(PLAIN, **plan)).arrive(1_500)  # type: ignore[arg-type] # fields of the plan
    stage.caller_says(None, 1)
    stage.actions.clear()
    return stage


def own_words(stage: Stage) -> list[str]:
    return [turn.said for turn in stage.machine.conversation.turns() if turn.own][1:]


def dead_air_s(stage: Stage, seconds: float) -> float:
    """Let this time pass, or less if the call ends. Return the longest silence that the caller heard, in seconds.

    The silence before the first step counts: the caller's last sound is half a second old when a turn is committed.
    """
    longest = silent = 0.5
    for _ in range(int(seconds * 20)):
        stage.wait(50)
        silent = silent + 0.05 if stage.ear.is_silent else 0.0
        longest = max(longest, silent)
        if stage.machine.phase is not Phase.TALKING:
            break
    return longest


def is_with_a_human(stage: Stage) -> bool:
    ending = stage.machine.ending
    return ending is not None and (ending.reason, ending.then) == (EndReason.MODEL_LOST, Next.HUMAN)


# A model that does not speak


def test_if_the_model_never_answers_there_is_a_phrase_and_then_another_session_and_then_the_human() -> None:
    stage = talking()
    assert dead_air_s(stage, 60.0) <= LONGEST_S
    assert len(of(stage, DialBeside)) == 1
    assert is_with_a_human(stage)


def test_an_answer_that_begins_without_any_sound_is_dead_air() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"))
    assert dead_air_s(stage, 8.0) <= LONGEST_S
    assert own_words(stage) == ["one moment again"]
    assert dead_air_s(stage, 60.0) <= LONGEST_S
    assert is_with_a_human(stage)


def test_words_without_sound_are_dead_air() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"))
    for _ in range(40):
        stage.tell(ModelWorded(R1, ItemId("item_1"), "and "))
        if dead_air_s(stage, 0.5) > LONGEST_S:
            break
    assert "one moment again" in own_words(stage)


def test_endless_silent_audio_from_the_model_is_dead_air() -> None:
    stage, item = talking(), ItemId("item_1")
    send = stage.ear.send  # the simulated caller can recognise only tones, so the silence is not sent there

    def spared(action: Play | ClearPlayback) -> None:
        if getattr(action, "item_id", "") != item:
            send(action)

    stage.ear.send = spared  # type: ignore[method-assign] # the same ear, with a filter before it
    stage.tell(ResponseBegan(R1, "turn-1"))
    for number in range(1, 40):
        stage.tell(ModelSpoke(R1, item, bytes([0xFF]) * 2_000, 250.0 * number))
        stage.wait(250)
        if own_words(stage):
            break
    assert number * 0.25 <= LONGEST_S
    assert own_words(stage) == ["one moment again"]
    assert of(stage, CancelResponse) == [CancelResponse(R1)]
    assert [dial.why for dial in of(stage, DialBeside)] == ["stuck"]


def test_after_an_answer_that_stops_in_the_middle_a_phrase_comes_and_another_session_is_asked() -> None:
    stage = talking()
    stage.answer(1, 1_000, "We are open", ended=False)
    assert dead_air_s(stage, 9.0) <= LONGEST_S
    assert own_words(stage) == ["one moment again"]
    stage.tell(NextModelReady(), ModelReady("sess_2", "mini"))
    assert len(of(stage, AskForResponse)) == 1


def test_the_relay_waits_for_a_slow_model() -> None:
    stage = talking()
    stage.wait(4_000)
    stage.tell(ResponseBegan(R1, "turn-1"))
    stage.wait(700)
    assert own_words(stage) == []
    stage.answer(1, 1_000, "At ten.", ref="turn-1")
    stage.wait(15_000)
    assert own_words(stage) == []
    assert of(stage, DialBeside) == []
    assert of(stage, AskForResponse) == []


def test_a_caller_who_thinks_about_an_answer_is_left_alone() -> None:
    stage = talking()
    stage.answer(1, 1_000, "Would seven or eight suit you?")
    stage.wait(20_000)
    assert own_words(stage) == []
    assert of(stage, AskForResponse) == []


def test_no_phrase_is_said_while_the_caller_speaks() -> None:
    stage = talking()
    stage.level_dbfs = SPEECH_DBFS
    for at in range(0, 12_000, 20):  # the level swings like a voice, not like a noise
        stage.level_dbfs = SPEECH_DBFS - (10.0 if at % 240 >= 160 else 0.0)
        stage.wait(20)
    assert "one moment again" not in own_words(stage)


def test_an_answer_that_was_taken_back_because_of_a_cough_is_asked_for_again() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"))
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    stage.wait(300)
    stage.level_dbfs = SILENCE_DBFS
    assert of(stage, CancelResponse) == [CancelResponse(R1)]
    stage.wait(500)
    stage.tell(ResponseEnded(R1, "cancelled", None, None), CallerPaused(ItemId("caller_2"), 0))
    stage.tell(CallerCommitted(ItemId("caller_2"), None), CallerTranscribed(ItemId("caller_2"), ""))
    assert dead_air_s(stage, 8.0) <= LONGEST_S
    assert len(of(stage, AskForResponse)) == 1


def test_if_no_answer_follows_after_keys_this_is_dead_air() -> None:
    stage = Stage(PLAIN).arrive(20_000)
    stage.actions.clear()
    stage.tell(DigitPressed("5"))
    assert dead_air_s(stage, 60.0) <= LONGEST_S
    assert is_with_a_human(stage)


# Sessions


@pytest.mark.parametrize("refused", [0, 1, 2, 3])
def test_after_a_session_that_sends_nothing_and_refused_connections_there_is_an_answer_or_a_human(refused: int) -> None:
    stage = talking()
    for _ in range(60):
        if dead_air_s(stage, 1.0) > LONGEST_S:
            break
        for order in of(stage, DialBeside) + of(stage, DialModel):
            stage.actions.remove(order)
            if refused:
                refused -= 1
                stage.tell(MoveFailed("refused") if isinstance(order, DialBeside) else ModelLost(0, "refused"))
            else:
                stage.tell(NextModelReady() if isinstance(order, DialBeside) else ModelReady("sess_2", "mini"))
        if of(stage, SwitchModel):
            stage.actions.remove(SwitchModel())
            stage.tell(ModelReady("sess_2", "mini"))
            stage.answer(7, 1_000, "At ten.", ref="again-2")
        if ItemId("item_7") in stage.ear.heard or is_with_a_human(stage):
            return
    pytest.fail(f"the caller got neither an answer nor a person: {own_words(stage)}")


def test_a_session_that_sends_nothing_more_while_a_move_to_another_one_is_pending_is_left_at_once() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.actions.clear()
    stage.caller_says("I have an allergy", 1)  # a hard topic: a session with the harder model is opened, too
    assert [dial.why for dial in of(stage, DialBeside)] == ["escalation"]
    stage.tell(NextModelReady())
    assert of(stage, SwitchModel) == [], "the move came, although the present session may still answer"
    assert dead_air_s(stage, 8.0) <= LONGEST_S
    assert of(stage, SwitchModel) == [SwitchModel()]
    stage.tell(ModelReady("sess_2", "hard"))
    assert len(of(stage, AskForResponse)) == 2, "the new session was not asked for the answer"


def test_a_session_that_sends_nothing_more_is_left_when_the_next_one_is_ready() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("I have an allergy", 1)
    stage.wait(6_000)
    stage.tell(NextModelReady())
    assert of(stage, SwitchModel) == [SwitchModel()]


def test_if_the_answer_begins_after_five_seconds_the_caller_hears_it_once() -> None:
    stage = talking()
    stage.wait(5_300)
    assert [dial.why for dial in of(stage, DialBeside)] == ["stuck"]
    stage.answer(1, 1_000, "At ten.", ref="turn-1")
    stage.wait(4_000)
    stage.tell(NextModelReady())
    assert of(stage, ForgetNext) == [ForgetNext()]
    stage.wait(20_000)
    assert of(stage, SwitchModel) == []
    assert of(stage, AskForResponse) == []
    assert stage.ear.heard[ItemId("item_1")] == 8_000


def test_if_the_answer_begins_after_the_call_has_left_its_session_the_caller_does_not_hear_it() -> None:
    stage = talking()
    stage.wait(5_300)
    stage.tell(NextModelReady())
    assert of(stage, SwitchModel) == [SwitchModel()]
    stage.answer(1, 1_000, "At ten.", ref="turn-1")
    stage.wait(500)
    assert ItemId("item_1") not in stage.ear.heard
    stage.tell(ModelReady("sess_2", "mini"))
    stage.answer(2, 1_000, "At ten.")
    stage.wait(3_000)
    assert stage.ear.heard[ItemId("item_2")] == 8_000


def test_if_a_session_dies_while_the_next_one_opens_no_third_session_is_opened() -> None:
    stage = talking()
    stage.wait(5_300)
    stage.tell(ModelLost(1006, ""))
    assert of(stage, DialModel) == []
    stage.tell(NextModelReady())
    assert of(stage, SwitchModel) == [SwitchModel()]


# An answer whose end is not reported


@pytest.mark.parametrize("refused", [False, True])
def test_if_the_end_of_an_answer_is_never_reported_the_next_question_is_still_answered(refused: bool) -> None:
    stage = talking()
    item = stage.answer(1, 1_000, "At ten.", ended=False)
    stage.tell(ModelFinished(R1, item, b""))
    stage.wait(1_200)
    stage.actions.clear()
    stage.caller_says(None, 2)
    stage.wait(400)
    (ask,) = of(stage, AskForResponse)
    if refused:  # the server says that the first answer still runs
        stage.tell(ModelObjected(ALREADY_ACTIVE, "words", ask.ref), ResponseEnded(R1, "completed", None, None))
        stage.wait(700)
        assert len(of(stage, AskForResponse)) == 2
    stage.answer(2, 1_000, "Until nine.")
    stage.wait(2_000)
    assert stage.ear.heard[ItemId("item_2")] == 8_000


def test_if_the_model_answers_that_there_is_nothing_to_cancel_no_response_counts_as_active() -> None:
    stage = talking()
    item = stage.answer(1, 8_000, "At ten.", ended=False)
    stage.tell(ModelFinished(R1, item, b""))
    stage.wait(1_200)
    stage.actions.clear()
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    stage.wait(540)
    assert of(stage, CancelResponse) == [CancelResponse(R1)]
    stage.tell(ModelObjected(NOT_ACTIVE, "no active response found", None))
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.tell(CallerPaused(ItemId("caller_2"), 0), CallerCommitted(ItemId("caller_2"), None))
    assert len(of(stage, AskForResponse)) == 1


def test_if_the_end_of_an_answer_was_not_reported_its_bill_is_still_counted_only_once() -> None:
    stage = talking()
    item = stage.answer(1, 1_000, "At ten.", ended=False)
    stage.tell(ModelFinished(R1, item, b""))
    stage.wait(5_000)
    assert "model.end_untold" in [report.name for report in of(stage, Report)]
    bill: dict[str, object] = {"output_token_details": {"audio_tokens": 1_000}}
    stage.tell(ResponseEnded(R1, "completed", None, bill), ResponseEnded(R1, "completed", None, bill))
    assert stage.machine.meter.usd == pytest.approx(1_000 * 20.0 / 1e6)


# Answers that are missing, or not complete


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        ("incomplete", "max_output_tokens"),
        ("incomplete", "content_filter"),
        ("cancelled", "turn_detected"),
        ("odd", ""),
    ],
)
def test_the_rest_of_an_answer_that_breaks_off_is_asked_for_and_the_log_says_why(status: str, detail: str) -> None:
    stage = talking()
    stage.answer(1, 1_000, "We are open from", ended=False)
    stage.tell(ResponseEnded(R1, status, detail, None))
    assert [item.text for item in of(stage, CreateItem)] == [wording.ANSWER_BROKE_OFF]
    stage.wait(1_000)
    assert len(of(stage, AskForResponse)) == 1
    (report,) = [report for report in of(stage, Report) if report.name == "model.answer_broke_off"]
    assert dict(report.fields)["detail"] == detail
    stage.answer(2, 1_000, "eleven to ten.")
    stage.wait(15_000)
    assert len(of(stage, AskForResponse)) == 1, "the rest was complete, and more was asked for"


def test_after_a_complete_answer_no_other_answer_is_asked_for() -> None:
    stage = talking()
    stage.answer(1, 1_000, "At ten.")
    stage.wait(25_000)
    assert of(stage, AskForResponse) == []


def test_at_a_rate_limit_the_relay_says_a_phrase_and_waits_and_dials_no_human() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"))
    stage.tell(ResponseEnded(R1, "failed", "rate_limit_exceeded", None, 2.5))
    assert own_words(stage) == ["one moment again"]
    stage.wait(2_400)
    assert of(stage, AskForResponse) == []
    stage.wait(400)
    assert len(of(stage, AskForResponse)) == 1
    assert stage.machine.phase is Phase.TALKING


def test_a_rate_limit_that_asks_for_a_minute_leads_to_the_human() -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"))
    stage.tell(ResponseEnded(R1, "failed", "rate_limit_exceeded", None, 60.0))
    assert is_with_a_human(stage)


def test_audio_that_comes_after_the_end_of_its_item_was_reported_is_heard() -> None:
    stage = talking()
    item = stage.answer(1, 1_000, "We are open until ten", ended=False)
    stage.tell(ModelFinished(R1, item, b""))
    stage.tell(ModelSpoke(R1, item, tone(1_500)[8_000:], 1_500.0))
    stage.tell(ResponseEnded(R1, "completed", None, None))
    stage.wait(2_500)
    assert stage.ear.heard[item] == 1_500 * 8
    assert not stage.ear.holes


def test_audio_that_comes_after_the_end_of_its_item_was_heard_is_still_heard() -> None:
    stage = talking()
    item = stage.answer(1, 1_000, "We are open until ten", ended=False)
    stage.tell(ModelFinished(R1, item, b""))
    stage.wait(1_500)
    stage.tell(ModelSpoke(R1, item, tone(1_500)[8_000:], 1_500.0), ResponseEnded(R1, "completed", None, None))
    stage.wait(1_500)
    assert stage.ear.heard[item] == 1_500 * 8
    turn = stage.machine.conversation.turn(item)
    assert turn is not None
    assert (turn.whole, turn.heard) == (True, "We are open until ten")


def test_audio_that_comes_after_the_end_of_its_response_is_dropped_as_late() -> None:
    stage = talking()
    item = stage.answer(1, 1_000, "At ten.")
    stage.tell(ModelSpoke(R1, item, tone(1_500)[8_000:], 1_500.0))
    stage.wait(2_500)
    assert stage.ear.heard[item] == 8_000


@pytest.mark.parametrize("words", ['{"name": "lookup_hours", "arguments": {}}', "Let me look. {'date': '2026-11-24'}"])
def test_a_function_call_that_the_model_reads_aloud_is_stopped_and_asked_for_again(words: str) -> None:
    stage = talking()
    stage.tell(ResponseBegan(R1, "turn-1"), ModelWorded(R1, ItemId("item_1"), words))
    assert of(stage, CancelResponse) == [CancelResponse(R1)]
    stage.tell(ResponseEnded(R1, "cancelled", None, None))
    stage.wait(1_000)
    assert wording.READ_ALOUD in [item.text for item in of(stage, CreateItem)]
    assert len(of(stage, AskForResponse)) == 1


def test_a_short_yes_whose_words_come_before_its_commit_is_answered() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.actions.clear()
    item = ItemId("caller_1")
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(item, 0))
    stage.wait(120)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.tell(CallerPaused(item, 0), CallerTranscribed(item, "Yes."), CallerCommitted(item, None))
    stage.wait(200)
    assert len(of(stage, AskForResponse)) == 1
    turn = stage.machine.conversation.turn(item)
    assert turn is not None
    assert turn.said == "Yes."


# Sound that is not speech, and a VAD that misses speech


def idle(before_dbfs: float = SILENCE_DBFS) -> Stage:
    stage = Stage(PLAIN)
    stage.level_dbfs = before_dbfs
    stage.arrive(1_500)
    stage.answer(1, 400, "What else?")
    stage.wait(1_000)
    stage.actions.clear()
    return stage


@pytest.mark.parametrize("level_dbfs", [-46.0, -40.0, -33.0, -26.0, -20.0])
@pytest.mark.parametrize("offset_ms", [0, 200, 440, 700])
def test_a_steady_noise_that_begins_is_not_taken_for_speech_that_the_vad_missed(
    level_dbfs: float, offset_ms: int
) -> None:
    stage = idle()
    stage.wait(offset_ms)
    stage.level_dbfs = level_dbfs
    stage.wait(8_000)
    assert of(stage, DialBeside) == []
    assert own_words(stage) == []


@pytest.mark.parametrize("bang_ms", [60, 80, 100, 300])
def test_rustling_and_knocks_are_not_taken_for_speech_that_the_vad_missed(bang_ms: int) -> None:
    stage = idle()
    for _ in range(20):
        stage.level_dbfs = -25.0
        stage.wait(bang_ms)
        stage.level_dbfs = SILENCE_DBFS
        stage.wait(1_000 - bang_ms)
    assert of(stage, DialBeside) == []
    assert own_words(stage) == []


@pytest.mark.parametrize("voiced_ms", [800, 1_600])
def test_speech_that_the_vad_misses_leads_to_another_session(voiced_ms: int) -> None:
    stage = idle()
    for at in range(0, voiced_ms, 20):  # syllables
        stage.level_dbfs = SPEECH_DBFS - (10.0 if at % 240 >= 160 else 0.0)
        stage.wait(20)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(3_000)
    assert [dial.why for dial in of(stage, DialBeside)] == ["deaf"]
    stage.tell(NextModelReady(), ModelReady("sess_2", "mini"))
    assert wording.LAST_WORDS_LOST in [item.text for item in of(stage, CreateItem)]


def hears_clip(stage: Stage, clip: str) -> None:
    mulaw = voice.clips()[clip].mulaw
    for at in range(0, len(mulaw) - 159, 160):
        stage.level_dbfs = max(SILENCE_DBFS, dsp.level_dbfs(mulaw[at : at + 160]))
        stage.wait(20)
    stage.level_dbfs = SILENCE_DBFS


@pytest.mark.parametrize("clip", ["can_you_hear", "sorry_what", "oh_wait", "operator", "booking"])
def test_a_short_question_that_the_vad_misses_leads_to_a_phrase_and_another_session(clip: str) -> None:
    stage = idle()
    hears_clip(stage, clip)
    assert dead_air_s(stage, 4.0) <= LONGEST_S
    assert own_words(stage) == ["one moment again"]
    assert [dial.why for dial in of(stage, DialBeside)] == ["deaf"]


@pytest.mark.parametrize("gap_ms", [40, 100, 200, 600])
def test_coughs_are_not_taken_for_a_question_that_the_vad_missed(gap_ms: int) -> None:
    stage = idle()
    for _ in range(3):
        hears_clip(stage, "cough")
        stage.wait(gap_ms)
    stage.wait(8_000)
    assert of(stage, DialBeside) == []
    assert own_words(stage) == []


@pytest.mark.parametrize("ms", [640, 900, 1_300])
@pytest.mark.parametrize("depth_db", [0.0, 4.0])
def test_a_short_hum_is_not_taken_for_a_question_that_the_vad_missed(ms: int, depth_db: float) -> None:
    stage = idle()
    for at in range(0, ms, 20):
        stage.level_dbfs = SPEECH_DBFS - (depth_db if ms / 3 < at < ms / 2 else 0.0)
        stage.wait(20)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(8_000)
    assert of(stage, DialBeside) == []
    assert own_words(stage) == []


def test_three_sessions_in_a_row_that_hear_nothing_lead_to_a_human() -> None:
    stage = idle()
    for number in (2, 3, 4):
        hears_clip(stage, "can_you_hear")
        stage.wait(4_000)
        if is_with_a_human(stage):
            break
        stage.tell(NextModelReady(), ModelReady(f"sess_{number}", "mini"))
        stage.answer(number, 1_000, "Sorry, I missed that.", ref=stage.machine.answers._asked_ref)
        stage.wait(3_000)
    assert is_with_a_human(stage)
    assert number == 4


# Dead air that looks like talk


def test_after_a_promise_without_a_function_call_the_model_is_reminded_and_then_asked_to_answer_without_functions() -> (
    None
):
    stage = talking()
    stage.answer(1, 1_000, "One moment, I'm looking that up.")
    stage.wait(3_600)
    assert [item.text for item in of(stage, CreateItem)] == [wording.PROMISED]
    assert len(of(stage, AskForResponse)) == 1
    stage.answer(2, 1_000, "Let me check that for you.")
    stage.wait(3_600)
    assert [ask.instructions for ask in of(stage, AskForResponse)] == [None, wording.PROMISED_AGAIN]
    stage.answer(3, 1_000, "One moment, please.")
    stage.wait(4_000)
    assert is_with_a_human(stage)


def test_a_model_that_does_what_it_promised_is_not_reminded() -> None:
    stage = talking()
    stage.answer(1, 1_000, "One moment, I'm looking that up.", ended=False)
    stage.tell(FunctionAsked(R1, "call_1", "lookup_hours", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.wait(1_500)
    stage.tell(FunctionReturned("call_1", "lookup_hours", "{}", True, 1_500))
    stage.answer(2, 1_000, "At ten.")
    stage.wait(8_000)
    assert len(of(stage, AskForResponse)) == 1
    assert wording.PROMISED not in [item.text for item in of(stage, CreateItem)]


@pytest.mark.parametrize("words", ["One moment: shall I book that?", "I'll check in with you then. We open at ten."])
def test_words_that_only_sound_like_a_promise_lead_to_no_reminder(words: str) -> None:
    stage = talking()
    stage.answer(1, 1_000, words)
    stage.wait(8_000)
    assert of(stage, AskForResponse) == []


def waits_for_user(stage: Stage, number: int) -> None:
    response = ResponseId(f"resp_{number}")
    ref = stage.machine.answers._asked_ref
    stage.tell(ResponseBegan(response, ref), FunctionAsked(response, f"call_{number}", "wait_for_user", "{}"))
    stage.tell(ResponseEnded(response, "completed", None, None))
    stage.tell(FunctionReturned(f"call_{number}", "wait_for_user", "{}", True, 5, StaySilent()))


def test_a_question_that_the_model_answers_with_silence_is_answered_after_all() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.actions.clear()
    stage.caller_says("what time do you open?", 1)
    waits_for_user(stage, 1)
    assert dead_air_s(stage, 6.0) <= LONGEST_S
    assert wording.MET_WITH_SILENCE in [item.text for item in of(stage, CreateItem)]
    assert len(of(stage, AskForResponse)) == 2


def test_the_model_may_answer_words_for_somebody_else_with_silence_once() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.actions.clear()
    stage.caller_says("hold on a second, honey", 1)
    waits_for_user(stage, 1)
    stage.wait(15_000)
    assert len(of(stage, AskForResponse)) == 1
    assert own_words(stage) == []
    stage.caller_says("I am on the phone", 2)
    waits_for_user(stage, 2)
    stage.wait(5_000)
    assert len(of(stage, AskForResponse)) == 3, (
        "silence twice in a row may be a fault of the model, so the caller is answered"
    )


def test_if_a_caller_got_no_answer_the_silence_is_counted_from_the_agents_last_words() -> None:
    stage = Stage(replace(PLAIN, limits=replace(PLAIN.limits, silence_s=10.0))).arrive(1_500)
    for number in (1, 2, 3):
        stage.level_dbfs = SPEECH_DBFS
        stage.wait(100)
        stage.tell(CallerSpoke(ItemId(f"caller_{number}"), 0), CallerPaused(ItemId(f"caller_{number}"), 0))
        stage.level_dbfs = SILENCE_DBFS
        stage.tell(
            CallerCommitted(ItemId(f"caller_{number}"), None), CallerTranscribed(ItemId(f"caller_{number}"), None)
        )
        stage.wait(6_000)
    assert "still there" in own_words(stage)
    assert HangUp() not in stage.actions
    assert LeaveStream() not in stage.actions
