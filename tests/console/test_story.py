"""One call as lines, and the sentences for the owner about it."""

from __future__ import annotations

import datetime as dt

import pytest

from relay.call.vocabulary import EndReason
from relay.console import wording
from relay.console.search import Question, key_of
from relay.console.story import lines, waterfall
from relay.server.admission import Refusal

BEGAN = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)


def test_words_and_functions_and_the_notice_are_listed_in_the_order_of_time() -> None:
    tables: dict[str, list[dict[str, object]]] = {
        "transcripts": [
            {"role": "caller", "said": "Book a table.", "heard": None, "started_ms": 9000, "ended_ms": 11000},
            {
                "role": "agent",
                "said": "Hello there.",
                "heard": "Hello",
                "started_ms": 0,
                "ended_ms": 900,
                "interrupted": True,
            },
        ],
        "function_calls": [
            {
                "name": "book_appointment",
                "arguments": {"name": "Jane"},
                "output": {"done": "booked"},
                "ok": True,
                "took_ms": 200.0,
                "recorded_at": BEGAN + dt.timedelta(seconds=12.2),
            }
        ],
        "consents": [{"announced": "This call may be transcribed.", "heard_at": BEGAN + dt.timedelta(seconds=7)}],
        "recording_pauses": [{"from_ms": 15000, "to_ms": None, "why": "the caller asked for it"}],
    }
    found = lines(tables, BEGAN)
    assert [line.kind for line in found] == ["agent", "note", "caller", "function", "note"]
    assert found[0].words == "Hello"
    assert found[0].said == "Hello there."
    assert found[0].interrupted
    assert found[3].at_ms == 12_000
    assert ("→ done", "booked") in found[3].details


def test_a_call_without_words_still_has_its_lines() -> None:
    (line,) = lines({"transcripts": [{"role": "agent", "said": None, "heard": None, "started_ms": 5}]}, None)
    assert line.words == ""
    assert line.at_ms == 5


def test_a_waterfall_shows_the_length_of_each_step_until_the_caller_hears_the_answer() -> None:
    steps = waterfall({"stopped_heard": 500, "first_delta": 1100, "first_written": 1110, "first_heard": 1180})
    assert [step.ms for step in steps] == [500, 600, 10, 70]
    assert sum(step.percent for step in steps) == pytest.approx(100, abs=0.3)


def test_a_waterfall_with_missing_or_odd_steps_is_still_shown() -> None:
    assert waterfall(None) == ()
    assert waterfall({"stopped_heard": None, "first_heard": None}) == ()
    assert [step.ms for step in waterfall({"stopped_heard": 900, "first_delta": 700, "first_heard": 1000})] == [
        900,
        0,
        100,
    ]


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_end_reason_has_a_sentence(reason: EndReason) -> None:
    assert reason in wording.ENDINGS


def test_an_unknown_word_is_shown_unchanged() -> None:
    assert wording.ending("struck_by_lightning") == "struck by lightning"
    assert wording.ending(None) == "Still running, or its end is not known"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("booked", "booked"),
        ("booked,message_taken", "booked, left a message"),
        ("talked unverified", "talked, the agent's words and deeds differ"),
        (None, ""),
    ],
)
def test_an_outcome_is_described_in_words(text: str | None, words: str) -> None:
    assert wording.outcome(text) == words


@pytest.mark.parametrize("refusal", [*Refusal, "no_stream", "relay_lost"])
def test_every_reason_why_a_call_did_not_get_the_agent_has_words(refusal: str) -> None:
    assert refusal in wording.OUTCOMES


def test_a_caller_who_wanted_a_person_outside_human_hours_is_among_what_went_wrong() -> None:
    assert wording.wrong({"transfer_result": "closed"}) == "The caller wanted a person: nobody was on duty."


def test_numbers_and_money_and_days_are_written_in_a_short_form() -> None:
    assert wording.short_number("+12125550101") == "… 0101"
    assert wording.short_number(None) == "hidden number"
    assert wording.usd(0.0213) == "2.1 ¢"
    assert wording.usd(50) == "$50.00"
    assert wording.seconds(187.2) == "3:07"
    assert wording.clock(BEGAN, dt.UTC, BEGAN.date()) == "today 12:00"
    assert wording.clock(BEGAN, dt.UTC, BEGAN.date() + dt.timedelta(days=1)) == "yesterday 12:00"


def test_a_search_uses_the_valid_filters_and_names_the_invalid_ones() -> None:
    asked = Question.of({"q": "jane", "day": "yesterday", "cost": "x", "after": "nonsense", "unknown": "1"})
    assert asked.q == "jane"
    assert asked.day == ""
    assert len(asked.odd) == 3
    assert asked.link(after="x~CA1") == "?q=jane&after=x~CA1"


def test_the_next_page_begins_after_the_last_call() -> None:
    asked = Question.of({"after": key_of(BEGAN, "CA1")})
    _, values = asked.beyond()
    assert values == {"after_at": BEGAN, "after_sid": "CA1"}
