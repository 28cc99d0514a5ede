"""A model that calls functions without end: it is asked for an answer in words, and then a human takes the call."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from relay.call.actions import AskForResponse, CreateItem, Report, RunFunction, SendFunctionOutput
from relay.call.running_functions import CALLS, ROUNDS, SILENT_ROUNDS
from relay.call.state import Next
from relay.call.vocabulary import FunctionAsked, FunctionReturned, ResponseBegan, ResponseEnded, ResponseId
from relay.call.wording import ANSWER_NOW, TOO_MANY
from tests.helpers.answering import of
from tests.helpers.playbook import PLAIN, Stage, phrase

Result = Callable[[int, FunctionAsked], FunctionReturned]


def ok(number: int, asked: FunctionAsked) -> FunctionReturned:
    return FunctionReturned(asked.function_call_id, asked.name, "{}", True, 5)


def refused(number: int, asked: FunctionAsked) -> FunctionReturned:
    return replace(ok(number, asked), ok=False, refused=True)


def failed(number: int, asked: FunctionAsked) -> FunctionReturned:
    return replace(ok(number, asked), ok=False)


def in_turns(number: int, asked: FunctionAsked) -> FunctionReturned:
    return (refused if number % 2 else failed)(number, asked)


def talking(**plan: object) -> Stage:
    stage = Stage(replace(PLAIN, **plan)).arrive(1_500)  # type: ignore[arg-type] # fields of the plan
    stage.caller_says("what time", 1)
    return stage


class Looping:
    """A model that answers each request with a function call, until it is told to use words."""

    def __init__(self, stage: Stage, *, says: bool = False, obeys: bool = True, result: Result = ok) -> None:
        self.stage, self.says, self.obeys, self.result = stage, says, obeys, result
        self.numbers = itertools.count(1)
        self.seen = 0

    def go(self, limit: int = 200) -> int:
        """Answer until nothing more is asked for. Return how many functions ran."""
        for _ in range(limit):
            self.stage.wait(700)
            requests = of(self.stage, AskForResponse)[self.seen :]
            if not requests or self.stage.machine.ending is not None:
                break
            self.seen += len(requests)
            self._answer(requests[-1])
        return len(of(self.stage, RunFunction))

    def _answer(self, request: AskForResponse) -> None:
        number = next(self.numbers)
        if request.instructions is not None and self.obeys:
            self.stage.answer(number, 1_000, "I could not find that out.", ref=request.ref)
            return
        response = ResponseId(f"resp_{number}")
        if self.says:
            self.stage.answer(number, 400, "Let me check.", ended=False, ref=request.ref)
        else:
            self.stage.tell(ResponseBegan(response, request.ref))
        asked = FunctionAsked(response, f"call_{number}", "look_up", f'{{"n": {number}}}')
        ran = len(of(self.stage, RunFunction))
        self.stage.tell(asked, ResponseEnded(response, "completed", None, None))
        if len(of(self.stage, RunFunction)) > ran:
            self.stage.tell(self.result(number, asked))


def ways_out(stage: Stage) -> list[str]:
    return [report.level for report in of(stage, Report) if report.name == "functions.without_end"]


def test_a_model_that_only_looks_up_is_asked_for_an_answer_in_words() -> None:
    stage = talking()
    assert Looping(stage).go() == SILENT_ROUNDS
    last = of(stage, AskForResponse)[-1]
    assert last.instructions == ANSWER_NOW
    assert ways_out(stage) == ["warning"]
    assert stage.machine.ending is None


def test_look_ups_with_words_between_them_are_stopped_as_well() -> None:
    stage = talking()
    assert Looping(stage, says=True).go() == ROUNDS
    assert of(stage, AskForResponse)[-1].instructions == ANSWER_NOW
    assert stage.machine.ending is None


def test_three_look_ups_in_a_row_are_allowed() -> None:
    stage = talking()
    model = Looping(stage)
    for _ in range(3):
        request = of(stage, AskForResponse)[-1]
        assert request.instructions is None
        model._answer(request)
        stage.wait(300)
    assert of(stage, AskForResponse)[-1].instructions is None
    assert ways_out(stage) == []


def test_there_may_be_any_number_of_look_ups_if_the_caller_asks_before_each_one() -> None:
    stage = talking()
    model = Looping(stage)
    for turn in range(8):
        for _ in range(3):
            model._answer(of(stage, AskForResponse)[-1])
            stage.wait(300)
        number = next(model.numbers)
        stage.answer(number, 800, "We open at nine.", ref=of(stage, AskForResponse)[-1].ref)
        stage.wait(1_500)
        stage.caller_says("and the next day", 100 + turn)
        stage.wait(300)
    assert ways_out(stage) == []
    assert len(of(stage, RunFunction)) == 24


def test_a_model_that_goes_on_calling_functions_after_the_request_for_words_brings_a_human() -> None:
    stage = talking()
    assert Looping(stage, obeys=False).go() == SILENT_ROUNDS
    assert ways_out(stage) == ["warning", "error"]
    assert stage.machine.ending is not None
    assert stage.machine.ending.then is Next.HUMAN


def test_look_ups_without_end_are_stopped_although_no_human_can_take_the_call() -> None:
    stage = talking(
        human_available=False, phrases=PLAIN.phrases | {"trouble_message": phrase("please leave a message")}
    )
    Looping(stage, obeys=False).go()
    assert stage.machine.ending is not None
    assert len(of(stage, AskForResponse)) < 20


def test_endless_look_ups_for_the_third_time_in_a_call_bring_the_human() -> None:
    stage = talking()
    model = Looping(stage)
    for turn in range(3):
        model.go()
        stage.wait(1_500)
        stage.caller_says("what else", 200 + turn)
    assert ways_out(stage) == ["warning", "warning", "error"]
    assert stage.machine.ending is not None


@pytest.mark.parametrize("result", [refused, failed, in_turns])
def test_a_function_that_never_works_is_not_called_for_ever(result: Result) -> None:
    stage = talking()
    assert Looping(stage, result=result).go() <= SILENT_ROUNDS
    assert stage.machine.ending is not None or ways_out(stage) == ["warning"]


def test_refusals_and_failures_count_together() -> None:
    stage = talking()
    assert Looping(stage, result=in_turns).go() <= 5
    assert stage.machine.ending is not None
    assert stage.machine.ending.then is Next.HUMAN


def test_a_few_refusals_alone_do_not_bring_a_human() -> None:
    stage = talking()
    model = Looping(stage, result=refused)
    for _ in range(4):
        model._answer(of(stage, AskForResponse)[-1])
        stage.wait(300)
    assert stage.machine.ending is None


def test_an_answer_that_calls_a_hundred_functions_has_only_the_first_ones_run() -> None:
    stage = talking()
    response = ResponseId("resp_9")
    stage.tell(ResponseBegan(response, "turn-1"))
    for number in range(100):
        asked = FunctionAsked(response, f"c{number}", "look_up", f'{{"n": {number}}}')
        ran = len(of(stage, RunFunction))
        stage.tell(asked)
        if len(of(stage, RunFunction)) > ran:
            stage.tell(ok(number, asked))
    stage.tell(ResponseEnded(response, "completed", None, None))
    assert len(of(stage, RunFunction)) == CALLS
    assert [each.output for each in of(stage, SendFunctionOutput)].count(TOO_MANY) == 100 - CALLS
    assert of(stage, AskForResponse)[-1].instructions == ANSWER_NOW


def test_a_phrase_is_not_said_twice_in_a_row_during_several_look_ups() -> None:
    stage = talking()
    for number in range(5):
        response = ResponseId(f"resp_{number}")
        stage.tell(ResponseBegan(response, of(stage, AskForResponse)[-1].ref if number else "turn-1"))
        stage.tell(FunctionAsked(response, f"c{number}", "look_up", f'{{"n": {number}}}'))
        stage.tell(ResponseEnded(response, "completed", None, None))
        stage.wait(6_000)
        stage.tell(FunctionReturned(f"c{number}", "look_up", "{}", True, 6_000))
    said = [item.text for item in of(stage, CreateItem) if item.role == "assistant"]
    assert len(said) >= 5
    assert all(one != other for one, other in itertools.pairwise(said))
    assert said.count(said[0]) == 1
