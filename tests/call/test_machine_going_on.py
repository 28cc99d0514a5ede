"""The agent goes on with an answer that it had given up because of a sound that meant nothing. Events are scripted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.call import interruption
from relay.call.actions import (
    AskForResponse,
    CancelResponse,
    CreateItem,
    DeleteItem,
    DialBeside,
    RecordTurn,
    SendFunctionOutput,
    TruncateItem,
)
from relay.call.call_config import CallPlan
from relay.call.machine import Phase
from relay.call.vocabulary import (
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    ClaimDoubted,
    DigitPressed,
    EndCall,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ModelFinished,
    ModelLost,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    NextModelReady,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    StaySilent,
)
from tests.helpers.answering import of
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, SPEECH_DBFS, Stage, tone
from tests.helpers.watched import Watched

TEXT = "We are open tomorrow from eleven in the morning until ten at night."
ITEM, MM_HMM = ItemId("item_1"), ItemId("caller_2")
R2 = ResponseId("resp_2")


def interrupted(ms: int = 420, text: str = TEXT, plan_text: str = "what time", ended: bool = True) -> Stage:
    """A call in which a sound of this length cut off the agent's answer. The model was asked to answer the sound."""
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says(plan_text, 1)
    stage.answer(1, 6_000, text, ended=ended)
    stage.wait(2_000)
    stage.actions.clear()
    make_a_sound(stage, MM_HMM, ms)
    return stage


def make_a_sound(stage: Stage, item: ItemId, ms: int) -> None:
    """The caller makes a sound of this length. The server's VAD reports its beginning and its end."""
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(item, 0))
    stage.wait(ms - 60)
    stage.level_dbfs = SILENCE_DBFS
    stage.wait(500)
    stage.tell(CallerPaused(item, 0), CallerCommitted(item, None))


def gone_on() -> Stage:
    """A call in which the caller made a listener's sound ("mm-hmm"). The agent has gone on, and the model's answer to
    the sound was cancelled.
    """
    stage = interrupted()
    stage.wait(1_100)
    stage.tell(
        CallerTranscribed(MM_HMM, "Mm-hmm."), ResponseBegan(R2, "turn-2"), ResponseEnded(R2, "cancelled", None, None)
    )
    return stage


def answers_after(stage: Stage, ms: int, number: int = 2) -> ItemId:
    """Let the model answer the sound, this long after the answer was asked for."""
    stage.wait(ms)
    return stage.answer(number, 1_000, "Sorry, could you repeat that?")


def rests(stage: Stage) -> list[str]:
    return [action.text for action in of(stage, CreateItem) if action.item_id.startswith("rest_")]


def heard_in_all_ms(stage: Stage) -> float:
    """How many ms of the answer were heard, together with the rest that came later."""
    rest = next(item for item in stage.ear.heard if item.startswith("rest_"))
    return (stage.ear.begins[rest] * 160 + stage.ear.heard[rest]) / 8


def test_a_listeners_sound_over_an_answer_causes_only_a_pause() -> None:
    stage = interrupted()
    assert of(stage, TruncateItem) == [TruncateItem(ITEM, 2_060)]
    stage.wait(600)
    stage.tell(ResponseBegan(R2, "turn-2"))
    stage.wait(500)
    stage.actions.clear()
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert of(stage, CancelResponse) == [CancelResponse(R2)]
    assert rests(stage) == ["tomorrow from eleven in the morning until ten at night."]
    stage.tell(ResponseEnded(R2, "cancelled", None, None))
    stage.wait(5_000)
    assert of(stage, AskForResponse) == []
    assert heard_in_all_ms(stage) == 6_000
    turns = [(turn.role, turn.heard or turn.said) for turn in stage.machine.conversation.turns()]
    assert turns[2:] == [
        ("agent", "We are open tomorrow"),
        ("caller", "Mm-hmm."),
        ("agent", "tomorrow from eleven in the morning until ten at night."),  # the rest: from the pause before the cut
    ]
    assert (stage.machine.figures.barge_ins, stage.machine.figures.false_stops) == (0, 1)


