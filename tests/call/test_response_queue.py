"""The one owner of response.create."""

from __future__ import annotations

import pytest

from relay.call.actions import AskForResponse, CancelResponse
from relay.call.response_queue import ASK_AGAIN_AFTER_S, ASK_AGAIN_LIMIT, BEGIN_LIMIT_S, PROGRESS_LIMIT_S, Answers
from relay.call.vocabulary import ResponseId

R1, R2 = ResponseId("resp_1"), ResponseId("resp_2")


def asked(answers: Answers, kind: str = "turn", now: float = 1.0) -> AskForResponse:
    answers.want(kind)
    request = answers.due(now)
    assert request is not None
    return request


def test_three_wishes_are_one_request_and_the_next_waits_for_its_end() -> None:
    answers = Answers()
    answers.want("turn")
    answers.want("output")
    request = asked(answers, "output")
    assert request.ref == "output-1"
    answers.want("turn")
    assert answers.due(1.1) is None
    assert answers.began(R1, request.ref, 1.2) is None
    assert answers.due(1.3) is None
    answers.progressed(R1, 1.3)
    answers.ended(R1, "completed", 1.4)
    following = answers.due(1.4)
    assert following is not None
    assert following.ref == "turn-2"


def test_instructions_are_not_lost_to_a_plain_wish() -> None:
    answers = Answers()
    answers.want("greeting", "Say exactly: hello")
    assert asked(answers).instructions == "Say exactly: hello"


def test_an_answer_that_is_asked_for_and_not_wanted_any_more_is_cancelled_when_it_begins() -> None:
    answers = Answers()
    request = asked(answers)
    assert answers.cancel() is None
    assert not answers.is_pending
    assert answers.began(R1, request.ref, 1.2) == CancelResponse(R1)
    assert answers.is_discarded(R1)


def test_nothing_is_cancelled_twice_nor_what_has_ended() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    assert answers.cancel() == CancelResponse(R1)
    assert answers.cancel() is None
    answers.ended(R1, "cancelled", 1.3)
    assert answers.cancel() is None


def test_a_refusal_of_a_second_answer_waits_for_the_end_of_the_first() -> None:
    answers = Answers()
    request = asked(answers)
    answers.refused(request.ref, True, 2.0)
    assert answers.due(2.0 + ASK_AGAIN_AFTER_S / 2) is None
    again = answers.due(2.0 + ASK_AGAIN_AFTER_S)
    assert again is not None


def test_a_refused_answer_that_was_cancelled_is_not_asked_for_again() -> None:
    answers = Answers()
    request = asked(answers)
    answers.cancel()
    answers.refused(request.ref, True, 2.0)
    assert not answers.is_wanted
    request = asked(answers, now=3.0)
    assert answers.began(R1, request.ref, 3.1) is None


def test_an_error_about_something_else_refuses_nothing() -> None:
    answers = Answers()
    asked(answers)
    answers.refused("truncate", False, 2.0)
    answers.refused(None, False, 2.0)
    assert answers.is_busy


def test_failures_are_tried_again_but_not_for_ever() -> None:
    answers, now = Answers(), 1.0
    answers.want("turn")
    for number in range(ASK_AGAIN_LIMIT + 1):
        now += 1.0
        request = answers.due(now)
        assert request is not None
        response = ResponseId(f"resp_{number}")
        answers.began(response, request.ref, now)
        assert answers.ended(response, "failed", now) is (number < ASK_AGAIN_LIMIT)
    assert answers.has_failed
    assert answers.due(now + 10) is None


@pytest.mark.parametrize("status", ["completed", "incomplete", "cancelled"])
def test_an_answer_without_anything_in_it_is_asked_for_again_however_it_ended(status: str) -> None:
    """`incomplete` too: a filter before the first sound, or a model that spent its tokens on thinking."""
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    assert answers.ended(R1, status, 1.4)
    assert answers.is_wanted


def test_an_answer_that_was_cut_short_by_its_limit_is_not_asked_for_again() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.3)
    assert not answers.ended(R1, "incomplete", 1.4)
    assert not answers.is_wanted


def test_a_response_that_is_told_twice_or_late_begins_once() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.2)
    answers.began(R1, request.ref, 1.3)
    answers.ended(R1, "completed", 1.4)
    answers.began(R1, request.ref, 1.5)
    assert answers.active is None
    assert not answers.ended(R1, "completed", 1.6)


def test_a_model_that_neither_begins_nor_goes_on_is_stuck() -> None:
    answers = Answers()
    request = asked(answers)
    assert not answers.is_stuck(1.0 + BEGIN_LIMIT_S)
    assert answers.is_stuck(1.1 + BEGIN_LIMIT_S)
    answers.began(R1, request.ref, 3.0)
    answers.progressed(R1, 4.0)
    assert not answers.is_stuck(4.0 + PROGRESS_LIMIT_S)
    assert answers.is_stuck(4.1 + PROGRESS_LIMIT_S)


def test_what_a_lost_session_was_asked_is_asked_of_the_next() -> None:
    answers = Answers()
    answers.want("greeting", "Say exactly: hello")
    request = answers.due(1.0)
    assert request is not None
    answers.began(R1, request.ref, 1.1)
    answers.lost()
    again = answers.due(1.2)
    assert again is not None
    assert again.instructions == "Say exactly: hello"
    answers.began(R2, again.ref, 1.3)
    answers.progressed(R2, 1.4)
    answers.lost()
    third = answers.due(1.5)
    assert third is not None
    assert third.instructions is None, "a greeting that was begun is not begun anew"


def test_a_lost_session_is_not_missed_when_nobody_waited() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.1)
    answers.cancel()
    answers.lost()
    assert not answers.is_wanted
