"""A text as it is read aloud: without markdown and emoji, and with all numbers in words."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.voices.number_words import LARGEST, cardinal, digits, ordinal, year
from relay.voices.spoken_words import spoken, tokens

SPOKEN = [
    # markdown and emoji
    ("**Sure!** 😀 See you.", "Sure! See you."),
    ("# Hours\n- Monday: 5–7 pm\n- Tuesday: 3pm", "Hours. Monday: five to seven p.m. Tuesday: three p.m."),
    ("11am-3pm", "eleven a.m. to three p.m."),
    ("See [our menu](https://x.com/a,b).", "See our menu."),
    ("![photo](x.png) `code` ~~no~~ snake_case", "code no snake case"),
    ("👩‍👩‍👧 family 🇺🇸", "family"),
    # times
    ("11:00 to 22:00.", "eleven o'clock to ten p.m."),
    ("at 7:05 p.m. on", "at seven oh five p.m. on"),
    ("at 7pm", "at seven p.m."),
    ("It's 7 PM. Okay?", "It's seven p.m. Okay?"),
    ("at 0:15", "at twelve fifteen a.m."),
    # dates
    ("November 29, 2026", "November twenty-ninth, twenty twenty-six"),
    ("Nov. 3", "November third"),
    ("The 29th of November", "the twenty-ninth of November"),
    ("5 May 2027", "the fifth of May twenty twenty-seven"),
    ("a table for 5 may be free", "a table for five may be free"),
    ("on 2026-11-29", "on November twenty-ninth, twenty twenty-six"),
    ("on 11/29/2026", "on November twenty-ninth, twenty twenty-six"),
    ("24/7 and 1/2 hour", "twenty-four seven and one half hour"),
    # prices
    ("$5", "five dollars"),
    ("$1.01", "one dollar and one cent"),
    ("$45.50", "forty-five dollars and fifty cents"),
    ("$0.99", "ninety-nine cents"),
    ("£1.01, €100", "one pound and one penny, one hundred euros"),
    ("$1.2 million", "one point two million dollars"),
    ("$1,200", "one thousand two hundred dollars"),
    ("$5-7", "five dollars to seven"),
    # phone numbers
    ("(212) 555-0100", "two one two, five five five, zero one zero zero"),
    ("212-555-0100", "two one two, five five five, zero one zero zero"),
    ("+12125550102", "plus one, two one two, five five five, zero one zero two"),
    ("+1 212 555 0100", "plus one, two one two, five five five, zero one zero zero"),
    # numbers
    ("10% of 1,234,567", "ten percent of one million two hundred thirty-four thousand five hundred sixty-seven"),
    ("3.14 and #5", "three point one four and number five"),
    ("the 3rd and 22nd", "the third and twenty-second"),
    ("in 1984, at 1234 Main", "in nineteen eighty-four, at twelve thirty-four Main"),
    ("zip 10001", "zip one zero zero zero one"),
    ("code X7K9Q2, table A12", "code X seven K nine Q two, table A twelve"),
    # the rest
    ("jane.doe@example.com", "jane dot doe at example dot com"),
    ("www.harbor-table.com/menu.", "harbor dash table dot com slash menu."),
    ("off & on, and/or", "off and on, and or"),
    ("Monday–Friday — nine", "Monday to Friday, nine"),
    ("I’m flat-rate", "I'm flat-rate"),
    ("Grüße, señor", "Grüße, señor"),
]  # fmt: skip


@cache
def engine() -> Any:
    """The import takes three seconds of CPU, so only the process that runs this test does it."""
    import inflect

    return inflect.engine()


@pytest.mark.parametrize(("text", "words"), SPOKEN)
def test_a_text_is_written_in_the_words_that_people_say(text: str, words: str) -> None:
    assert spoken(text) == words


@given(st.text(max_size=200))
def test_any_text_becomes_words_without_digits_or_markup(text: str) -> None:
    words = spoken(text)
    assert not any(c in words for c in "*_`#~|<>[]{}\\")
    assert not any(c.isascii() and c.isdigit() for c in words)
    ends = [token.end for token in tokens(text)]
    assert ends == sorted(ends)


@given(st.integers(0, LARGEST))
def test_numbers_have_the_same_words_as_in_the_package_inflect(number: int) -> None:
    said = str(engine().number_to_words(str(number), andword="")).replace(",", "")
    assert cardinal(number) == " ".join(said.split())
    said = str(engine().ordinal(said))
    assert ordinal(number) == " ".join(said.split())


def test_years_and_single_digits_have_their_own_words() -> None:
    assert [year(n) for n in (1100, 1905, 1984, 2000, 2005, 2010, 2026)] == [
        "eleven hundred", "nineteen oh five", "nineteen eighty-four", "two thousand", "two thousand five",
        "twenty ten", "twenty twenty-six",
    ]  # fmt: skip
    assert digits("402") == "four zero two"