def test_the_time_that_the_caller_waited_for_a_cancelled_answer_is_not_counted_for_a_later_answer() -> None:
    stage = gone_on()
    stage.wait(5_000)
    stage.tell(ClaimDoubted("Nothing was booked."))
    later = stage.answer(3, 500, "Nothing is booked yet.")
    stage.wait(1_000)
    (row,) = [row for row in of(stage, RecordTurn) if row.item_id == later]
    assert row.latency is None


def test_the_answer_to_a_listeners_sound_is_withheld_and_then_deleted() -> None:
    stage = interrupted()
    wrong = answers_after(stage, 900)
    stage.wait(300)
    stage.actions.clear()
    stage.tell(CallerTranscribed(MM_HMM, "Uh-huh."))
    assert of(stage, DeleteItem) == [DeleteItem(wrong)]
    stage.wait(5_000)
    assert wrong not in stage.ear.heard
    assert heard_in_all_ms(stage) == 6_000
    assert stage.machine.figures.misunderstandings == 0


def begin_answer(stage: Watched, ref: str) -> None:
    """Let the model begin the answer that it was asked for."""
    response = R2 if ref == "turn-2" else ResponseId("resp_1")
    stage.begins(response)
    stage.tell(ResponseBegan(response, ref))


@given(
    at_ms=st.integers(10, 1_150).map(lambda steps: steps * 5),
    ms=st.sampled_from([280, 420, 600, 900]),
    words=st.sampled_from(["Mm-hmm.", "okay", "", "Stop!", None]),
    words_after_ms=st.sampled_from([300, 1_000, 1_200, 2_000]),
    answer_after_ms=st.sampled_from([150, 600, 900, 1_100, 1_600]),
    delay_ms=st.sampled_from([0, 40]),
)
def test_the_caller_hears_either_the_rest_or_a_new_answer_whatever_comes_first(
    at_ms: int, ms: int, words: str | None, words_after_ms: int, answer_after_ms: int, delay_ms: int
) -> None:
    stage = Watched(PLAIN, delay_ms)
    stage.arrive(1_500)
    stage.items[ItemId("caller_1")] = stage.items[MM_HMM] = "caller"
    stage.caller_says("what time", 1)
    stage.items[ITEM], stage.received[ITEM] = "audio", 6_000 * 8
    begin_answer(stage, "turn-1")
    stage.answer(1, 6_000, TEXT, ref="turn-1")
    stage.active = None
    stage.wait(at_ms)
    make_a_sound(stage, MM_HMM, ms)
    answer = ItemId("item_2")
    for now_ms in range(0, 2_100, 50):
        if now_ms == words_after_ms:
            stage.tell(CallerTranscribed(MM_HMM, words))
        if now_ms == answer_after_ms and stage.asked is not None:
            ref = stage.asked.ref
            begin_answer(stage, ref)
            if R2 not in stage.cancelled:
                stage.items[answer], stage.received[answer] = "audio", 8_000
                stage.answer(2, 1_000, "Of course.", ref=ref)
            stage.active = None
            stage.tell(ResponseEnded(R2, "cancelled", None, None))
        stage.wait(50)
    stage.wait(8_000)
    assert not stage.ear.holes
    for item, cut_ms in stage.truncated.items():
        assert abs(stage.ear.heard[item] / 8 - cut_ms) <= 20
    rest_ms = sum(stage.ear.heard[item] for item in stage.ear.heard if item.startswith("rest_")) / 8
    answered = stage.ear.heard.get(answer, 0) == 8_000
    if stage.truncated:  # if not, the answer was heard to its end before it could be given up
        assert answered != (rest_ms > 0), "the caller heard both the rest and a new answer, or neither"
    if rest_ms:
        assert words in ("Mm-hmm.", "okay", "")
        assert rest_ms >= 6_000 - stage.truncated[ITEM]
        assert (heard_in_all_ms(stage) - 6_000) % 2_400 == 0, (
            "the rest does not follow the first part (the tone repeats every 2.4 s)"
        )
        assert answer not in stage.ear.heard
        assert stage.items.get(answer) is None, "the model's conversation has an answer that nobody heard"


