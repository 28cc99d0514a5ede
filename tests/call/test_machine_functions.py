"""Functions in the call machine, with scripted events: outputs, and the phrase that a caller hears while one runs."""

from __future__ import annotations

from relay.call.actions import AskForResponse, CreateItem, RunFunction, SendFunctionOutput
from relay.call.vocabulary import FunctionAsked, FunctionReturned, ResponseBegan, ResponseEnded, ResponseId, StaySilent
from tests.helpers.answering import R1, begun, of, talking
from tests.helpers.playbook import PLAIN, SPEECH_DBFS, Stage


def test_after_two_outputs_of_one_response_the_model_is_asked_once() -> None:
    stage = begun(talking())
    stage.tell(FunctionAsked(R1, "call_1", "hours", "{}"))
    # The function returns before the end of the response.
    stage.tell(FunctionReturned("call_1", "hours", "{}", True, 5))
    stage.tell(FunctionAsked(R1, "call_2", "hours", "{}"), ResponseEnded(R1, "completed", None, None))
    assert of(stage, AskForResponse) == []
    stage.tell(FunctionReturned("call_2", "hours", "{}", True, 5))
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["output-2"]
    assert len(of(stage, SendFunctionOutput)) == 2


def test_a_function_call_that_is_reported_twice_runs_once_and_has_one_output() -> None:
    stage = begun(talking())
    asked = FunctionAsked(R1, "call_1", "book", "{}")
    back = FunctionReturned("call_1", "book", "{}", True, 5)
    stage.tell(asked, asked, back, asked, back)
    assert len(of(stage, RunFunction)) == 1
    assert len(of(stage, SendFunctionOutput)) == 1


def test_after_a_function_that_stays_silent_no_answer_is_asked_for() -> None:
    stage = begun(talking())
    stage.tell(FunctionAsked(R1, "call_1", "wait_for_user", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(FunctionReturned("call_1", "wait_for_user", "{}", True, 5, StaySilent()))
    assert of(stage, AskForResponse) == []


def asks(stage: Stage, *, ended: bool = True) -> None:
    """The model calls a function without a word before it."""
    stage.tell(FunctionAsked(R1, "call_1", "book", "{}"))
    if ended:
        stage.tell(ResponseEnded(R1, "completed", None, None))


def phrases(stage: Stage) -> list[str]:
    return [item.text for item in of(stage, CreateItem)]


def test_the_holding_phrase_comes_after_560_ms_of_silence_behind_the_agents_words() -> None:
    stage = begun(talking())
    stage.answer(1, 1_000, "Let me book that.", ended=False)
    asks(stage)
    stage.wait(1_540)
    assert phrases(stage) == []
    stage.wait(60)
    assert phrases(stage) == ["holding"]
    stage.wait(7_000)
    assert phrases(stage) == ["holding", "holding again"]


def test_no_holding_phrase_is_said_for_a_quick_function() -> None:
    stage = begun(talking())
    stage.answer(1, 1_000, "Let me book that.", ended=False)
    stage.wait(1_000)
    asks(stage)
    stage.wait(540)
    assert phrases(stage) == []
    stage.tell(FunctionReturned("call_1", "book", "{}", True, 540, None))
    stage.wait(2_000)
    assert phrases(stage) == []


def test_silence_counts_from_the_callers_last_sound_and_not_from_the_functions_start() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.caller_says(None, 1)  # the end of the turn is known 0.5 s after the last sound
    begun(stage)
    stage.wait(20)
    stage.actions.clear()
    asks(stage)
    stage.wait(20)
    assert phrases(stage) == []
    stage.wait(40)  # now the caller has waited 500 + 20 + 60 ms
    assert phrases(stage) == ["holding"]


def test_if_the_caller_has_waited_for_a_slow_model_the_phrase_comes_as_soon_as_a_function_runs() -> None:
    stage = begun(talking())
    stage.tell(FunctionAsked(R1, "call_1", "book", "{}"), FunctionReturned("call_1", "book", "{}", True, 5, None))
    stage.wait(500)
    assert phrases(stage) == []  # the function returned before the next frame
    stage.tell(FunctionAsked(R1, "call_2", "book", '{"again":1}'))
    stage.wait(40)
    assert phrases(stage) == ["holding"]


def test_the_holding_phrase_is_heard_while_the_model_calls_more_functions() -> None:
    stage = begun(talking())
    asks(stage, ended=False)
    stage.wait(200)
    assert phrases(stage) == ["holding"]


def test_the_phrase_waits_for_an_answer_that_is_on_its_way_but_not_longer_than_two_seconds() -> None:
    stage = begun(talking())
    asks(stage)
    stage.caller_says("hello", 2)
    stage.tell(ResponseBegan(ResponseId("resp_2"), stage.machine.answers._asked_ref))
    stage.wait(980)  # the transcript of "hello" has already taken 1 s of the two seconds
    assert phrases(stage) == []
    stage.wait(60)
    assert phrases(stage) == ["holding"]


def test_noise_on_the_line_does_not_hold_a_phrase_back_for_ever() -> None:
    stage = begun(talking())
    stage.level_dbfs = SPEECH_DBFS  # loud, but the server's VAD does not take it for a voice
    asks(stage)
    stage.wait(680)
    assert phrases(stage) == []
    stage.wait(60)
    assert phrases(stage) == ["holding"]
