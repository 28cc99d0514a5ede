"""The response queue, which alone sends response.create."""

from __future__ import annotations

import pytest

from relay.call.actions import AskForResponse, CancelResponse
from relay.call.response_queue import (
    ASK_AGAIN_AFTER_S,
    ASK_AGAIN_LIMIT,
    BEGIN_LIMIT_S,
    END_EXPECTED_S,
    END_LIMIT_S,
    PROGRESS_LIMIT_S,
    RETRY_MARGIN_S,
    Answers,
)
from relay.call.vocabulary import ResponseId

R1, R2 = ResponseId("resp_1"), ResponseId("resp_2")


def asked(answers: Answers, kind: str = "turn", now: float = 1.0) -> AskForResponse:
    answers.want(kind)
    request = answers.due(now)
    assert request is not None
    return request


def test_several_wishes_become_one_request_and_the_next_request_waits_until_the_response_has_ended() -> None:
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


def test_a_wish_without_instructions_does_not_replace_one_with_instructions() -> None:
    answers = Answers()
    answers.want("greeting", "Say exactly: hello")
    assert asked(answers).instructions == "Say exactly: hello"


def test_an_answer_that_is_no_longer_wanted_is_cancelled_when_it_begins() -> None:
    answers = Answers()
    request = asked(answers)
    assert answers.cancel(1.25) is None
    assert not answers.is_pending
    assert answers.began(R1, request.ref, 1.2) == CancelResponse(R1)
    assert answers.is_discarded(R1)


def test_an_answer_is_cancelled_only_once_and_not_after_its_end() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    assert answers.cancel(1.25) == CancelResponse(R1)
    assert answers.cancel(1.25) is None
    answers.ended(R1, "cancelled", 1.3)
    assert answers.cancel(1.25) is None


def test_a_request_that_the_server_refused_is_sent_again_after_a_pause() -> None:
    answers = Answers()
    request = asked(answers)
    answers.refused(request.ref, True, 2.0)
    assert answers.due(2.0 + ASK_AGAIN_AFTER_S / 2) is None
    again = answers.due(2.0 + ASK_AGAIN_AFTER_S)
    assert again is not None


def test_a_refused_answer_that_was_cancelled_is_not_asked_for_again() -> None:
    answers = Answers()
    request = asked(answers)
    answers.cancel(1.25)
    answers.refused(request.ref, True, 2.0)
    assert not answers.is_wanted
    request = asked(answers, now=3.0)
    assert answers.began(R1, request.ref, 3.1) is None


def test_an_error_about_something_else_does_not_count_as_a_refusal_of_the_request() -> None:
    answers = Answers()
    asked(answers)
    answers.refused("truncate", False, 2.0)
    answers.refused(None, False, 2.0)
    assert answers.is_busy


def test_a_failed_answer_is_asked_for_again_but_not_for_ever() -> None:
    answers, now = Answers(), 1.0
    answers.want("turn")
    for number in range(ASK_AGAIN_LIMIT + 1):
        now += 1.0
        request = answers.due(now)
        assert request is not None
        response = ResponseId(f"resp_{number}")
        answers.began(response, request.ref, now)
        assert answers.ended(response, "failed", now) == ("again" if number < ASK_AGAIN_LIMIT else "failed")
    assert answers.has_failed
    assert answers.due(now + 10) is None


@pytest.mark.parametrize("status", ["completed", "incomplete", "cancelled"])
def test_an_empty_answer_is_asked_for_again_whatever_its_status(status: str) -> None:
    """A response is `incomplete` and empty if the content filter stopped it, or if all tokens went into thinking."""
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    assert answers.ended(R1, status, 1.4) == "again"
    assert answers.is_wanted


@pytest.mark.parametrize("status", ["incomplete", "cancelled", "failed", "expired"])
def test_after_an_answer_that_breaks_off_its_rest_is_asked_for(status: str) -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.3)
    assert answers.ended(R1, status, 1.4) == "rest"
    rest = answers.due(1.5 + ASK_AGAIN_AFTER_S)
    assert rest is not None
    assert rest.ref == "rest-2"