def test_an_answer_to_a_short_word_is_heard_as_soon_as_the_word_is_known() -> None:
    stage = interrupted()
    right = answers_after(stage, 900)
    stage.wait(200)
    assert right not in stage.ear.heard
    stage.tell(CallerTranscribed(MM_HMM, "Stop!"))
    stage.wait(1_500)
    assert stage.ear.heard[right] == 8_000
    assert rests(stage) == []


def test_an_answer_to_a_short_word_does_not_wait_long_for_the_word() -> None:
    stage = interrupted()
    right = answers_after(stage, 900)
    stage.wait(380)
    assert right not in stage.ear.heard
    stage.wait(60)
    assert right in stage.ear.heard
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    stage.wait(2_000)
    assert stage.ear.heard[right] == 8_000, "the answer had begun and was not heard to its end"
    assert rests(stage) == []


@pytest.mark.parametrize("after_ms", [150, 780], ids=["a quick model", "a little too quick"])
def test_an_answer_that_comes_long_before_the_word_is_known_is_heard_at_once(after_ms: int) -> None:
    stage = interrupted()
    right = answers_after(stage, after_ms)
    stage.wait(40)
    assert right in stage.ear.heard


def test_an_answer_to_several_words_is_heard_at_once() -> None:
    stage = interrupted(ms=900)
    right = answers_after(stage, 900)
    stage.wait(40)
    assert right in stage.ear.heard


def test_a_noise_without_words_is_forgotten_and_the_agent_goes_on() -> None:
    stage = interrupted(ms=900)
    stage.wait(1_100)
    stage.tell(CallerTranscribed(MM_HMM, ""))
    assert of(stage, DeleteItem) == [DeleteItem(MM_HMM)]
    assert len(rests(stage)) == 1
    stage.wait(5_000)
    assert heard_in_all_ms(stage) == 6_000
    assert [row.said for row in of(stage, RecordTurn) if row.role == "caller"] == []


def test_a_noise_that_the_agent_asks_about_is_not_counted_as_a_misunderstanding() -> None:
    rules = replace(PLAIN.rules, repeat_words=("could you repeat",), _patterns={})
    stage = Stage(replace(PLAIN, rules=rules)).arrive(1_500)
    for number in range(1, 5):
        make_a_sound(stage, ItemId(f"noise_{number}"), 900)
        answers_after(stage, 300, number)
        stage.wait(700)
        stage.tell(CallerTranscribed(ItemId(f"noise_{number}"), ""))
        stage.wait(500)
    assert stage.machine.figures.misunderstandings == 0
    assert stage.machine.ending is None, "four noises brought a human"


@pytest.mark.parametrize("words_after_ms", [200, 700], ids=["withheld until then", "heard already"])
def test_a_short_word_that_the_agent_asks_about_is_counted_as_a_misunderstanding(words_after_ms: int) -> None:
    rules = replace(PLAIN.rules, repeat_words=("could you repeat",), _patterns={})
    stage = Stage(replace(PLAIN, rules=rules)).arrive(1_500)
    for number in range(1, 4):
        stage.caller_says("what time", 10 + number)
        stage.answer(2 * number - 1, 6_000, TEXT)
        stage.wait(2_000)
        make_a_sound(stage, ItemId(f"word_{number}"), 420)
        answers_after(stage, 900, 2 * number)
        stage.wait(words_after_ms)
        stage.tell(CallerTranscribed(ItemId(f"word_{number}"), "Sunday!"))
        stage.wait(1_500)
        if number == 1:
            assert stage.machine.figures.misunderstandings == 1
    assert stage.machine.ending is not None, "the third misunderstanding brought no human"


def test_if_a_misunderstanding_was_only_a_noise_it_is_not_counted_although_it_has_led_to_a_human() -> None:
    rules = replace(PLAIN.rules, repeat_words=("could you repeat",), human_after_misunderstandings=1, _patterns={})
    stage = Stage(replace(PLAIN, rules=rules)).arrive(1_500)
    make_a_sound(stage, MM_HMM, 900)
    answers_after(stage, 300)
    assert stage.machine.phase is Phase.LEAVING
    stage.wait(700)
    stage.tell(CallerTranscribed(MM_HMM, ""))
    assert stage.machine.figures.misunderstandings == 0, "the next stream would begin with a wrong count"


