"""The deeds of a call are compared, turn by turn, with the words that the caller was told."""

from __future__ import annotations

from typing import Any

import pytest

from relay.functions.claims.claims import tells
from relay.functions.claims.deeds import CORRECTIONS, Deeds
from relay.functions.claims.patterns import BOOKED, CANCELLED, DONE, MESSAGE, MOVED, SENT

BOOKING: dict[str, Any] = {"status": "ok", "done": "booked", "id": "a1", "when": "Tuesday, November 24 at 7 PM"}


def booked(now: float = 10.0) -> Deeds:
    deeds = Deeds()
    deeds.returned("book_appointment", True, BOOKING, now)
    return deeds


@pytest.mark.parametrize(
    ("said", "deed"),
    [
        ("You're all set!", BOOKED),
        ("Great, see you on Tuesday.", BOOKED),
        ("Your appointment is on Tuesday at seven.", BOOKED),
        ("That's done for you.", CANCELLED),
        ("It's now at eight instead.", MOVED),
        ("Thank you, I will pass it on.", MESSAGE),
        ("The confirmation is on its way.", SENT),
        ("Su mesa queda para el martes a las siete.", BOOKED),  # the check knows no words of other languages
        ("", "ordered"),  # a deed of an owner's function, for which the check has no words
    ],
)
def test_a_sentence_needs_fewer_words_to_report_a_deed_than_to_claim_one(said: str, deed: str) -> None:
    assert tells(said, deed)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "We have free parking too.",
        "I'm sorry, I can't reach our booking system right now.",
        "Would you like me to book that?",
        "I could not book it. What else can I do for you?",
        "The kitchen is open until ten.",
    ],
)
def test_words_about_something_else_and_denials_do_not_count_as_a_report_of_a_booking(said: str) -> None:
    assert not tells(said, BOOKED)


def test_a_deed_that_the_next_turn_mentions_counts_as_told() -> None:
    deeds = booked()
    assert deeds.heard("Your table is booked for Tuesday.", 11.0, more_comes=False) is None
    assert deeds.are_told_right
    assert deeds.heard("I'm sorry, it is not booked.", 15.0, more_comes=False) is None  # this is about another booking


def test_a_turn_that_began_before_the_deed_does_not_have_to_mention_it() -> None:
    deeds = booked(now=10.0)
    assert deeds.heard("Let me see what we have.", 9.9, more_comes=False) is None
    assert deeds.are_told_right


def test_a_turn_that_another_turn_follows_does_not_have_to_mention_the_deed_yet() -> None:
    deeds = booked()
    assert deeds.heard("We have free parking too.", 11.0, more_comes=True) is None
    assert deeds.are_told_right
    assert deeds.heard("What else can I do for you?", 14.0, more_comes=False) is not None


def test_a_denied_deed_is_corrected_at_once_and_counts_as_wrong_until_it_is_told() -> None:
    deeds = booked()
    correction = deeds.heard("I'm sorry, I couldn't book that.", 11.0, more_comes=False)
    assert correction is not None
    assert "the booking was made" in correction
    assert not deeds.are_told_right
    assert deeds.heard("My mistake, your table is booked.", 14.0, more_comes=False) is None
    assert deeds.are_told_right


def test_a_claim_without_a_deed_counts_as_wrong_until_it_is_done_or_withdrawn() -> None:
    for end in ("done", "withdrawn"):
        deeds = Deeds()
        assert deeds.heard("I've booked it for you.", 5.0, more_comes=False) is not None
        assert not deeds.are_told_right
        if end == "done":
            deeds.returned("book_appointment", True, BOOKING, 6.0)
        else:
            deeds.heard("I'm sorry, it is not booked yet.", 8.0, more_comes=False)
        assert deeds.are_told_right


def test_a_repeated_function_call_with_the_first_result_is_not_a_second_deed() -> None:
    deeds = booked()
    deeds.heard("It's booked.", 11.0, more_comes=False)
    deeds.returned("book_appointment", True, BOOKING, 20.0)
    assert deeds.heard("What else can I do for you?", 21.0, more_comes=False) is None
    deeds.returned("book_appointment", True, BOOKING | {"id": "a2"}, 30.0)
    assert deeds.heard("What else can I do for you?", 31.0, more_comes=False) is not None


def test_a_function_that_failed_is_not_a_deed() -> None:
    deeds = Deeds()
    deeds.returned("book_appointment", False, {"status": "error", "done": "booked"}, 1.0)
    assert deeds.heard("What else can I do for you?", 2.0, more_comes=False) is None
    assert deeds.heard("It's booked.", 3.0, more_comes=False) is not None


def test_a_model_that_ignores_corrections_is_not_corrected_for_ever() -> None:
    deeds = Deeds()
    corrections = [deeds.heard("I've booked it for you.", at, more_comes=False) for at in (1.0, 2.0, 3.0, 4.0)]
    assert [each is not None for each in corrections] == [True] * CORRECTIONS + [False] * (4 - CORRECTIONS)
    assert not deeds.are_told_right


def test_after_any_later_deed_the_claim_that_it_is_done_is_right() -> None:
    deeds = Deeds()
    deeds.heard("Okay, that's all taken care of.", 1.0, more_comes=False)
    assert deeds.unproved == {DONE}
    deeds.returned("order_flowers", True, {"status": "ok", "done": "ordered"}, 2.0)
    assert deeds.are_told_right
