"""Text deltas become clauses: no word is lost, the first clause is sent early, and some words stay together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.standin.elevenlabs.reading import shipped_texts
from relay.voices.spoken_words import spoken
from relay.voices.text_for_speech import LONGEST, Clause, TextForSpeech

# Parts of an agent's texts, chosen so that every rule is used.
PARTS = st.sampled_from(
    [
        *(
            "I'm sorry, ",
            "Of course. ",
            "We are open ",
            "from ",
            "and ",
            "Dr. Smith ",
            "at home ",
            "is there? ",
            "Yes! ",
        ),
        *("\n", "a very long word ", "which ", "it is - perhaps - so; ", "(really) ", "Well… ", "  ", "no", "thing "),
        "e.g. this, ",
    ]
)


def clauses(text: str, sizes: list[int]) -> list[Clause]:
    cutter, out, at = TextForSpeech(), [], 0
    for size in sizes:
        out += cutter.feed(text[at : at + size])
        at += size
    return [*out, *cutter.feed(text[at:]), *cutter.end()]


@given(st.lists(PARTS, max_size=30).map("".join), st.lists(st.integers(0, 12), max_size=60))
def test_no_word_is_lost_or_said_twice_wherever_the_text_is_cut(text: str, sizes: list[int]) -> None:
    said = "".join(clause.text for clause in clauses(text, sizes))
    assert [w.strip(",.;") for w in said.split()] == [w.strip(",.;") for w in spoken(text).split()]


@given(st.text(max_size=400), st.lists(st.integers(0, 40), max_size=30))
def test_each_position_of_any_text_is_given_once_and_in_order(text: str, sizes: list[int]) -> None:
    found = clauses(text, sizes)
    ends = [chars for clause in found for _, chars in clause.places]
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(text) for end in ends)
    for clause in found:
        assert clause.sounds == sum(not c.isspace() for c in clause.text)
        assert clause.text.endswith(" ")
        assert [sounds for sounds, _ in clause.places] == sorted({sounds for sounds, _ in clause.places})


def written(text: str, size: int = 16) -> list[str]:
    return [clause.text for clause in clauses(text, [size] * (len(text) // size))]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("I'm sorry, that time is already taken.", "I'm sorry, "),
        ("No problem. What can I do for you?", "No problem. "),
        ("Your table for two is booked for tomorrow.", "Your table for two is booked "),
        ("Are you still there?", "Are you still there? "),
    ],
)
def test_the_first_clause_is_sent_as_soon_as_there_is_a_place_where_a_voice_can_pause(text: str, first: str) -> None:
    assert written(text)[0] == first


def test_the_first_clause_of_half_of_the_agents_sentences_is_complete_within_20_ms() -> None:
    waits_ms = []
    for text in shipped_texts():
        cutter, deltas = TextForSpeech(), 0
        for at in range(0, len(text), 16):
            deltas += 1
            if cutter.feed(text[at : at + 16]):
                break
        waits_ms.append((deltas - 1) * 20)
    assert sorted(waits_ms)[len(waits_ms) // 2] <= 20
    assert max(waits_ms) <= 60


@pytest.mark.parametrize(
    "whole",
    [
        "Dr. Smith",
        "November twenty-ninth, twenty twenty-six",
        "seven p.m. on",
        "harbor dash table dot com",
        "one. First",
    ],
)
def test_words_that_belong_together_are_in_the_same_clause(whole: str) -> None:
    text = (
        "Okay. Dr. Smith comes, as always, from the harbor with us on November 29, 2026 at 7 p.m. on foot, see "
        "[our own page, www.x.com](http://x.com/a, b) and www.harbor-table.com for all of it. \n1. First, look here."
    )
    for size in (1, 3, 16, 400):
        assert any(whole in clause for clause in written(text, size)), (size, written(text, size))


def test_a_text_without_punctuation_is_cut_into_clauses_of_limited_length() -> None:
    assert all(len(clause) <= LONGEST + 20 for clause in written("word " * 300))


def test_half_a_sentence_can_be_sent_early_but_not_half_a_word() -> None:
    cutter = TextForSpeech()
    assert cutter.feed("We are open tomorrow mor") == []
    assert cutter.press() == []  # there is no whole phrase yet
    assert cutter.feed("ning from eleven") != []
    assert cutter.is_waiting