def test_yes_after_a_question_is_an_answer_also_when_the_agent_said_more_after_the_question() -> None:
    stage = interrupted(text="At seven? Or would eight suit you better? We have both.")
    stage.wait(600)
    stage.tell(CallerTranscribed(MM_HMM, "Yes."))
    right = answers_after(stage, 100)
    stage.wait(1_500)
    assert rests(stage) == []
    assert stage.ear.heard[right] == 8_000


def test_a_yes_before_the_last_word_of_a_question_counts_as_an_answer_to_the_question() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.answer(1, 3_000, "We have a table at 7.30. Shall I book that for four people?")
    stage.wait(2_300)
    make_a_sound(stage, MM_HMM, 420)
    stage.wait(600)
    assert stage.machine.conversation.turns()[2].heard == "We have a table at 7.30. Shall I book that for"
    stage.tell(CallerTranscribed(MM_HMM, "Yes."))
    right = answers_after(stage, 100)
    stage.wait(1_500)
    assert rests(stage) == []
    assert stage.ear.heard[right] == 8_000


def test_an_okay_before_a_question_that_has_not_begun_counts_as_a_listeners_sound() -> None:
    stage = interrupted(text="We do open tomorrow at eleven. And shall I book a table for you at half past seven?")
    assert stage.machine.conversation.turns()[2].heard == "We do open tomorrow at"
    stage.wait(1_100)
    stage.tell(CallerTranscribed(MM_HMM, "Okay."))
    assert len(rests(stage)) == 1


@pytest.mark.parametrize("words", ["Okay, but not on Sunday.", "No.", None])
def test_words_with_a_meaning_and_words_that_are_not_known_are_answered(words: str | None) -> None:
    stage = interrupted()
    stage.wait(600)
    stage.tell(CallerTranscribed(MM_HMM, words))
    right = answers_after(stage, 100)
    stage.wait(1_500)
    assert rests(stage) == []
    assert stage.ear.heard[right] == 8_000


def test_the_agent_goes_on_although_the_model_has_no_answer_to_a_listeners_sound() -> None:
    stage = interrupted()
    stage.tell(ResponseBegan(R2, "turn-2"), FunctionAsked(R2, "call_1", "wait_for_user", "{}"))
    stage.tell(ResponseEnded(R2, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "wait_for_user", "{}", True, 1, StaySilent()))
    stage.wait(1_100)
    stage.tell(CallerTranscribed(MM_HMM, "Mhm"))
    stage.wait(5_000)
    assert heard_in_all_ms(stage) == 6_000


def test_after_two_sounds_of_a_listener_the_rest_waits_for_the_transcripts_of_both() -> None:
    stage = interrupted()
    make_a_sound(stage, ItemId("caller_3"), 420)
    stage.wait(200)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert rests(stage) == []
    stage.wait(800)
    stage.tell(CallerTranscribed(ItemId("caller_3"), "Okay."))
    assert len(rests(stage)) == 1


def test_a_sound_over_a_withheld_answer_interrupts_nothing() -> None:
    stage = interrupted()
    wrong = answers_after(stage, 900)
    make_a_sound(stage, ItemId("caller_3"), 420)
    stage.wait(100)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    stage.wait(1_000)
    stage.tell(CallerTranscribed(ItemId("caller_3"), "Okay."))
    assert wrong not in stage.ear.heard
    assert len(rests(stage)) == 1
    assert (stage.machine.figures.barge_ins, stage.machine.figures.false_stops) == (0, 1)


def cut_off_at_once(plan: CallPlan = PLAIN) -> Stage:
    """The caller coughs into the first words of an answer, before the words of the question are known."""
    stage = Stage(plan).arrive(1_500)
    stage.caller_says(None, 1)
    stage.wait(650)
    stage.answer(1, 6_000, TEXT)
    stage.wait(100)
    make_a_sound(stage, MM_HMM, 300)
    return stage


