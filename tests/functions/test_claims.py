"""The claim check, sentence by sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.functions.claims.claims import check, claims, withdrawn
from relay.functions.claims.deeds import deeds_of
from relay.functions.claims.patterns import BOOKED, CANCELLED, DONE, LISTED, MESSAGE, MOVED, SENT

SHELVES = Path(__file__).parent / "shelves"
# The sentences of claims_before.toml were written before the rules, so they measure the rules fairly. "Shelf" is the
# name for such a file of sentences, which are sorted by the deed that they claim.
BEFORE: dict[str, list[str]] = tomllib.loads((SHELVES / "claims_before.toml").read_text("utf-8"))
AFTER: dict[str, list[str]] = tomllib.loads((SHELVES / "claims_after.toml").read_text("utf-8"))
REVIEWED: dict[str, list[str]] = tomllib.loads((SHELVES / "claims_reviewed.toml").read_text("utf-8"))

CLAIMED = [
    ("I've booked you a table for two at 7 PM.", BOOKED),
    ("I have booked that for you.", BOOKED),
    ("Great, I've just booked your table.", BOOKED),
    ("I booked it for tomorrow at noon.", BOOKED),
    ("We've gone ahead and reserved a table for you.", BOOKED),
    ("Your table is booked for Tuesday at 7 PM.", BOOKED),
    ("Your table for two tomorrow at 7 PM is booked.", BOOKED),
    ("You're booked for 7 PM.", BOOKED),
    ("You’re all booked for 7 PM, anything else I can do?", BOOKED),
    ("Perfect, you're all set for Tuesday at seven.", BOOKED),
    ("That's booked!", BOOKED),
    ("It's booked, Dana.", BOOKED),
    ("Your reservation has been confirmed.", BOOKED),
    ("The appointment is now scheduled for Friday.", BOOKED),
    ("I've got you down for 8 PM.", BOOKED),
    ("I have you booked at 7.", BOOKED),
    ("I've made the reservation under Dana.", BOOKED),
    ("All booked for Tuesday.", BOOKED),
    ("Done. Booked for 7 PM.", BOOKED),
    ("No problem, I've booked it.", BOOKED),
    ("I can confirm that your table is booked.", BOOKED),
    ("Eight is taken, but I've booked you for nine.", BOOKED),
    ("I've put you down for nine o'clock.", BOOKED),
    ("Your booking is complete.", BOOKED),
    ("Your reservation went through.", BOOKED),
    ("Consider it booked.", BOOKED),
    ("Your booking has been made.", BOOKED),
    ("You've been booked for seven.", BOOKED),
    ("I was able to book that for you.", BOOKED),
    ("I've put you in for seven o'clock.", BOOKED),
    ("I've got you in at seven.", BOOKED),
    ("I've secured your table.", BOOKED),
    ("Your appointment with Dr. Lee has been booked.", BOOKED),
    ("I've confirmed your table for two.", BOOKED),
    ("I've made an appointment for you at three.", BOOKED),
    ("I've set up your appointment for Friday.", BOOKED),
    ("I've created the booking.", BOOKED),
    ("The booking is done.", BOOKED),
    ("I've put your booking through.", BOOKED),
    ("Perfect. Tomorrow at seven is booked for you.", BOOKED),
    ("I've cancelled your table. Shall I book you another day?", CANCELLED),
    ("Your three o'clock appointment is cancelled.", CANCELLED),
    ("I've removed your booking.", CANCELLED),
    ("Your reservation has been deleted.", CANCELLED),
    ("The cancellation went through.", CANCELLED),
    ("You've been moved to Friday at eight.", MOVED),
    ("You've been sent a text.", SENT),
    ("I managed to cancel it.", CANCELLED),
    ("Your appointment is now at 3 PM on Friday.", BOOKED),  # a move would also prove this sentence
    ("I've processed the cancellation.", CANCELLED),
    ("I've cancelled your reservation.", CANCELLED),
    ("I've canceled that for you.", CANCELLED),
    ("Your appointment has been cancelled.", CANCELLED),
    ("Okay, that's cancelled.", CANCELLED),
    ("All right, it is now canceled. Anything else?", CANCELLED),
    ("I've moved your appointment to Friday.", MOVED),
    ("Your reservation has been moved to 8 PM.", MOVED),
    ("I've rescheduled it for noon.", MOVED),
    ("I changed your booking to six.", MOVED),
    ("I've taken a message for the manager.", MESSAGE),
    ("Your message has been passed on.", SENT),
    ("I've passed that along to the kitchen.", SENT),
    ("I've sent you a confirmation.", SENT),
    ("I just texted you the address.", SENT),
    ("A confirmation email has been sent.", SENT),
    ("The confirmation is on its way.", SENT),
]

NO_CLAIM = [
    "Shall I book that for you?",
    "I can book that for you.",
    "Would you like me to cancel it?",
    "Let me book that for you.",
    "I'll book it right away.",
    "I'm going to book that now.",
    "It's not booked yet.",
    "Your table isn't booked yet.",
    "I haven't booked anything.",
    "I wasn't able to book that, I'm sorry.",
    "I couldn't cancel your appointment.",
    "Once you confirm, your table is booked.",
    "If you like, I can have it booked in a minute.",
    "Your reservation is cancelled if you don't show up within fifteen minutes.",
    "Is it booked under your name?",
    "Have you booked with us before?",
    "You're booked for Tuesday?",
    "Do you want it cancelled or moved?",
    "We're fully booked tonight.",
    "I'm sorry, we're all booked up on Friday.",
    "Unfortunately 7 PM is already booked.",
    "I'm sorry, that slot is booked.",
    "That one is already reserved.",
    "We open at 11 AM and close at 10 PM.",
    "We moved to Harbor Street in spring.",
    "We've changed our menu.",
    "You can cancel up to two hours before.",
    "Nothing has been booked.",
    "I'll make sure it's booked.",
    "When it's booked, you get a reminder.",
    "I can send you the address, if you like.",
    "A confirmation will be sent to you.",
    "Should I have you down for two people?",
    "I could have that moved to eight.",
    "What name should I put it under?",
    "One moment, I'm booking that for you.",
    "You said you booked online?",
    "I don't think it's booked.",
    "I never cancelled anything.",
    "We've booked out the patio for a wedding.",
    "The table you wanted is booked by another guest.",
    "Before I book it, can I have your name?",
    "After I've booked it you get a text.",
    "Please hold while it is booked.",
    "You're booked for seven, is that right?",
    "You're set for two people, right?",
    "I've confirmed your phone number.",
    "I've confirmed that seven is free.",
    "I've confirmed the hours, we open at eleven.",
    "According to my records it was cancelled last week.",
    "The system shows that your reservation is cancelled.",
    "Your reservation was cancelled by the restaurant on Monday.",
    "I understand your appointment was cancelled.",
    "None of that is booked yet.",
    "Everything's booked that night.",
    "That's booked already, I'm sorry.",
    "Your reservation is confirmed when you receive the text.",
    "A text is sent automatically the day before.",
    "So I've got you down for two people at seven. Shall I book it?",
    "I have you down for seven, under Jane Doe. Is that right?",
    "Okay, I've changed that to eight o'clock. Should I go ahead and book it?",
    "I've put you in touch with the kitchen.",
    "I wasn't able to book that, but eight is free.",
    "Thank you for calling Harbor Table.",
    "",
]


def misses(shelf: dict[str, list[str]]) -> list[str]:
    """The sentences that claim a deed, and that the check does not recognise as this claim."""
    wanted = [(said, deed) for deed, sentences in shelf.items() if deed != "harmless" for said in sentences]
    return [
        said for said, deed in wanted if not any(deed in claim or (deed == "any" and claim) for claim in claims(said))
    ]


def false_alarms(shelf: dict[str, list[str]]) -> list[str]:
    """The sentences that claim nothing, and that the check takes for a claim."""
    return [said for said in shelf["harmless"] if claims(said)]


def test_there_are_300_sentences_and_half_of_them_are_harmless() -> None:
    harmless = len(BEFORE["harmless"]) + len(AFTER["harmless"])
    claiming = sum(len(told) for shelf in (BEFORE, AFTER) for deed, told in shelf.items() if deed != "harmless")
    assert harmless >= 150
    assert claiming >= 150
    assert len(BEFORE["harmless"]) >= 100


@pytest.mark.parametrize("shelf", [BEFORE, AFTER, REVIEWED], ids=["before", "after", "reviewed"])
def test_at_most_one_of_100_harmless_sentences_is_taken_for_a_claim(shelf: dict[str, list[str]]) -> None:
    alarms = false_alarms(shelf)
    assert len(alarms) <= len(shelf["harmless"]) / 100, alarms


@pytest.mark.parametrize("shelf", [BEFORE, AFTER, REVIEWED], ids=["before", "after", "reviewed"])
def test_at_most_five_of_100_claims_are_missed(shelf: dict[str, list[str]]) -> None:
    missed = misses(shelf)
    assert len(missed) <= sum(len(told) for deed, told in shelf.items() if deed != "harmless") / 20, missed


@pytest.mark.parametrize("deeds", [{BOOKED}, {CANCELLED}, {MESSAGE}, {"ordered"}])
def test_after_any_deed_the_agent_may_say_that_it_is_done(deeds: set[str]) -> None:
    assert check("That's all taken care of.", deeds=()).unproved == {DONE}
    assert check("That's all taken care of.", deeds={LISTED}).unproved == {DONE}
    assert check("That's all taken care of.", deeds=deeds).unproved == frozenset()


@pytest.mark.parametrize(("said", "deed"), CLAIMED)
def test_a_claim_without_the_function_is_reported(said: str, deed: str) -> None:
    verdict = check(said, deeds=())
    assert verdict.unproved == {deed}
    assert verdict.correction is not None
    assert "No function has done that" in verdict.correction


@pytest.mark.parametrize(("said", "deed"), CLAIMED)
def test_a_claim_with_its_function_is_right(said: str, deed: str) -> None:
    assert check(said, deeds={deed}) == check("", deeds=())


@pytest.mark.parametrize("said", NO_CLAIM)
def test_offers_and_questions_and_plans_and_denials_are_not_claims(said: str) -> None:
    assert claims(said) == ()


def test_after_a_look_up_the_agent_may_mention_a_booking_but_not_claim_to_have_made_it() -> None:
    assert check("You're booked for Tuesday at 7 PM.", deeds={LISTED}).unproved == frozenset()
    assert check("I've booked you for Tuesday at 7 PM.", deeds={LISTED}).unproved == {BOOKED}


def test_another_deed_does_not_prove_a_claim() -> None:
    assert check("I've cancelled your reservation.", deeds={BOOKED, MESSAGE}).unproved == {CANCELLED}


def test_two_claims_in_one_sentence_are_both_checked() -> None:
    assert check("I've cancelled Tuesday and I've booked you for Friday.", deeds={CANCELLED}).unproved == {BOOKED}


def test_a_deed_that_the_caller_was_not_told_is_reported() -> None:
    verdict = check("We have free parking too.", deeds={BOOKED}, news={BOOKED})
    assert verdict.untold == {BOOKED}
    assert verdict.correction is not None
    assert "the booking was made" in verdict.correction


def test_a_deed_that_the_caller_was_told_is_not_reported() -> None:
    assert check("You're all set for 7 PM.", deeds={BOOKED}, news={BOOKED}).correction is None


def test_a_deed_that_the_agent_denies_is_corrected() -> None:
    verdict = check("I'm sorry, I wasn't able to book that.", deeds={BOOKED}, news={BOOKED})
    assert verdict.withdrawn == {BOOKED}
    assert verdict.correction is not None
    assert "the booking was made" in verdict.correction


@pytest.mark.parametrize(
    ("said", "deed"),
    [
        ("I'm sorry, it is not booked yet.", BOOKED),
        ("I couldn't cancel it.", CANCELLED),
        ("Your appointment hasn't been moved.", MOVED),
        ("I haven't sent anything.", SENT),
    ],
)
def test_if_the_agent_later_denies_a_claim_the_claim_no_longer_counts(said: str, deed: str) -> None:
    assert deed in withdrawn(said)


@pytest.mark.parametrize(
    "said",
    ["You won't be charged for cancelling.", "No problem, I've booked it.", "There is no booking fee.", "Not at all."],
)
def test_if_the_agent_denies_something_else_the_claim_still_counts(said: str) -> None:
    assert withdrawn(said) == frozenset()


def test_if_the_agent_denies_a_claim_only_in_a_question_the_claim_still_counts() -> None:
    assert withdrawn("Wasn't it booked for seven?") == frozenset()


@pytest.mark.parametrize(
    ("ok", "output", "deeds"),
    [
        (True, {"status": "ok", "done": "booked", "id": "a1"}, {BOOKED}),
        (False, {"status": "error", "done": "booked"}, set()),
        (True, {"status": "ok", "appointments": [{"id": "a1"}]}, {LISTED}),
        (True, {"status": "ok", "appointments": []}, set()),
        (True, {"status": "ok", "open": "11 AM"}, set()),
    ],
)
def test_deeds_come_from_successful_outputs(ok: bool, output: dict[str, object], deeds: set[str]) -> None:
    assert deeds_of("any", ok, output) == deeds


@given(st.text(max_size=300))
def test_no_text_makes_the_check_fail(said: str) -> None:
    check(said, deeds=(), news=(BOOKED,))


def test_a_cancellation_followed_by_a_new_booking_proves_a_move() -> None:
    said = "I've moved your appointment to Friday at two."
    assert check(said, deeds={BOOKED, CANCELLED}, news={BOOKED, CANCELLED}).correction is None
    assert check(said, deeds={BOOKED}).unproved == {MOVED}


def test_the_check_of_a_very_long_answer_does_not_delay_the_other_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted:
        read_chars = 0

        def search(self, text: str) -> None:
            self.read_chars += len(text)

    counted = Counted()
    monkeypatch.setattr("relay.functions.claims.claims._CONDITION_BEFORE", counted)
    said = ", ".join(map(str, range(1000)))
    assert claims(said) == ()
    assert counted.read_chars <= 3 * len(said)
