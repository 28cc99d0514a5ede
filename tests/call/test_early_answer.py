"""Early answers: they are withheld until the caller's turn is over, and taken back if the turn goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.call.actions import (
    Action,
    AskForResponse,
    CancelResponse,
    DeleteItem,
    Play,
    RecordTurn,
    Report,
    RunFunction,
    SendFunctionOutput,
)
from relay.call.call_config import Voice
from relay.call.early_answer import VAD_SILENCE_MS, EarlyAnswer
from relay.call.early_governor import reads_out
from relay.call.turn_end import (
    BEGINNING_WAIT_MS,
    FUNCTION_WAIT_MS,
    LATE_WAIT_MS,
    ON_TIME_MS,
    READING_WAIT_MS,
    WAIT_MS,
    TurnLengths,
    asks_signs,
)
from relay.call.vocabulary import (
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    DayMoneyShort,
    DigitPressed,
    EndCall,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ItemPlaced,
    ModelLost,
    ModelObjected,
    ModelReady,
    ModelSpoke,
    RateLimitsTold,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    VoiceBilled,
)
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, SPEECH_DBFS, Stage, tone

EARLY = replace(PLAIN, answer_early=True)
R1, R2 = ResponseId("resp_1"), ResponseId("resp_2")
ANSWER = ItemId("item_1")
USAGE: dict[str, object] = {"input_tokens": 100, "output_tokens": 20, "output_token_details": {"audio_tokens": 20}}


def stage(**plan: object) -> Stage:
    """A call whose greeting is over."""
    return Stage(replace(EARLY, **plan)).arrive(wait_ms=5_000)  # type: ignore[arg-type] # a plan's own fields


# The lengths of a whole turn, of a turn that may be only a beginning, and of one word, in ms.
LONG_MS, SHORT_MS, WORD_MS = 2_000, 700, 400
# The time from the server's report of the silence until 20 ms before the end of the wait.
WITHHELD_MS = WAIT_MS - VAD_SILENCE_MS - 20
BEGINNING_WITHHELD_MS = BEGINNING_WAIT_MS - VAD_SILENCE_MS - 20


def says(play: Stage, number: int, ms: int = LONG_MS, words: str | None = None) -> list[Action]:
    """Let the caller speak for `ms` and be silent, until the server has reported the silence."""
    item = ItemId(f"caller_{number}")
    play.level_dbfs = SPEECH_DBFS
    done = play.wait(60)
    done += play.tell(CallerSpoke(item, 0))
    done += play.wait(ms - 60)
    play.level_dbfs = SILENCE_DBFS
    done += play.wait(VAD_SILENCE_MS)
    done += play.tell(CallerPaused(item, 0), CallerCommitted(item, None))
    if words is not None:
        done += play.tell(CallerTranscribed(item, words))
    return done


def answers(play: Stage, response: ResponseId = R1, item: ItemId = ANSWER, ms: int = 500) -> list[Action]:
    """Let the model begin to answer with this many ms of audio."""
    sound = tone(ms)
    begun = ResponseBegan(response, play.machine.answers._asked_ref)
    return play.tell(begun, ItemPlaced(item, None, "assistant"), ModelSpoke(response, item, sound, len(sound) / 8))


def calls_a_function(play: Stage) -> list[Action]:
    """Let the model answer with a function instead of words."""
    return play.tell(
        ResponseBegan(R1, play.machine.answers._asked_ref),
        FunctionAsked(R1, "call_1", "create_booking", "{}", ItemId("function_1")),
        ResponseEnded(R1, "completed", None, None),
    )


def of(kind: type, done: list[Action]) -> list[Action]:
    return [action for action in done if isinstance(action, kind)]


def test_the_answer_is_asked_for_when_the_server_reports_the_silence() -> None:
    play = stage()
    assert of(AskForResponse, says(play, 1))


def test_the_sound_of_an_early_answer_is_withheld_until_the_silence_is_long_enough() -> None:
    play = stage()
    says(play, 1)
    assert not of(Play, answers(play) + play.wait(WITHHELD_MS))
    assert of(Play, play.wait(60))


@pytest.mark.parametrize("ms", [SHORT_MS, WORD_MS])
def test_after_a_short_beginning_the_wait_is_longer(ms: int) -> None:
    play = stage()
    says(play, 1, ms=ms)
    assert not of(Play, answers(play) + play.wait(BEGINNING_WAIT_MS - VAD_SILENCE_MS - 20))
    assert of(Play, play.wait(60))


def test_if_a_caller_says_little_a_turn_that_is_long_for_this_caller_is_not_taken_for_a_beginning() -> None:
    play = stage()
    for number in range(1, 21):
        says(play, number, ms=SHORT_MS)
        play.answer(number, 500)
        play.wait(3_000)
    says(play, 21, ms=SHORT_MS + 100)
    assert not of(Play, answers(play, ResponseId("resp_21"), ItemId("item_21")) + play.wait(WITHHELD_MS))
    assert of(Play, play.wait(60))


def test_if_the_caller_goes_on_after_the_answer_has_begun_the_length_of_that_turn_is_forgotten() -> None:
    play = stage()
    lengths = play.machine.call.early._lengths
    lengths.ended(WORD_MS)
    lengths.ended(WORD_MS)
    says(play, 1, ms=WORD_MS)
    answers(play)
    play.wait(BEGINNING_WAIT_MS)
    assert lengths.wait_ms(440.0) == WAIT_MS
    says(play, 2)
    assert lengths.wait_ms(440.0) == BEGINNING_WAIT_MS


def test_if_a_turn_goes_on_several_times_only_the_length_of_one_turn_is_forgotten() -> None:
    lengths = TurnLengths()
    for ms in (400.0, 390.0, 380.0, 360.0):
        lengths.ended(ms)
    lengths.was_none()
    lengths.was_none()
    assert lengths.wait_ms(399.0) == BEGINNING_WAIT_MS
    assert lengths.wait_ms(400.0) == WAIT_MS


def test_an_answer_that_comes_a_moment_after_the_silence_is_heard_at_once() -> None:
    play = stage()
    says(play, 1)
    play.wait(ON_TIME_MS - VAD_SILENCE_MS - 20)
    assert of(Play, answers(play))


def test_an_answer_that_comes_late_lets_the_caller_pause_for_longer() -> None:
    play = stage()
    says(play, 1)
    play.wait(ON_TIME_MS - VAD_SILENCE_MS + 40)
    late_ms = BEGINNING_WAIT_MS - ON_TIME_MS - 80
    assert not of(Play, answers(play) + play.wait(late_ms))
    assert of(Play, play.wait(60))


def test_a_turn_that_goes_on_after_a_late_answer_is_answered_on_time() -> None:
    play = stage()
    says(play, 1, ms=WORD_MS)
    play.wait(ON_TIME_MS - VAD_SILENCE_MS + 40)
    answers(play)
    says(play, 2, ms=WORD_MS)
    play.tell(ResponseEnded(R1, "cancelled", "client_cancelled", None))
    assert not of(Play, answers(play, R2, ItemId("item_2")) + play.wait(WITHHELD_MS))
    assert of(Play, play.wait(60))


def test_if_the_caller_goes_on_the_early_answer_is_deleted_before_the_next_one_is_asked_for() -> None:
    play = stage()
    says(play, 1)
    done = answers(play) + play.wait(100) + says(play, 2, ms=SHORT_MS)
    assert not of(Play, done)
    assert of(CancelResponse, done) == [CancelResponse(R1)]
    assert not of(AskForResponse, done), "the next answer is asked for before the server has ended the first one"
    done = play.tell(ResponseEnded(R1, "cancelled", "client_cancelled", None))
    assert [type(each) for each in done] == [DeleteItem, AskForResponse]
    assert not of(RecordTurn, done)


def test_an_early_answer_that_was_complete_is_deleted_at_once() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    play.tell(ResponseEnded(R1, "completed", None, USAGE))
    done = says(play, 2)
    assert DeleteItem(ANSWER) in done
    assert of(AskForResponse, done)
    assert not of(CancelResponse, done)


def test_the_pieces_of_a_turn_become_one_row_in_the_order_in_which_they_were_said() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    play.wait(100)
    says(play, 2)
    done = play.tell(
        CallerTranscribed(ItemId("caller_2"), "for two."), CallerTranscribed(ItemId("caller_1"), "A table")
    )
    rows = [action for action in done if isinstance(action, RecordTurn)]
    assert [row.said for row in rows] == ["for two.", "A table for two."]
    assert [row.gap for row in rows] == [True, False]
    assert len({row.seq for row in rows}) == 1
    callers = [turn for turn in play.machine.conversation.turns() if turn.role == "caller"]
    assert len(callers) == 1
    assert callers[0].ended_ms - callers[0].started_ms > 1_200


def test_another_piece_of_speech_takes_the_early_answer_back_although_only_its_end_was_reported() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    done = play.tell(CallerCommitted(ItemId("caller_2"), None))
    assert of(CancelResponse, done) == [CancelResponse(R1)]
    assert not of(AskForResponse, done)
    done = play.tell(ResponseEnded(R1, "cancelled", "client_cancelled", None))
    assert [type(each) for each in done] == [DeleteItem, AskForResponse]
    assert not of(Play, answers(play, R2, ItemId("item_2")))
    assert play.wait(1_000)
    assert not play.ear.heard.get(ANSWER)
    assert play.ear.heard[ItemId("item_2")]


def test_a_refused_request_does_not_forget_another_early_answer() -> None:
    early = EarlyAnswer(is_on=True)
    early._asked_ref, early._back_ref = "newer", "taken back"
    early.refused("taken back")
    early.began(R2, "newer")
    assert early.response == R2


@pytest.mark.parametrize("way", ["an error event", "the end of the response"])
def test_if_the_server_asks_us_to_wait_no_more_early_answers_are_asked_for(way: str) -> None:
    play = stage()
    says(play, 1)
    ref = play.machine.answers._asked_ref
    if way == "an error event":
        play.tell(ModelObjected("rate_limit_exceeded", "Please try again in 4 s.", ref, 4.0))
    else:
        play.tell(ResponseBegan(R1, ref), ResponseEnded(R1, "failed", "rate_limit_exceeded", None, 4.0))
    assert play.machine.call.early.governor.why_off == "rate limit"
    assert of(AskForResponse, play.wait(6_000))


def test_words_after_the_end_of_a_turn_become_another_turn() -> None:
    play = stage()
    says(play, 1)
    play.wait(BEGINNING_WAIT_MS)
    says(play, 2)
    assert len([turn for turn in play.machine.conversation.turns() if turn.role == "caller"]) == 2


def test_a_function_of_an_early_answer_is_not_run_before_the_turn_is_over() -> None:
    play = stage()
    says(play, 1)
    done = calls_a_function(play)
    assert not of(RunFunction, done + play.wait(WITHHELD_MS))
    assert of(RunFunction, play.wait(60)) == [RunFunction("call_1", "create_booking", "{}", 10)]
    done = play.tell(FunctionReturned("call_1", "create_booking", "{}", True, 10))
    assert [type(each) for each in done] == [SendFunctionOutput, AskForResponse]


def test_a_function_after_a_short_beginning_runs_before_the_silence_is_too_long() -> None:
    play = stage()
    says(play, 1, ms=SHORT_MS)
    done = calls_a_function(play)
    assert not of(RunFunction, done + play.wait(FUNCTION_WAIT_MS - VAD_SILENCE_MS - 20))
    assert of(RunFunction, play.wait(60))


def test_a_quick_function_that_was_held_back_needs_no_holding_phrase() -> None:
    play = stage()
    says(play, 1)
    calls_a_function(play)
    ran = False
    done: list[Action] = []
    for _ in range(WAIT_MS // 5):
        done += play.wait(5)
        if not ran and of(RunFunction, done):
            ran = True
            done += play.tell(FunctionReturned("call_1", "create_booking", "{}", True, 1))
    assert ran
    assert not of(Play, done)


def test_a_short_word_while_a_function_runs_is_answered_after_the_usual_wait() -> None:
    """A caller who says "Hello?" waits already. After BEGINNING_WAIT_MS they would have waited more than 900 ms."""
    play = stage()
    says(play, 1)
    calls_a_function(play)
    assert of(RunFunction, play.wait(WAIT_MS))
    says(play, 2, ms=WORD_MS)
    play.wait(WITHHELD_MS)
    assert play.machine.call.early.turn is not None
    play.wait(60)
    assert play.machine.call.early.turn is None


def test_if_an_answer_is_taken_back_its_function_never_runs_and_the_model_forgets_the_function_call() -> None:
    play = stage()
    says(play, 1)
    calls_a_function(play)
    done = says(play, 2) + play.wait(2_000)
    assert DeleteItem(ItemId("function_1")) in done
    assert not of(RunFunction, done)


@pytest.mark.parametrize("item", ["function_1", ""])  # "": the server does not name the item of the function call.
def test_a_function_that_is_called_after_its_answer_was_taken_back_never_runs(item: str) -> None:
    play = stage()
    says(play, 1)
    answers(play)
    says(play, 2)
    done = play.tell(
        FunctionAsked(R1, "call_1", "create_booking", "{}", ItemId(item)),
        ResponseEnded(R1, "cancelled", None, None),
    )
    refused = [each.function_call_id for each in done if isinstance(each, SendFunctionOutput)]
    assert (DeleteItem(ItemId("function_1")) in done, refused) == ((True, []) if item else (False, ["call_1"]))
    assert not of(RunFunction, done + play.wait(2_000))


def test_an_early_answer_that_was_taken_back_before_it_began_is_cancelled_when_it_begins() -> None:
    play = stage()
    says(play, 1)
    ref = play.machine.answers._asked_ref
    assert not of(CancelResponse, says(play, 2))
    assert CancelResponse(R1) in play.tell(ResponseBegan(R1, ref))
    assert play.machine.call.early.was_taken_back(R1)
    assert of(AskForResponse, play.tell(ResponseEnded(R1, "cancelled", None, None)))


def test_noise_that_the_server_does_not_take_for_speech_does_not_delay_the_answer() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    play.level_dbfs = SPEECH_DBFS
    assert not of(Play, play.wait(WITHHELD_MS))
    assert of(Play, play.wait(60))


def test_if_our_level_vad_misses_the_last_words_the_wait_begins_with_the_silence_that_the_servers_vad_reports() -> None:
    play = stage()
    play.level_dbfs = SPEECH_DBFS
    play.wait(60)
    play.tell(CallerSpoke(ItemId("caller_1"), 0))
    play.wait(LONG_MS)
    play.level_dbfs = -58.0  # too quiet for our level VAD, but not for the server's VAD
    play.wait(600 + VAD_SILENCE_MS)
    play.tell(CallerPaused(ItemId("caller_1"), 0), CallerCommitted(ItemId("caller_1"), None))
    assert not of(Play, answers(play) + play.wait(WITHHELD_MS))
    assert of(Play, play.wait(60))


def test_our_level_vad_hears_a_caller_who_goes_on_before_the_server_reports_it() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    play.wait(WITHHELD_MS - 40)
    play.level_dbfs = SPEECH_DBFS
    assert not of(Play, play.wait(200)), "the answer is heard, although the caller speaks again after 660 ms of silence"
    play.tell(CallerSpoke(ItemId("caller_2"), 0))
    assert not of(Play, play.wait(400))


def test_when_no_frames_come_the_answer_is_not_held_back_for_ever() -> None:
    play = stage()
    says(play, 1)
    play.frames_come = False
    answers(play)
    assert of(Play, play.wait(800))


def test_a_short_piece_after_a_long_piece_gets_one_answer_together_with_the_long_one() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    says(play, 2, ms=160)
    done = play.tell(ResponseEnded(R1, "cancelled", None, None))
    assert of(AskForResponse, done)
    answers(play, R2, ItemId("item_2"))
    done = play.wait(600) + play.tell(
        CallerTranscribed(ItemId("caller_1"), "A table"), CallerTranscribed(ItemId("caller_2"), "please.")
    )
    assert of(Play, done)
    assert not of(AskForResponse, done + play.wait(3_000)), "the turn has more than one answer"


def test_a_piece_that_was_only_noise_is_removed_from_the_row_of_its_turn() -> None:
    play = stage()
    says(play, 1, words="A table for two.")
    says(play, 2, ms=100)
    done = play.tell(CallerTranscribed(ItemId("caller_2"), ""))
    assert DeleteItem(ItemId("caller_2")) in done
    rows = [action for action in done if isinstance(action, RecordTurn)]
    assert [(row.said, row.gap) for row in rows] == [("A table for two.", False)]


def test_words_that_ask_for_a_human_are_found_over_several_pieces_and_count_only_once() -> None:
    play = stage(rules=replace(PLAIN.rules, human_words=("real person",)))
    says(play, 1, words="A real")
    assert play.machine.call.dialled == ""
    says(play, 2, words="person please.")
    assert play.machine.call.dialled == "asked for a person"


def test_a_refusal_of_the_recording_is_found_over_several_pieces() -> None:
    play = stage()
    says(play, 1, words="Please do not")
    says(play, 2, words="record this call.")
    assert play.machine.call.consent.refused


def test_keys_during_an_early_answer_wait_for_the_end_of_the_turn() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    play.tell(DigitPressed("1"))
    assert not of(Play, play.wait(200))
    assert of(Play, play.wait(WITHHELD_MS - 140))


def test_after_a_lost_session_the_early_answer_is_dropped_and_the_next_session_is_asked_once() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    done = play.tell(ModelLost(1011, "gone"), ModelReady("sess_2", "mini"))
    assert not [action for action in of(Play, done) if isinstance(action, Play) and action.item_id == ANSWER]
    done = play.wait(2_000)
    assert len(of(AskForResponse, done)) == 1
    assert not [action for action in of(Play, done) if isinstance(action, Play) and action.item_id == ANSWER]


def test_the_cost_of_an_answer_that_was_taken_back_is_listed_separately_and_is_also_in_the_sum() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    says(play, 2)
    play.tell(ResponseEnded(R1, "cancelled", None, USAGE))
    bill = play.machine.meter.bill()
    assert bill.early["taken_back"] == 1
    assert bill.early["asked"] == 2
    assert bill.early["input_tokens"] == 100
    assert 0 < bill.early["usd"] == pytest.approx(bill.usd)


def test_if_an_answer_was_already_billed_when_it_is_taken_back_its_cost_is_also_listed_separately() -> None:
    play = stage()
    says(play, 1)
    answers(play)
    play.tell(ResponseEnded(R1, "completed", None, USAGE))
    assert "usd" not in play.machine.meter.bill().early
    says(play, 2)
    assert play.machine.meter.bill().early["usd"] > 0


def takes_back(play: Stage, numbers: range) -> None:
    """The caller goes on after each of these pieces of speech, so the early answer to it is taken back."""
    for number in numbers:
        says(play, number)
        response = ResponseId(f"resp_{number}")
        answers(play, response, ItemId(f"item_{number}"))
        play.tell(CallerSpoke(ItemId(f"caller_{number + 1}"), 0), ResponseEnded(response, "cancelled", None, None))


def test_a_caller_who_often_goes_on_gets_no_more_early_answers_and_then_waits_as_if_they_were_off() -> None:
    play = stage()
    takes_back(play, range(1, 7))
    done = says(play, 7)
    assert not of(AskForResponse, done)
    done += play.wait(LATE_WAIT_MS - VAD_SILENCE_MS - 20)
    assert not of(AskForResponse, done)
    done = play.wait(60)
    assert len(of(AskForResponse, done)) == 1
    assert [action.fields[0] for action in done if isinstance(action, Report)] == [("why", "taken back too often")]


def test_a_caller_who_pauses_once_in_every_turn_is_still_answered_early() -> None:
    play = stage()
    for turn in range(8):
        takes_back(play, range(2 * turn + 1, 2 * turn + 2))
        assert of(AskForResponse, says(play, 2 * turn + 2))
        answers(play, ResponseId(f"heard_{turn}"), ItemId(f"heard_{turn}"))
        play.tell(ResponseEnded(ResponseId(f"heard_{turn}"), "completed", None, None))
        play.wait(3_000)


def test_the_characters_of_an_answer_that_was_taken_back_are_listed_separately_too() -> None:
    play = stage(voice=Voice("another", 0.0001))
    says(play, 1)
    answers(play)
    play.tell(VoiceBilled(40, R1))
    says(play, 2)
    play.tell(ResponseEnded(R1, "cancelled", None, None))
    early = play.machine.meter.bill().early
    assert early["characters"] == 40
    assert early["usd"] >= 0.004


def test_when_most_of_the_days_money_is_spent_no_early_answer_is_asked_for() -> None:
    play = stage()
    play.tell(DayMoneyShort())
    assert not of(AskForResponse, says(play, 1))
    done = play.wait(LATE_WAIT_MS)
    assert of(AskForResponse, done)
    assert [action.fields[0] for action in done if isinstance(action, Report)] == [("why", "the day's money")]


@pytest.mark.parametrize("left", [0.05, 0.5])
def test_near_the_rate_limit_no_early_answer_is_asked_for(left: float) -> None:
    play = stage()
    play.tell(RateLimitsTold(left))
    assert bool(of(AskForResponse, says(play, 1))) == (left > 0.1)


def test_near_the_cap_in_dollars_no_early_answer_is_asked_for() -> None:
    play = stage(limits=replace(PLAIN.limits, call_usd=0.001))
    says(play, 1)
    answers(play)
    play.tell(ResponseEnded(R1, "completed", None, {"output_token_details": {"audio_tokens": 45}}))
    play.wait(1_000)
    assert not of(AskForResponse, says(play, 2))
    assert of(AskForResponse, play.wait(400))


def test_a_caller_who_reads_out_a_number_is_not_answered_between_the_groups_of_digits() -> None:
    play = stage()
    assert of(AskForResponse, says(play, 1))
    play.tell(CallerTranscribed(ItemId("caller_1"), "It is 555"))
    says(play, 2)
    done = play.tell(ResponseBegan(R1, play.machine.answers._asked_ref), ResponseEnded(R1, "cancelled", None, None))
    assert not of(AskForResponse, done)
    assert not of(AskForResponse, play.wait(READING_WAIT_MS - VAD_SILENCE_MS - 20))
    assert of(AskForResponse, play.wait(60))


def test_a_caller_who_was_asked_for_a_number_is_not_answered_after_the_first_group_of_digits() -> None:
    play = stage()
    play.tell(ResponseBegan(ResponseId("resp_0"), None))
    play.answer(0, 1_000, "Of course. What is your phone number?")
    play.wait(2_000)
    assert not of(AskForResponse, says(play, 1) + play.wait(READING_WAIT_MS - VAD_SILENCE_MS - 20))
    assert of(AskForResponse, play.wait(60))


@pytest.mark.parametrize("words", ["555 0123", "D O E.", "It's 5 5 5", "J as in J, A, N, E"])
def test_digits_and_letters_count_as_reading_out(words: str) -> None:
    assert reads_out(words)


@pytest.mark.parametrize(
    "words", ["A table for 2", "Tomorrow at 7:30 in the evening", "I am 42", "", "I'd like a room"]
)
def test_a_number_in_a_sentence_does_not_count_as_reading_out(words: str) -> None:
    assert not reads_out(words)


def test_without_early_answers_a_turn_is_over_when_it_becomes_an_item() -> None:
    play = stage(answer_early=False)
    says(play, 1)
    assert of(Play, answers(play))
    assert play.machine.call.early.turn is None


@pytest.mark.parametrize(
    "said",
    ["What is your phone number?", "Sure. How do you spell that?", "What's your e-mail address?", "Which zip code?"],
)
def test_a_question_for_something_that_is_read_out_is_recognised(said: str) -> None:
    assert asks_signs(said)


@pytest.mark.parametrize(
    "said",
    [
        "Is your phone number 555 0123?",
        "I have your phone number. Anything else?",
        "For how many?",
        "What name is it?",
        "",
    ],
)
def test_other_words_are_not_a_question_for_something_that_is_read_out(said: str) -> None:
    assert not asks_signs(said)


def test_if_an_earlier_function_ends_the_call_the_withheld_answer_is_taken_back_and_a_goodbye_is_said() -> None:
    play = stage()
    says(play, 1)
    calls_a_function(play)
    assert of(RunFunction, play.wait(WAIT_MS))
    says(play, 2)
    answers(play, R2, ItemId("item_2"))
    done = play.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, effect=EndCall("bye")))
    done += play.wait(500)
    assert ItemId("item_2") not in {each.item_id for each in done if isinstance(each, Play)}
    assert of(Play, done)