def test_late_words_of_the_turn_before_are_not_taken_for_the_words_of_a_cough() -> None:
    stage = cut_off_at_once()
    stage.tell(CallerTranscribed(ItemId("caller_1"), "What time do you open tomorrow?"))
    wrong = answers_after(stage, 900)
    stage.wait(200)
    stage.tell(CallerTranscribed(MM_HMM, ""))
    stage.wait(6_000)
    assert len(rests(stage)) == 1
    assert heard_in_all_ms(stage) == 6_000
    assert wrong not in stage.ear.heard


@pytest.mark.parametrize("words", ["this is ridiculous", "an operator please"], ids=["offer", "nobody is there"])
def test_late_words_that_ask_for_something_are_answered_and_the_rest_is_not_played(words: str) -> None:
    stage = cut_off_at_once(replace(PLAIN, human_available=False))
    stage.tell(CallerTranscribed(ItemId("caller_1"), words))
    right = answers_after(stage, 900)
    stage.wait(200)
    stage.tell(CallerTranscribed(MM_HMM, ""))
    stage.wait(2_000)
    assert rests(stage) == []
    assert stage.ear.heard[right] == 8_000


@pytest.mark.parametrize("ends", [True, False], ids=["a sound without words", "noise that does not end"])
def test_an_agent_that_could_not_go_on_at_once_goes_on_when_the_caller_is_silent(ends: bool) -> None:
    stage = interrupted()
    stage.tell(ResponseBegan(R2, "turn-2"), FunctionAsked(R2, "call_1", "wait_for_user", "{}"))
    stage.tell(ResponseEnded(R2, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "wait_for_user", "{}", True, 1, StaySilent()))
    stage.wait(900)
    stage.tell(CallerSpoke(ItemId("caller_3"), 0))
    stage.wait(200)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    if ends:
        stage.tell(CallerPaused(ItemId("caller_3"), 0), CallerCommitted(ItemId("caller_3"), None))
    stage.wait(4_000)
    assert len(rests(stage)) == (0 if ends else 1), "the rest came before the words of the last sound were known"
    stage.wait(8_000)
    assert len(rests(stage)) == 1
    assert heard_in_all_ms(stage) == 6_000


def test_the_words_of_a_second_sound_also_decide_whether_the_agent_goes_on() -> None:
    stage = interrupted()
    make_a_sound(stage, ItemId("caller_3"), 420)
    stage.wait(200)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    stage.wait(800)
    stage.tell(CallerTranscribed(ItemId("caller_3"), "Wait."))
    assert rests(stage) == []


def test_the_rest_is_not_played_while_the_caller_speaks() -> None:
    stage = interrupted()
    stage.wait(800)
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_3"), 0), CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert rests(stage) == []


def test_the_relay_plays_no_rest_of_an_answer_that_was_still_being_generated() -> None:
    stage = interrupted(ended=False)
    assert of(stage, CancelResponse) == [CancelResponse(ResponseId("resp_1"))]
    stage.tell(ResponseEnded(ResponseId("resp_1"), "cancelled", None, None))
    right = answers_after(stage, 900)
    stage.wait(40)
    assert right in stage.ear.heard, "the answer was withheld without a reason"
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert rests(stage) == []


def test_a_function_result_that_comes_after_the_interruption_is_answered() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    item = stage.answer(1, 6_000, TEXT, ended=False)
    stage.tell(
        FunctionAsked(ResponseId("resp_1"), "call_1", "lookup", "{}"), ModelFinished(ResponseId("resp_1"), item, b"")
    )
    stage.tell(ResponseEnded(ResponseId("resp_1"), "completed", None, None))
    stage.wait(2_000)
    make_a_sound(stage, MM_HMM, 420)
    stage.tell(FunctionReturned("call_1", "lookup", "{}", True, 2_500))
    assert len(of(stage, SendFunctionOutput)) == 1
    stage.wait(600)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert rests(stage) == []
    assert len(of(stage, AskForResponse)) == 2


def test_no_rest_is_played_while_a_function_of_that_answer_runs() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.answer(1, 6_000, TEXT, ended=False)
    stage.tell(FunctionAsked(ResponseId("resp_1"), "call_1", "lookup", "{}"))
    stage.tell(ResponseEnded(ResponseId("resp_1"), "completed", None, None))
    stage.wait(2_000)
    make_a_sound(stage, MM_HMM, 420)
    stage.wait(600)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert rests(stage) == []


