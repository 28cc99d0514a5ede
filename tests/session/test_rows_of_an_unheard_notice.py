"""What is stored of a call whose caller hears the notice late or never: the facts always, the words only after it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relay.ledger import rows
from relay.phrases.phrase_book import PhraseBook
from relay.standin.model import reactions
from relay.standin.model.script import Script
from relay.standin.twilio.streaming import Direction
from tests.helpers.greeting_play import QUESTION, Told, ring
from tests.helpers.play import stage

# The caller speaks over the notice. The model answers at once with these functions.
BOOKS: dict[str, object] = {
    "call": "book_appointment",
    "arguments": {"name": "Jane Doe", "service": "table for two", "start": "2026-11-24T19:00:00", "notes": "widow"},
}
LOOKS_UP: dict[str, object] = {"call": "lookup_hours", "arguments": {"date": "2026-11-24"}}
SPEAKS_OVER = '{ interrupt_after_ms = 2000, say = "ask_hours" }, { silent_s = 8 }, { hang_up = true }'
SPEAKS_AFTER = '{ listen = true }, { say = "ask_hours" }, { silent_s = 8 }, { hang_up = true }'


def model(reaction: dict[str, object]) -> Script:
    table = {"clip": "ask_hours", "say": "One moment.", "then": "That is done.", **reaction}
    return Script.from_table({"first_delta_ms": 50, "reaction": [table]})


def nothing_arrives(monkeypatch: pytest.MonkeyPatch, from_s: float, until_s: float) -> None:
    """What Twilio and the relay send each other between these two moments of a stream arrives at the second one.

    The notice ends at 7.5 s, so its mark comes back at `until_s`.
    """
    began: dict[Direction, float] = {}

    def arrives(line: Direction, now: float) -> float:
        since_s = now - began.setdefault(line, now)
        return now + (until_s - since_s if from_s <= since_s < until_s else 0.0)

    monkeypatch.setattr(Direction, "instant", False)
    monkeypatch.setattr(Direction, "arrives", arrives)


def model_leaves_the_notice_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = reactions.literal
    monkeypatch.setattr(reactions, "literal", lambda text: QUESTION if asked(text) else "")


def functions_of(told: Told) -> list[rows.FunctionCallRow]:
    return told.play.ledger.of(rows.FunctionCallRow, told.report.call_sid)


def has_no_words(told: Told) -> bool:
    texts = [text for turn in told.turns for text in (turn.said, turn.heard) if text]
    stored = str(functions_of(told))
    return texts == [] and not any(word in stored for word in ("Jane", "widow", "2026-11-24"))


async def test_a_booking_from_before_the_late_mark_of_the_notice_is_stored_in_full_after_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_arrives(monkeypatch, 7.0, 11.0)
    async with stage(script=model(BOOKS)) as play:
        told = await ring(play, SPEAKS_OVER)
        assert [consent.heard_at is not None for consent in told.consents] == [True]
        (booking,) = functions_of(told)
        assert booking.arguments == BOOKS["arguments"]
        assert (booking.state, booking.ok) == ("done", True)
        assert booking.output is not None
        assert booking.output["id"] == "apt_1"
        assert booking.output["name"] == "Jane Doe"


@pytest.mark.parametrize(
    ("reaction", "output"), [(LOOKS_UP, None), (BOOKS, {"status": "ok", "done": "booked", "id": "apt_1"})]
)
async def test_a_function_that_ran_before_the_notice_was_proved_leaves_its_facts_if_the_call_ends(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, reaction: dict[str, object], output: object
) -> None:
    nothing_arrives(monkeypatch, 7.0, 30.0)
    async with stage(script=model(reaction)) as play:
        told = await ring(play, SPEAKS_OVER)
        assert [consent.heard_at for consent in told.consents] == [None]
        (row,) = functions_of(told)
        assert (row.name, row.ok, row.output) == (reaction["call"], True, output)
        assert row.took_ms is not None
        assert told.turns
        assert has_no_words(told)
        assert told.end_reason == "caller_hung_up"


@pytest.mark.parametrize(
    ("reaction", "output"), [(LOOKS_UP, None), (BOOKS, {"status": "ok", "done": "booked", "id": "apt_1"})]
)
async def test_a_call_whose_notice_the_model_left_out_leaves_its_facts(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, reaction: dict[str, object], output: object
) -> None:
    model_leaves_the_notice_out(monkeypatch)
    async with stage(script=model(reaction), kept=False) as play:
        told = await ring(play, SPEAKS_AFTER)
        (row,) = functions_of(told)
        assert (row.name, row.ok, row.output) == (reaction["call"], True, output)
        assert row.took_ms is not None
        assert [turn.role for turn in told.turns][:3] == ["agent", "caller", "agent"]
        assert has_no_words(told)
        outcome = play.ledger.of(rows.OutcomeRow, told.report.call_sid)[-1]
        assert outcome.turns == len(told.turns)
        assert outcome.latency_p50_ms is not None


async def test_a_stream_that_cannot_say_the_notice_again_writes_each_turn_at_once_and_without_words(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PhraseBook, "learn", lambda *_: False)  # The next stream has no sound of the live greeting.
    cut = '[[trouble]]\ndoes = "socket_cut"\nupon = "stream_started"\nafter_s = 3.0'
    written_s: list[float] = []
    async with stage(script=model(LOOKS_UP), kept=False) as play:
        record = play.ledger.record

        def watched(row: rows.Row, *also: rows.Row) -> None:
            record(row, *also)
            if isinstance(row, rows.TranscriptRow | rows.FunctionCallRow):
                written_s.append(trio.current_time())

        monkeypatch.setattr(play.ledger, "record", watched)
        steps = '{ silent_s = 12 }, { say = "ask_hours" }, { silent_s = 12 }, { hang_up = true }'
        told = await ring(play, steps, rest=cut)
        assert told.report.streams == 2
        assert [row.name for row in functions_of(told)] == ["lookup_hours"]
        assert has_no_words(told)
        assert [at_s for at_s in written_s if 12.0 < at_s < trio.current_time() - 5.0]


async def test_a_call_that_ends_during_the_greeting_leaves_its_facts(autojump_clock: MockClock) -> None:
    async with stage() as play:
        told = await ring(play, '{ interrupt_after_ms = 2000, say = "ask_hours" }, { hang_up = true }')
        assert told.call.from_number == "+12125550101"
        assert told.end_reason == "caller_hung_up"
        assert [consent.heard_at for consent in told.consents] == [None]
        assert {turn.role for turn in told.turns} == {"agent", "caller"}
        assert all(turn.ended_ms is not None for turn in told.turns)
        assert has_no_words(told)
