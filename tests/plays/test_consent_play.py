"""Words that may not be kept, in whole calls: the caller refuses, or RECORD is off."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog
from trio.testing import MockClock

from relay.call import refusal
from relay.functions import CallContext, function
from relay.ledger import rows
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import Play, stage

PRIVATE = "Jane Doe of Elm Street says her husband died, card 4111 1111 1111 1111"
REFUSES = """
title = "refuses"
[caller]
steps = [
  { listen = true }, { say = "ask_hours" }, { listen = true }, { say = "oh_wait" }, { listen = true },
  { say = "ask_booking" }, { listen = true }, { hang_up = true },
]
[[model.reaction]]
clip = "ask_hours"
say = "We are open from eleven in the morning until ten at night."
[[model.reaction]]
clip = "oh_wait"
say = "No problem. What can I do for you?"
[[model.reaction]]
clip = "ask_booking"
say = "Let me book that for you."
call = "book_appointment"
arguments = { name = "Jane Doe", service = "table for two", start = "{tomorrow}T19:00:00{offset}", notes = "widow" }
"""
TRANSFERS = """
title = "transfers"
[caller]
steps = [{ listen = true }, { say = "ask_hours" }, { until = "dial_ended" }, { silent_s = 3 }, { hang_up = true }]
[human]
does = "busy"
ring_s = 1
[[model.reaction]]
clip = "ask_hours"
say = "One moment."
call = "transfer_to_human"
arguments = { reason = "%s", summary = "S" }
"""


async def play_of(text: str, settings: dict[str, str]) -> tuple[Play, list[Any]]:
    scenario = parse(text, "t")
    async with stage(script=Script.from_table(scenario.model), settings=settings) as play:
        with structlog.testing.capture_logs() as lines:
            await run_scenario(scenario, play.exchange)
        return play, list(lines)


async def test_after_a_refusal_no_more_words_are_stored(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "refuses", lambda text: "oh wait" in text.casefold())
    play, lines = await play_of(REFUSES, {})
    kept = [row.said for row in play.ledger.of(rows.TranscriptRow) if row.said]
    assert any("what time" in words for words in kept), "the words before the refusal are lost"
    assert not any("Jane Doe" in words or "wait" in words for words in kept)
    assert len(play.ledger.of(rows.TranscriptRow)) > len(kept)
    assert [row.refused_at is not None for row in play.ledger.of(rows.ConsentRow)] == [True]
    assert "call.words_refused" in [line["event"] for line in lines]
    functions = {row.name: row for row in play.ledger.of(rows.FunctionCallRow)}
    assert "widow" not in str(functions)
    assert functions["book_appointment"].ok
    assert len(play.business.diary.bookings) == 1


async def test_without_a_refusal_the_same_call_is_written_down(autojump_clock: MockClock) -> None:
    play, _ = await play_of(REFUSES, {})
    assert any("Jane Doe" in (row.said or "") for row in play.ledger.of(rows.TranscriptRow))
    assert "widow" in str(play.ledger.of(rows.FunctionCallRow))


@pytest.mark.parametrize("record", ["off", "transcripts"])
async def test_the_reason_that_the_model_gives_for_a_transfer_is_never_logged(
    record: str, autojump_clock: MockClock
) -> None:
    play, lines = await play_of(TRANSFERS % PRIVATE, {"RECORD": record})
    for private in ("Elm", "husband", "4111"):
        assert private not in str(lines)
    assert "the agent's own decision" in str(lines)
    (message,) = play.ledger.of(rows.MessageRow)
    assert ("husband" in (message.text or "")) is (record != "off")


async def test_the_relays_own_reason_for_a_transfer_is_logged(autojump_clock: MockClock) -> None:
    asks = TRANSFERS.replace('{ say = "ask_hours" }', '{ say = "ask_human" }').replace(
        'clip = "ask_hours"', 'clip = "x"'
    )
    _, lines = await play_of(asks.split("[[model")[0], {"RECORD": "off"})
    assert [line["why"] for line in lines if line["event"] == "human.dialled"] == ["asked for a person"]


async def test_a_transfer_that_is_refused_outside_the_hours_is_reported_to_the_model_and_stored_and_logged(
    autojump_clock: MockClock,
) -> None:
    never = TRANSFERS.replace('{ until = "dial_ended" }', "{ listen = true }")
    play, lines = await play_of(never % "wants a person", {"HUMAN_HOURS": "mon-sun 03:00-03:01"})
    (row,) = play.ledger.of(rows.FunctionCallRow)
    assert (row.name, row.ok) == ("transfer_to_human", False)
    assert [outcome.transfer_result for outcome in play.ledger.of(rows.OutcomeRow)] == ["closed"]
    assert "human.not_there" in [line["event"] for line in lines]


async def test_a_function_that_blocks_the_loop_is_named_in_the_log(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    @function()
    async def lookup_hours(call: CallContext) -> dict[str, object]:
        """Opening hours."""
        time.sleep(0.4)  # noqa: ASYNC251  # what it must not do
        return {"open": "9 AM"}

    text = (
        REFUSES.split("[[model")[0]
        + """
[[model.reaction]]
clip = "ask_hours"
say = "One moment."
call = "lookup_hours"
arguments = {}
"""
    )
    scenario = parse(text, "t")
    async with stage(script=Script.from_table(scenario.model)) as play:
        monkeypatch.setitem(play.daemon.desk.registry._functions, "lookup_hours", lookup_hours)
        with structlog.testing.capture_logs() as lines:
            await run_scenario(scenario, play.exchange)
        blocked = [line for line in lines if line["event"] == "function.blocked"]
        assert [line["function"] for line in blocked] == ["lookup_hours"]
        assert "lookup_hours blocked the loop for 0." in blocked[0]["words"]
        shown = play.daemon.desk.metrics.text().decode()
        assert 'relay_functions_blocked_total{function="lookup_hours"} 1.0' in shown