def test_the_answer_to_a_hello_over_a_holding_phrase_is_heard_at_once() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.tell(ResponseBegan(ResponseId("resp_1"), "turn-1"))
    stage.tell(FunctionAsked(ResponseId("resp_1"), "call_1", "lookup", "{}"))
    stage.tell(ResponseEnded(ResponseId("resp_1"), "completed", None, None))
    stage.wait(300)
    make_a_sound(stage, MM_HMM, 340)
    answer = answers_after(stage, 900)
    stage.wait(40)
    assert answer in stage.ear.heard


def test_an_answer_that_was_asked_for_while_the_interrupted_answer_was_spoken_is_not_lost() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.answer(1, 6_000, TEXT)
    stage.wait(1_000)
    stage.tell(ClaimDoubted("Nothing was booked."))
    stage.wait(1_000)
    make_a_sound(stage, MM_HMM, 420)
    stage.tell(ResponseBegan(R2, "correct-2"), ResponseEnded(R2, "cancelled", None, None))
    stage.wait(600)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert rests(stage) == []
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["turn-1", "correct-2", "turn-3"]


def test_keys_that_were_pressed_before_a_sound_are_answered() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.answer(1, 6_000, TEXT)
    stage.wait(1_600)
    stage.tell(DigitPressed("4"))
    make_a_sound(stage, MM_HMM, 420)
    stage.wait(800)
    # This is the answer to both the sound and the key. The key has had no answer of its own.
    right = stage.answer(2, 1_000, "That is four of you.")
    stage.wait(300)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    stage.wait(1_500)
    assert [item.text for item in of(stage, CreateItem) if item.role == "user"] == ["[keys: 4]"]
    assert stage.ear.heard[right] == 8_000
    assert rests(stage) == []


@pytest.mark.parametrize("event", [DigitPressed("4"), ClaimDoubted("Nothing was booked."), ModelLost(1006, "")])
def test_if_an_event_after_the_interruption_needs_an_answer_the_rest_is_not_played(event: object) -> None:
    stage = interrupted()
    stage.wait(300)
    stage.tell(event)  # type: ignore[arg-type] # one of three kinds
    if isinstance(event, ModelLost):
        stage.tell(ModelReady("sess_2", "mini"))
    stage.wait(800)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    assert rests(stage) == []


def test_the_goodbye_after_a_short_bye_is_heard_although_the_callers_words_are_not_known() -> None:
    stage = interrupted()
    stage.wait(900)
    stage.answer(2, 1_000, "Goodbye.", ended=False)
    stage.tell(FunctionAsked(R2, "call_1", "end_call", "{}"), ResponseEnded(R2, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("bye")))
    assert stage.machine.phase is Phase.LEAVING
    stage.wait(1_100)
    assert stage.ear.heard[ItemId("item_2")] == 8_000


@pytest.mark.parametrize(
    ("pause_ms", "begins_ms"),
    [((1_600, 1_700), 1_640), ((1_600, 1_640), 2_040), ((300, 500), 2_040), ((2_000, 2_200), 2_000)],
    ids=["its last 60 ms", "a consonant is none", "too long ago", "stopped in it"],
)
def test_the_rest_begins_at_the_last_pause_or_where_the_agent_was_stopped(
    pause_ms: tuple[int, int], begins_ms: int
) -> None:
    sound = bytearray(b"\x20" * 6_000 * 8)
    sound[pause_ms[0] * 8 : pause_ms[1] * 8] = b"\xff" * (pause_ms[1] - pause_ms[0]) * 8
    assert interruption._pause_before(sound, 2_055 * 8) == begins_ms * 8


def test_an_interrupted_rest_is_written_again_with_its_heard_words_and_the_agent_can_go_on_again() -> None:
    stage = gone_on()
    stage.wait(1_500)
    stage.actions.clear()
    make_a_sound(stage, ItemId("caller_3"), 420)
    (rest,) = [item for item in stage.ear.heard if item.startswith("rest_")]
    assert of(stage, DeleteItem) == [DeleteItem(rest)]
    assert [(action.item_id, action.text) for action in of(stage, CreateItem)] == [(f"{rest}_h", "tomorrow from")]
    stage.wait(1_100)
    stage.tell(CallerTranscribed(ItemId("caller_3"), "Right."))
    assert rests(stage)[-1] == "eleven in the morning until ten at night."


