"""The recording notice: who hears it, when words may be stored, and what the ledger keeps about it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from trio.testing import MockClock

from relay import settings
from relay.ledger import rows
from relay.phrases import prompts
from relay.recordings.cipher import new_key
from relay.standin.business.faults import Faults as Backends
from relay.standin.model import reactions
from relay.standin.model.script import Faults, Script
from tests.helpers.greeting_play import NOTICE, OPENING, QUESTION, WHOLE, Told, prompt_model, ring
from tests.helpers.play import stage

STATE = {"RECORD_NOTICE": "by_state"}
# The caller speaks over the notice, early enough that the words are transcribed before the notice ends.
EARLY_WORDS = '{ interrupt_after_ms = 2000, say = "ask_hours" }'


def words_stored(told: Told) -> list[str]:
    """All words of the call in the ledger: in transcripts, in the arguments of functions, and in messages."""
    ledger, sid = told.play.ledger, told.report.call_sid
    found = [text for turn in ledger.of(rows.TranscriptRow, sid) for text in (turn.said, turn.heard) if text]
    found += [str(row.arguments) for row in ledger.of(rows.FunctionCallRow, sid) if row.arguments]
    return found + [row.text for row in ledger.of(rows.MessageRow, sid) if row.text]


async def test_words_from_before_the_notice_are_stored_once_it_was_heard(autojump_clock: MockClock) -> None:
    async with stage() as play:
        told = await ring(play, f"{EARLY_WORDS}, {{ listen = true }}, {{ listen = true }}, {{ hang_up = true }}")
        assert "caller: Hi, what time do you open tomorrow?" in told.said
        assert [row.name for row in play.ledger.of(rows.FunctionCallRow, told.report.call_sid)] == ["lookup_hours"]


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "live"])
async def test_words_of_a_caller_who_leaves_before_the_notice_was_heard_are_dropped(
    autojump_clock: MockClock, kept: bool
) -> None:
    async with stage(script=prompt_model(), kept=kept) as play:
        told = await ring(play, f"{EARLY_WORDS}, {{ silent_s = 2 }}, {{ hang_up = true }}")
        assert play.model.sessions[0].report.heard == ["Hi, what time do you open tomorrow?"]  # the model heard it
        assert words_stored(told) == []
        assert {turn.role for turn in told.turns} == {"agent", "caller"}  # that somebody spoke, and when
        (consent,) = told.consents
        assert consent.announced == NOTICE
        assert consent.heard_at is None
        assert told.end_reason == "caller_hung_up"


async def test_no_answer_is_asked_for_while_the_notice_is_said(autojump_clock: MockClock) -> None:
    async with stage(script=Script(transcription_s=(0.2, 0.2))) as play:
        await ring(play, f"{EARLY_WORDS}, {{ silent_s = 3 }}, {{ hang_up = true }}")
        assert play.model.sessions[0].report.story == ["heard 'Hi, what time do you open tomorrow?'"]


async def test_no_word_is_in_the_ledger_before_the_mark_of_the_notice_has_come_back(autojump_clock: MockClock) -> None:
    async with stage() as play:
        seen: list[tuple[bool, int]] = []
        record = play.ledger.record

        def watched(row: rows.Row, *also: rows.Row) -> None:
            record(row, *also)
            heard = any(consent.heard_at for consent in play.ledger.of(rows.ConsentRow))
            words = len(play.ledger.of(rows.TranscriptRow)) + len(play.ledger.of(rows.FunctionCallRow))
            seen.append((heard, words))

        play.ledger.record = watched  # type: ignore[method-assign] # counts the words after each row
        await ring(play, f"{EARLY_WORDS}, {{ listen = true }}, {{ listen = true }}, {{ hang_up = true }}")
        assert [words for heard, words in seen if not heard and words] == []
        assert [words for heard, words in seen if heard and words]


async def test_the_ledger_says_what_was_announced_in_which_version_and_when_it_was_heard(
    autojump_clock: MockClock,
) -> None:
    async with stage() as play:
        (consent,) = (await ring(play)).consents
        assert consent.announced == NOTICE
        assert consent.version == hashlib.sha256(NOTICE.encode()).hexdigest()[:16]
        assert consent.rule == "always"
        assert consent.announced_at is not None
        assert consent.heard_at is not None
        assert 7.0 < (consent.heard_at - consent.announced_at).total_seconds() < 8.0  # the opening is 7.5 s long


async def test_if_the_model_does_not_say_the_notice_no_word_is_stored(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reactions.literal
    monkeypatch.setattr(reactions, "literal", lambda text: QUESTION if asked(text) else "")
    async with stage(script=prompt_model(), kept=False) as play:
        steps = (
            '{ listen = true }, { say = "ask_booking" }, { listen = true }, { say = "yes_right" }, { listen = true }'
        )
        told = await ring(play, steps + ", { hang_up = true }")
        assert told.report.heard[0] == QUESTION
        assert len(play.business.diary.bookings) == 1  # the caller is served
        assert words_stored(told) == []
        (booking,) = play.ledger.of(rows.FunctionCallRow, told.report.call_sid)[-1:]
        assert (booking.ok, booking.arguments) == (True, {})
        assert booking.output == {"status": "ok", "done": "booked", "id": "apt_1"}
        assert [consent.heard_at for consent in told.consents] == [None]


async def test_a_message_that_the_caller_leaves_is_stored_although_the_notice_was_left_out(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reactions.literal
    monkeypatch.setattr(reactions, "literal", lambda text: QUESTION if asked(text) else "")
    takes = {"clip": "message_words", "call": "take_message", "then": "Thank you, I will pass on your message."}
    script = Script.from_table(
        {"first_delta_ms": 50, "reaction": [takes | {"arguments": {"name": "Jane Doe", "message": "Two boxes short."}}]}
    )
    no_messages = Backends.from_table({"POST /messages": "500"})
    async with stage(script=script, faults=no_messages, kept=False) as play:
        told = await ring(play, '{ listen = true }, { say = "message_words" }, { listen = true }, { hang_up = true }')
        assert "I will pass on your message" in told.heard
        (left,) = play.ledger.of(rows.MessageRow, told.report.call_sid)
        assert (left.text, left.delivered) == ("Two boxes short.", False)
        assert words_stored(told) == ["Two boxes short."]  # only the message that the caller wanted to leave


async def test_a_caller_who_speaks_before_the_first_sound_of_the_greeting_still_hears_the_notice(
    autojump_clock: MockClock,
) -> None:
    script = Script(first_delta_ms=(3_500, 3_500))  # the greeting's clip has ended before this
    async with stage(script=script, kept=False) as play:
        told = await ring(
            play, '{ silent_s = 2.7 }, { say = "ask_hours" }, { listen = true }, { listen = true }, { hang_up = true }'
        )
        assert NOTICE in told.heard
        assert "We are open" in told.heard  # the question is answered, too
        assert "caller: Hi, what time do you open tomorrow?" in told.said
        assert told.consents[-1].heard_at is not None


# Who hears the notice


@pytest.mark.parametrize(
    ("env", "caller", "announced"),
    [
        ({}, 'number = "+15125550101"\nstate = "TX"', True),  # the default setting announces to everybody
        ({**STATE, "BUSINESS_STATE": "TX"}, 'number = "+15125550101"\nstate = "TX"', False),
        ({**STATE, "BUSINESS_STATE": "TX"}, 'number = "+12135550101"\nstate = "TX"', True),  # a Californian number
        ({**STATE, "BUSINESS_STATE": "TX"}, 'number = "+15125550101"\nstate = "CA"', True),  # Twilio says California
        ({**STATE, "BUSINESS_STATE": "IL"}, 'number = "+15125550101"\nstate = "TX"', True),  # the business's own state
        ({**STATE, "BUSINESS_STATE": "TX"}, 'number = "anonymous"', True),  # the caller's state is not known
        (STATE, 'number = "+15125550101"\nstate = "TX"', True),  # the business's state is not set
        ({"RECORD": "off"}, 'number = "+12135550101"\nstate = "CA"', False),
    ],
)
async def test_the_notice_is_said_to_each_caller_who_must_hear_it(
    autojump_clock: MockClock, env: dict[str, str], caller: str, announced: bool
) -> None:
    async with stage(settings=env) as play:
        told = await ring(play, caller=caller)
        assert told.heard.replace(" | ", " ") == (WHOLE if announced else f"{OPENING} {QUESTION}")
        assert len(told.consents) == announced
        assert bool(told.turns and told.turns[0].said) is (env.get("RECORD") != "off")


async def test_record_off_stores_no_word_of_anybody(autojump_clock: MockClock) -> None:
    async with stage(settings={"RECORD": "off"}) as play:
        told = await ring(play, '{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }')
        assert "We are open tomorrow" in told.heard
        assert words_stored(told) == []
        assert told.call.greeting_rung == "kept"
        assert len(told.turns) == 4  # the turns with their times, without their words
        assert told.end_reason == "caller_hung_up"


async def test_with_record_on_the_notice_says_recorded(autojump_clock: MockClock) -> None:
    async with stage(settings={"RECORD": "on", "RECORDING_KEY": new_key()}) as play:
        told = await ring(play)
        recorded = "This call may be recorded and transcribed to help with your request."
        assert recorded in told.heard
        assert [consent.announced for consent in told.consents] == [recorded]


def test_the_agent_says_that_it_is_an_assistant() -> None:
    shipped = prompts.load(settings.load({}, serving=False))
    for announces in (True, False):
        assert "virtual assistant" in shipped.greeting(announces)[0]


# A stream that is lost

CUT = """
[[trouble]]
does = "socket_cut"
upon = "stream_started"
after_s = {after_s}
"""


@pytest.mark.parametrize(("after_s", "openings"), [(3.0, 2), (8.4, 1)])
async def test_a_notice_that_was_cut_off_is_said_again_but_a_notice_that_was_heard_is_not(
    autojump_clock: MockClock, after_s: float, openings: int
) -> None:
    async with stage() as play:
        told = await ring(play, "{ silent_s = 22 }, { hang_up = true }", rest=CUT.format(after_s=after_s))
        assert told.report.streams == 2
        heard: list[Any] = [consent.heard_at is not None for consent in told.consents]
        assert heard == ([False, True] if openings == 2 else [True])
        assert told.turns  # the words are stored after the notice
        assert sum(f"{OPENING} {NOTICE}" in text for text in told.report.heard) == 1  # in full
        assert f"agent: {OPENING} {NOTICE}" in told.said


async def test_without_a_model_the_ledger_says_that_no_notice_was_heard(autojump_clock: MockClock) -> None:
    async with stage(script=Script(faults=Faults(connect_refused=True)), kept=False) as play:
        told = await ring(play, '{ until = "bridged" }, { hang_up = true }')
        assert told.consents == []
        assert words_stored(told) == []
