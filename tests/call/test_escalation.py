"""The rules that lead to a human: the words in a transcript, and the emergency number of each country."""

from __future__ import annotations

import pytest

from relay.call.escalation import Rules, RulesInvalid
from relay.phrases import prompts
from relay.settings import load


def rules(country: str = "US") -> Rules:
    return prompts.load(load({"BUSINESS_COUNTRY": country}, serving=False)).rules


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("misunderstood_words", "Sorry, what?"),
        ("misunderstood_words", "No – that’s NOT what I said!"),
        ("human_words", "Operator!"),
        ("human_words", "I'd like to talk to a   person, please."),
        ("human_words", "Agent."),
        ("human_words", "Representative!"),
        ("emergency_words", "Call 911!"),
        ("emergency_words", "911, 911, please!"),
        ("emergency_words", "We need 911. 20 people are hurt."),
        ("emergency_words", "Somebody call 9-1-1!"),
        ("emergency_words", "He can’t breathe."),
        ("angry_words", "This is RIDICULOUS."),
    ],
)
def test_words_are_found_whatever_a_transcript_puts_around_them(kind: str, text: str) -> None:
    assert rules().says(kind, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("human_words", "Do you serve humans?"),
        ("human_words", "An operatorless lift"),
        ("emergency_words", "My number is 1 9112"),
        ("emergency_words", "Flat 911a, please"),
        ("emergency_words", "My number is 646 911 0147."),
        ("emergency_words", "It was 1,911 dollars"),
        ("angry_words", ""),
        ("topics_hard", "anything"),
    ],
)
def test_a_word_is_not_found_inside_a_longer_word_and_an_empty_list_finds_nothing(kind: str, text: str) -> None:
    assert not rules().says(kind, text)


@pytest.mark.parametrize(
    ("country", "said", "heard", "elsewhere"),
    [
        ("US", "nine one one", "911", "999"),
        ("GB", "nine nine nine", "Dial 999!", "911"),
        ("DE", "one one two", "112", "911"),
    ],
)
def test_each_country_has_its_own_emergency_number(country: str, said: str, heard: str, elsewhere: str) -> None:
    texts = prompts.load(load({"BUSINESS_COUNTRY": country}, serving=False))
    assert f"dial {said}" in texts.phrases["emergency"]
    assert f"dial {said}" in texts.system
    assert texts.rules.says("emergency_words", heard)
    assert not texts.rules.says("emergency_words", elsewhere)


@pytest.mark.parametrize(
    ("country", "text"), [("AU", "My number is 0400 000 123."), ("AU", "It was $1,000."), ("GB", "0161-999-1234")]
)
def test_an_emergency_number_inside_another_number_is_not_found(country: str, text: str) -> None:
    assert not rules(country).says("emergency_words", text)


def test_a_country_that_is_not_in_the_file_is_an_error_that_says_what_to_add() -> None:
    with pytest.raises(prompts.PromptsInvalid, match="no line for BUSINESS_COUNTRY=XX"):
        prompts.load(load({"BUSINESS_COUNTRY": "XX"}, serving=False))


@pytest.mark.parametrize("numbers", [3, {"US": []}, {"US": "911"}, {"US": [""]}, {"US": [911]}])
def test_emergency_numbers_of_the_wrong_type_are_refused(numbers: object) -> None:
    with pytest.raises(RulesInvalid, match="emergency_numbers must be"):
        Rules.from_table({"emergency_numbers": numbers})


def test_an_operator_may_list_no_emergency_number() -> None:
    assert Rules.from_table({}, "XX").emergency_number == "the emergency number"