def test_if_a_short_word_stops_the_rest_the_rest_comes_before_the_word_in_the_models_conversation() -> None:
    stage = gone_on()
    stage.wait(500)
    stage.actions.clear()
    make_a_sound(stage, ItemId("caller_3"), 180)
    stage.wait(1_000)
    stage.tell(CallerTranscribed(ItemId("caller_3"), "Stop!"))
    (rest,) = [item for item in stage.ear.heard if item.startswith("rest_")]
    anew = CreateItem(ItemId(f"{rest}_h"), "assistant", "tomorrow from eleven", behind=rest)
    wanted = [anew, DeleteItem(rest), AskForResponse("turn-3")]
    assert [
        action for action in stage.actions if isinstance(action, CreateItem | DeleteItem | AskForResponse)
    ] == wanted


def test_if_an_answer_has_two_messages_the_agent_goes_on_with_both() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    response, second = ResponseId("resp_1"), ItemId("item_2")
    stage.tell(ResponseBegan(response, "turn-1"))
    for item, words in ((ITEM, TEXT), (second, "Shall I book a table?")):
        stage.tell(ModelWorded(response, item, words), ModelSpoke(response, item, tone(2_000), 2_000.0))
        stage.tell(ModelFinished(response, item, b""))
    stage.tell(ResponseEnded(response, "completed", None, None))
    stage.wait(1_000)
    stage.actions.clear()
    make_a_sound(stage, MM_HMM, 420)
    assert of(stage, DeleteItem) == [DeleteItem(second)]
    stage.wait(1_100)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."), ResponseBegan(R2, "turn-2"))
    stage.tell(ResponseEnded(R2, "cancelled", None, None))
    assert rests(stage)[1] == "Shall I book a table?"
    stage.wait(5_000)
    first, last = [item for item in stage.ear.heard if item.startswith("rest_")]
    assert stage.ear.begins[first] * 20 + stage.ear.heard[first] / 8 == 2_000
    assert (stage.ear.begins[last], stage.ear.heard[last]) == (0, 2_000 * 8)
    heard = [turn.heard for turn in stage.machine.conversation.turns() if turn.role == "agent"]
    assert heard[1:] == ["We are open tomorrow from eleven in", "", *rests(stage)]


def test_a_stuck_session_is_replaced_without_a_phrase_when_nobody_waits_for_its_answer() -> None:
    stage = interrupted()
    stage.wait(1_100)
    # The model was asked to answer the sound. This answer is taken back before it begins, and it never begins.
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    stage.actions.clear()
    stage.wait(5_400)
    assert [dial.why for dial in of(stage, DialBeside)] == ["stuck"]
    assert of(stage, CreateItem) == [], "a holding phrase came although the caller waits for nothing"
    stage.tell(NextModelReady(), ModelLost(1000, ""), ModelReady("sess_2", "mini"))
    assert of(stage, AskForResponse) == []


def test_an_okay_at_the_very_end_of_an_answer_counts_as_an_ordinary_turn() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.answer(1, 2_400, "We are open until ten.")
    stage.wait(2_000)
    make_a_sound(stage, MM_HMM, 420)
    stage.wait(1_100)
    stage.tell(CallerTranscribed(MM_HMM, "Okay."))
    assert rests(stage) == []
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["turn-1", "turn-2"]


def test_a_call_that_keeps_no_words_stores_no_words_of_a_rest() -> None:
    stage = Stage(replace(PLAIN, keep_words=False)).arrive(1_500)
    stage.caller_says("what time", 1)
    stage.answer(1, 6_000, TEXT)
    stage.wait(2_000)
    make_a_sound(stage, MM_HMM, 420)
    stage.wait(1_100)
    stage.tell(CallerTranscribed(MM_HMM, "Mm-hmm."))
    stage.wait(5_000)
    assert heard_in_all_ms(stage) == 6_000
    assert {(row.said, row.heard) for row in of(stage, RecordTurn)} == {(None, None)}