def test_an_answer_that_breaks_off_several_times_is_given_up() -> None:
    answers, now = Answers(), 1.0
    answers.want("turn")
    follows = []
    for number in range(ASK_AGAIN_LIMIT + 1):
        now += 1.0
        request = answers.due(now)
        assert request is not None
        response = ResponseId(f"resp_{number}")
        answers.began(response, request.ref, now)
        answers.progressed(response, now)
        follows.append(answers.ended(response, "incomplete", now))
    assert follows == ["rest", "rest", "failed"]
    assert answers.has_failed


def test_a_request_waits_as_long_as_the_server_says_and_this_wait_does_not_count_as_a_failure() -> None:
    answers, now = Answers(), 1.0
    answers.want("turn")
    for number in range(5):
        request = answers.due(now)
        assert request is not None
        response = ResponseId(f"resp_{number}")
        answers.began(response, request.ref, now)
        assert answers.ended(response, "failed", now, 2.5) == "later"
        assert answers.due(now + 2.5) is None
        assert answers.waits_as_told(now + 2.5)
        now += 2.5 + RETRY_MARGIN_S
    assert not answers.has_failed


@pytest.mark.parametrize("waits_s", [[20.0], [8.0, 8.0]])
def test_a_wait_that_is_too_long_counts_as_a_failure(waits_s: list[float]) -> None:
    answers, now = Answers(), 1.0
    answers.want("turn")
    for number, wait_s in enumerate(waits_s):
        request = answers.due(now)
        assert request is not None
        response = ResponseId(f"resp_{number}")
        answers.began(response, request.ref, now)
        answers.ended(response, "failed", now, wait_s)
        now += wait_s + 1.0
    assert answers.has_failed


def test_an_answer_whose_end_is_not_reported_delays_the_next_request_by_one_second_only() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.3)
    answers.completed(R1, 1.4)
    answers.want("turn")
    assert answers.due(1.4 + END_EXPECTED_S - 0.1) is None
    assert answers.due(1.4 + END_EXPECTED_S) is not None


def test_no_request_is_sent_while_an_answer_is_not_complete() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.3)
    answers.completed(R1, 1.4)
    answers.progressed(R1, 1.5)  # a second message of the same answer
    answers.want("turn")
    assert answers.due(5.0) is None
    assert answers.unended(5.0) is None


def test_a_server_that_refuses_because_an_answer_runs_is_asked_less_and_less_often() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.3)
    answers.completed(R1, 1.4)
    answers.want("turn")
    at, now = [], 1.4
    while now < 12.0:
        now += 0.1
        request = answers.due(now)  # type: ignore[assignment]
        if request is not None:
            at.append(now)
            answers.refused(request.ref, True, now)
    assert len(at) <= 5
    assert answers.active == R1


def test_a_response_that_began_late_after_all_is_active_again() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.3)
    answers.completed(R1, 1.4)
    assert answers.unended(1.4 + END_LIMIT_S) == R1
    answers.presume_ended(R1)
    answers.ended(R1, "completed", 1.4 + END_LIMIT_S)
    assert not answers.is_pending
    answers.progressed(R1, 5.0)
    assert answers.is_discarded(R1) is False
    assert answers.active == R1
    assert not answers.has_ended(R1)


def test_a_response_whose_beginning_is_reported_twice_or_late_begins_once() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.2)
    answers.progressed(R1, 1.2)
    answers.began(R1, request.ref, 1.3)
    answers.ended(R1, "completed", 1.4)
    answers.began(R1, request.ref, 1.5)
    assert answers.active is None
    assert answers.ended(R1, "completed", 1.6) == "nothing"


def test_a_model_that_neither_begins_nor_goes_on_is_stuck() -> None:
    answers = Answers()
    request = asked(answers)
    assert not answers.is_stuck(1.0 + BEGIN_LIMIT_S)
    assert answers.is_stuck(1.1 + BEGIN_LIMIT_S)
    answers.began(R1, request.ref, 3.0)
    answers.progressed(R1, 4.0)
    assert not answers.is_stuck(4.0 + PROGRESS_LIMIT_S)
    assert answers.is_stuck(4.1 + PROGRESS_LIMIT_S)


def test_a_request_that_was_lost_with_its_session_is_sent_to_the_next_session() -> None:
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
    assert third.instructions is None, "a greeting that had begun was asked for again"


def test_a_lost_session_leads_to_no_request_when_nobody_waited() -> None:
    answers = Answers()
    request = asked(answers)
    answers.began(R1, request.ref, 1.1)
    answers.cancel(1.25)
    answers.lost()
    assert not answers.is_wanted
